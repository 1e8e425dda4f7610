"""Counts as a MatrixMarket file with names beside it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import anndata as ad
from scipy.io import mmwrite


def write_lines(path: Path, *columns) -> None:
    text = "".join("\t".join(map(str, row)) + "\n" for row in zip(*columns, strict=True)).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def market(prefix: str, suffix: str = "", *, genes: str = "features.tsv", cells_first: bool = False) -> Callable:
    """MatrixMarket with names beside it, compressed with the suffix ``.gz``."""

    def write(adata: ad.AnnData, folder: Path) -> Path:
        matrix = folder / f"{prefix}matrix.mtx" if not cells_first else folder / f"{prefix.rstrip('.')}.mtx"
        mmwrite(matrix, (adata.X if cells_first else adata.X.T).astype(int))
        if suffix:
            matrix.with_name(f"{matrix.name}.gz").write_bytes(gzip.compress(matrix.read_bytes()))
            matrix.unlink()
        ids = [] if cells_first else [adata.var["gene_ids"]]
        kinds = [["Gene Expression"] * adata.n_vars] if genes == "features.tsv" else []
        write_lines(folder / f"{prefix}{genes}{suffix}", *ids, adata.var_names, *kinds)
        write_lines(folder / f"{prefix}barcodes.{genes.split('.')[1]}{suffix}", adata.obs_names)
        return matrix.with_name(f"{matrix.name}{suffix}") if prefix else folder

    return write
