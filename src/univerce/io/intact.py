"""Find and name damage of what this package wrote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from univerce._errors import FileError
from univerce.io.ondisk import OnDisk

ALL_CHUNKS = "univerce-all-chunks"
"""Attribute of a zarr array each of whose chunks was written: NaN from a lost one is not taken for a missing value."""
LISTING = "univerce-files.json"
"""Sizes and SHA-256 of the files of a directory; chunks of embeddings have a checksum inside."""


def read_rows(rep: Any, rows: slice, dtype: Any = np.float32) -> np.ndarray:
    """Read ``[rows, n_dims]``, by default as float32; ``FileError`` if they are damaged on disk."""
    try:
        values = np.asarray(rep[rows], dtype=dtype)
    except (RuntimeError, OSError, ValueError) as error:
        if OnDisk.find(rep) is None:
            raise
        raise FileError(_damaged(rep, rows, str(error))) from error
    if ALL_CHUNKS in getattr(rep, "attrs", ()) and np.isnan(values.min(initial=0)):  # the least is NaN if any is
        lost = np.flatnonzero(np.isnan(values).any(axis=1))
        if len(lost) and rep.nchunks_initialized < rep.nchunks:
            raise FileError(_damaged(rep, slice(rows.start + lost[0], rows.start + lost[-1] + 1), "a chunk was lost"))
    return values


def _damaged(rep: Any, rows: slice, why: str) -> str:
    place = OnDisk.find(rep)
    where = "" if place is None else f" in {place.path}"
    return (
        f"Rows {rows.start} to {rows.stop - 1} of {getattr(place, 'element', '')!r}{where} are damaged: "
        f"{why.strip('.')}. Restore it from an intact copy, or write it again."
    )


def write_listing(directory: Path) -> None:
    """Write the listing of a directory, after everything else."""
    files = (
        file for file in sorted(directory.rglob("*")) if file.is_file() and file.name != ".zmetadata"
    )  # in any order
    listing = {file.relative_to(directory).as_posix(): _describe(file, directory) for file in files}
    (directory / LISTING).write_text(json.dumps(listing))


def check_listing(directory: Path) -> None:
    """Raise ``FileError`` that names the first file of a listing that is missing or changed."""
    listing = directory / LISTING
    if not listing.is_file():
        return
    text = listing.read_text()
    if (problem := _find_problem(directory, text)) is None:
        return
    if listing.is_file() and listing.read_text() != text:  # replaced by a writer meanwhile
        check_listing(directory)
        return
    raise FileError(
        f"{directory / problem} is missing, damaged, or was changed after it was written. Restore {directory.name} "
        f"from an intact copy, or write it again; if the change is intended, delete {listing}."
    )


def _find_problem(directory: Path, text: str) -> str | None:
    try:
        listing = json.loads(text)
        return next((name for name, found in listing.items() if _describe(directory / name, directory) != found), None)
    except (ValueError, AttributeError):
        return LISTING


def _describe(file: Path, directory: Path) -> list[Any]:
    """Size of a file, and its SHA-256 unless it is a chunk of an embedding."""
    if not file.is_file():
        return []
    embedding = file.relative_to(directory).parts[0] == "obsm" and not file.name.startswith(".")
    return [file.stat().st_size, "" if embedding else hashlib.sha256(file.read_bytes()).hexdigest()]
