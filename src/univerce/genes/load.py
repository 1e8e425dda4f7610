"""Gene tables by name: the bundled ones, those of a model's directory, and those of the released models."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import anndata as ad

from univerce._settings import settings
from univerce.genes.release.convert import convert_tables
from univerce.genes.release.fetch import fetch, require
from univerce.genes.release.registry import BUNDLED_TABLES, ESM2_15B, RELEASED_MODELS, RELEASED_SPECIES, list_tables
from univerce.genes.table import read_table

BUNDLED_MODEL = "uce-mini"


def load_table(species: str, *, model: str | Path = BUNDLED_MODEL) -> ad.AnnData:
    """Load the gene table of a species for a model.

    Parameters
    ----------
    species
        A name that :func:`available_species` lists.
    model
        ``"uce-mini"``, whose tables are bundled; ``"uce-4l"`` or ``"uce-33l"``, whose tables are converted at first use
        from the released files (several GB); or the directory of a model with ``config.json`` and tables, also in
        ``tables/``. Other species come from the cache, where :func:`build_species` puts tables by encoder.

    Returns
    -------
    A copy of the gene table. The features of an ``.h5ad`` stay on disk.

    Raises
    ------
    ValueError
        If the model does not exist, or has no table of the species; the message lists those it has.
    FileNotFoundError
        If released files are missing and ``settings.offline`` is set; the message lists all of them.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.load_table("human").obs["symbol"].eq("CD3E").sum().item()
    1
    """
    found = table_files(model)
    if species not in found and model in RELEASED_MODELS and species in RELEASED_SPECIES:
        found = _convert_once(species, str(model))
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
        See :func:`load_table`.

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
    return sorted(found | set(RELEASED_SPECIES) if model in RELEASED_MODELS else found)


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
    directory = BUNDLED_TABLES.parent if model == BUNDLED_MODEL else Path(model)
    written = json.loads((directory / "config.json").read_text())
    return str(written.get("config", {}).get("token_encoder", "")) if isinstance(written, dict) else ""


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
    return _convert(_released_files(model), registered_tables(ESM2_15B) if out_dir is None else out_dir, species)


def _released_files(model: str) -> list[Path]:
    """Get positions, offsets, tokens and protein embeddings; fetch those that are not in the cache."""
    holders = dict.fromkeys((RELEASED_MODELS[model], *RELEASED_MODELS.values(), "all_tokens.torch"))
    tokens = next((name for name in holders if (settings.cache_dir / name).is_file()), RELEASED_MODELS[model])
    names = ("species_chrom.csv", "species_offsets.pkl", tokens, "protein_embeddings.tar.gz")
    require(names)
    return [fetch(name) for name in names]


def _convert(files: Sequence[Path], out_dir: Path | str, species: Sequence[str] | None) -> dict[str, Path]:
    positions, offsets, tokens, proteins = files
    return convert_tables(
        positions, offsets, tokens=tokens, protein_embeddings=proteins, out_dir=out_dir, species=species,
    )  # fmt: skip


def _convert_once(species: str, model: str) -> dict[str, Path]:
    """Convert the table of ``species`` unless it exists; concurrent processes wait for each other."""
    from filelock import FileLock

    files = _released_files(model)
    directory = registered_tables(ESM2_15B)
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        found = list_tables(directory)
        return found if species in found else _convert(files, directory, [species])


def _table_directory(model: str | Path) -> Path:
    if model == BUNDLED_MODEL:
        return BUNDLED_TABLES
    if model in RELEASED_MODELS:
        return registered_tables(ESM2_15B)
    directory = Path(model)
    if not (directory / "config.json").is_file():
        raise ValueError(
            f"There is no model {str(model)!r}; use {', '.join((BUNDLED_MODEL, *RELEASED_MODELS))}, or a directory "
            "with a config.json."
        )
    return directory / "tables" if (directory / "tables").is_dir() else directory


@lru_cache(maxsize=16)
def _unpacked(path: Path, mtime_ns: int) -> ad.AnnData:
    """Read a packed table once; callers copy it."""
    return read_table(path)
