"""Approximate nearest neighbors of embeddings, by faiss."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from univerce.embeddings.cells import gather, iter_rows, known_cells
from univerce.embeddings.neighbors import BLOCK_ROWS, recall, too_few
from univerce.io.rows import ROUNDED_ROWS, blocks_of_rows

IndexKind = Literal["ivf", "hnsw"]

_PER_LIST = 64  # rows on which each list of an inverted file is trained
_HNSW_LINKS = 32
_FORMAT = "univerce-index-1"


@dataclass(frozen=True)
class NeighborIndex:
    """A faiss index over the rows of an embedding that hold one, for the Euclidean distance."""

    index: Any
    kind: IndexKind
    rows: np.ndarray
    """``[n_known]`` row of the embedding for every entry of the index."""

    @property
    def most_effort(self) -> int:
        """The effort beyond which a search gets no better."""
        return max(self.index.nlist if self.kind == "ivf" else len(self.rows), 1)

    def search(self, query: Any, k: int, *, effort: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`exact_neighbors`, though some may be missed.

        Parameters
        ----------
        query
            Embedding ``[n, n_dims]``.
        k
            Number of neighbors.
        effort
            Lists that are searched (``nprobe``), or nodes that are kept (``efSearch``, ``k`` at least).

        Returns
        -------
        Indices ``[n, k]`` int64 and distances ``[n, k]`` float32; -1 and NaN where fewer than ``k`` were found.
        """
        if k > len(self.rows):
            raise ValueError(too_few(k, len(self.rows)))
        faiss = import_faiss()
        if self.kind == "ivf":
            parameters = faiss.SearchParametersIVF(nprobe=min(effort, self.most_effort))
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        indices = np.full((query.shape[0], k), -1, dtype=np.int64)
        distances = np.full((query.shape[0], k), np.nan, dtype=np.float32)
        for rows, block in iter_rows(query):
            for part in blocks_of_rows(len(block), ROUNDED_ROWS):  # the number of queries decides how faiss rounds
                known = np.isfinite(block[part]).all(axis=1)
                squares, entries = self.index.search(np.ascontiguousarray(block[part][known]), k, params=parameters)
                found = entries >= 0
                indices[rows][part][known] = np.where(found, self.rows[entries], -1)
                distances[rows][part][known] = np.where(found, np.sqrt(np.maximum(squares, 0)), np.nan)
        return indices, distances


def build_index(
    reference: Any, kind: IndexKind, *, seed: int = 0, done: Callable[[int], object] | None = None
) -> NeighborIndex:
    """A faiss index of an embedding, which is read in blocks.

    float16 is kept as float16, anything else as float32: nothing is compressed. The memory it needs is that of the
    embedding, and a sixteenth of a float32 copy of it at most while it is trained.

    Parameters
    ----------
    reference
        Embedding ``[n_reference, n_dims]``.
    kind
        ``"ivf"``: inverted file of about the square root of ``n_reference`` lists, built in minutes. ``"hnsw"``: a
        graph, quicker to search and far slower to build; several threads do not build the same one twice.
    seed
        Decides the rows that the lists are trained on, and the lists.
    done
        Called with the number of rows that were added, for a progress bar.

    Raises
    ------
    ImportError
        When faiss is missing.
    ValueError
        When ``kind`` is unknown, or no row is an embedding.
    """
    faiss = import_faiss()
    if kind not in ("ivf", "hnsw"):
        raise ValueError(f"kind={kind!r} is not known; use 'ivf' or 'hnsw'.")
    rows = np.flatnonzero(known_cells(reference))
    if len(rows) == 0:
        raise ValueError("The reference has no embeddings; there is nothing to search.")
    d, half = reference.shape[1], reference.dtype == np.float16
    if kind == "hnsw":
        sq = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(d, sq, _HNSW_LINKS) if half else faiss.IndexHNSWFlat(d, _HNSW_LINKS)
        index.is_trained = True  # float16 needs no ranges
    else:
        index = _train_lists(faiss, reference, rows, half, seed)
    for block_rows, block in iter_rows(reference, BLOCK_ROWS):
        index.add(block[np.isfinite(block).all(axis=1)])
        if done is not None:
            done(block_rows.stop - block_rows.start)
    return NeighborIndex(index, kind, rows)


def _train_lists(faiss: Any, reference: Any, rows: np.ndarray, half: bool, seed: int) -> Any:
    n_lists = max(1, math.isqrt(len(rows)))
    chosen = np.random.default_rng(seed).choice(rows, min(len(rows), _PER_LIST * n_lists), replace=False)
    chosen.sort()
    quantizer = faiss.IndexFlatL2(reference.shape[1])
    if half:
        sq = faiss.ScalarQuantizer.QT_fp16
        # The values themselves are float16; differences to a centroid would be rounded.
        index = faiss.IndexIVFScalarQuantizer(quantizer, reference.shape[1], n_lists, sq, faiss.METRIC_L2, False)
    else:
        index = faiss.IndexIVFFlat(quantizer, reference.shape[1], n_lists, faiss.METRIC_L2)
    index.cp.seed = seed % 2**31
    index.cp.min_points_per_centroid = 1
    index.train(gather(reference, chosen))
    return index


def tune(index: NeighborIndex, query: Any, exact: np.ndarray, *, target: float) -> tuple[int, float]:
    """The least effort at which ``index`` finds a share of the ``exact`` neighbors, and the share that it finds.

    Effort is doubled until it suffices, and then narrowed down by halves, as if more of it never found less.

    Parameters
    ----------
    index
        The index.
    query
        Embedding ``[n, n_dims]``, a sample.
    exact
        ``[n, k]`` exact neighbors of ``query``.
    target
        The share wanted; when it is out of reach, the most effort there is.
    """

    def share(effort: int) -> float:
        return recall(index.search(query, exact.shape[1], effort=effort)[0], exact)

    low, high = 0, 1
    while (found := share(high)) < target and high < index.most_effort:
        low, high = high, min(2 * high, index.most_effort)
    while high - low > 1 and found >= target:
        middle = (low + high) // 2
        if (less := share(middle)) < target:
            low = middle
        else:
            high, found = middle, less
    return high, found


def write_index(path: Path | str, index: NeighborIndex, *, digest: str) -> None:
    """Write an index, with the digest of what it was made from; under a temporary name, then renamed."""
    faiss = import_faiss()
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    header = {"format": _FORMAT, "kind": index.kind, "digest": digest, "n_rows": len(index.rows)}
    try:
        with part.open("xb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(index.rows.astype("<i8").tobytes())
            faiss.write_index(index.index, faiss.PyCallbackIOWriter(file.write))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_index(path: Path | str, *, kind: IndexKind, digest: str) -> NeighborIndex | None:
    """The index in a file, or ``None`` when there is none of this kind and digest.

    Raises
    ------
    ValueError
        When the file is something else, which is left alone.
    """
    faiss = import_faiss()
    path = Path(path)
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            header = json.loads(file.readline(4096))
        except ValueError:
            header = None
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError(f"{path} exists and is no index of an embedding; it is left alone. Choose another file.")
        if (header["kind"], header["digest"]) != (kind, digest):
            return None
        rows = np.frombuffer(file.read(8 * header["n_rows"]), dtype="<i8").astype(np.int64)
        return NeighborIndex(faiss.read_index(faiss.PyCallbackIOReader(file.read)), kind, rows)


def import_faiss() -> Any:
    """The module; ``ImportError`` says what to install."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError('Approximate neighbors need faiss: pip install "univerce[faiss]"') from error
    return faiss
