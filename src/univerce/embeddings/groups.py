"""Groups of cells, and their means in an embedding or in log-normalized expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._settings import logger
from univerce._validate import check_counts, counts_elsewhere, get_layer, layer_name
from univerce.embeddings.cells import Cells
from univerce.io.blocks import iter_blocks

LOGNORM = "lognorm"
"""Name of the baseline in log-normalized expression."""

_BLOCK_ROWS = 4096
_TARGET_SUM = 1e4


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of cells."""

    table: pd.DataFrame
    """``[n_groups]`` labels, a column for each key, and ``n_cells``; sorted by the labels."""
    codes: np.ndarray
    """``[n_obs]`` row of the table of each cell, -1 for none."""

    def take(self, rows: np.ndarray) -> Groups:
        """Select groups."""
        new = np.full(len(self.table) + 1, -1)  # the last is for cells without a group
        new[rows] = np.arange(len(rows))
        return Groups(self.table.iloc[rows].reset_index(drop=True), new[self.codes])


def get_groups(cells: Cells, keys: Sequence[str], known: np.ndarray | None = None, *, min_cells: int = 1) -> Groups:
    """Group the cells that have a label in each column ``keys`` of ``obs`` and an embedding.

    ``known`` ``[n_obs]`` are the cells with an embedding, by default those of ``cells``. Groups with fewer than
    ``min_cells`` cells are left out; ``ValueError`` if none is left.
    """
    name, known = cells.name, cells.known if known is None else known
    labels = pd.DataFrame({key: np.asarray(cells.labels(key), dtype=object) for key in keys})
    labeled = labels.notna().all(axis=1).to_numpy()
    used = labeled & known
    if not used.all():
        logger.info(
            "%s: %s of %s cells are left out: %s without a label in %s, %s without an embedding.",
            name, f"{(~used).sum():,}", f"{len(used):,}", f"{(~labeled).sum():,}", " or ".join(map(repr, keys)),
            f"{(~known).sum():,}",
        )  # fmt: skip
    if not used.any():
        raise ValueError(f"{name}: no cell has both a label in obs[{keys[0]!r}] and an embedding without NaN.")
    grouped = labels[used].groupby(list(keys), sort=True)
    codes = np.full(len(labels), -1)
    codes[used] = grouped.ngroup().to_numpy()
    table = grouped.size().rename("n_cells").reset_index()
    groups = Groups(table, codes)
    enough = table["n_cells"].to_numpy() >= min_cells
    if enough.all():
        return groups
    small = [" / ".join(row) for row in table.loc[~enough, list(keys)].itertuples(index=False)]
    if not enough.any():
        raise ValueError(f"{name}: no group of obs[{keys[0]!r}] has min_cells={min_cells} cells or more; lower it.")
    logger.info("%s: groups of fewer than %d cells are left out: %s.", name, min_cells, ", ".join(small))
    return groups.take(np.flatnonzero(enough))


def group_means(blocks: Iterable[tuple[slice, Any]], groups: Groups) -> np.ndarray:
    """Compute means ``[n_groups, n_columns]`` over the cells of each group, in double precision."""
    sums: Any = 0.0
    n_groups = len(groups.table)
    for rows, block in blocks:
        codes = groups.codes[rows]
        member = np.flatnonzero(codes >= 0)
        collect = sp.csr_array((np.ones(len(member)), (codes[member], member)), (n_groups, len(codes)))
        part = collect @ block.astype(np.float64)
        sums = sums + (part.toarray() if sp.issparse(part) else part)
    return sums / groups.table["n_cells"].to_numpy()[:, None]


def embedding_means(cells: Cells, groups: Groups) -> np.ndarray:
    """Compute centroids ``[n_groups, n_dims]``."""
    return group_means(cells.blocks(), groups)


def lognorm_means(adata: ad.AnnData, layer: str | None, genes: np.ndarray, groups: Groups, name: str) -> np.ndarray:
    """Compute means ``[n_groups, n_genes]`` of log(1 + 10,000 x / sum(x)), the sum over the same genes."""

    def fix() -> str:
        argument = 'baseline={{"layer": {!r}}}'
        return f"{counts_elsewhere(adata, layer, raw=False, argument=argument)} Without counts, pass baseline=None."

    return group_means(lognorm_blocks(adata, layer, genes, name, fix), groups)


def lognorm_blocks(
    adata: ad.AnnData, layer: str | None, genes: np.ndarray, name: str, fix: Callable[[], str] | None = None
) -> Iterator[tuple[slice, sp.csr_matrix]]:
    """Log-normalize counts of some genes in blocks of rows.

    Raises ``ValueError`` for values that are not counts; ``fix`` says what to do, by default to pass another layer.
    """
    fix = fix or partial(counts_elsewhere, adata, layer, raw=False)
    for rows, block in iter_blocks(get_layer(adata, layer), _BLOCK_ROWS):
        check_counts(block, where=f"{name}: {layer_name(layer)}", fix=fix)
        block = block[:, genes].astype(np.float64)
        total = np.asarray(block.sum(axis=1)).ravel()
        block = sp.diags(_TARGET_SUM / np.where(total > 0, total, 1)) @ block
        yield rows, sp.csr_matrix(block.log1p())


def has_counts(adata: ad.AnnData, layer: str | None) -> bool:
    """Whether there is expression; an atlas may have none."""
    return layer == "raw" or (adata.n_vars > 0 and (layer is not None or adata.X is not None))


def shared_genes(names: Iterable[str], others: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Find the columns ``[n_shared]`` of the genes of both by name, ignoring case, in the order of the names.

    Names that occur twice on either side are left out: across species this leaves one-to-one symbols.
    """
    here, there = (_unique_upper(side) for side in (names, others))
    both = here.index.intersection(there.index).sort_values()
    return here[both].to_numpy(), there[both].to_numpy()


def _unique_upper(names: Iterable[str]) -> pd.Series:
    upper = pd.Index([str(name).strip().upper() for name in names])
    columns = pd.Series(np.arange(len(upper)), index=upper)
    return columns[~upper.duplicated(keep=False) & (upper != "") & (upper != "NAN")]
