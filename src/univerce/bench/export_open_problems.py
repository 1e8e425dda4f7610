"""Export a data set to Open Problems."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._docs import document
from univerce._validate import check_adata, check_column
from univerce.bench._expression import get_counts, log_normalized, open_problems_genes, principal_components
from univerce.embeddings.labels import get_labels
from univerce.genes.species import SPECIES, resolve_species

NORMALIZATION = "log_cp10k"


@document
def export_open_problems(
    adata: ad.AnnData,
    *,
    batch_key: str,
    groupby: str,
    species: str,
    dataset_id: str,
    layer: str | None = None,
    feature_id: str | None = None,
    feature_name: str | None = None,
) -> ad.AnnData:
    """Export data to the Open Problems tasks *batch integration* and *label projection*, keeping the order of cells.

    Parameters
    ----------
    adata
        Annotated data matrix with raw counts.
    batch_key, groupby
        Columns of ``obs`` with the batch and the type; no value may be missing.
    species, dataset_id
        Species of the cells and name of the data set.
    %(layer)s
    feature_id, feature_name
        Columns of ``var`` with identifiers (Ensembl) and symbols; ``None`` is ``var_names``.

    Returns
    -------
    AnnData without ``X``: ``layers["counts"]`` and ``["normalized"]``, CSR; ``obs["batch"]`` and ``["cell_type"]``;
    ``var["feature_id"]``, ``["feature_name"]``, ``["hvg"]`` (the 2,000 genes variable in most batches) and
    ``["hvg_score"]`` (dispersion of the normalized expression); ``obsm["X_pca"]``; ``uns["dataset_id"]``,
    ``["dataset_organism"]`` (``"homo_sapiens"``), ``["normalization_id"]`` and texts on the data set.

    Raises
    ------
    KeyError
        If a column or the layer does not exist.
    ValueError
        If values are not counts, or a cell lacks a batch or a type.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> dataset = uc.bench.export_open_problems(
    ...     adata, batch_key="phase", groupby="cell_type", species="human", dataset_id="pbmc68k"
    ... )
    >>> dataset.uns["dataset_organism"], sorted(dataset.layers)
    ('homo_sapiens', ['counts', 'normalized'])
    """
    check_adata(adata)
    x = get_counts(adata, layer)
    obs = pd.DataFrame(index=adata.obs_names)
    for name, key in (("batch", batch_key), ("cell_type", groupby)):
        found = get_labels(adata.obs, key)
        if missing := int((found.codes < 0).sum()):
            raise ValueError(f"obs[{key!r}] is missing in {missing:,} cells; Open Problems needs it in all cells.")
        obs[name] = found
    var = pd.DataFrame(index=adata.var_names)
    for name, column in (("feature_id", feature_id), ("feature_name", feature_name)):
        check_column(name, column, adata.var, "var")
        var[name] = np.asarray(adata.var_names if column is None else adata.var[column], dtype=str)
    counts = ad.AnnData(sp.csr_matrix(x), obs=obs, var=var)
    var["hvg"] = open_problems_genes(counts, "batch")
    logs = log_normalized(counts).X
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    var["hvg_score"] = np.divide(variance, mean, out=np.zeros_like(mean), where=mean > 0)
    latin = SPECIES[resolve_species(species)].scientific_name.lower().replace(" ", "_")
    uns = {"dataset_id": dataset_id, "dataset_organism": latin, "normalization_id": NORMALIZATION}
    text = f"{adata.n_obs:,} cells of {obs['cell_type'].nunique()} types and {obs['batch'].nunique()} batches"
    uns |= {"dataset_name": dataset_id, "dataset_summary": text, "dataset_description": text}
    layers, obsm = {"counts": counts.X, "normalized": logs}, {"X_pca": principal_components(counts, n_top_genes=2000)}
    return ad.AnnData(obs=obs, var=var, uns=uns, layers=layers, obsm=obsm)
