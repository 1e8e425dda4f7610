"""The cells that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._bootstrap import read_units
from univerce.bench._terms import stated_lines
from univerce.embeddings.labels import get_labels


@dataclass(frozen=True, eq=False)
class Scored:
    """The cells on which all embeddings are compared."""

    rows: np.ndarray
    """``[n]`` ascending."""
    types: pd.Categorical
    """``[n]``."""
    batches: pd.Categorical | None
    """``[n]``; None with fewer than two batches."""
    units: np.ndarray | None
    """``[n]`` donor or batch, resampled for the intervals; None resamples the cells."""
    table: pd.DataFrame
    """Cells of each type by what became of them."""
    counts: dict[str, int]
    """All cells by what became of them."""
    lines: np.ndarray | None
    """``[n_types, n_terms]`` terms of each type in the Cell Ontology; None if they are not stated."""


def choose_scored(
    adata: ad.AnnData,
    groupby: str,
    batch_key: str | None,
    donor_key: str | None,
    embeddings: Sequence[np.ndarray],
    min_cells: int,
) -> Scored:
    """Choose the cells with a type, a batch and an embedding by every method, of types with ``min_cells`` or more.

    ``ValueError`` if fewer than two types are left.
    """
    types = np.asarray(get_labels(adata.obs, groupby), dtype=object)
    batches = None if batch_key is None else np.asarray(get_labels(adata.obs, batch_key), dtype=object)
    state = np.full(adata.n_obs, "scored", dtype=object)
    state[~embedded(embeddings)] = "no embedding"
    if batches is not None:
        state[pd.isna(batches)] = "no batch"
    state[pd.isna(types)] = "no label"
    sizes = pd.Series(types[state == "scored"]).value_counts()
    state[(state == "scored") & np.isin(types, list(sizes.index[sizes < min_cells]))] = "rare type"
    rows = np.flatnonzero(state == "scored")
    order = ["scored", "no label", "no batch", "no embedding", "rare type"]
    counts = {name: int((state == name).sum()) for name in order}
    kept = pd.Categorical(types[rows])
    if len(kept.categories) < 2:
        found = ", ".join(f"{n:,} {name}" for name, n in counts.items())
        raise ValueError(
            f"obs[{groupby!r}] needs two types with {min_cells} cells or more; of {adata.n_obs:,} cells there are "
            f"{found}. Lower min_cells=, or check the labels and the runs that lack cells."
        )
    labeled = pd.DataFrame({"type": types, "state": state}).dropna(subset="type")
    table = pd.crosstab(labeled["type"], labeled["state"]).reindex(columns=order, fill_value=0)
    table = table.drop(columns="no label").rename_axis(columns=None)
    table.insert(0, "n_cells", table.sum(axis=1))
    several = pd.Categorical(batches[rows]) if batches is not None and len(set(batches[rows])) > 1 else None
    units = read_units(adata.obs, donor_key or batch_key)
    units = None if units is None else units[rows]
    lines = stated_lines(adata.obs, groupby, np.asarray(kept.categories, dtype=object))
    return Scored(rows, kept, several, units, table.reset_index(), counts, lines)


def embedded(embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """``[n_obs]`` mask of the cells that every embedding has."""
    known: np.ndarray = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in embeddings])
    return known
