"""A .loom: an HDF5 file whose matrix has genes in rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

_GENES = ("Gene", "gene_name", "gene_names", "gene_symbols", "var_names", "Accession", "gene_ids")
_CELLS = ("CellID", "cell_names", "obs_names", "barcode", "barcodes", "cell_id")
_CELLS_READ = 512


def read(path: Path) -> ad.AnnData:
    """Read matrix, layers and attributes of one value per gene or cell; the matrix is not held as a dense one."""
    import anndata as ad
    import h5py

    with h5py.File(path, "r") as file:
        n_genes, n_cells = file["matrix"].shape
        obs = _frame(file.get("col_attrs", {}), _CELLS, n_cells)
        var = _frame(file.get("row_attrs", {}), _GENES, n_genes)
        adata = ad.AnnData(_transposed(file["matrix"]), obs=obs, var=var)
        for name, layer in file.get("layers", {}).items():
            adata.layers[name] = _transposed(layer)
    return adata


def _transposed(matrix: Any) -> Any:
    from scipy import sparse

    n = matrix.shape[1]
    parts = [sparse.csr_matrix(matrix[:, k : k + _CELLS_READ].T) for k in range(0, n, _CELLS_READ)]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, matrix.shape[0]))


def _frame(attributes: Any, names: tuple[str, ...], n: int) -> pd.DataFrame:
    """Attributes of ``n`` genes or cells, named by the first of ``names`` that there is, otherwise numbered."""
    import pandas as pd

    frame = pd.DataFrame({key: _values(node) for key, node in attributes.items() if node.shape == (n,)}, index=range(n))
    key = next((name for name in names if name in frame), None)
    frame.index = pd.Index(frame.index if key is None else frame.pop(key)).astype(str)
    return frame


def _values(node: Any) -> Any:
    values = node[()]
    return [v.decode() if isinstance(v, bytes) else v for v in values] if values.dtype.kind in "SO" else values
