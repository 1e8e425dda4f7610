"""Which genes tell found cells from the others of their data set?"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery._pseudobulk import Counts, get_found, read_counts, t_of_means
from univerce.tl.discovery._statistics import FEWEST, benjamini_hochberg, log_cpm, sum_groups

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
OK = "ok"
_SIGNIFICANT = 0.05


def marker_fold_changes(
    adata: ad.AnnData | MuData,
    found: str = "found",
    *,
    groupby: str | None = "data_set",
    donor: str | None = None,
    mod: str | None = None,
    layer: str | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int = 30,
    min_cells: int = FEWEST,
    key_added: str = "marker_fold_changes",
) -> pd.DataFrame:
    """Compare the expression of found cells with that of the rest of their data set (Rosen et al. 2024).

    A score in an embedding is a claim; that the found cells express the markers of the cells that were sought, in data
    sets that were not used to find them, is evidence. The fold change of a gene is the log2 ratio of its counts per
    million in the sum of the found cells to those in the sum of the others, with a prior count of 2 as in ``cpm`` of
    edgeR, which draws genes of few counts toward no change.

    With ``donor`` the sums are made per donor, the fold change is the mean over the donors, and the p-value that of a
    paired t-test between them. Without, p-values are those of Wilcoxon's test between cells
    (:func:`scanpy.tl.rank_genes_groups` on log-normalized counts), which takes the cells of one donor for independent
    ones: they rank genes, and say little of what other donors would show.

    Parameters
    ----------
    adata
        Cells with raw counts, of which some are found.
    found
        Column of ``obs`` that says which, as :func:`univerce.tl.find_cells` writes it. Cells without a value, and those
        without a score in ``obs[f"{found}_score"]``, are left out.
    groupby
        Column of ``obs`` with the data sets; ``None`` takes all cells as one.
    donor
        Column of ``obs``.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts; ``None`` is ``X``.
    genes
        Genes of the matrix for the heat map; ``None`` takes the ``n_genes`` that are higher in the found cells of most
        data sets (adjusted p-value below 0.05, and then the mean fold change).
    n_genes
        Number of these genes.
    min_cells
        Fewest found, and fewest other, cells of a data set, and of a donor; with fewer it is not compared.
    key_added
        Key of what is written.

    Returns
    -------
    A row for each data set that is compared and each gene: ``data_set``, ``gene``, ``log2_fold_change``, ``p_value``
    and ``p_adjusted`` (Benjamini and Hochberg within the data set), ``share_found`` and ``share_rest`` (of the cells
    with a count of the gene). Written are:

    ``uns[key_added]["data_sets"]``
        Every data set with ``n_found``, ``n_rest``, ``n_donors`` that are compared (0 without ``donor``) and
        ``status``: ``"ok"``, or why it is not compared.
    ``uns[key_added]["log2_fold_change"]``, ``uns[key_added]["p_adjusted"]``
        ``[n_data_sets, n_genes]`` tables of the chosen genes; NaN for data sets that are not compared.
    ``uns[key_added]["params"]``
        What was asked for.

    Raises
    ------
    KeyError
        When a column, layer or gene does not exist.
    ValueError
        When no data set can be compared, the values are not counts, or an option is out of range.

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
    for name, value in (("n_genes", n_genes), ("min_cells", min_cells)):
        check_whole(name, value, 1)
    state = get_found(adata, found)
    sets = pd.Categorical(np.full(adata.n_obs, "all")) if groupby is None else get_labels(adata.obs, groupby)
    donors = None if donor is None else np.asarray(get_labels(adata.obs, donor).codes)
    counts = read_counts(adata, layer)
    if genes is not None and (unknown := [gene for gene in genes if gene not in counts.genes]):
        raise KeyError(f"{len(unknown)} genes are not in var_names: {', '.join(map(repr, unknown[:10]))}.")
    overview, tables = [], []
    for code, name in enumerate(sets.categories):
        mine = np.where(sets.codes == code, state, -1)
        row, table = _compare(counts, mine, donors, min_cells)
        overview.append({"data_set": str(name), **row})
        if table is not None:
            table.insert(0, "data_set", str(name))
            tables.append(table)
    data_sets = pd.DataFrame(overview).set_index("data_set")
    if not tables:
        reasons = "; ".join(f"{name}: {status}" for name, status in data_sets["status"].head(5).items())
        raise ValueError(f"No data set of obs[{groupby!r}] can be compared with min_cells={min_cells}: {reasons}.")
    if (skipped := data_sets["status"] != OK).any():
        logger.warning("%s of %s data sets are not compared; uns[%r]['data_sets'] says why.", skipped.sum(),
                       len(data_sets), key_added)  # fmt: skip
    result = pd.concat(tables, ignore_index=True)
    chosen = list(dict.fromkeys(genes)) if genes is not None else _choose(result, n_genes)
    wide = {
        value: result[result["gene"].isin(chosen)].pivot(index="data_set", columns="gene", values=value)
        for value in ("log2_fold_change", "p_adjusted")
    }
    adata.uns[key_added] = {
        "params": {
            "found": found, "groupby": groupby or "", "donor": donor or "", "layer": layer or "X",
            "min_cells": int(min_cells), "method": "wilcoxon" if donor is None else "paired t-test of donors",
        },
        "data_sets": data_sets,
        **{
            name: table.reindex(index=data_sets.index, columns=chosen).rename_axis(columns=None)
            for name, table in wide.items()
        },
    }  # fmt: skip
    return result


def _compare(
    counts: Counts, state: np.ndarray, donors: np.ndarray | None, min_cells: int
) -> tuple[dict[str, object], pd.DataFrame | None]:
    """Found cells (1) against others (0) of one data set."""
    n_found, n_rest = int((state == 1).sum()), int((state == 0).sum())
    row: dict[str, object] = {"n_found": n_found, "n_rest": n_rest, "n_donors": 0, "status": OK}
    if n_found < min_cells:
        return row | {"status": f"{n_found} found cells, too few"}, None
    if n_rest < min_cells:
        return row | {"status": f"{n_rest} other cells, too few"}, None
    if donors is None:
        sums = sum_groups(counts.X, state, 2)
        change = np.subtract(*log_cpm(sums)[::-1])
        p = _wilcoxon(counts, state)
    else:
        pairs = pd.crosstab(donors[(state >= 0) & (donors >= 0)], state[(state >= 0) & (donors >= 0)])
        pairs = pairs.reindex(columns=[0, 1], fill_value=0)
        used = pairs.index[(pairs >= min_cells).all(axis=1)].to_numpy()
        row["n_donors"] = len(used)
        if len(used) == 0:
            return row | {"status": f"no donor with {min_cells} found and other cells"}, None
        inside = (state >= 0) & np.isin(donors, used)
        codes = np.where(inside, 2 * np.searchsorted(used, donors) + state, -1)
        logged = log_cpm(sum_groups(counts.X, codes, 2 * len(used)))
        differences = logged[1::2] - logged[::2]
        change = differences.mean(axis=0)
        spread = differences.var(axis=0, ddof=1) if len(used) > 1 else np.zeros_like(change)
        p = t_of_means(change, spread, len(used))
    expressed = counts.X.copy()
    expressed.data = (expressed.data != 0).astype(np.float64)
    shares = sum_groups(expressed, state, 2) / np.array([[n_rest], [n_found]])
    return row, pd.DataFrame(
        {
            "gene": counts.genes,
            "log2_fold_change": change,
            "p_value": p,
            "p_adjusted": benjamini_hochberg(p),
            "share_found": shares[1],
            "share_rest": shares[0],
        }
    )


def _wilcoxon(counts: Counts, state: np.ndarray) -> np.ndarray:
    """``[n_genes]`` p-values of scanpy's Wilcoxon test on log-normalized counts; 1 for genes that no cell expresses."""
    import scanpy as sc

    rows = np.flatnonzero(state >= 0)
    cells = ad.AnnData(sp.csr_matrix(counts.X[rows], dtype=np.float32))
    cells.var_names = counts.genes.astype(str)
    cells.obs["found"] = pd.Categorical(np.where(state[rows] == 1, "found", "rest"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts")  # they stay zero
        sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    with np.errstate(invalid="ignore"):  # of genes whose values are all tied
        sc.tl.rank_genes_groups(cells, "found", groups=["found"], reference="rest", method="wilcoxon", tie_correct=True)
    ranked = sc.get.rank_genes_groups_df(cells, "found").set_index("names")["pvals"]
    return ranked.reindex(cells.var_names).fillna(1.0).to_numpy(np.float64)


def _choose(result: pd.DataFrame, n: int) -> list[str]:
    """Genes that are higher in the found cells of most data sets."""
    up = result["log2_fold_change"].where((result["p_adjusted"] < _SIGNIFICANT) & (result["log2_fold_change"] > 0))
    by_gene = pd.DataFrame(
        {"gene": result["gene"], "n": up.notna(), "change": result["log2_fold_change"]}
    ).groupby("gene", sort=True)  # fmt: skip
    ranked = by_gene.agg(n=("n", "sum"), change=("change", "mean")).sort_values(
        ["n", "change"], ascending=False, kind="stable"
    )
    return [str(gene) for gene in ranked.index[:n]]
