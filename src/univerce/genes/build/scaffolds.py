"""Chromosomes of a new species: their tokens, and one group for the small scaffolds of a draft genome."""

from __future__ import annotations

import numpy as np
import pandas as pd

from univerce._validate import check_whole

POOL = "unplaced"


def pool_scaffolds(genes: pd.DataFrame, limit: int) -> tuple[pd.DataFrame, int]:
    """Pool the chromosomes with fewest genes into one group, so that at most ``limit`` remain, the group included.

    Returns the genes in their order and the number of pooled scaffolds. If any, ``chromosome`` is ``"unplaced"`` for
    their genes and ``start`` counts along the scaffolds joined by decreasing number of genes, then by name, as in the
    unplaced sequence of genome browsers; ``scaffold`` and ``scaffold_start`` keep the originals.
    """
    check_whole("max_chromosomes", limit, 1)
    sizes = genes["chromosome"].value_counts().rename_axis("name").reset_index(name="n")
    sizes = sizes.sort_values(["n", "name"], ascending=[False, True])
    if len(sizes) <= limit:
        return genes, 0
    small = sizes["name"].iloc[limit - 1 :]
    if POOL in set(sizes["name"].iloc[: limit - 1]):
        raise ValueError(f"A chromosome has the name of the pooled scaffolds, {POOL!r}; rename it.")
    pooled = genes["chromosome"].isin(small)
    length = genes[pooled].groupby("chromosome")["start"].max().reindex(small) + 1
    before = pd.Series(np.cumsum(length.to_numpy()) - length.to_numpy(), index=small)
    out = genes.assign(scaffold=genes["chromosome"], scaffold_start=genes["start"])
    out.loc[pooled, "start"] += genes.loc[pooled, "chromosome"].map(before).astype(np.int64)
    out.loc[pooled, "chromosome"] = POOL
    return out, len(small)


def chromosome_tokens(n: int, dim: int, taxonomy_id: int) -> np.ndarray:
    """Draw Normal(0, 1) chromosome tokens ``[n, dim]`` float32, as the reference does for a new species.

    The seed is the taxonomy identifier: tokens differ between species and are the same everywhere.
    """
    import torch

    generator = torch.Generator().manual_seed(taxonomy_id)
    return torch.normal(mean=0.0, std=1.0, size=(n, dim), generator=generator).numpy()
