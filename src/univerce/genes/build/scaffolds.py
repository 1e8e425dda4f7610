"""Chromosomes of a new species: their codes, and one group for the many small scaffolds of a draft genome."""

from __future__ import annotations

import numpy as np
import pandas as pd

POOL = "unplaced"


def pool_scaffolds(genes: pd.DataFrame, limit: int) -> tuple[pd.DataFrame, int]:
    """Put the chromosomes with fewest genes into one group, so that a sentence has room for all.

    Parameters
    ----------
    genes
        With the columns ``chromosome`` and ``start``.
    limit
        Chromosomes that may remain, the group among them.

    Returns
    -------
    The genes in their order, and how many scaffolds were pooled. If any, ``chromosome`` is ``"unplaced"`` for their
    genes and ``start`` counts along the scaffolds put end to end, by falling number of genes and then by name, as in
    the unplaced sequence of genome browsers; ``scaffold`` and ``scaffold_start`` keep what was written.

    Raises
    ------
    ValueError
        When ``limit`` is not at least 1.
    """
    if limit < 1:
        raise ValueError(f"max_chromosomes={limit!r} must be at least 1.")
    sizes = genes["chromosome"].value_counts().rename_axis("name").reset_index(name="n")
    sizes = sizes.sort_values(["n", "name"], ascending=[False, True])
    if len(sizes) <= limit:
        return genes, 0
    small = sizes["name"].iloc[limit - 1 :]
    if POOL in set(sizes["name"].iloc[: limit - 1]):
        raise ValueError(f"A chromosome is called {POOL!r}, as the group of pooled scaffolds is; rename it.")
    pooled = genes["chromosome"].isin(small)
    length = genes[pooled].groupby("chromosome")["start"].max().reindex(small) + 1
    before = pd.Series(np.cumsum(length.to_numpy()) - length.to_numpy(), index=small)
    out = genes.assign(scaffold=genes["chromosome"], scaffold_start=genes["start"])
    out.loc[pooled, "start"] += genes.loc[pooled, "chromosome"].map(before).astype(np.int64)
    out.loc[pooled, "chromosome"] = POOL
    return out, len(small)


def chromosome_tokens(n: int, dim: int, taxonomy_id: int) -> np.ndarray:
    """Normal(0, 1) features of the chromosomes, ``[n, dim]`` float32, as the reference draws them for a new species.

    The seed is the taxonomy identifier, so the tokens of a species are its own and the same everywhere.
    """
    import torch

    generator = torch.Generator().manual_seed(taxonomy_id)
    return torch.normal(mean=0.0, std=1.0, size=(n, dim), generator=generator).numpy()
