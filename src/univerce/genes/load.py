"""Gene tables by name: the bundled ones, those of a model's directory, and those of the released models."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import anndata as ad

from univerce._errors import FileError
from univerce._settings import settings
from univerce._validate import as_path
from univerce.genes.release.models import MODELS
from univerce.genes.release.registry import BUNDLED_TABLES, ESM2_15B, RELEASED_MODELS, RELEASED_SPECIES, list_tables
from univerce.genes.release.source import Source, find_source
from univerce.genes.release.tables import convert_once, convert_released_tables, source_species
from univerce.genes.table import read_table
from univerce.io.text import read_json

BUNDLED_MODEL, BUNDLED_SENTENCES = "uce-mini", "uce-tiny"
BUNDLED_MODELS = (BUNDLED_MODEL, BUNDLED_SENTENCES)
"""They share the bundled gene tables."""


def load_table(species: str, *, model: str | Path = BUNDLED_MODEL) -> ad.AnnData:
    """Load the gene table of a species for a model.

    Parameters
    ----------
    species
        Name of the species, as listed by :func:`available_species`.
    model
        ``"uce-mini"`` or ``"uce-tiny"``, whose tables are bundled; a name or ``hf://owner/name`` of a public
        checkpoint, see :func:`univerce.model.list_models`, whose tables are converted at first use from its files
        (several GB); the directory of a model with ``config.json`` and tables, also in ``tables/``; or of a public
        checkpoint. Other species come from the cache, where :func:`build_species` puts tables by encoder.

    Returns
    -------
    A copy of the gene table. The features of an ``.h5ad`` stay on disk.

    Raises
    ------
    ValueError
        If the model does not exist, or has no table of the species; the message lists those it has.
    FileNotFoundError
        If released files are missing and ``settings.offline`` is set; the message lists all of them.
    FetchError
        An ``OSError``, if no source serves a file.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.load_table("human").obs["symbol"].eq("CD3E").sum().item()
    1
    """
    found = table_files(model)
    if species not in found and (source := public_source(model)) is not None and species in source_species(source):
        found = convert_once(source, species, _table_directory(model))
    if species not in found:
        raise ValueError(
            f"There is no gene table of {species!r} for the model {str(model)!r}; its species are "
            f"{', '.join(available_species(model)) or 'none'}. Build one with univerce.genes.build_species."
        )
    path = found[species]
    return read_table(path) if path.suffix == ".h5ad" else _unpacked(path, path.stat().st_mtime_ns).copy()


def available_species(model: str | Path = BUNDLED_MODEL) -> list[str]:
    """List the species with a gene table for a model, on disk or among the released files.

    Parameters
    ----------
    model
        Name or directory of the model, as for :func:`load_table`.

    Returns
    -------
    Sorted names.

    Examples
    --------
    >>> import univerce as uc
    >>> "human" in uc.genes.available_species()
    True
    """
    found = set(table_files(model))
    if (source := public_source(model)) is not None:
        try:
            found.update(source_species(source))
        except FileNotFoundError:  # offline, and the files of the checkpoint are not here anymore
            if not found:
                raise
    return sorted(found)


def table_files(model: str | Path) -> dict[str, Path]:
    """Map species to gene table file, for the tables of a model that are on disk."""
    own = list_tables(_table_directory(model))
    encoder = model_encoder(model)
    return dict(sorted(((list_tables(registered_tables(encoder)) if encoder else {}) | own).items()))


def registered_tables(encoder: str) -> Path:
    """Get the directory in the cache for tables of an encoder that all its models share."""
    name = "esm2-15b" if encoder == ESM2_15B else re.sub(r"[^\w.-]+", "_", encoder)
    return settings.cache_dir / "tables" / name


def model_encoder(model: str | Path) -> str:
    """Get the encoder whose features a model reads, ``""`` if its ``config.json`` does not say."""
    if model in RELEASED_MODELS:
        return ESM2_15B
    source = public_source(model)
    own = BUNDLED_TABLES.parents[1] / model if model in BUNDLED_MODELS else as_path(model)
    return str(_own_config(own if source is None else source.converted).get("token_encoder", ""))


def public_source(model: str | Path) -> Source | None:
    """Find the public checkpoint that a model names; ``None`` for models that this package wrote."""
    own = model in BUNDLED_MODELS or (model not in MODELS and _own_config(as_path(model)))
    return None if own else find_source(model)


def load_reference(species: str, encoder: str) -> ad.AnnData | None:
    """Load a bundled or cached table of a species and an encoder, if any; nothing is fetched or converted."""
    if encoder == model_encoder(BUNDLED_MODEL) and species in list_tables(BUNDLED_TABLES):
        return load_table(species)
    path = list_tables(registered_tables(encoder)).get(species)
    return None if path is None else read_table(path)


def convert_released(
    out_dir: Path | str | None = None, species: list[str] | None = None, *, model: str = "uce-4l"
) -> dict[str, Path]:
    """Fetch the released files and convert them to gene tables.

    The token tensor comes from any file in the cache that holds it, else from the checkpoint of ``model``, which the
    model needs anyway.

    Parameters
    ----------
    out_dir
        Output directory; by default the cache, where :func:`load_table` finds the tables.
    species
        Species to convert; by default all eight.
    model
        ``"uce-4l"`` or ``"uce-33l"``. Both have the same gene tables.

    Returns
    -------
    Species to path.

    Raises
    ------
    ValueError
        If the model is unknown, or as in :func:`convert_tables` and :func:`fetch`.
    FileNotFoundError
        If ``settings.offline`` is set and files are missing; the message lists all of them.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.convert_released(species=["mouse"])  # doctest: +SKIP
    {'mouse': PosixPath('.../tables/esm2-15b/mouse.h5ad')}
    """
    if model not in RELEASED_MODELS:
        raise ValueError(f"model={model!r} is not a released model; use one of {', '.join(RELEASED_MODELS)}.")
    wanted = list(RELEASED_SPECIES) if species is None else species
    return convert_released_tables(model, registered_tables(ESM2_15B) if out_dir is None else out_dir, wanted)


def _table_directory(model: str | Path) -> Path:
    if model in BUNDLED_MODELS:
        return BUNDLED_TABLES
    if model in RELEASED_MODELS:
        return registered_tables(ESM2_15B)
    if (source := public_source(model)) is not None:
        return source.converted / "tables"
    directory = as_path(model)
    if not (directory / "config.json").is_file():
        raise ValueError(
            f"There is no model {str(model)!r}; use {', '.join((*BUNDLED_MODELS, *MODELS))}, hf://owner/name, or a "
            "directory with a config.json."
        )
    return directory / "tables" if (directory / "tables").is_dir() else directory


def _own_config(directory: Path) -> dict[str, Any]:
    """Configuration of a model that this package wrote; empty for other directories."""
    try:
        config = read_json(directory / "config.json").get("config", {})
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if not isinstance(config, dict):
        raise FileError(f"{directory / 'config.json'}: config is {config!r}, not the fields of a model.")
    return config


@lru_cache(maxsize=16)
def _unpacked(path: Path, mtime_ns: int) -> ad.AnnData:
    """Read a packed table once; callers copy it."""
    return read_table(path)
