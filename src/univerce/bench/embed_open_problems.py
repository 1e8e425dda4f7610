"""Run a method in the form of Open Problems."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce._validate import check_in_memory
from univerce.bench._method import Method
from univerce.bench._runs import checked
from univerce.bench.method import method as named
from univerce.bench.read_open_problems import read_open_problems


def embed_open_problems(
    adata: ad.AnnData, method: str | Method, *, method_id: str | None = None, rng: int = 0
) -> ad.AnnData:
    """Embed a data set of the Open Problems task *batch integration*.

    Parameters
    ----------
    adata
        Data set in the format of :func:`univerce.bench.export_open_problems`.
    method
        Name from :func:`univerce.bench.list_methods`, or a :class:`univerce.bench.Method`.
    method_id
        Name of the component; ``None`` for the name of the method.
    rng
        Seed of stochastic methods.

    Returns
    -------
    AnnData of every cell, in its order: ``obsm["X_emb"]`` float32; ``uns["dataset_id"]``, ``["normalization_id"]`` and
    ``["method_id"]``. Cells without an embedding get the mean of the others, because Open Problems accepts no missing
    values; ``uns["n_cells_at_the_mean"]`` is their number.

    Raises
    ------
    KeyError, ValueError
        If the data have another format, or the method fails.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> dataset = uc.bench.export_open_problems(
    ...     adata, batch_key="phase", groupby="cell_type", species="human", dataset_id="pbmc68k"
    ... )
    >>> uc.bench.embed_open_problems(dataset, "PCA").obsm["X_emb"].shape
    (700, 50)
    """
    check_in_memory(adata)
    chosen = method if isinstance(method, Method) else named(method)
    data = read_open_problems(adata)
    groupby = "cell_type" if "cell_type" in data.obs else None
    embedding = chosen.embed(data.copy(), batch_key="batch", groupby=groupby, rng=rng, **chosen.options)
    x = checked(embedding, adata.n_obs).copy()
    missing = ~np.isfinite(x).all(axis=1)
    x[missing] = x[~missing].mean(axis=0)
    uns = {key: adata.uns[key] for key in ("dataset_id", "normalization_id")}
    uns |= {"method_id": method_id or chosen.name, "n_cells_at_the_mean": int(missing.sum())}
    return ad.AnnData(obs=adata.obs[[]].copy(), var=adata.var[[]].copy(), obsm={"X_emb": x}, uns=uns)
