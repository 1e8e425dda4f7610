"""Check and write the files of a command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce.cli._inputs import check_input

if TYPE_CHECKING:
    import anndata as ad


def check_paths(source: Path, out: Path, *, backed: bool, overwrite: bool) -> None:
    """Refuse paths that cannot be read or written before anything is computed."""
    check_input(source)
    written = (".h5ad", ".zarr", *([".h5mu"] if source.suffix == ".h5mu" else []))
    if out.suffix not in written:
        raise ValueError(f"{out} must end in {' or '.join(written)}.")
    if source.resolve() == out.resolve() or (out.exists() and source.samefile(out)):
        raise ValueError(f"{out} is the input; write to another path.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"The directory {out.parent} of {out.name} does not exist.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another path, or add --overwrite.")
    if backed and (source.suffix, out.suffix) != (".h5ad", ".h5ad"):
        raise ValueError("--backed reads an .h5ad and writes an .h5ad; convert the file or leave --backed out.")


def write(data: Any, path: Path, suffix: str) -> None:
    """Write an .h5ad, an .h5mu, or a zarr of version 2, which every version of anndata reads."""
    if suffix == ".h5ad":
        data.write_h5ad(path)
    elif suffix == ".h5mu":
        data.write_h5mu(path)
    else:
        from anndata.io import write_elem
        from zarr import consolidate_metadata, open_group

        write_elem(open_group(path, mode="w", zarr_format=2), "/", data)
        consolidate_metadata(path, zarr_format=2)


def write_copy(adata: ad.AnnData, key: str, *, source: Path, path: Path) -> None:
    """Copy the file ``source`` and add the embedding, without reading X into memory."""
    import h5py
    from anndata.io import write_elem

    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        for name, value in (("obs", adata.obs), ("var", adata.var), ("uns", dict(adata.uns))):
            write_elem(file, name, value)
        write_elem(file.require_group("obsm"), key, adata.obsm[key])


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)
