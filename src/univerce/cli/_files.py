"""Check, read and write the files of a command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anndata as ad


def check_paths(source: Path, out: Path, *, backed: bool, overwrite: bool) -> None:
    """Refuse paths that cannot be read or written before anything is computed."""
    for path in (source, out):
        if path.suffix not in (".h5ad", ".zarr"):
            raise ValueError(f"{path} must end in .h5ad or .zarr.")
    if source.resolve() == out.resolve() or (source.exists() and out.exists() and source.samefile(out)):
        raise ValueError(f"{out} is the input; write to another path.")
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"The directory {out.parent} of {out.name} does not exist.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another path, or add --overwrite.")
    if backed and (source.suffix, out.suffix) != (".h5ad", ".h5ad"):
        raise ValueError("--backed reads an .h5ad and writes an .h5ad; convert the file or leave --backed out.")


def read(path: Path, *, backed: bool) -> ad.AnnData:
    """Read an .h5ad or .zarr."""
    from univerce.io.files import read_h5ad, read_zarr

    return read_zarr(path) if path.suffix == ".zarr" else read_h5ad(path, backed=backed)


def write(adata: ad.AnnData, path: Path, *, zarr: bool) -> None:
    """Write an .h5ad, or a zarr of version 2, which every version of anndata reads."""
    if not zarr:
        adata.write_h5ad(path)
        return
    from anndata.io import write_elem
    from zarr import consolidate_metadata, open_group

    write_elem(open_group(path, mode="w", zarr_format=2), "/", adata)
    consolidate_metadata(path, zarr_format=2)


def write_copy(adata: ad.AnnData, key: str, *, source: Path, path: Path) -> None:
    """Copy the file ``source`` and add the embedding, without reading X into memory."""
    import h5py
    from anndata.io import write_elem

    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        for name, value in (("obs", adata.obs), ("var", adata.var), ("uns", dict(adata.uns))):
            write_elem(file, name, value)
        write_elem(file, f"obsm/{key}", adata.obsm[key])


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)
