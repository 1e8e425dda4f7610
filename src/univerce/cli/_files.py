"""Read cells from the files that people have, and write those of a command."""

from __future__ import annotations

import shutil
import sys
import warnings
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce._errors import reading
from univerce.cli import _loom, _mtx

if TYPE_CHECKING:
    import anndata as ad
    from mudata import MuData

FORMATS = ".h5ad, .zarr, .h5mu, .h5 or a directory of 10x, .mtx, .loom"
_SUFFIXES = (".h5ad", ".h5mu", ".h5", ".hdf5", ".loom")


def check_input(path: Path) -> None:
    """Raise ``FileNotFoundError`` or ``ValueError`` unless there is something with a name that can be read."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_dir():
        if path.suffix != ".zarr" and not _mtx.find_matrix(path):
            inside = sorted(file.name for file in path.iterdir() if file.suffix in _SUFFIXES or _mtx.find_matrix(file))
            raise ValueError(
                f"The directory {path} contains no matrix.mtx and is not a .zarr."
                + (f" Name what is in it: {', '.join(inside)}." if inside else "")
            )
    elif path.suffix == ".gz" and not path.name.endswith(".mtx.gz"):
        raise ValueError(f"{path} is compressed: run `gunzip -k {path}` first.")
    elif path.suffix not in _SUFFIXES and not path.name.endswith((".mtx", ".mtx.gz")):
        raise ValueError(f"{path} is not a file of cells: {FORMATS}.")


def read(path: Path, *, backed: bool = False) -> ad.AnnData | MuData:
    """Read cells of any format; the content of an HDF5 file says which it is."""
    import h5py

    from univerce.io.files import check_sizes, read_h5ad, read_zarr

    kind = _kind(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Variable names|var_names) are not unique")  # their counts are added
        if kind == "zarr":
            return read_zarr(path)
        if kind == "h5ad":
            return read_h5ad(path, backed=backed)
        with reading(path, f"an {kind}" if kind == "h5mu" else f"a {kind}"):
            if kind != "mtx":
                with h5py.File(path, "r") as file:
                    check_sizes(file, path)
            return _READERS[kind](path)


def _read_10x(path: Path) -> ad.AnnData:
    import scanpy as sc

    return sc.read_10x_h5(path, gex_only=False)


def _read_h5mu(path: Path) -> MuData:
    from mudata import read_h5mu

    with pulling_nothing():
        return read_h5mu(path)


def pulling_nothing() -> AbstractContextManager[Any]:
    """Modalities keep their columns, which is the default from mudata 0.4 on."""
    import mudata

    return mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext()


_READERS = {"mtx": _mtx.read, "loom": _loom.read, "10x .h5": _read_10x, "h5mu": _read_h5mu}


def choose_modality(data: Any, mod: str | None, path: Path) -> str | None:
    """The modality to embed: the one that is named, or the only one."""
    if not hasattr(data, "mod"):
        if mod is not None:
            raise ValueError(f"--mod {mod} chooses a modality of an .h5mu; {path} has none.")
        return None
    if mod is None and len(data.mod) == 1:
        return str(next(iter(data.mod)))
    if mod not in data.mod:
        raise ValueError(f"{path} holds the modalities {', '.join(data.mod)}: add --mod with that of the counts.")
    return mod


def columns(path: Path) -> dict[str, list[str]]:
    """Names in ``obs``, ``var`` and ``layers`` of an .h5ad or .zarr, without reading it; empty for other files."""
    import h5py
    import zarr

    kind = _kind(path)
    if kind not in ("zarr", "h5ad"):
        return {}
    with reading(path, f"a .{kind}", parts=True), ExitStack() as opened:
        store: Any = opened.enter_context(h5py.File(path, "r")) if kind == "h5ad" else zarr.open_group(path, mode="r")
        found = {key: store[key] for key in ("obs", "var", "layers") if hasattr(store.get(key), "keys")}
        return {key: [str(name) for name in part.attrs.get("column-order", part)] for key, part in found.items()}


def _kind(path: Path) -> str:
    """The format of a path that :func:`check_input` accepts, of HDF5 by its content."""
    if path.is_dir():
        return "zarr" if path.suffix == ".zarr" else "mtx"
    if path.name.endswith((".mtx", ".mtx.gz")):
        return "mtx"

    import h5py

    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        if "mod" in file:
            return "h5mu"
        if "obs" in file and "var" in file:
            return "h5ad"
        if isinstance(file.get("matrix"), h5py.Dataset):
            return "loom"
        if any("barcodes" in group for group in file.values() if isinstance(group, h5py.Group)):
            return "10x .h5"
        raise ValueError(f"{path} holds {', '.join(file) or 'nothing'}: it is neither {FORMATS}.")


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
