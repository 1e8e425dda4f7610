"""Read data and results of Open Problems."""

from __future__ import annotations

import os

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import as_path, check_adata
from univerce.io.files import read_h5ad


def read_open_problems(adata: ad.AnnData | str | os.PathLike[str]) -> ad.AnnData:
    """Read and check data of the Open Problems task *batch integration*, or the output of a method.

    Parameters
    ----------
    adata
        AnnData, or the path of an ``.h5ad``: a data set (``layers["counts"]``), or the output of a method
        (``obsm["X_emb"]``).

    Returns
    -------
    For a data set, an AnnData for :func:`univerce.bench.run` with counts in ``X``, symbols as ``var_names``,
    ``obs["batch"]``, ``obs["cell_type"]`` if known, and ``uns["organism"]``. For an output, the AnnData itself.

    Raises
    ------
    KeyError
        If required entries are missing; the message lists them.
    ValueError
        If ``obsm["X_emb"]`` holds missing values, or two cells have one name.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> dataset = uc.bench.export_open_problems(
    ...     cells, batch_key="phase", groupby="cell_type", species="human", dataset_id="pbmc68k"
    ... )
    >>> uc.bench.read_open_problems(dataset).uns["organism"]
    'homo_sapiens'
    """
    found = adata if isinstance(adata, ad.AnnData) else read_h5ad(as_path(adata))
    if "X_emb" in found.obsm:
        check_entries(found, {"uns": ("dataset_id", "normalization_id", "method_id")})
        if not found.obs_names.is_unique:
            raise ValueError("Two cells have one name; call adata.obs_names_make_unique() first.")
        if missing := int((~np.isfinite(np.asarray(found.obsm["X_emb"])).all(axis=1)).sum()):
            raise ValueError(f'obsm["X_emb"] is missing in {missing:,} of {found.n_obs:,} cells; every cell needs one.')
        return found
    needed = {
        "layers": ("counts",), "obs": ("batch",), "var": ("feature_id", "feature_name"),
        "uns": ("dataset_id", "dataset_organism", "normalization_id"),
    }  # fmt: skip
    check_entries(found, needed)
    check_adata(found)
    var = found.var.copy()
    names = pd.Index(var["feature_name"].astype(str))
    var.index = names if names.is_unique else pd.Index(var["feature_id"].astype(str))
    uns = {"organism": str(found.uns["dataset_organism"]), "dataset_id": str(found.uns["dataset_id"])}
    return ad.AnnData(found.layers["counts"], obs=found.obs.copy(), var=var, uns=uns)


def check_entries(adata: ad.AnnData, needed: dict[str, tuple[str, ...]], name: str = "This") -> None:
    """Raise ``KeyError`` that names the missing entries."""
    missing = [f'{slot}["{key}"]' for slot, keys in needed.items() for key in keys if key not in getattr(adata, slot)]
    if missing:
        raise KeyError(f"{name} is not in the format of Open Problems: {', '.join(missing)} is missing.")
