"""Gene tables of public checkpoints, converted when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from univerce._settings import logger
from univerce.genes.release.convert import convert_tables
from univerce.genes.release.download import FetchError
from univerce.genes.release.fetch import fetch, is_cached, require
from univerce.genes.release.models import PAPER
from univerce.genes.release.registry import RELEASED_MODELS, RELEASED_SPECIES, list_tables, protein_file
from univerce.genes.release.source import Source
from univerce.genes.release.tensors import TABLES, open_tensors
from univerce.io.atomic import locked

_ARCHIVE = "protein_embeddings.tar.gz"
_POSITIONS = ("species_chrom.csv", "species_offsets.pkl")


def source_species(source: Source) -> list[str]:
    """List the species of a checkpoint."""
    return sorted(RELEASED_SPECIES) if source.family() == PAPER else source.species()


def convert_once(source: Source, species: str, directory: Path) -> dict[str, Path]:
    """Convert the table of a species into a directory unless it exists; concurrent processes wait for each other."""
    if source.name in RELEASED_MODELS:
        _require(source.name, [species])  # before the directory is made
    with locked(directory):
        if species in list_tables(directory):
            pass
        elif source.name in RELEASED_MODELS:
            convert_released_tables(source.name, directory, [species])
        elif source.family() == PAPER:
            _convert(_token_files(source), directory, [species])
        else:
            ids = source.ids()
            source.write_table(species, directory / f"{species}.h5ad", ids=ids, encoder=source.encoder(ids))
    return list_tables(directory)


def convert_released_tables(model: str, out_dir: Path | str, species: Sequence[str]) -> dict[str, Path]:
    """Convert tables of the release; the token tensor comes from any file in the cache that holds it."""
    _require(model, species)
    return _convert([fetch(_token_file(model))], out_dir, species)


def _token_files(source: Source) -> list[Path]:
    """Files with the token tensor of a checkpoint; that of the release if it has none of its own."""
    weights, tokens = source.weights(), source.tokens()
    if any(name in TABLES for name in open_tensors(weights)):
        return weights
    if tokens is None:
        logger.info("%s has no token table of its own; its gene tables are those of the release.", source.name)
        holders = (*RELEASED_MODELS.values(), "all_tokens.torch")
        tokens = fetch(next((name for name in holders if is_cached(name)), "all_tokens.torch"))
    return [tokens]


def _token_file(model: str) -> str:
    holders = dict.fromkeys((RELEASED_MODELS[model], *RELEASED_MODELS.values(), "all_tokens.torch"))
    return next((name for name in holders if is_cached(name)), RELEASED_MODELS[model])


def _require(model: str, species: Sequence[str]) -> None:
    proteins = [_ARCHIVE] if is_cached(_ARCHIVE) else [protein_file(s) for s in species]
    require([*_POSITIONS, _token_file(model), *proteins])


def _convert(tokens: Sequence[Path], out_dir: Path | str, species: Sequence[str]) -> dict[str, Path]:
    positions, offsets = (fetch(name) for name in _POSITIONS)
    return convert_tables(
        positions, offsets, tokens=tokens, protein_embeddings=_proteins(species), out_dir=out_dir, species=species,
    )  # fmt: skip


def _proteins(species: Sequence[str]) -> Path | dict[str, Path]:
    """Protein embeddings of these species only, or the archive of all if it is in the cache or nothing else answers."""
    if is_cached(_ARCHIVE):
        return fetch(_ARCHIVE)
    try:
        return {name: fetch(protein_file(name)) for name in species}
    except FetchError as error:
        logger.warning("%s\nFetching the archive of all species instead.", error)
        return fetch(_ARCHIVE)
