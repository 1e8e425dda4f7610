"""Approximate nearest neighbors of embeddings, by faiss."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from univerce._validate import as_path
from univerce.embeddings.cells import Cells
from univerce.embeddings.neighbors import BLOCK_ROWS, recall, too_few
from univerce.io.atomic import replacing
from univerce.io.seal import is_intact, seal
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows, map_rows

logger = logging.getLogger("univerce")
IndexKind = Literal["ivf", "hnsw"]

_ROWS_PER_LIST = 64  # rows that train each list of an inverted file
_HNSW_LINKS = 32
_FORMAT = "univerce-index-2"
_READING = threading.Lock()  # in a worker: an index is read once


@dataclass(frozen=True)
class NeighborIndex:
    """A faiss index of the Euclidean distance over the known rows of an embedding."""

    index: Any
    kind: IndexKind
    rows: np.ndarray
    """``[n_known]`` row of the embedding for every entry of the index."""

    @property
    def max_effort(self) -> int:
        """Effort beyond which a search does not improve."""
        return max(self.index.nlist if self.kind == "ivf" else len(self.rows), 1)

    def search(self, query: Any, k: int, *, effort: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """Find indices and distances ``[n, k]`` as :func:`~univerce.embeddings.neighbors.exact_neighbors`.

        Some neighbors may be missed; -1 and NaN where fewer than ``k`` were found. ``effort`` is the number of lists to
        search (``nprobe``) or of nodes to keep (``efSearch``, at least ``k``).
        """
        if k > len(self.rows):
            raise ValueError(too_few(k, len(self.rows)))
        return _search_blocks(partial(_search_block, self, k, effort), query, k)


def search_on_workers(
    client: Any, query: Any, k: int, *, path: Path | str, kind: IndexKind, digest: str, effort: int
) -> tuple[np.ndarray, np.ndarray]:
    """Search as :meth:`NeighborIndex.search`, on workers that read the index from its file."""
    work = partial(_search_stored, str(as_path(path).resolve()), kind, digest, k, effort)
    return _search_blocks(work, query, k, client)


def _search_blocks(work: Any, query: Any, k: int, client: Any = None) -> tuple[np.ndarray, np.ndarray]:
    indices = np.empty((query.shape[0], k), dtype=np.int64)
    distances = np.empty((query.shape[0], k), dtype=np.float32)
    for rows, found in map_rows(work, query, client=client, name="search_atlas"):
        indices[rows], distances[rows] = found
    return indices, distances


def _search_block(index: NeighborIndex, k: int, effort: int, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    faiss = import_faiss()
    if index.kind == "ivf":
        parameters = faiss.SearchParametersIVF(nprobe=min(effort, index.max_effort))
    else:
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
    indices = np.full((len(block), k), -1, dtype=np.int64)
    distances = np.full((len(block), k), np.nan, dtype=np.float32)
    for part in blocks_of_rows(len(block), ROUNDED_ROWS):  # the number of queries decides how faiss rounds
        known = np.isfinite(block[part]).all(axis=1)
        squares, entries = index.index.search(np.ascontiguousarray(block[part][known]), k, params=parameters)
        found = entries >= 0
        indices[part][known] = np.where(found, index.rows[entries], -1)
        distances[part][known] = np.where(found, np.sqrt(np.maximum(squares, 0)), np.nan)
    return indices, distances


def _search_stored(
    path: str, kind: IndexKind, digest: str, k: int, effort: int, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    with _READING:
        index = _read_once(path, kind, digest)
    return index.search(block, k, effort=effort)


@lru_cache(maxsize=1)
def _read_once(path: str, kind: IndexKind, digest: str) -> NeighborIndex:
    index = read_index(path, kind=kind, digest=digest)
    if index is None:
        raise ValueError(
            f"The index at {path} on the worker is missing or of another atlas; all workers must see the same files."
        )
    return index


def build_index(
    reference: Any, kind: IndexKind, *, seed: int = 0, done: Callable[[int], object] | None = None
) -> NeighborIndex:
    """Build a faiss index of an embedding ``[n_reference, n_dims]``, which is read in blocks.

    float16 is kept as float16, anything else as float32. Training the lists takes at most a sixteenth of a float32 copy
    of the embedding in memory.

    ``"ivf"`` is an inverted file of about the square root of ``n_reference`` lists. ``"hnsw"`` is a graph, faster to
    search, slower to build, and different in every build with several threads. ``done`` is called with the number of
    added rows, for a progress bar.
    """
    faiss = import_faiss()
    if kind not in ("ivf", "hnsw"):
        raise ValueError(f"kind={kind!r} is not known; use 'ivf' or 'hnsw'.")
    cells = Cells(reference)
    rows = np.flatnonzero(cells.known)
    if len(rows) == 0:
        raise ValueError("The reference has no embeddings; there is nothing to search.")
    d, half = cells.n_dims, reference.dtype == np.float16
    if kind == "hnsw":
        sq = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(d, sq, _HNSW_LINKS) if half else faiss.IndexHNSWFlat(d, _HNSW_LINKS)
        index.is_trained = True  # float16 needs no ranges
    else:
        index = _train_lists(faiss, cells, rows, half, seed)
    for block_rows, block in cells.blocks(BLOCK_ROWS):
        index.add(block[np.isfinite(block).all(axis=1)])
        if done is not None:
            done(block_rows.stop - block_rows.start)
    return NeighborIndex(index, kind, rows)


def _train_lists(faiss: Any, cells: Cells, rows: np.ndarray, half: bool, seed: int) -> Any:
    n_lists = max(1, math.isqrt(len(rows)))
    chosen = np.random.default_rng(seed).choice(rows, min(len(rows), _ROWS_PER_LIST * n_lists), replace=False)
    chosen.sort()
    quantizer = faiss.IndexFlatL2(cells.n_dims)
    if half:
        sq = faiss.ScalarQuantizer.QT_fp16
        # The values themselves are float16; differences to a centroid would be rounded.
        index = faiss.IndexIVFScalarQuantizer(quantizer, cells.n_dims, n_lists, sq, faiss.METRIC_L2, False)
    else:
        index = faiss.IndexIVFFlat(quantizer, cells.n_dims, n_lists, faiss.METRIC_L2)
    index.cp.seed = seed % 2**31
    index.cp.min_points_per_centroid = 1
    index.train(cells.rows(chosen))
    return index


def tune(index: NeighborIndex, query: Any, exact: np.ndarray, *, target: float) -> tuple[int, float]:
    """Find the least effort with a recall of ``target``, and its recall.

    Effort is doubled until it suffices, then bisected, as if more effort never found less. If the target is out of
    reach, it is the largest effort. ``exact`` are the exact neighbors ``[n, k]`` of ``query`` ``[n, n_dims]``.
    """

    def share(effort: int) -> float:
        return recall(index.search(query, exact.shape[1], effort=effort)[0], exact)

    low, high = 0, 1
    while (found := share(high)) < target and high < index.max_effort:
        low, high = high, min(2 * high, index.max_effort)
    while high - low > 1 and found >= target:
        middle = (low + high) // 2
        if (less := share(middle)) < target:
            low = middle
        else:
            high, found = middle, less
    return high, found


def write_index(path: Path | str, index: NeighborIndex, *, digest: str) -> None:
    """Write an index and the digest of its embedding."""
    faiss = import_faiss()
    header = {"format": _FORMAT, "kind": index.kind, "digest": digest, "n_rows": len(index.rows)}
    with replacing(path) as part:
        with part.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(index.rows.astype("<i8").tobytes())
            faiss.write_index(index.index, faiss.PyCallbackIOWriter(file.write))
        seal(part)


def read_index(path: Path | str, *, kind: IndexKind, digest: str) -> NeighborIndex | None:
    """Read an index; ``None`` if the file does not exist, is damaged, or holds another kind or digest.

    Raises
    ------
    ValueError
        If the file holds something else. It is not changed.
    """
    faiss = import_faiss()
    path = as_path(path)
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            header = json.loads(file.readline(4096))
        except ValueError:
            header = None
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError(f"{path} exists and is not an index of an embedding. Choose another file.")
        if (header["kind"], header["digest"]) != (kind, digest):
            return None
        if not is_intact(path):
            logger.warning("The index %s is damaged and is built again.", path)
            return None
        rows = np.frombuffer(file.read(8 * header["n_rows"]), dtype="<i8").astype(np.int64)
        return NeighborIndex(faiss.read_index(faiss.PyCallbackIOReader(file.read)), kind, rows)


def import_faiss() -> Any:
    """Import the module; ``ImportError`` names the extra to install."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError('Approximate neighbors need faiss: pip install "univerce[faiss]"') from error
    return faiss
