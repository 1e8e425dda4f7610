"""Which cells are scored, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.labels import get_labels


@dataclass(frozen=True, eq=False)
class Scored:
    """The cells that all embeddings are compared on."""

    rows: np.ndarray
    """``[n]`` ascending."""
    types: pd.Categorical
    """``[n]``."""
    batches: pd.Categorical | None
    """``[n]``, None when no batch was named or all cells are of one."""
    table: pd.DataFrame
    """Every type with its number of cells, how many are scored, and why the others are not."""
    counts: dict[str, int]
    """Cells by what became of them; they add up to all of them."""

    @property
    def n_batches(self) -> int:
        return 1 if self.batches is None else len(self.batches.categories)


def choose_scored(
    adata: ad.AnnData, labels: str, batch: str | None, embeddings: Sequence[np.ndarray], min_cells: int
) -> Scored:
    """The cells with a type, a batch and a place in every embedding, of types that have enough of them.

    Raises
    ------
    ValueError
        When fewer than two types are left; the message has the counts.
    """
    types = np.asarray(get_labels(adata.obs, labels), dtype=object)
    batches = None if batch is None else np.asarray(get_labels(adata.obs, batch), dtype=object)
    known = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in embeddings])
    state = np.full(adata.n_obs, "scored", dtype=object)
    state[~known] = "no embedding"
    if batches is not None:
        state[pd.isna(batches)] = "no batch"
    state[pd.isna(types)] = "no label"
    sizes = pd.Series(types[state == "scored"]).value_counts()
    small = set(sizes.index[sizes < min_cells])
    state[(state == "scored") & np.isin(types, list(small))] = "rare type"
    rows = np.flatnonzero(state == "scored")
    order = ("scored", "no label", "no batch", "no embedding", "rare type")
    counts = {name: int((state == name).sum()) for name in order}
    kept = pd.Categorical(types[rows])
    if len(kept.categories) < 2:
        found = ", ".join(f"{n:,} {name}" for name, n in counts.items())
        raise ValueError(
            f"obs[{labels!r}] needs two types with {min_cells} cells or more; of {adata.n_obs:,} there are {found}. "
            "Lower min_cells=, or look at the labels and the runs that lack cells."
        )
    labeled = pd.DataFrame({"type": types, "state": state}).dropna(subset="type")
    table = pd.crosstab(labeled["type"], labeled["state"]).reindex(columns=list(order), fill_value=0)
    table = table.drop(columns="no label").rename_axis(columns=None).reset_index()
    table.insert(1, "n_cells", table[["scored", "no batch", "no embedding", "rare type"]].sum(axis=1))
    found_batches = None if batches is None else pd.Categorical(batches[rows])
    if found_batches is not None and len(found_batches.categories) < 2:
        found_batches = None
    return Scored(rows, kept, found_batches, table, counts)
