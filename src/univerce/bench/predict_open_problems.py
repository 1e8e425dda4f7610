"""Label cells in the form of Open Problems."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import check_in_memory
from univerce.bench._expression import get_counts
from univerce.bench._method import Method
from univerce.bench._query_and_reference import embed_sides, make_sides
from univerce.bench.method import method as named
from univerce.bench.read_open_problems import check_entries
from univerce.embeddings.classifiers import Logistic

_LABEL = "label"


def predict_open_problems(
    adata: ad.AnnData, reference: ad.AnnData, method: str | Method, *, method_id: str | None = None, rng: int = 0
) -> ad.AnnData:
    """Predict the labels of the test data of the Open Problems task *label projection*.

    Test and training data are embedded as by :func:`univerce.bench.run_transfer`, and a logistic regression is fitted
    to the training data. The task makes both from a data set of :func:`univerce.bench.export_open_problems`.

    Parameters
    ----------
    adata
        Test data of the task, without labels.
    reference
        Training data of the task, with labels in ``obs["label"]``.
    method
        Name from :func:`univerce.bench.list_methods`, or a :class:`univerce.bench.Method`.
    method_id
        Name of the component; ``None`` for the name of the method.
    rng
        Seed of stochastic methods.

    Returns
    -------
    AnnData of every test cell, in its order: ``obs["label_pred"]``; ``uns["dataset_id"]``, ``["normalization_id"]`` and
    ``["method_id"]``. Cells without an embedding get the most frequent label; ``uns["n_cells_most_frequent"]`` is their
    number.

    Raises
    ------
    KeyError
        If required entries are missing; the message lists them.
    ValueError
        If the method fails.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> dataset = uc.bench.export_open_problems(
    ...     adata, batch_key="phase", groupby="cell_type", species="human", dataset_id="pbmc68k"
    ... )
    >>> dataset.obs["label"] = dataset.obs["cell_type"]
    >>> test, train = dataset[::2].copy(), dataset[1::2].copy()
    >>> found = uc.bench.predict_open_problems(test, train, "PCA")
    >>> bool((found.obs["label_pred"] == test.obs["label"]).mean() > 0.7)
    True
    """
    check_in_memory(adata)
    chosen = method if isinstance(method, Method) else named(method)
    query, known = _as_counts(adata, "adata"), _as_counts(reference, "reference", label=True)
    query.obs[_LABEL] = pd.Categorical([None] * query.n_obs)
    run = embed_sides(chosen, make_sides(query, known, [chosen], groupby=_LABEL, layer=None, gene_key=None), seed=rng)
    if run.embedding is None:
        raise ValueError(f"{chosen.name} failed: {run.reason}")
    x, x_known = np.split(run.embedding, [query.n_obs])
    there, there_known = (np.isfinite(part).all(axis=1) for part in (x, x_known))
    codes, names = pd.factorize(known.obs[_LABEL].astype(str), sort=True)
    given = np.full(query.n_obs, np.bincount(codes).argmax())
    model = Logistic.fit(x_known[there_known], codes[there_known], len(names))
    given[there] = model.log_proba(x[there]).argmax(axis=1)
    uns = {key: adata.uns[key] for key in ("dataset_id", "normalization_id")}
    uns |= {"method_id": method_id or chosen.name, "n_cells_most_frequent": int((~there).sum())}
    return ad.AnnData(obs=pd.DataFrame({"label_pred": np.asarray(names)[given]}, index=adata.obs_names), uns=uns)


def _as_counts(adata: ad.AnnData, name: str, *, label: bool = False) -> ad.AnnData:
    """Counts in ``X`` and symbols as names; ``KeyError`` if entries are missing."""
    needed = {
        "layers": ("counts",), "obs": ("batch", *([_LABEL] if label else [])), "var": ("feature_name",),
        "uns": ("dataset_id", "normalization_id"),
    }  # fmt: skip
    check_entries(adata, needed, name)
    names = pd.Index(adata.var["feature_name"].astype(str))
    var = adata.var.set_index(names if names.is_unique else adata.var_names)
    columns = ["batch", _LABEL] if label else ["batch"]
    uns = {"organism": str(adata.uns["dataset_organism"])} if "dataset_organism" in adata.uns else {}
    return ad.AnnData(get_counts(adata, "counts", name=name), obs=adata.obs[columns].copy(), var=var, uns=uns)
