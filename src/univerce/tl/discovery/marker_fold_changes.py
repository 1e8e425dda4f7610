"""Compare the expression of found cells with the other cells of their data set."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._docs import document
from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery._pseudobulk import adjust, get_found, log_cpm, read_counts, sum_groups, t_test

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
OK = "ok"


@document
def marker_fold_changes(
    adata: ad.AnnData | MuData,
    found_key: str = "found",
    *,
    groupby: str | None = "data_set",
    donor_key: str | None = None,
    mod: str | None = None,
    layer: str | None = None,
    min_cells: int = 10,
    key_added: str = "marker_fold_changes",
) -> pd.DataFrame:
    """Compare the expression of found cells with the other cells of their data set (Rosen et al. 2026).

    Expected markers, in data sets that were not used to find the cells, support a result in the embedding. The fold
    change is the log2 ratio of counts per million in the summed found cells to the summed other cells, with a prior
    count of 2 as in ``cpm`` of edgeR, which shrinks genes with few counts.

    With ``donor_key`` counts are summed per donor, the fold change is the mean over donors, and the p-value is from a
    paired t-test between them. Without, p-values are from Wilcoxon's test between cells
    (:func:`scanpy.tl.rank_genes_groups` on log-normalized counts), which treats cells of one donor as independent: they
    rank genes, and do not generalize to other donors.

    Parameters
    ----------
    adata
        Cells with raw counts, some of them found.
    found_key
        Boolean column of ``obs`` with the found cells, as written by :func:`univerce.tl.find_cells`. Cells without a
        value, or without a score in ``obs[f"{found_key}_score"]``, are left out.
    groupby
        Column of ``obs`` with the data sets; ``None`` takes all cells as one.
    donor_key
        Column of ``obs`` with the donors.
    %(mod, layer, key_added)s
    min_cells
        Data sets and donors with fewer found cells, or fewer others, are not compared.

    Returns
    -------
    DataFrame with a row per compared data set and gene: ``data_set``, ``gene``, ``log2_fold_change``, ``p_value``,
    ``p_adjusted`` (Benjamini and Hochberg within the data set), ``share_found`` and ``share_rest`` (of the cells with a
    count of the gene). Writes to ``adata``:

    ``uns[key_added]["table"]``, ``uns[key_added]["params"]``
        The same table, and parameters.
    ``uns[key_added]["data_sets"]``
        Every data set with ``n_found``, ``n_rest``, ``n_donors`` compared (0 without ``donor_key``) and ``status``:
        ``"ok"``, or why it is not compared.

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ValueError
        If no data set can be compared, the values are not counts, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD19+ B"
    >>> table = uc.tl.marker_fold_changes(adata, groupby=None)
    >>> table.sort_values("p_value")["gene"].head(1).tolist()
    ['CD79A']
    """
    adata = get_modality(adata, mod)
    check_writable(adata)
    check_whole("min_cells", min_cells, 1)
    is_found = get_found(adata, found_key)
    sets = pd.Categorical(["all"] * adata.n_obs) if groupby is None else get_labels(adata.obs, groupby)
    donors = None if donor_key is None else np.asarray(get_labels(adata.obs, donor_key).codes)
    counts = read_counts(adata, layer)

    rows, parts = {}, []
    for code, name in enumerate(sets.categories):
        mine = np.flatnonzero(sets.codes == code)
        row, part = _compare(counts[mine], is_found[mine], None if donors is None else donors[mine], min_cells)
        rows[str(name)] = row
        if part is not None:
            parts.append(part.assign(data_set=str(name), gene=adata.var_names.astype(str)))
    data_sets = pd.DataFrame.from_dict(rows, orient="index")
    left_out = data_sets.loc[data_sets["status"] != OK, "status"]
    if not parts:
        raise ValueError(f"No data set can be compared: {'; '.join(f'{k!r}: {v}' for k, v in left_out[:5].items())}.")
    if len(left_out):
        logger.warning(
            "%d of %d data sets are not compared; see uns[%r]['data_sets'].", len(left_out), len(data_sets), key_added
        )
    columns = ["data_set", "gene", "log2_fold_change", "p_value", "p_adjusted", "share_found", "share_rest"]
    table = pd.concat(parts, ignore_index=True)[columns].rename(index=str)
    adata.uns[key_added] = {
        "table": table.copy(),
        "data_sets": data_sets,
        "params": {
            "found_key": found_key, "groupby": groupby or "", "donor_key": donor_key or "", "layer": layer or "X",
            "min_cells": int(min_cells), "method": "wilcoxon" if donor_key is None else "paired t-test of donors",
        },
    }  # fmt: skip
    return table


def _compare(
    counts: sp.csr_matrix, is_found: np.ndarray, donors: np.ndarray | None, min_cells: int
) -> tuple[dict[str, object], pd.DataFrame | None]:
    """Compare found cells (1) with others (0) of one data set."""
    n_found, n_rest = int((is_found == 1).sum()), int((is_found == 0).sum())
    row: dict[str, object] = {"n_found": n_found, "n_rest": n_rest, "n_donors": 0, "status": OK}
    for n, kind in ((n_found, "found"), (n_rest, "other")):
        if n < min_cells:
            return row | {"status": f"{n} {kind} cells, too few"}, None
    if donors is None:
        change = np.subtract(*log_cpm(sum_groups(counts, is_found, 2))[::-1])
        p = _wilcoxon(counts, is_found)
    else:
        known = (is_found >= 0) & (donors >= 0)
        pairs = pd.crosstab(donors[known], is_found[known]).reindex(columns=[0, 1], fill_value=0)
        used = pairs.index[(pairs >= min_cells).all(axis=1)].to_numpy()
        row["n_donors"] = len(used)
        if len(used) == 0:
            return row | {"status": f"no donor with {min_cells} found and other cells"}, None
        codes = np.where(known & np.isin(donors, used), 2 * np.searchsorted(used, donors) + is_found, -1)
        logged = log_cpm(sum_groups(counts, codes, 2 * len(used)))
        change = (logged[1::2] - logged[::2]).mean(axis=0)
        p = t_test(logged[1::2], logged[::2], paired=True)
    expressed = sp.csr_matrix((counts.data != 0, counts.indices, counts.indptr), shape=counts.shape)
    shares = sum_groups(expressed, is_found, 2) / np.array([[n_rest], [n_found]])
    columns = {"log2_fold_change": change, "p_value": p, "p_adjusted": adjust(p)}
    return row, pd.DataFrame(columns | {"share_found": shares[1], "share_rest": shares[0]})


def _wilcoxon(counts: sp.csr_matrix, is_found: np.ndarray) -> np.ndarray:
    """``[n_genes]`` p-values of scanpy's Wilcoxon test on log-normalized counts; 1 for genes without counts."""
    import scanpy as sc

    rows = np.flatnonzero(is_found >= 0)
    cells = ad.AnnData(sp.csr_matrix(counts[rows], dtype=np.float32))
    cells.obs["found"] = pd.Categorical(np.where(is_found[rows] == 1, "found", "rest"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts")  # they stay zero
        sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    with np.errstate(invalid="ignore"):  # genes with tied values only
        sc.tl.rank_genes_groups(cells, "found", groups=["found"], reference="rest", method="wilcoxon", tie_correct=True)
    ranked = sc.get.rank_genes_groups_df(cells, "found").set_index("names")["pvals"]
    return ranked.reindex(cells.var_names).fillna(1.0).to_numpy(np.float64)
