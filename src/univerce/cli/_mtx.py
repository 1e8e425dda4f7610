"""A MatrixMarket file with the names of its genes and cells beside it: 10x, STARsolo, kallisto, GEO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

_GENES = ("features.tsv", "genes.tsv", "genes.txt")
_CELLS = ("barcodes.tsv", "barcodes.txt")


def find_matrix(path: Path) -> Path | None:
    """The matrix that a file is, or that is in a directory."""
    if path.is_dir():
        return next((path / name for name in ("matrix.mtx.gz", "matrix.mtx") if (path / name).is_file()), None)
    return path if path.name.endswith((".mtx", ".mtx.gz")) else None


def read(path: Path) -> ad.AnnData:
    """Read the matrix with the names beside it, whether its rows are genes or cells."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from scipy.io import mminfo

    from univerce.io.mtx import read_mtx
    from univerce.io.text import open_text

    matrix = find_matrix(path)
    if matrix is None:
        raise ValueError(f"The directory {path} holds no matrix.mtx.")
    genes, cells = _beside(matrix, _GENES), _beside(matrix, _CELLS)
    shape = mminfo(matrix)[:2]  # compared before as much memory is used
    if shape not in ((len(genes), len(cells)), (len(cells), len(genes))):
        raise ValueError(f"{matrix} is {shape[0]} x {shape[1]}, but beside it are {len(genes)} genes and "
                         f"{len(cells)} cells.")  # fmt: skip
    with open_text(matrix) as text:
        X = read_mtx(text.buffer)
    X = X.T if shape == (len(genes), len(cells)) else X
    X = sp.csr_matrix(X) if sp.issparse(X) else np.asarray(X)
    if X.dtype.kind in "iu" and X.size and abs(X).max() < 2**24:
        X = X.astype(np.float32)
    var = genes.iloc[:, :4].set_axis(["gene_ids", "symbol", "feature_types", "genome"][: genes.shape[1]], axis=1)
    var.index = (var.pop("symbol") if "symbol" in var else var["gene_ids"]).to_numpy()
    return ad.AnnData(X, obs=pd.DataFrame(index=cells[0].to_numpy()), var=var)


def _beside(matrix: Path, endings: tuple[str, ...]) -> pd.DataFrame:
    """The table of names that belongs to a matrix: of the same prefix, compressed or not."""
    import pandas as pd

    from univerce.io.text import open_text

    stem = matrix.name.removesuffix(".gz").removesuffix(".mtx")
    stems = (stem.removesuffix("matrix") if stem.endswith("matrix") else f"{stem}.", f"{stem}_", "")
    names = [f"{start}{ending}" for start in dict.fromkeys(stems) for ending in endings]
    for name in names:
        for file in (matrix.with_name(name), matrix.with_name(f"{name}.gz")):
            if file.is_file():
                with open_text(file) as lines:
                    return pd.read_csv(lines, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3)
    raise FileNotFoundError(f"{matrix} needs {' or '.join(names)} beside it, or the same with .gz.")
