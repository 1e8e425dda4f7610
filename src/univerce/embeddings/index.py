"""Approximate nearest neighbors of embeddings, by faiss."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from univerce._settings import logger
from univerce._validate import as_path
from univerce.embeddings._codes import compress, known_rows, sample_rows
from univerce.embeddings.cells import Cells
from univerce.embeddings.neighbors import BLOCK_ROWS, QUERY_ROWS, prepare, recall, rerank, too_few
from univerce.io.atomic import replacing
from univerce.io.ondisk import OnDisk
from univerce.io.seal import is_intact, seal
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows, map_rows

IndexKind = Literal["ivf", "hnsw", "compressed"]

_ROWS_PER_LIST = 64  # train each list of an inverted file
_CANDIDATES = 8  # compared exactly, for each neighbor
_HNSW_LINKS = 32
_FORMAT = "univerce-index-2"
_READING = threading.Lock()  # in a worker: an index is read once


@dataclass(frozen=True)
class NeighborIndex:
    """A faiss index over the known rows of an embedding."""

    index: Any
    kind: IndexKind
    rows: np.ndarray
    """``[n_known]`` row of the embedding for every entry of the index."""
    metric: str = "euclidean"
    reference: Any = None
    """The embedding, whose rows decide among the candidates of a compressed index."""

    @property
    def max_effort(self) -> int:
        """Effort beyond which a search does not improve."""
        return max(len(self.rows) if self.kind == "hnsw" else import_faiss().extract_index_ivf(self.index).nlist, 1)

    def search(
        self, query: Any, k: int, *, effort: int = 16, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find indices and distances ``[n, k]`` as :func:`~univerce.embeddings.neighbors.exact_neighbors`.

        Some neighbors may be missed; -1 and NaN where fewer than ``k`` were found. ``effort`` is the number of lists to
        search (``nprobe``) or of nodes to keep (``efSearch``, at least ``k``).
        """
        self._require(k, only)
        parts = None
        if self.kind == "compressed":  # a block reads most of the embedding
            parts = ((rows,) for rows in blocks_of_rows(query.shape[0], QUERY_ROWS))
        return _search_blocks(partial(_search, self, k, effort, only), query, k, parts)

    def candidates(self, query: np.ndarray, k: int, *, effort: int, only: np.ndarray | None = None) -> np.ndarray:
        """Rows ``[n, m]`` among which :meth:`search` finds the ``k`` nearest of a few queries."""
        self._require(k, only)
        return _find(self, k, effort, only, query)[0]

    def search_on_workers(
        self, client: Any, query: Any, k: int, *, path: Path | str, digest: str, effort: int,
        only: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """As :meth:`search`, on workers that read this index from its file, and the embedding."""
        self._require(k, only)
        there = str(as_path(path).resolve()), self.kind, self.metric, digest, OnDisk.find(self.reference)
        return _search_blocks(partial(_search_stored, *there, k, effort, only), query, k, None, client)

    def _require(self, k: int, only: np.ndarray | None) -> None:
        n = len(self.rows) if only is None else int(only[self.rows].sum())
        if k > n:
            raise ValueError(too_few(k, n))


def _search_blocks(
    work: Any, query: Any, k: int, parts: Any = None, client: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    indices = np.empty((query.shape[0], k), dtype=np.int64)
    distances = np.empty((query.shape[0], k), dtype=np.float32)
    for rows, found in map_rows(work, query, parts, client=client, name="search_atlas"):
        indices[rows], distances[rows] = found
    return indices, distances


def _search(
    index: NeighborIndex, k: int, effort: int, only: np.ndarray | None, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    indices, distances = _find(index, k, effort, only, block)
    if index.kind == "compressed":
        return rerank(block, index.reference, indices, k, metric=index.metric)
    return indices, distances


def _find(
    index: NeighborIndex, k: int, effort: int, only: np.ndarray | None, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[n, m]`` and distances as faiss finds them: ``m`` is ``k``, or more if codes are all that it knows."""
    faiss = import_faiss()
    # Selects entries, by bits.
    chosen = {} if only is None else {"sel": faiss.IDSelectorBitmap(np.packbits(only[index.rows], bitorder="little"))}
    if index.kind == "hnsw":
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k), **chosen)
    else:
        parameters = faiss.SearchParametersIVF(nprobe=min(effort, index.max_effort), **chosen)
    if index.kind == "compressed":
        parameters, k = faiss.SearchParametersPreTransform(index_params=parameters), _CANDIDATES * k
    indices = np.full((len(block), k), -1, dtype=np.int64)
    distances = np.full((len(block), k), np.nan, dtype=np.float32)
    for part in blocks_of_rows(len(block), ROUNDED_ROWS):  # the number of queries decides how faiss rounds
        queries = prepare(block[part], index.metric)
        known = np.isfinite(queries).all(axis=1)
        squares, entries = index.index.search(np.ascontiguousarray(queries[known]), k, params=parameters)
        found = entries >= 0
        indices[part][known] = np.where(found, index.rows[entries], -1)
        squares = np.where(found, np.maximum(squares, 0), np.nan)
        distances[part][known] = np.sqrt(squares) if index.metric == "euclidean" else squares / 2
    return indices, distances


def _search_stored(
    path: str, kind: IndexKind, metric: str, digest: str, reference: OnDisk | None, k: int, effort: int,
    only: np.ndarray | None, block: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    with _READING:
        index = _read_once(path, kind, metric, digest)
    return _search(replace(index, reference=reference and reference.open()), k, effort, only, block)


@lru_cache(maxsize=1)
def _read_once(path: str, kind: IndexKind, metric: str, digest: str) -> NeighborIndex:
    index = read_index(path, kind=kind, metric=metric, digest=digest)
    if index is None:
        raise ValueError(
            f"The index at {path} on the worker is missing or of another atlas; all workers must see the same files."
        )
    return index


def build_index(
    reference: Any,
    kind: IndexKind,
    *,
    metric: str = "euclidean",
    seed: int = 0,
    parts: Path | None = None,
    done: Callable[[int], object] | None = None,
) -> NeighborIndex:
    """Build a faiss index of an embedding ``[n_reference, n_dims]``, or of ``Cells``, which is read in blocks.

    ``"ivf"`` is an inverted file of about the square root of ``n_reference`` lists. ``"hnsw"`` is a graph, faster to
    search, slower to build, and different in every build with several threads. Both hold the values: float16 as float16
    under the Euclidean distance, anything else as float32. ``"compressed"`` is an inverted file of four times as many
    lists, of 4-bit codes of the first 256 principal components. Training takes at most a sixteenth of a float32 copy of
    the embedding in memory, of a compressed index an eighth, from a million rows on.

    ``parts`` is a directory for the codes of a compressed index, from which an interrupted build goes on; the result
    is the same. ``done`` is called with the number of added rows, for a progress bar.
    """
    faiss = import_faiss()
    if kind not in get_args(IndexKind):
        raise ValueError(f"kind={kind!r} is not known; use one of {', '.join(map(repr, get_args(IndexKind)))}.")
    cells = reference if isinstance(reference, Cells) else Cells(reference, metric=metric)
    rows = np.flatnonzero(cells.known)
    if len(rows) == 0:
        raise ValueError("The reference has no embeddings; there is nothing to search.")
    half = cells.values.dtype == np.float16 and metric == "euclidean"
    if kind == "compressed":
        index = compress(faiss, cells, rows, seed=seed, parts=parts, done=done)
        return NeighborIndex(index, kind, rows, metric, cells.values)
    index = _new_graph(faiss, cells.n_dims, half) if kind == "hnsw" else _new_lists(faiss, cells, rows, half, seed)
    for block in blocks_of_rows(len(cells), BLOCK_ROWS):
        index.add(known_rows(cells, block))
        if done is not None:
            done(block.stop - block.start)
    return NeighborIndex(index, kind, rows, metric)


def _new_graph(faiss: Any, d: int, half: bool) -> Any:
    sq = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(d, sq, _HNSW_LINKS) if half else faiss.IndexHNSWFlat(d, _HNSW_LINKS)
    index.is_trained = True  # float16 needs no ranges
    return index


def _new_lists(faiss: Any, cells: Cells, rows: np.ndarray, half: bool, seed: int) -> Any:
    n_lists = max(1, math.isqrt(len(rows)))
    sample = sample_rows(cells, rows, _ROWS_PER_LIST * n_lists, seed)
    quantizer = faiss.IndexFlatL2(cells.n_dims)
    if half:
        sq = faiss.ScalarQuantizer.QT_fp16
        # The values themselves are float16; differences to a centroid would be rounded.
        index = faiss.IndexIVFScalarQuantizer(quantizer, cells.n_dims, n_lists, sq, faiss.METRIC_L2, False)
    else:
        index = faiss.IndexIVFFlat(quantizer, cells.n_dims, n_lists, faiss.METRIC_L2)
    index.cp.seed = seed % 2**31
    index.cp.min_points_per_centroid = 1
    index.train(sample)
    return index


def tune(
    index: NeighborIndex, query: np.ndarray, exact: np.ndarray, *, target: float, only: np.ndarray | None = None
) -> tuple[int, float]:
    """Find the least effort with a recall of ``target``, and its recall.

    Effort is doubled until it suffices, then bisected, as if more effort never found less. If the target is out of
    reach, it is the largest effort. ``exact`` are the exact neighbors ``[n, k]`` of ``query`` ``[n, n_dims]``.
    """

    def share(effort: int) -> float:
        return recall(index.candidates(query, exact.shape[1], effort=effort, only=only), exact)

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
    header = {
        "format": _FORMAT,
        "kind": index.kind,
        "metric": index.metric,
        "digest": digest,
        "n_rows": len(index.rows),
    }
    with replacing(path) as part:
        with part.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(index.rows.astype("<i8").tobytes())
            faiss.write_index(index.index, faiss.PyCallbackIOWriter(file.write))
        seal(part)


def read_index(
    path: Path | str, *, kind: IndexKind, digest: str, metric: str = "euclidean", reference: Any = None
) -> NeighborIndex | None:
    """Read an index; ``None`` if the file does not exist, is damaged, or holds another kind, metric or digest.

    A compressed index is mapped into memory, except on Windows; ``reference`` is its embedding. ``ValueError`` if the
    file holds something else, which is not changed.
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
        if [header.get(key) for key in ("kind", "metric", "digest")] != [kind, metric, digest]:
            return None
        if not is_intact(path):
            logger.warning("The index %s is damaged and is built again.", path)
            return None
        rows = np.frombuffer(file.read(8 * header["n_rows"]), dtype="<i8").astype(np.int64)
        if kind == "compressed" and sys.platform != "win32":
            index = _map_index(faiss, path, file.tell())
        else:
            index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
        return NeighborIndex(index, kind, rows, metric, reference if kind == "compressed" else None)


def _map_index(faiss: Any, path: Path, offset: int) -> Any:
    """Read an inverted file that begins within a file; its lists are read when they are searched."""
    reader = faiss.FileIOReader(str(path))
    skipped = np.empty(offset, dtype=np.uint8)  # the reader only moves by reading
    reader(faiss.swig_ptr(skipped), 1, offset)
    index = faiss.read_index(reader, faiss.IO_FLAG_MMAP)
    faiss.downcast_InvertedLists(
        faiss.extract_index_ivf(index).invlists
    ).prefetch_nthread = 0  # more threads than searches use
    return index


def import_faiss() -> Any:
    """Import the module; ``ImportError`` names the extra to install."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError('Approximate neighbors need faiss: pip install "univerce[faiss]"') from error
    return faiss
