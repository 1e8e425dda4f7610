"""Compare the expression of found cells with the other cells of their data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._settings import logger
from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery._comparison import compare, rank_genes
from univerce.tl.discovery._deseq import STATISTICS
from univerce.tl.discovery._pseudobulk import get_found, read_counts

if TYPE_CHECKING:
    from mudata import MuData

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

    Expected markers, in data sets that were not used to find the cells, support a result in the embedding.

    With ``donor_key`` counts of found and of other cells are summed per donor and compared by PyDESeq2, see
    :func:`univerce.tl.compare_groups`; the donor is part of the design if most donors have both. Without it, and in
    data sets with fewer than three donors, the result is descriptive: fold changes and a gene ranking, without
    p-values, because cells of one donor are not replicates. These fold changes compare observed with expected counts of
    found and of other cells, with a prior count of 2 so that single counts have little effect.

    Parameters
    ----------
    adata
        Cells with raw counts, some of them found.
    %(found_key)s
    groupby
        Column of ``obs`` with the data sets; ``None`` takes all cells as one.
    donor_key
        Column of ``obs`` with the donors.
    %(mod, layer, key_added)s
    min_cells
        Data sets and donors with fewer found cells, or fewer others, are not compared.

    Returns
    -------
    DataFrame with a row per data set and gene with enough counts (as ``filterByExpr`` of edgeR): ``data_set``,
    ``gene``, ``log2_fold_change`` with its ``standard_error``, ``score`` (the Wald statistic; without a test the score
    of :func:`scanpy.tl.rank_genes_groups` by Wilcoxon), ``p_value`` (NaN if a single donor decides), ``p_adjusted``
    (Benjamini and Hochberg within the data set), ``share_found`` and ``share_rest`` (of the cells with a count of the
    gene). Sets the following fields:

    ``uns[key_added]["table"]``, ``uns[key_added]["params"]``
        The same table, and parameters.
    ``uns[key_added]["data_sets"]``
        Every data set with ``n_found``, ``n_rest``, ``n_donors`` compared (0 without a test), ``design``
        (``"paired"``, ``"unpaired"``, ``"descriptive"``) and ``status``: ``"ok"``, or why it is not compared.
    %(ranked)s

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ImportError
        If PyDESeq2 is not installed.
    ValueError
        If no data set can be compared, the values are not counts, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD19+ B"
    >>> table = uc.tl.marker_fold_changes(adata, groupby=None)
    >>> table.sort_values("score", ascending=False)["gene"].head(1).tolist()
    ['CD79A']
    """
    adata = get_modality(adata, mod)
    check_writable(adata, key_added)
    check_whole("min_cells", min_cells, 1)
    is_found = get_found(adata, found_key)
    sets = pd.Categorical(["all"] * adata.n_obs) if groupby is None else get_labels(adata.obs, groupby)
    donors = None if donor_key is None else np.asarray(get_labels(adata.obs, donor_key).codes)
    counts, genes = read_counts(adata, layer), adata.var_names.astype(str)

    rows, parts, few = {}, [], {}
    for code, name in enumerate(map(str, sets.categories)):
        mine = np.flatnonzero(sets.codes == code)
        data = counts[mine], is_found[mine]
        result = compare(*data, None if donors is None else donors[mine], min_cells)
        if donors is not None and result.reason:
            few[name], result = result.reason, compare(*data, None, min_cells)
        n = {"n_found": int(np.sum(data[1] == 1)), "n_rest": int(np.sum(data[1] == 0)), "n_donors": result.n_donors}
        rows[name] = n | {"design": result.design, "status": result.reason or OK}
        if not result.reason:
            parts.append(result.table.assign(data_set=name, gene=genes[result.table["column"]]))
    data_sets = pd.DataFrame.from_dict(rows, orient="index")
    left_out = data_sets.loc[data_sets["status"] != OK, "status"]
    if not parts:
        raise ValueError(f"No data set can be compared: {'; '.join(f'{k!r}: {v}' for k, v in left_out[:5].items())}.")
    if len(left_out):
        logger.warning(
            "%d of %d data sets are not compared; see uns[%r]['data_sets'].", len(left_out), len(data_sets), key_added
        )
    if few := {name: why for name, why in few.items() if name not in left_out}:
        name, why = next(iter(few.items()))
        logger.warning("%d data sets have fold changes without a test, such as %r: %s.", len(few), name, why)
    table = pd.concat(parts, ignore_index=True).rename(columns={"share": "share_found"})
    table = table[["data_set", "gene", *STATISTICS, "share_found", "share_rest"]].rename(index=str)
    adata.uns[key_added] = rank_genes(table, genes, "data_set", "share_found", "share_rest") | {
        "table": table.copy(),
        "data_sets": data_sets,
        "params": {
            "found_key": found_key, "groupby": groupby or found_key, "donor_key": donor_key or "",
            "layer": layer or "X", "min_cells": int(min_cells), "reference": "rest",
            "method": "descriptive" if donors is None else "PyDESeq2", "use_raw": False,
            "corr_method": "benjamini-hochberg",
        },
    }  # fmt: skip
    return table
