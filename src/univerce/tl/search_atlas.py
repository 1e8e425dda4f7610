"""Find the nearest cells of an atlas."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import logger, progress_bar
from univerce._validate import as_path, as_seed, check_whole, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import Cells, fingerprints
from univerce.embeddings.index import IndexKind, NeighborIndex, build_index, read_index, tune, write_index
from univerce.embeddings.labels import label_names
from univerce.embeddings.neighbors import Metric, check_metric, exact_neighbors
from univerce.inference.sentences import shuffled_rows
from univerce.io.atomic import locked
from univerce.io.files import embedding_digest, open_anndata
from univerce.io.workers import blocks_of_rows, find_client

if TYPE_CHECKING:
    from mudata import MuData

Method = Literal["exact", "ivf", "hnsw", "compressed"]
_SAMPLE = 256
_CLOSE = 0.05  # of the distance to the last neighbor: rounding to float16 is less
_SUMMARY_ENTRIES = 2**24
_SHOWN = 20  # values in a message


@document
def search_atlas(
    adata: ad.AnnData | MuData,
    atlas: ad.AnnData | MuData | Path | str,
    *,
    groupby: str | None = "cell_type",
    n_neighbors: int = 50,
    use_rep: str = X_UCE,
    metric: Metric = "euclidean",
    where: Mapping[str, Any] | None = None,
    method: Method = "exact",
    target_recall: float = 0.95,
    index: Path | str | None = None,
    key_added: str = "atlas",
    mod: str | None = None,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    client: Any = None,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Find the nearest cells of an atlas, and their most common label.

    Parameters
    ----------
    adata
        Cells with an embedding, the queries of the search.
    atlas
        Cells to search: an AnnData with an embedding, such as centroids of :func:`univerce.tl.centroids`, or the path
        of a ``.zarr`` or ``.h5ad``, such as an atlas of :func:`univerce.atlas.build`, which is read in blocks.
    groupby
        Column of ``atlas.obs`` to summarize; ``None`` for none. Neighbors without a label count in the shares.
    n_neighbors
        Number of nearest cells of the atlas to find for each cell.
    use_rep
        Key of the embedding in ``obsm`` of both.
    metric
        Distance: ``"euclidean"``, ``"cosine"`` (one minus the cosine) or ``"correlation"`` (one minus Pearson's
        correlation). Embeddings of UCE have unit length, so the first two have the same order. Rows of zeros have no
        cosine and constant ones no correlation: they count as cells without an embedding.
    where
        Restricts the search to cells of the atlas with these values: a mapping from columns of ``atlas.obs`` to a value
        or a list of values, such as ``{"tissue": "lung", "disease": ["normal", "COPD"]}``.
    method
        ``"exact"`` compares every cell with every cell of the atlas. The others search an index of faiss
        (``pip install "univerce[faiss]"``), which misses some neighbors and pays off from about ten thousand queries on
        a million cells. ``"ivf"`` and ``"hnsw"`` hold the embedding in memory. ``"ivf"`` is built in minutes and always
        the same; ``"hnsw"`` takes longer, and differs in every build with several threads. ``"compressed"`` is for
        atlases that do not fit: 144 bytes a cell, read from the file where they are needed, choose eight candidates for
        each neighbor, whose exact distances are computed from the embedding.
    target_recall
        Share of the exact neighbors that an index has to find, measured on a sample of at most 256 cells.
    index
        File of the index. It is read if it belongs to this atlas (by the digest of the embedding), method and metric,
        and otherwise built and written. An interrupted build of a compressed index resumes; until it is complete, its
        parts are next to the file. ``None`` builds the index in every call.
    key_added
        Prefix of the keys of the results.
    mod
        Modality to use of each input that is a MuData.
    %(check_space)s
    rng
        Seed or generator of the sample and the index.
    client
        A ``dask.distributed.Client``, whose workers read parts of the atlas, or the file ``index``; all must see the
        files. The result is identical.
    %(copy, sets)s

    ``obsm[f"{key_added}_indices"]``
        ``[n_obs, n_neighbors]`` int64 rows of the atlas, the nearest first, ties by row; -1 for a cell without an
        embedding, and where an index found fewer.
    ``obsm[f"{key_added}_distances"]``
        ``[n_obs, n_neighbors]`` float32; NaN where the index is -1.
    ``obs[f"{key_added}_distance"]``
        Median distance to the neighbors.
    ``obs[f"{key_added}_label"]``, ``obs[f"{key_added}_share"]``
        Most common label among the neighbors, ties by the nearest, and its share of the neighbors.
    ``uns[key_added]["table"]``
        For each label found: ``n_cells``, mean ``share`` and mean ``distance``. Not without ``groupby``.
    ``uns[key_added]["params"]``
        Options, seed, size and path of the atlas; ``n_searched`` cells of ``where``; for an index its ``effort``
        (``nprobe`` or ``efSearch``), and its ``recall`` on a sample of ``n_sampled`` cells; ``n_in_atlas``, the number
        of cells that are also in the atlas.

    Raises
    ------
    KeyError
        If an embedding, a column or the record of a space does not exist.
    ValueError
        If the spaces or widths differ, the atlas or what ``where`` keeps has fewer than ``n_neighbors`` embeddings, no
        cell has one, a value of ``where`` does not occur, an option is unknown, ``index`` is another file, or
        ``client`` is given for an atlas in memory or an index without a file.
    TypeError
        If ``client`` is something else, or ``where`` no mapping.
    FileNotFoundError
        If the path does not exist.
    ImportError
        If ``method`` needs faiss and it is not installed.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()[:60].copy()
    >>> uc.tl.uce_embed(cells)
    >>> adata, atlas = cells[:10].copy(), cells[10:].copy()
    >>> uc.tl.search_atlas(adata, atlas, n_neighbors=5)
    >>> adata.obsm["atlas_indices"].shape, adata.obs["atlas_label"].dtype.name
    ((10, 5), 'category')

    Only among some cells:

    >>> uc.tl.search_atlas(adata, atlas, n_neighbors=3, where={"cell_type": "CD19+ B"}, metric="cosine")
    >>> set(adata.obs["atlas_label"])
    {'CD19+ B'}
    """
    data = adata.copy() if copy else adata
    adata, atlas = get_modalities(mod, data, atlas)
    _check_options(method, index, target_recall, client)
    check_metric(metric)
    check_whole("n_neighbors", n_neighbors, 1)
    check_writable(adata, key_added)
    seed, client = as_seed(rng), find_client(client, None)
    query = Cells.read(adata, use_rep, metric=metric)
    opened = atlas if isinstance(atlas, ad.AnnData) else open_anndata(atlas)
    reference = Cells.read(opened, use_rep, name="atlas", metric=metric, client=client)
    query.check_comparable(reference, check_space=check_space)
    labels = None if groupby is None else reference.labels(groupby)
    where = None if where is None else _as_lists(where)
    only = None if where is None else _chosen(reference, where, n_neighbors)
    if not query.known.any():
        raise ValueError(f"No cell has an embedding: every row of adata.obsm[{use_rep!r}] holds NaN.")
    if client is not None and reference.client is None:
        raise ValueError(
            f"client= needs an atlas that its workers can read, but atlas.obsm[{use_rep!r}] is in memory: write the "
            "atlas with write_zarr and pass its path, or leave client= out."
        )
    params = {
        "use_rep": use_rep, "n_neighbors": int(n_neighbors), "metric": metric, "method": method,
        "groupby": groupby or "", "seed": seed, "atlas": "AnnData" if isinstance(atlas, ad.AnnData) else str(atlas),
        "atlas_n_obs": len(reference), "univerce_version": __version__,
    }  # fmt: skip
    if where is not None and only is not None:
        params |= {"where": json.dumps(where), "n_searched": int(only.sum())}
    if method == "exact":
        n_known = int(reference.known.sum())
        n_pairs = len(query) * len(reference)
        with progress_bar(total=n_pairs, unit="pair", unit_scale=True, desc="search") as bar:
            indices, distances = exact_neighbors(
                query.values, reference.values, n_neighbors, metric=metric, only=only, client=client, done=bar.update
            )
    else:
        found, digest = _get_index(reference, method, index, seed)
        n_known = len(found.rows)
        sample = np.sort(shuffled_rows(query.names, np.flatnonzero(query.known), seed, draw=-1)[:_SAMPLE])
        some = query.rows(sample)
        exact, _ = exact_neighbors(some, reference.values, n_neighbors, metric=metric, only=only, client=client)
        effort, recall = tune(found, some, exact, target=target_recall, only=only)
        if recall < target_recall:
            logger.warning(
                "The index finds %.3f of the neighbors at best, below target_recall=%s.", recall, target_recall
            )
        if client is None or index is None:
            indices, distances = found.search(query.values, n_neighbors, effort=effort, only=only)
        else:
            indices, distances = found.search_on_workers(
                client, query.values, n_neighbors, path=index, digest=digest, effort=effort, only=only
            )
        params |= {"target_recall": float(target_recall), "recall": recall, "effort": effort, "n_sampled": len(sample)}
    for n, cells, what in ((n_known, reference, "cells of the atlas"), (int(query.known.sum()), query, "cells")):
        if n < len(cells):
            logger.info("%s of %s %s have no embedding.", f"{len(cells) - n:,}", f"{len(cells):,}", what)

    adata.obsm[f"{key_added}_indices"], adata.obsm[f"{key_added}_distances"] = indices, distances
    adata.obs[f"{key_added}_distance"] = median = _median(distances)
    params["n_in_atlas"] = _count_same(query, reference, indices[:, 0], distances)
    adata.uns[key_added] = {"params": params}
    if labels is not None:
        codes, share = _summarize(indices, np.asarray(labels.codes), len(labels.categories))
        label = pd.Categorical.from_codes(codes, categories=labels.categories).remove_unused_categories()
        adata.obs[f"{key_added}_label"], adata.obs[f"{key_added}_share"] = label, share
        grouped = pd.DataFrame({"label": label, "share": share, "distance": median}).groupby("label", observed=True)
        table = grouped.mean().assign(n_cells=grouped.size())[["n_cells", "share", "distance"]]
        adata.uns[key_added]["table"] = table.set_axis(table.index.astype(str))
    return data if copy else None


def _check_options(method: str, index: Path | str | None, target_recall: float, client: Any) -> None:
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is not known; use one of {', '.join(get_args(Method))}.")
    if index is not None and method == "exact":
        raise ValueError("index= is the file of an index; method='exact' has none. Leave it out.")
    if index is None and method != "exact" and client is not None:
        raise ValueError(f"client= and method={method!r}: workers read the index from a file; pass index= too.")
    if not 0 < target_recall <= 1:
        raise ValueError(f"target_recall={target_recall!r} must be above 0 and at most 1.")


def _as_lists(where: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each column as Python writes them: a scalar, or a list of any collection, of a set in order."""
    if not isinstance(where, Mapping):
        raise TypeError(f"where must map columns of atlas.obs to values, not be a {type(where).__name__}.")
    ordered = {c: sorted(v, key=str) if isinstance(v, set | frozenset) else v for c, v in where.items()}
    return {c: np.asarray(list(v) if is_list_like(v) else v).tolist() for c, v in ordered.items()}


def _chosen(atlas: Cells, where: Mapping[str, Any], k: int) -> np.ndarray:
    """``[n]`` booleans: the cells whose columns have one of the values."""
    chosen = np.ones(len(atlas), dtype=bool)
    for column, value in where.items():
        labels = atlas.labels(column)
        wanted = label_names(pd.Index(value if isinstance(value, list) else [value]))
        codes = labels.categories.get_indexer(wanted)
        if (codes < 0).any():
            shown = ", ".join(map(repr, labels.categories[:_SHOWN])) + ", ..." * (len(labels.categories) > _SHOWN)
            raise ValueError(
                f"where: no cell has {wanted[codes < 0][0]!r} in atlas.obs[{column!r}]; its values are: {shown}."
            )
        chosen &= np.isin(labels.codes, codes)
    if (n := int(chosen.sum())) < k:
        raise ValueError(
            f"{k} neighbors were asked for and where={where!r} keeps {n} cells of the atlas; ask for at most "
            f"{n}, or keep more."
        )
    return chosen


def _get_index(reference: Cells, kind: IndexKind, path: Path | str | None, seed: int) -> tuple[NeighborIndex, str]:
    """The index, and the digest of its embedding in its file."""
    metric = reference.metric

    def build(parts: Path | None = None) -> NeighborIndex:
        with progress_bar(total=len(reference), unit="cell", desc="index") as bar:
            return build_index(reference, kind, metric=metric, seed=seed, parts=parts, done=bar.update)

    if path is None:
        return build(), ""
    path, digest = as_path(path), embedding_digest(reference.values)
    found = read_index(path, kind=kind, metric=metric, digest=digest, reference=reference.values)
    parts = path.with_name(f".{path.name}.{digest[:16]}-{metric}-{seed}.building")
    if found is None:
        found = build(parts)
        write_index(path, found, digest=digest)
    if parts.is_dir():  # also of a process that ended after it had written the index
        with suppress(OSError), locked(path):  # they may be in a directory that cannot be written
            shutil.rmtree(parts, ignore_errors=True)
    return found, digest


def _count_same(query: Cells, reference: Cells, nearest: np.ndarray, distances: np.ndarray) -> int:
    """Count cells whose nearest neighbor is the cell itself, and log them."""
    near = np.flatnonzero(distances[:, 0] <= _CLOSE * np.nanmedian(distances[:, -1]))
    n_same = int((fingerprints(query.rows(near)) == fingerprints(reference.rows(nearest[near]))).sum())
    if n_same:
        logger.warning(
            "%s of %s cells are in the atlas and are their own nearest neighbor. Leave them out of one of the two.",
            f"{n_same:,}", f"{len(query):,}",
        )  # fmt: skip
    return n_same


def _median(distances: np.ndarray) -> np.ndarray:
    """``[n]`` float32 median of the distances to the neighbors, NaN without any."""
    out = np.full(len(distances), np.nan, dtype=np.float32)
    some = ~np.isnan(distances[:, 0])  # the nearest comes first
    out[some] = np.nanmedian(distances[some], axis=1)
    return out


def _summarize(indices: np.ndarray, codes: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the most common label ``[n]`` among the neighbors of each cell, and its share ``[n]`` of the neighbors.

    Ties go to the nearest neighbor. ``indices`` ``[n, k]`` are rows of ``codes`` ``[n_reference]``; -1 is a missing
    neighbor or label. The share is NaN without neighbors.
    """
    n = len(indices)
    labels, shares = np.full(n, -1, dtype=np.int64), np.full(n, np.nan, dtype=np.float32)
    for rows in blocks_of_rows(n, max(1, _SUMMARY_ENTRIES // (n_labels + 1))):
        part = indices[rows]
        mine = np.where(part >= 0, codes[part], -1)
        cell = np.arange(len(part))[:, None]
        at = cell * (n_labels + 1) + mine + 1
        counts = np.bincount(at.ravel(), minlength=len(part) * (n_labels + 1))[at]
        counts[mine < 0] = 0
        best = counts.argmax(axis=1)[:, None]
        labels[rows] = np.take_along_axis(mine, best, axis=1)[:, 0]
        with np.errstate(invalid="ignore"):
            shares[rows] = np.take_along_axis(counts, best, axis=1)[:, 0] / (part >= 0).sum(axis=1)
    return labels, shares
