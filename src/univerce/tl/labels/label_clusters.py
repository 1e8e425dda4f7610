"""One label for each cluster, from the labels of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import CELL_TYPE_TRANSFERRED, UNKNOWN
from univerce._validate import check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.labels._options import check_share

if TYPE_CHECKING:
    from mudata import MuData

_FAR = 0.95


@document
def label_clusters(
    adata: ad.AnnData | MuData,
    key: str = CELL_TYPE_TRANSFERRED,
    *,
    groupby: str,
    min_agreement: float = 0.5,
    mod: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Give each cluster the label of most of its cells, after :func:`univerce.tl.transfer_labels`.

    The cells of a cluster vote with their best label, including those called unknown. Clusters of types that the
    reference lacks have a high novelty: the share of cells that are farther from the centroid of their label than 95 %
    of the held-out cells of that label. For cells like the reference it is 0.05.

    Parameters
    ----------
    adata
        Cells with transferred labels and clusters.
    key
        The ``key_added`` of :func:`univerce.tl.transfer_labels`, by default ``f"{groupby}_transferred"`` with its
        ``groupby``.
    groupby
        Column of ``obs`` with the clusters.
    min_agreement
        Minimum share of the cells of a cluster with its label; other clusters are ``"unknown"``.
    %(mod)s
    key_added
        Key of the results; ``None`` is ``f"{key}_by_{groupby}"``.
    %(copy, sets)s

    ``obs[key_added]``
        Label of the cluster of each cell, NaN for cells without one.
    ``uns[key_added]["table"]``
        A row for each cluster, the largest first: ``n_cells`` with an embedding, ``label``, ``best`` and ``second``
        label, ``agreement`` (share of the cells with the best label), ``margin`` (over the share of the second),
        ``confidence`` (mean) and ``novelty``.
    ``uns[key_added]["params"]``
        Parameters.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If no cell has both a label and a cluster.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> uc.tl.transfer_labels(query, reference, groupby="cell_type")
    >>> uc.tl.label_clusters(query, groupby="louvain")
    >>> table = uc.get.table(query, "cell_type_transferred_by_louvain")
    >>> list(table.columns)
    ['n_cells', 'label', 'best', 'second', 'agreement', 'margin', 'confidence', 'novelty']
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    check_writable(adata, key_added)
    check_share("min_agreement", min_agreement, min_agreement)
    if f"{key}_best" not in adata.obs:
        others = [name for name in adata.uns if f"{name}_best" in adata.obs]
        fix = (
            f"Pass {' or '.join(f'key={name!r}' for name in others)}" if others else "Call uc.tl.transfer_labels first"
        )
        raise KeyError(f"adata.obs[{key + '_best'!r}] does not exist. {fix}.")
    clusters, best = get_labels(adata.obs, groupby), get_labels(adata.obs, f"{key}_best")
    known = (clusters.codes >= 0) & (best.codes >= 0)
    if not known.any():
        raise ValueError(f"No cell has both a cluster in adata.obs[{groupby!r}] and a label in obs[{key + '_best'!r}].")
    table = _vote(clusters, best, known).join(_means(adata.obs, key, clusters, known))
    table.insert(1, "label", np.where(table["agreement"] >= min_agreement, table["best"], UNKNOWN))
    table = table.sort_values("n_cells", ascending=False, kind="stable").rename_axis(groupby)

    key_added = key_added or f"{key}_by_{groupby}"
    adata.obs[key_added] = pd.Categorical(pd.Series(np.asarray(clusters, dtype=object)).map(table["label"]))
    _copy_colors(adata, key, key_added)
    params = {"key": key, "groupby": groupby, "min_agreement": float(min_agreement)}
    adata.uns[key_added] = {"table": table, "params": params}
    return data if copy else None


def _vote(clusters: pd.Categorical, best: pd.Categorical, known: np.ndarray) -> pd.DataFrame:
    """Cells of each cluster, its most frequent labels and their shares; equal ones in the order of the labels."""
    votes = np.zeros((len(clusters.categories), max(2, len(best.categories))))
    np.add.at(votes, (clusters.codes[known], best.codes[known]), 1)
    order = np.argsort(-votes, axis=1, kind="stable")[:, :2]
    top, second = np.take_along_axis(votes, order, axis=1).T
    n_cells = votes.sum(axis=1)
    names = np.append(np.asarray(best.categories, dtype=object), "")
    share = np.maximum(n_cells, 1)
    table = pd.DataFrame(
        {
            "n_cells": n_cells.astype(int), "best": names[order[:, 0]],
            "second": np.where(second > 0, names[np.minimum(order[:, 1], len(names) - 1)], ""),
            "agreement": top / share, "margin": (top - second) / share,
        },
        index=pd.Index(np.asarray(clusters.categories, dtype=object)),
    )  # fmt: skip
    return table[table["n_cells"] > 0]


def _means(obs: pd.DataFrame, key: str, clusters: pd.Categorical, known: np.ndarray) -> pd.DataFrame:
    values = pd.DataFrame(
        {
            "confidence": obs[f"{key}_confidence"].to_numpy(np.float64),
            "novelty": (obs[f"{key}_novelty"].to_numpy() > _FAR).astype(np.float64),
        }
    )
    return values[known].groupby(np.asarray(clusters, dtype=object)[known]).mean()


def _copy_colors(adata: ad.AnnData, key: str, key_added: str) -> None:
    adata.uns.pop(f"{key_added}_colors", None)
    if f"{key}_colors" not in adata.uns:
        return
    colors = dict(zip(adata.obs[key].cat.categories, adata.uns[f"{key}_colors"], strict=True)) | {UNKNOWN: "#d3d3d3"}
    categories = adata.obs[key_added].cat.categories
    if set(categories) <= set(colors):
        adata.uns[f"{key_added}_colors"] = [colors[name] for name in categories]
