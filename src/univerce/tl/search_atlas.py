"""The cells of an atlas that are most like each cell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import check_comparable, gather, get_embedding, known_cells
from univerce.embeddings.index import NeighborIndex, build_index, read_index, tune, write_index
from univerce.embeddings.labels import get_labels
from univerce.embeddings.neighbors import exact_neighbors
from univerce.embeddings.sharded import exact_on_workers, index_on_workers
from univerce.inference.tokens import cell_keys
from univerce.io.cluster import find_client
from univerce.io.files import embedding_digest, open_anndata
from univerce.io.ondisk import OnDisk

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
METHODS = ("exact", "ivf", "hnsw")
_SAMPLE = 256
_SUMMARY_ENTRIES = 2**24


def search_atlas(
    adata: ad.AnnData | MuData,
    atlas: ad.AnnData | MuData | Path | str,
    *,
    n_neighbors: int = 50,
    mod: str | None = None,
    use_rep: str = X_UCE,
    method: Literal["exact", "ivf", "hnsw"] = "exact",
    target_recall: float = 0.95,
    index: Path | str | None = None,
    labels: str | None = "cell_type",
    key_added: str = "atlas",
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    client: Any = None,
) -> None:
    """Find the nearest cells of an atlas for every cell, by the Euclidean distance, and what they are called.

    Between embeddings of unit length, as UCE makes them, the order is that of the cosine.

    Parameters
    ----------
    adata
        Cells with an embedding.
    atlas
        Cells to search, see :func:`univerce.atlas.build`: an AnnData, or the path of a ``.zarr`` or ``.h5ad``, which is
        read in blocks. Any AnnData with an embedding will do, those of :func:`univerce.tl.centroids` among them. Cells
        of it without an embedding are nobody's neighbors; the log says how many.
    n_neighbors
        Neighbors per cell.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm``, in both.
    method
        ``"exact"`` compares every cell with every cell of the atlas. ``"ivf"`` and ``"hnsw"`` search an index of faiss
        (``pip install "univerce[faiss]"``), which is held in memory and misses some neighbors; they pay off for some
        ten thousand queries on a million cells. An ``"ivf"`` is built in minutes, always the same; an ``"hnsw"`` takes
        longer to build, and several threads never build the same one twice.
    target_recall
        Share of the exact neighbors that an index shall find. As much effort is spent as reaches it on a sample of at
        most 256 cells, for which the exact neighbors are computed too.
    index
        File in which the index is kept. It is read when it is of this atlas and method, by the digest of the embedding,
        and else built and written. ``None`` builds it anew in every call.
    labels
        Column of ``atlas.obs`` to summarize; ``None`` for none. Neighbors without a label count as neighbors, and for
        no label.
    key_added
        Start of the keys that are written.
    check_space
        Demand that both embeddings lie in one space, see :func:`univerce.tl.check_same_space`; False for embeddings of
        other methods, if you know that they do.
    rng
        Seed of the sample and of the index, or a generator that is drawn from once.
    client
        A ``dask.distributed.Client``, whose workers search: with ``method="exact"`` each reads parts of the atlas, else
        the file ``index``, which this process makes when there is none. The atlas must lie on disk, at a path that all
        of them see; cells in memory are sent. The result is the same to the last bit.

    Returns
    -------
    ``None``. Written into ``adata`` are:

    ``obsm[f"{key_added}_indices"]``
        ``[n_obs, n_neighbors]`` int64 rows of the atlas, the nearest first and equal ones by row; -1 for a cell without
        an embedding, and where an index found fewer.
    ``obsm[f"{key_added}_distances"]``
        ``[n_obs, n_neighbors]`` float32; NaN where the index is -1.
    ``obs[f"{key_added}_distance"]``
        Median distance to the neighbors.
    ``obs[f"{key_added}_label"]``, ``obs[f"{key_added}_share"]``
        The most common label among the neighbors, of several the one with the nearest, and the share of the neighbors
        that have it.
    ``uns[key_added]["params"]``
        What was asked for, the seed, the size of the atlas, its path or ``"AnnData"``; for an index its ``effort``
        (``nprobe`` or ``efSearch``), its ``recall`` on the sample and the size of the sample, ``n_sampled``.

    Raises
    ------
    KeyError
        When an embedding, the column or the record of a space is missing.
    ValueError
        When the spaces or widths differ, the atlas has fewer than ``n_neighbors`` embeddings, no cell has one, an
        option is unknown, ``index`` is some other file, or ``client`` is given for an atlas in memory or an index
        without a file.
    TypeError
        When ``client`` is something else.
    FileNotFoundError
        When there is no atlas at the path.
    ImportError
        When ``method`` needs faiss and it is not installed.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()[:60].copy()
    >>> uc.tl.uce_embed(cells)
    >>> adata, atlas = cells[:10].copy(), cells[10:].copy()
    >>> uc.tl.search_atlas(adata, atlas, n_neighbors=5)
    >>> adata.obsm["atlas_indices"].shape, adata.obs["atlas_label"].dtype.name
    ((10, 5), 'category')
    """
    adata, atlas = get_modalities(mod, adata, atlas)
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known; use one of {', '.join(METHODS)}.")
    if index is not None and method == "exact":
        raise ValueError("index= keeps the index of method='ivf' or 'hnsw'; method='exact' has none.")
    if index is None and method != "exact" and client is not None:
        raise ValueError(f"client= and method={method!r}: workers read the index from a file; pass index= too.")
    if not 0 < target_recall <= 1:
        raise ValueError(f"target_recall={target_recall!r} must lie above 0 and be at most 1.")
    check_whole("n_neighbors", n_neighbors, 1)
    check_writable(adata)
    where = "AnnData" if isinstance(atlas, ad.AnnData) else str(atlas)
    reference = atlas if isinstance(atlas, ad.AnnData) else open_anndata(atlas)
    check_comparable(adata, reference, use_rep, check_space=check_space, names=("adata", "atlas"))
    named = None if labels is None else get_labels(reference.obs, labels, name="atlas")
    query, cells = get_embedding(adata, use_rep), get_embedding(reference, use_rep, name="atlas")
    known = known_cells(query)
    if not known.any():
        raise ValueError(f"No cell has an embedding: every row of adata.obsm[{use_rep!r}] holds NaN.")
    client = find_client(client, None)
    stored = None if client is None else _find_stored(cells, use_rep)
    if n_missing := int((~known_cells(cells, client=client)).sum()):
        logger.info("%s cells of the atlas have no embedding and are nobody's neighbors.", f"{n_missing:,}")
    seed, k = as_seed(rng), int(n_neighbors)
    show = settings.progress
    params = {
        "use_rep": use_rep, "n_neighbors": k, "method": method, "labels": labels or "", "seed": seed, "atlas": where,
        "atlas_n_obs": reference.n_obs, "univerce_version": __version__,
    }  # fmt: skip

    def exact(queries: Any, done: Callable[[int], object] | None = None) -> tuple[np.ndarray, np.ndarray]:
        if stored is not None:
            return exact_on_workers(client, queries, stored, k, done=done)
        return exact_neighbors(queries, cells, k, done=done)

    if method == "exact":
        with tqdm(
            total=adata.n_obs * reference.n_obs, unit="pair", unit_scale=True, desc="search", disable=not show
        ) as b:
            indices, distances = exact(query, b.update)
    else:
        found, digest = _get_index(cells, method, index, seed, show)
        sample = _sample(adata, known, seed)
        some = gather(query, sample)
        effort, share = tune(found, some, exact(some)[0], target=target_recall)
        if share < target_recall:
            logger.warning("The index finds %.3f of the neighbors at best, not target_recall=%s.", share, target_recall)
        if client is None or index is None:
            indices, distances = found.search(query, k, effort=effort)
        else:
            indices, distances = index_on_workers(
                client, query, k, path=index, kind=found.kind, digest=digest, effort=effort
            )
        params |= {"target_recall": float(target_recall), "recall": share, "effort": effort, "n_sampled": len(sample)}
    if (~known).any():
        logger.info("%s of %s cells have no embedding and no neighbors.", f"{(~known).sum():,}", f"{len(known):,}")
    adata.obsm[f"{key_added}_indices"], adata.obsm[f"{key_added}_distances"] = indices, distances
    adata.obs[f"{key_added}_distance"] = _median(distances)
    if named is not None:
        common, share_of = _summarize(indices, np.asarray(named.codes), len(named.categories))
        label = pd.Categorical.from_codes(common, categories=named.categories).remove_unused_categories()
        adata.obs[f"{key_added}_label"], adata.obs[f"{key_added}_share"] = label, share_of
    adata.uns[key_added] = {"params": params}


def _find_stored(cells: Any, use_rep: str) -> OnDisk:
    if (stored := OnDisk.find(cells)) is None:
        raise ValueError(
            f"client= needs an atlas that its workers can read, but atlas.obsm[{use_rep!r}] is in memory: write the "
            "atlas with write_zarr and pass its path, or leave client= out."
        )
    return stored


def _get_index(cells: Any, kind: Any, path: Path | str | None, seed: int, show: bool) -> tuple[NeighborIndex, str]:
    """The index, and the digest by which it is known in its file."""
    digest = "" if path is None else embedding_digest(cells)
    found = None if path is None else read_index(path, kind=kind, digest=digest)
    if found is None:
        with tqdm(total=cells.shape[0], unit="cell", desc="index", disable=not show) as bar:
            found = build_index(cells, kind, seed=seed, done=bar.update)
        if path is not None:
            write_index(path, found, digest=digest)
    return found, digest


def _sample(adata: ad.AnnData, known: np.ndarray, seed: int) -> np.ndarray:
    """Rows of cells with an embedding, chosen by their names: where a cell stands does not matter."""
    rows = np.flatnonzero(known)
    keys = cell_keys(adata.obs_names[rows].astype(str).to_numpy(object), seed, draw=-1)
    return np.sort(rows[np.argsort(keys, kind="stable")[:_SAMPLE]])


def _median(distances: np.ndarray) -> np.ndarray:
    """``[n]`` float32 median of the distances that are there; NaN where there is none."""
    out = np.full(len(distances), np.nan, dtype=np.float32)
    some = ~np.isnan(distances[:, 0])  # the nearest comes first
    out[some] = np.nanmedian(distances[some], axis=1)
    return out


def _summarize(indices: np.ndarray, codes: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """The most common label among the neighbors of each cell.

    Parameters
    ----------
    indices
        ``[n, k]`` rows of the reference, the nearest first; -1 for none.
    codes
        ``[n_reference]`` labels of the reference; -1 for none.
    n_labels
        Number of labels.

    Returns
    -------
    ``[n]`` label, of equally common ones that of the nearest neighbor, -1 when no neighbor has one; ``[n]`` float32
    share of the neighbors with this label, NaN without neighbors.
    """
    n = len(indices)
    labels, shares = np.full(n, -1, dtype=np.int64), np.full(n, np.nan, dtype=np.float32)
    step = max(1, _SUMMARY_ENTRIES // (n_labels + 1))
    for start in range(0, n, step):
        part = indices[start : start + step]
        mine = np.where(part >= 0, codes[part], -1)
        cell = np.arange(len(part))[:, None]
        at = cell * (n_labels + 1) + mine + 1
        counts = np.bincount(at.ravel(), minlength=len(part) * (n_labels + 1))[at]
        counts[mine < 0] = 0
        best = counts.argmax(axis=1)[:, None]
        labels[start : start + step] = np.take_along_axis(mine, best, axis=1)[:, 0]
        with np.errstate(invalid="ignore"):
            shares[start : start + step] = np.take_along_axis(counts, best, axis=1)[:, 0] / (part >= 0).sum(axis=1)
    return labels, shares
