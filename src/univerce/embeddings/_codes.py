"""Codes of the rows of an embedding for an inverted file of faiss: a few bits for each principal component."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from univerce.embeddings.cells import Cells
from univerce.embeddings.neighbors import BLOCK_ROWS, prepare
from univerce.io.arrays import read_arrays, write_arrays
from univerce.io.intact import read_rows
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows

PART_ROWS = 2**18
"""Rows of the codes in a file of an unfinished build."""

_FINER = 4  # times the square root of the rows: smaller lists, of which a search needs a smaller part
_ROWS_PER_LIST = 32  # train each list
_COMPONENTS = 256
_TRAIN_ROWS, _ROUNDS = 2**16, 8  # of the components and ranges, and of the lists


def sample_rows(cells: Cells, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """At most ``n`` of the ``rows``, prepared for the metric."""
    chosen = np.random.default_rng(seed).choice(rows, min(len(rows), n), replace=False)
    chosen.sort()
    return prepare(cells.rows(chosen), cells.metric)


def known_rows(cells: Cells, block: slice) -> np.ndarray:
    """Rows of a block that have an embedding, prepared for the metric."""
    values = prepare(read_rows(cells.values, block), cells.metric)
    return values[cells.known[block]]


def compress(
    faiss: Any, cells: Cells, rows: np.ndarray, *, seed: int, parts: Path | None, done: Callable[[int], object] | None
) -> Any:
    """Build an inverted file of 4-bit codes of the ``rows`` with an embedding.

    ``parts`` is a directory that keeps what training gave and the codes of every part, from which an interrupted build
    goes on.
    """
    trained = None if parts is None else read_arrays(parts / "trained.npz")
    if trained is None:
        trained = {"index": faiss.serialize_index(_new_codes(faiss, cells, rows, seed))}
        if parts is not None:
            write_arrays(parts / "trained.npz", **trained)
    index = faiss.deserialize_index(trained["index"])
    lists, matrix = faiss.extract_index_ivf(index), _matrix(faiss, faiss.downcast_VectorTransform(index.chain.at(0)))
    centers = faiss.downcast_index(lists.quantizer).reconstruct_n(0, lists.nlist)
    for part in blocks_of_rows(len(cells), PART_ROWS):
        file = None if parts is None else parts / f"{part.start}.npz"
        saved = None if file is None else read_arrays(file)
        if saved is None:
            starts = range(part.start, part.stop, BLOCK_ROWS)
            blocks = (known_rows(cells, slice(i, min(i + BLOCK_ROWS, part.stop))) for i in starts)
            saved = {"codes": np.concatenate([_encode(faiss, lists, block @ matrix.T, centers) for block in blocks])}
            if file is not None:
                write_arrays(file, **saved)
        lists.add_sa_codes(saved["codes"], None)
        if done is not None:
            done(part.stop - part.start)
    index.ntotal = lists.ntotal
    return index


def _new_codes(faiss: Any, cells: Cells, rows: np.ndarray, seed: int) -> Any:
    d, n_lists = min(_COMPONENTS, cells.n_dims), min(len(rows), _FINER * math.isqrt(len(rows)))
    sample = sample_rows(cells, rows, _ROWS_PER_LIST * n_lists, seed)
    step = -(-len(sample) // _TRAIN_ROWS)
    _, vectors = np.linalg.eigh(np.atleast_2d(np.cov(sample[::step], rowvar=False, ddof=0, dtype=np.float64)))
    components = faiss.LinearTransform(cells.n_dims, d)
    faiss.copy_array_to_vector(vectors[:, : -d - 1 : -1].T.astype(np.float32).ravel(), components.A)
    components.is_trained = True
    sample = sample @ _matrix(faiss, components).T
    quantizer = faiss.IndexFlatL2(d)
    quantizer.add(_centers(sample, n_lists, seed))
    index = faiss.IndexIVFScalarQuantizer(quantizer, d, n_lists, faiss.ScalarQuantizer.QT_4bit, faiss.METRIC_L2)
    index.train(np.ascontiguousarray(sample[::step]))  # of the ranges only: the lists are there
    return faiss.IndexPreTransform(components, index)


def _matrix(faiss: Any, components: Any) -> np.ndarray:
    return faiss.vector_to_array(components.A).reshape(components.d_out, components.d_in)


def _centers(sample: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Centers ``[n, d]`` of k-means; products of numpy are several times faster than those of faiss."""
    centers = np.random.default_rng(seed).choice(sample, n, replace=False)
    for _ in range(_ROUNDS):
        nearest = _nearest(sample, centers)
        member = sp.csr_matrix(
            (np.ones(len(sample), np.float32), nearest, np.arange(len(sample) + 1)), (len(sample), n)
        )
        size = np.bincount(nearest, minlength=n)[:, None]
        centers = np.where(size > 0, (member.T @ sample) / np.maximum(size, 1), centers).astype(np.float32)
    return centers


def _nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """``[n]`` nearest center of each row."""
    half, nearest = 0.5 * np.square(centers).sum(axis=1), np.empty(len(values), dtype=np.int64)
    for rows in blocks_of_rows(len(values), ROUNDED_ROWS):
        nearest[rows] = (values[rows] @ centers.T - half).argmax(axis=1)
    return nearest


def _encode(faiss: Any, lists: Any, values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """``[n, n_bytes]`` list and code of each row."""
    codes, nearest = np.zeros((len(values), lists.sa_code_size()), dtype=np.uint8), _nearest(values, centers)
    if len(values):
        values = np.ascontiguousarray(values, dtype=np.float32)
        lists.encode_vectors(len(values), *map(faiss.swig_ptr, (values, nearest, codes)), True)
    return codes
