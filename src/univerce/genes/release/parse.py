"""Read the released UCE files, each checked against the others."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce._errors import reading
from univerce.genes.release.registry import protein_file
from univerce.genes.release.tensors import TABLES, open_table, open_tensors
from univerce.genes.table import N_SPECIAL
from univerce.io.text import open_text, whole_numbers

if TYPE_CHECKING:
    from torch import Tensor

_POSITION_COLUMNS = ("gene_symbol", "chromosome", "start", "species")


def read_positions(species_chrom: Path | str) -> pd.DataFrame:
    """Read ``gene_symbol`` (in upper case), ``chromosome``, ``start`` (int64) and ``species`` of ``species_chrom.csv``.

    Rows keep the order of the file, repeated symbols included. :class:`univerce.FileError` if the file is damaged, a
    column is missing, a field is empty or a start is not an integer.
    """
    with reading(species_chrom, "a table of positions"):
        return _read_positions(Path(species_chrom))


def _read_positions(species_chrom: Path) -> pd.DataFrame:
    # as text: a gene may be called NA or NAN, and 1 and "1" are the same chromosome
    with open_text(species_chrom) as file:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    if missing := [column for column in _POSITION_COLUMNS if column not in frame]:
        raise ValueError(f"{species_chrom} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}.")
    frame = frame[list(_POSITION_COLUMNS)]
    for column in _POSITION_COLUMNS:
        if (empty := frame[column] == "").any():
            raise ValueError(f"{species_chrom}: {column} is empty in row {int(np.flatnonzero(empty)[0]) + 2}.")
    start, bad = whole_numbers(frame["start"])
    if bad.any():
        row = frame[bad].iloc[0]
        raise ValueError(
            f"{species_chrom}: the start {row['start']!r} of {row['gene_symbol']} ({row['species']}) is not an integer."
        )
    return frame.assign(gene_symbol=frame["gene_symbol"].str.upper(), start=start)


def chromosome_codes(positions: pd.DataFrame) -> dict[str, int]:
    """Number every ``<species>_<chromosome>`` by its rank among the sorted names of all species.

    ``positions`` are all rows of ``species_chrom.csv``; a subset gives other codes.
    """
    return {name: code for code, name in enumerate(sorted(set(positions["species"] + "_" + positions["chromosome"])))}


def species_blocks(offsets: Mapping[str, int], end: int) -> dict[str, tuple[int, int]]:
    """Get the first and last-plus-one token of every species, in token order."""
    if not isinstance(offsets, Mapping) or not all(isinstance(o, int) for o in offsets.values()) or not offsets:
        raise ValueError("The species offsets must map each species to the number of its first token.")
    names = sorted(offsets, key=lambda name: offsets[name])
    edges = [offsets[name] for name in names] + [end]
    if edges[0] != N_SPECIAL or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(
            f"The species offsets {dict(offsets)} must begin at {N_SPECIAL}, differ, and end before the chromosome "
            f"tokens at {end}."
        )
    return dict(zip(names, pairwise(edges), strict=True))


def token_tensor(files: Path | str | Sequence[Path], chrom_token_offset: int, n_codes: int) -> Tensor:
    """Open the token tensor ``[rows, token_dim]``, left on disk, with or without chromosome rows."""
    paths = [Path(files)] if isinstance(files, Path | str) else files
    path = paths[0]
    tokens = open_table(paths)
    if tokens is None:
        names = list(open_tensors(paths))
        raise ValueError(f"{path} has no {TABLES[0]!r}; it has {', '.join(names[:5])}, ...")
    if tokens.ndim != 2 or not tokens.is_floating_point():
        raise ValueError(f"{path} must hold a floating point tensor of two dimensions, or a state dict with one.")
    if len(tokens) not in (chrom_token_offset, chrom_token_offset + n_codes):
        raise ValueError(
            f"{path} has {len(tokens)} token rows; {chrom_token_offset} are expected, or "
            f"{chrom_token_offset + n_codes} with those of the {n_codes} chromosomes in the position table."
        )
    return tokens


def protein_files(
    source: Path | Mapping[str, Path], species: Sequence[str], scratch: Path
) -> Iterator[tuple[str, Path]]:
    """Iterate over species and their protein embeddings: named, in a directory, or extracted one by one."""
    if isinstance(source, Mapping):
        yield from ((s, source[s]) for s in species)
        return
    names = {protein_file(s): s for s in species}
    if source.is_dir():
        found = {name: next(source.rglob(name), None) for name in names}
        if missing := [name for name, path in found.items() if path is None]:
            raise FileNotFoundError(f"{source} has no {', '.join(missing)}.")
        yield from ((names[name], path) for name, path in found.items() if path is not None)
        return
    with reading(source, "an archive"):
        _check_sum(source)
    with reading(source, "an archive"), tarfile.open(source) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member) if name in names and member.isfile() else None
            if content is None:
                continue
            # copied to a name of ours, so that a path in the archive cannot lead out of the scratch directory
            path = scratch / name
            with content, open(path, "wb") as out:
                shutil.copyfileobj(content, out, 2**20)
            yield names.pop(name), path
            path.unlink()
    if names:
        raise FileNotFoundError(f"{source} has no {', '.join(names)}.")


def _check_sum(path: Path) -> None:
    """Read a gzip to its checksum, which comes last: a part that is damaged looks as good as any other."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if is_gzip:
        with gzip.open(path) as content:
            while content.read(2**20):
                pass


def row_symbols(species: str, keys: Sequence[str], n_rows: int) -> tuple[list[str], list[list[str]]]:
    """Find the symbol of every row of a species block, and the keys whose vector it may hold.

    The reference collapses keys that are equal in upper case, at the position of the first. An older block has one row
    per key; of rows that share a symbol the last one keeps it, whose vector the reference uses.
    """
    collapsed: dict[str, list[str]] = {}
    for key in keys:
        collapsed.setdefault(key.upper(), []).append(key)
    if len(collapsed) == n_rows:
        return list(collapsed), list(collapsed.values())
    if len(keys) == n_rows:
        return [key.upper() if key == collapsed[key.upper()][-1] else "" for key in keys], [[key] for key in keys]
    raise ValueError(
        f"{species}: the protein embeddings name {len(keys)} genes ({len(collapsed)} in upper case), but its block of "
        f"the token tensor has {n_rows} rows: the files are of different releases."
    )
