"""Genes of all species with their tokens, as the second family lists them in JSON."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from univerce._errors import FileError
from univerce._settings import logger
from univerce.genes.species import find_species
from univerce.io.text import read_json, whole_numbers

_COLUMNS = {"protein_embedding_id": "token", "chromosome_id": "chromosome_code", "location": "start"}


def vocabulary_species(path: Path) -> dict[str, str]:
    """Map the species of a list of genes, by the names of this package, to the keys of the file."""
    found: dict[str, str] = {}
    for key in _read(path, path.stat().st_mtime_ns):
        name = find_species(key) or key
        if name in found:
            raise FileError(f"{path}: {found[name]!r} and {key!r} are both {name}.")
        found[name] = key
    return dict(sorted(found.items()))


def read_vocabulary(path: Path, species: str) -> pd.DataFrame:
    """Read the genes of one species: ``symbol`` (in upper case), ``token``, ``chromosome_code`` and ``start``.

    Numbers may be written as text. Of several spellings of one symbol the last is kept, as in the code of its makers.
    :class:`univerce.FileError` if a field is missing or not a whole number.
    """
    genes = _read(path, path.stat().st_mtime_ns)[vocabulary_species(path)[species]]
    if not isinstance(genes, dict) or not all(isinstance(entry, dict) for entry in genes.values()):
        raise FileError(f"{path}: {species!r} must map each gene to its token, chromosome and location.")
    frame = pd.DataFrame({"symbol": [str(symbol).upper() for symbol in genes]})
    for field, column in _COLUMNS.items():
        values, bad = whole_numbers(pd.Series([entry.get(field) for entry in genes.values()], dtype=object))
        if bad.any():
            symbol, entry = list(genes.items())[int(np.flatnonzero(bad)[0])]
            found = entry.get(field)
            raise FileError(f"{path}: the {field} of {symbol} ({species}) is {found!r}, not a whole number.")
        frame[column] = values
    if (repeated := frame["symbol"].duplicated(keep="last")).any():
        logger.info("%s: %d genes with several spellings merged", species, int(repeated.sum()))
    return frame[~repeated].reset_index(drop=True)


@lru_cache(maxsize=2)
def _read(path: Path, mtime_ns: int) -> dict[str, Any]:
    content = read_json(path)
    first = next(iter(content.values()), None)
    if not isinstance(first, dict) or "protein_embedding_id" in first:
        raise FileError(f"{path} must map species to genes, as {{'human': {{'TP53': {{...}}}}}}; it names no species.")
    return content
