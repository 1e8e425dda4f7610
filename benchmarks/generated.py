"""Generated counts of any number of cells in a file, written in blocks."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import zarr

import univerce as uc

N_GENES, EXPRESSED = 20_000, 1000
_BLOCK = 10_000


def gene_names(n: int = N_GENES) -> list[str]:
    """Human symbols, and beyond those of the bundled table names of no gene."""
    symbols = uc.genes.load_table("human").obs["symbol"]
    names = symbols[(symbols != "") & ~symbols.duplicated()].tolist()[:n]
    return [*names, *(f"no gene {i}" for i in range(n - len(names)))]


def counts(start: int, stop: int, n_genes: int = N_GENES, expressed: int = EXPRESSED) -> sp.csr_matrix:
    """Rows ``[start, stop)``, about ``expressed`` genes each; a few genes have most of the counts."""
    rng = np.random.default_rng([7, start])
    drawn = rng.permutation(n_genes)[: (stop - start)]  # one gene per cell
    n_draws = int(expressed * 1.35)
    columns = (n_genes * rng.random((stop - start, n_draws)) ** 2).astype(np.int32)
    columns[:, 0] = np.resize(drawn, stop - start)
    rows = np.repeat(np.arange(stop - start), n_draws)
    block = sp.csr_matrix((np.ones(rows.size, np.float32), (rows, columns.ravel())), shape=(stop - start, n_genes))
    block.sum_duplicates()
    return block


def write_cells(path: Path, n_cells: int, n_genes: int = N_GENES, expressed: int = EXPRESSED) -> Path:
    """An ``.h5ad`` or ``.zarr`` with CSR counts, never more than a block of it in memory."""
    h5ad = path.suffix == ".h5ad"
    root = h5py.File(path, "w") if h5ad else zarr.open_group(path, mode="w", zarr_format=2)
    first = counts(0, min(_BLOCK, n_cells), n_genes, expressed)
    ad.io.write_elem(root, "/", ad.AnnData(first, var=pd.DataFrame(index=gene_names(n_genes))))
    stored = ad.io.sparse_dataset(root["X"])
    for start in range(_BLOCK, n_cells, _BLOCK):
        stored.append(counts(start, min(start + _BLOCK, n_cells), n_genes, expressed))
    obs = pd.DataFrame(index=[f"cell {i}" for i in range(n_cells)])
    ad.io.write_elem(root, "obs", obs)
    if h5ad:
        root.close()
    else:
        zarr.consolidate_metadata(root.store)
    return path
