"""Read a count matrix in fixed blocks of rows, from memory or from disk, without densifying it.

Every container of AnnData becomes a stream of canonical CSR blocks: column indices sorted, duplicates summed, stored
zeros removed. Two containers of one matrix therefore give the same blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSCDataset, CSRDataset

from univerce._errors import reading
from univerce.io.chunks import span_reader
from univerce.io.compressed import check_chunks, check_indices, check_pointers, check_sparse, open_parts, path_of
from univerce.io.ondisk import library, stored
from univerce.io.pipeline import Stages, ahead

# Entries of a backed CSC matrix in memory at a time, and in one read.
CSC_BUDGET = 2**26
CSC_READ = 2**22
# Chunks, entries and blocks of a CSR matrix on disk in one read, for a library that unpacks a chunk of two reads twice.
# Larger reads of small chunks are slower, because the memory is new each time.
_READ_CHUNKS, CSR_READ, _MOST_BLOCKS = 8, 2**22, 16

_TYPE_ERROR = (
    "Cannot read rows of a {name}. Use a numpy array, a scipy sparse matrix, a dask array, an h5py or zarr array, or "
    "the matrix of a backed AnnData."
)

_KIND = "an AnnData"

Rows = Callable[[int, int], sp.csr_matrix]


def n_rows(X: Any) -> int:
    """Number of rows of a matrix that :func:`iter_blocks` reads; an error if it is not such a matrix."""
    if not (isinstance(X, ad.AnnData | np.ndarray | CSRDataset | CSCDataset) or sp.issparse(X) or library(X)):
        raise TypeError(_TYPE_ERROR.format(name=type(X).__name__))
    if len(X.shape) != 2:
        raise ValueError(f"A count matrix has two dimensions, not the shape {tuple(X.shape)}.")
    if np.isnan(X.shape).any():
        raise ValueError("The dask array has chunks of unknown size; call compute_chunk_sizes() on it first.")
    return int(X.shape[0])


def n_blocks(n: int, block_rows: int) -> int:
    """Number of blocks of ``block_rows`` rows that cover ``n`` rows."""
    if block_rows < 1:
        raise ValueError(f"block_rows={block_rows} must be at least 1.")
    return -(-n // block_rows)


def iter_blocks(
    X: Any,
    block_rows: int,
    *,
    start: int = 0,
    stop: int | None = None,
    blocks: Iterable[int] | None = None,
) -> Iterator[tuple[slice, sp.csr_matrix]]:
    """Read the rows of ``X`` in the fixed blocks ``[k * block_rows, (k + 1) * block_rows)``.

    Dense matrices and CSR on disk are read a block at a time, a dask array one row of chunks at a time. A sparse matrix
    in memory is converted to CSR once. CSC on disk is read as a whole for each group of blocks with ``CSC_BUDGET``
    entries, so store large matrices as CSR.

    Parameters
    ----------
    X
        ``[n_cells, n_genes]``: numpy, h5py, zarr or dask array, scipy sparse matrix, backed matrix of AnnData, or
        an AnnData in place of its ``X`` (a backed view is then read by blocks, unlike ``view.X``).
    block_rows
        Rows in a block.
    start, stop
        Read only the rows ``[start, stop)`` of each block.
    blocks
        Read only these blocks, in this order.

    Yields
    ------
    The rows of a block and its values as canonical CSR in the dtype of ``X`` (float16 becomes float32; wider if
    a sum of repeated entries needs it).

    Raises
    ------
    TypeError
        If ``X`` is none of these or does not hold numbers.
    ValueError
        If ``X`` is not two-dimensional, the rows or blocks do not exist, or entries of a sparse matrix lie outside of
        it; :class:`univerce.FileError` if ``X`` is on disk.

    Examples
    --------
    >>> import numpy as np
    >>> from univerce.io.blocks import iter_blocks
    >>> [(rows.start, rows.stop, int(block.sum())) for rows, block in iter_blocks(np.eye(5), 2)]
    [(0, 2, 2), (2, 4, 2), (4, 5, 1)]
    """
    n = n_rows(X)
    stop = n if stop is None else stop
    if not 0 <= start <= stop <= n:
        raise ValueError(f"The rows [{start}, {stop}) are outside a matrix of {n} rows.")
    count = n_blocks(n, block_rows)
    wanted = range(count) if blocks is None else [int(k) for k in blocks]
    unknown = [k for k in wanted if not 0 <= k < count]
    if unknown:
        raise ValueError(f"There are {count} blocks; blocks={unknown[:5]} do not exist.")
    read = row_reader(X, block_rows)  # raises here, not at the first block
    rows = (slice(max(k * block_rows, start), min((k + 1) * block_rows, stop)) for k in wanted)
    return ((part, read(part.start, part.stop)) for part in rows if part.start < part.stop)


def read_ahead(
    X: Any, block_rows: int, *, blocks: Iterable[int] | None = None, stages: Stages | None = None
) -> Iterator[tuple[slice, sp.csr_matrix]]:
    """Read blocks as :func:`iter_blocks`: several of them in one read from disk, and in a thread the next.

    ``stages`` measures the reads as ``"read"``. Blocks of one read share its memory.
    """
    n, X = n_rows(X), stored(X)
    wanted = range(n_blocks(n, block_rows)) if blocks is None else blocks
    read = row_reader(X, block_rows)
    runs = _runs(wanted, _blocks_in_a_read(X, block_rows))
    reads = ((run, read(run[0] * block_rows, min((run[-1] + 1) * block_rows, n))) for run in runs)
    for run, counts in ahead(reads if stages is None else stages.timed("read", reads)):
        for i, k in enumerate(run):
            rows = slice(k * block_rows, min((k + 1) * block_rows, n))
            yield rows, counts if len(run) == 1 else _take_rows(counts, i * block_rows, rows.stop - rows.start)


def _blocks_in_a_read(X: Any, block_rows: int) -> int:
    if not isinstance(X, CSRDataset):
        return 1
    indices = X.group["indices"]
    chunk = (getattr(indices, "chunks", None) or (0,))[0]
    a_read = min(_READ_CHUNKS * chunk, CSR_READ)
    return min(max(1, a_read * n_blocks(X.shape[0], block_rows) // max(1, indices.shape[0])), _MOST_BLOCKS)


def _runs(blocks: Iterable[int], longest: int) -> Iterator[list[int]]:
    """Consecutive blocks, at most ``longest`` at a time."""
    run: list[int] = []
    for k in blocks:
        if run and (k != run[-1] + 1 or len(run) == longest):
            yield run
            run = []
        run.append(k)
    if run:
        yield run


def _take_rows(counts: sp.csr_matrix, first: int, n: int) -> sp.csr_matrix:
    """Rows of a canonical matrix, without a copy."""
    indptr = counts.indptr[first : first + n + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    taken = sp.csr_matrix((n, counts.shape[1]), dtype=counts.dtype)
    # set, because scipy copies parts of larger arrays
    taken.data, taken.indices, taken.indptr = counts.data[entries], counts.indices[entries], indptr - indptr[0]
    taken.has_canonical_format = True
    return taken


def row_reader(X: Any, block_rows: int) -> Rows:
    """Open ``X`` once and return the function that reads its rows ``[first, last)`` as canonical CSR."""
    n_rows(X)
    X = stored(X)
    path = path_of(X)
    with reading(path, _KIND, parts=True):
        check_chunks(getattr(X, "group", X))
        read = _row_reader(X, block_rows)

    def rows(first: int, last: int) -> sp.csr_matrix:
        with reading(path, _KIND, parts=True):
            return _canonical(read(first, last))

    return rows


def read_all(X: Any) -> sp.csr_matrix:
    """Read a matrix that :func:`iter_blocks` reads into memory, as canonical CSR."""
    return row_reader(X, 1)(0, n_rows(X))


def _row_reader(X: Any, block_rows: int) -> Rows:
    """Choose the reader of a container."""
    if isinstance(X, ad.AnnData):
        if X.isbacked and X.is_view:
            return _view_reader(X, block_rows)
        if X.X is None:
            raise ValueError("The AnnData has no X; choose a layer and pass that matrix.")
        n_rows(X.X)
        return _row_reader(X.X, block_rows)
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("A masked array would lose its mask; fill it first.")
    if np.dtype(X.dtype).kind not in "biuf":
        raise TypeError(f"A count matrix holds numbers, but this {type(X).__name__} has the dtype {X.dtype}.")
    if isinstance(X, CSRDataset):
        return _csr_reader(*open_parts(X.group, *X.shape), X.shape[1])
    if isinstance(X, CSCDataset):
        return _csc_reader(X, block_rows)
    if sp.issparse(X):
        if X.format != "csr":  # the parts of CSR are checked as they are read
            check_sparse(X)
        csr = X.tocsr()
        check_pointers(csr.indptr, csr.shape[0], csr.indices, csr.data)
        return _csr_reader(csr.data, csr.indices, csr.indptr, csr.shape[1])
    if library(X) == "dask":
        return _dask_reader(X)
    return lambda first, last: _as_csr(X[first:last])


def _csr_reader(data: Any, indices: Any, indptr: np.ndarray, n_cols: int) -> Rows:
    read_spans = span_reader(data, indices)

    def read(first: int, last: int) -> sp.csr_matrix:
        values, columns = read_spans(int(indptr[first]), int(indptr[last]))
        check_indices(columns, n_cols)
        parts = (_numeric(values), columns, indptr[first : last + 1] - indptr[first])
        return sp.csr_matrix(parts, shape=(last - first, n_cols), copy=False)

    return read


def _csc_reader(X: Any, block_rows: int) -> Rows:
    n, n_cols = X.shape
    data, indices, indptr = open_parts(X.group, n_cols, n)
    indptr, read_spans = indptr.astype(np.int64), span_reader(data, indices)
    nnz = max(int(indptr[-1]), 1)
    group = max(1, CSC_BUDGET * n // (nnz * block_rows)) * block_rows

    def load(low: int, high: int) -> sp.csr_matrix:
        pieces, n_entries = [], np.zeros(n_cols, dtype=np.int64)
        for begin in range(0, nnz, CSC_READ):
            end = min(begin + CSC_READ, int(indptr[-1]))
            values, row = read_spans(begin, end)
            check_indices(row, n)
            inside = np.flatnonzero((row >= low) & (row < high))
            lengths = np.diff(np.clip(indptr, begin, end))  # entries of each column in this read
            columns = np.repeat(np.arange(n_cols, dtype=np.int32), lengths)
            n_entries += np.bincount(columns[inside], minlength=n_cols)
            pieces.append((values[inside], row[inside] - low))
        values, rows = (np.concatenate(part) for part in zip(*pieces, strict=True))
        starts = np.concatenate([[0], np.cumsum(n_entries)])
        return sp.csc_matrix((_numeric(values), rows, starts), shape=(high - low, n_cols)).tocsr()

    edges = np.append(np.arange(0, n, group), n)
    return _group_reader(edges, lambda i: load(edges[i], edges[i + 1]))


def _dask_reader(X: Any) -> Rows:
    def load(i: int) -> sp.csr_matrix:
        columns = [_as_csr(X.blocks[i, j].compute()) for j in range(X.numblocks[1])]
        return columns[0] if len(columns) == 1 else sp.hstack(columns, format="csr")

    return _group_reader(np.concatenate([[0], np.cumsum(X.chunks[0])]), load)


def _group_reader(edges: np.ndarray, load: Callable[[int], sp.csr_matrix]) -> Rows:
    """Read rows of groups that are loaded as a whole; group ``i`` has the rows ``[edges[i], edges[i + 1])``."""
    held: tuple[int, sp.csr_matrix] | None = None

    def read(first: int, last: int) -> sp.csr_matrix:
        nonlocal held
        parts = []
        for i in range(int(np.searchsorted(edges, first, side="right")) - 1, int(np.searchsorted(edges, last))):
            if held is None or held[0] != i:
                held = None  # free the old group before the next one is loaded
                held = i, load(i)
            parts.append(held[1][max(first - edges[i], 0) : last - edges[i]])
        return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")

    return read


def _view_reader(view: ad.AnnData, block_rows: int) -> Rows:
    # `view.X` would load the whole selection, and slicing a view by columns the whole file: read the parent.
    parent = view._adata_ref
    rows = np.arange(parent.n_obs)[view._oidx]
    columns = np.arange(parent.n_vars)[view._vidx]
    all_columns = np.array_equal(columns, np.arange(parent.n_vars))
    read_parent = _row_reader(parent.X, block_rows)

    def read(first: int, last: int) -> sp.csr_matrix:
        wanted, inverse = np.unique(rows[first:last], return_inverse=True)
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
        block = sp.vstack([read_parent(int(run[0]), int(run[-1]) + 1) for run in runs], format="csr")[inverse]
        return block if all_columns else block[:, columns]

    return read


def _as_csr(block: Any) -> sp.csr_matrix:
    if sp.issparse(block):
        check_sparse(block)
        csr = block.tocsr()
        return sp.csr_matrix((_numeric(csr.data), csr.indices, csr.indptr), shape=csr.shape, copy=False)
    return sp.csr_matrix(_numeric(np.asarray(block)))


def _numeric(values: np.ndarray) -> np.ndarray:
    # scipy has no sparse float16
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _canonical(block: sp.csr_matrix) -> sp.csr_matrix:
    if block.has_canonical_format and block.data.all():
        return block
    dtype = block.dtype
    wide = np.float64 if dtype.kind == "f" else np.uint64 if dtype == np.uint64 else np.int64
    # copies, because the arrays may be views of the data
    block = sp.csr_matrix((block.data.astype(wide), block.indices.copy(), block.indptr.copy()), shape=block.shape)
    block.sum_duplicates()
    block.eliminate_zeros()
    narrow = block.data.astype(dtype)
    if (narrow == block.data).all():  # otherwise a sum exceeds the type
        block.data = narrow
    return block
