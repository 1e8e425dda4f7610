"""Compare two groups of cells: between donors where they are known, else by effect sizes."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce.tl.discovery._deseq import wald_test
from univerce.tl.discovery._pseudobulk import aggregate, filter_by_expr

PAIRED, UNPAIRED, DESCRIPTIVE = "paired", "unpaired", "descriptive"
MIN_DONORS = 3
_PRIOR_COUNT = 2.0

_FIELDS = {
    "names": ("gene", "O"), "scores": ("score", "float32"), "logfoldchanges": ("log2_fold_change", "float32"),
    "pvals": ("p_value", "float64"), "pvals_adj": ("p_adjusted", "float64"),
}  # fmt: skip


class Comparison(NamedTuple):
    """Result of :func:`compare`."""

    table: pd.DataFrame
    """A row per tested gene, see :func:`univerce.tl.discovery._deseq.wald_test`, with its ``column`` and the ``share``
    of the cells of the case and of the control (``share_rest``) with a count of it."""
    design: str
    n_donors: int
    reason: str
    """Why there is no table, or empty."""


def compare(counts: sp.csr_matrix, is_case: np.ndarray, donors: np.ndarray | None, min_cells: int) -> Comparison:
    """Compare cells of a case (1) with those of a control (0); cells with -1 are left out.

    ``donors`` ``[n]`` are codes, -1 if unknown; None describes the cells without a test.
    """
    if donors is None:
        n_rest, n_case = np.bincount(is_case[is_case >= 0], minlength=2)
        if min(n_rest, n_case) < min_cells:
            return _refuse(f"{n_case} cells and {n_rest} others, {min_cells} of each are needed")
        return _result(counts, is_case, aggregate(counts, is_case), np.arange(2), DESCRIPTIVE, None)
    known = (is_case >= 0) & (donors >= 0)
    n_cells = np.zeros((donors.max(initial=-1) + 1, 2), dtype=np.int64)
    np.add.at(n_cells, (donors[known], is_case[known]), 1)
    enough = n_cells >= min_cells
    if (chosen := choose_design(enough)) is None:
        n_rest, n_case = enough.sum(axis=0)
        return _refuse(
            f"{n_case} donors with {min_cells} cells and {n_rest} with {min_cells} others, {MIN_DONORS} of each are "
            "needed"
        )
    design, used = chosen
    codes = np.where(used, np.cumsum(used).reshape(used.shape) - 1, -1)
    samples = np.where(known, codes[donors, is_case], -1)
    donor, case = np.nonzero(used)
    is_case = np.where(samples >= 0, is_case, -1)
    return _result(counts, is_case, aggregate(counts, samples), case, design, donor)


def choose_design(enough: np.ndarray) -> tuple[str, np.ndarray] | None:
    """Pair the donors if most have both samples, else compare all samples; None if there are too few.

    ``enough`` ``[n_donors, 2]`` marks the samples of the control and of the case with enough cells, the result those
    to use. Samples of one donor in an unpaired design are correlated, which makes its test conservative.
    """
    both: np.ndarray = np.asarray(enough.all(axis=1))
    if both.sum() >= MIN_DONORS and 2 * both.sum() > enough.any(axis=1).sum():
        return PAIRED, enough & both[:, None]
    return (UNPAIRED, enough) if enough.sum(axis=0).min() >= MIN_DONORS else None


def _refuse(reason: str) -> Comparison:
    return Comparison(pd.DataFrame(), "", 0, reason)


def _result(
    counts: sp.csr_matrix,
    is_case: np.ndarray,
    sums: np.ndarray,
    case: np.ndarray,
    design: str,
    donor: np.ndarray | None,
) -> Comparison:
    """Filter the genes of the samples ``sums [n_samples, n_genes]``, and test or describe them."""
    kept = np.flatnonzero(filter_by_expr(sums, case))
    if len(kept) == 0:
        return _refuse("no gene has enough counts")
    if donor is None:
        table = _describe(sums, kept).assign(score=_wilcoxon(counts, is_case, kept))
    else:
        table = wald_test(sums[:, kept], case == 1, donor if design == PAIRED else None)
    rest, found = aggregate(counts, is_case, "count_nonzero")[:, kept]
    table["column"], table["share"] = kept, found / np.sum(is_case == 1)
    table["share_rest"] = rest / np.sum(is_case == 0)
    return Comparison(table, design, 0 if donor is None else len(np.unique(donor)), "")


def _describe(sums: np.ndarray, kept: np.ndarray) -> pd.DataFrame:
    """Fold changes of observed to expected counts, with a prior count on both: single counts say little."""
    expected = sums.sum(axis=0) * sums.sum(axis=1, keepdims=True) / sums.sum()
    rest, case = np.log2((sums + _PRIOR_COUNT) / (expected + _PRIOR_COUNT))[:, kept]
    columns = {"log2_fold_change": case - rest, "standard_error": np.nan, "score": np.nan}
    return pd.DataFrame(columns | {"p_value": np.nan, "p_adjusted": np.nan})


def _wilcoxon(counts: sp.csr_matrix, is_case: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """``[n_kept]`` scores of :func:`scanpy.tl.rank_genes_groups` on log-normalized counts."""
    import scanpy as sc

    rows = np.flatnonzero(is_case >= 0)
    cells = ad.AnnData(sp.csr_matrix(counts[rows], dtype=np.float32))
    cells.obs["group"] = pd.Categorical(np.where(is_case[rows] == 1, "case", "rest"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts")  # they stay zero
        sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells = cells[:, kept].copy()
    sc.tl.rank_genes_groups(cells, "group", groups=["case"], reference="rest", method="wilcoxon", tie_correct=True)
    ranked = sc.get.rank_genes_groups_df(cells, "case").set_index("names")["scores"]
    return ranked[cells.var_names].to_numpy(np.float64)


def rank_genes(table: pd.DataFrame, genes: pd.Index, by: str, share: str, share_rest: str) -> dict[str, Any]:
    """Convert a table with a row per group (``by``) and gene, for scanpy's readers and plots.

    Each group holds all genes, as its plots need, highest score first, those that were not compared last.
    """
    genes = genes.rename("gene")
    parts = {group: table[table[by] == group].set_index("gene").reindex(genes) for group in table[by].unique()}
    ranked = {
        group: part.sort_values("score", ascending=False, kind="stable", na_position="last").reset_index()
        for group, part in parts.items()
    }
    out: dict[str, Any] = {
        field: pd.DataFrame({group: part[column] for group, part in ranked.items()}).to_records(
            index=False, column_dtypes=dtype
        )
        for field, (column, dtype) in _FIELDS.items()
    }
    for field, column in (("pts", share), ("pts_rest", share_rest)):
        out[field] = pd.DataFrame({group: part[column] for group, part in parts.items()}).rename_axis(None)
    return out
