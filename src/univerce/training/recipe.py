"""A pretraining as TOML: the model, the training configuration and the data."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad

from univerce._errors import reading
from univerce._validate import as_path
from univerce.genes.load import BUNDLED_MODEL, table_files
from univerce.genes.table import gene_table_info, read_table
from univerce.io.text import read_toml
from univerce.model.config import UCE_4L, UCE_33L, UCE_TINY, UCEConfig
from univerce.model.find import find_model
from univerce.training.config import PretrainConfig

SHAPES = {config.model_id: config for config in (UCE_TINY, UCE_4L, UCE_33L)}


@dataclass(frozen=True)
class DataEntry:
    """One ``[[data]]``: a file with counts, see :func:`univerce.pp.training_set`."""

    path: Path
    name: str
    species: str | Path | None = None
    """Species, or the path of a gene table."""
    layer: str | None = None
    gene_key: str | None = None
    held_out: bool = False
    """Only validate on it."""


@dataclass(frozen=True)
class Recipe:
    """The content of a TOML file."""

    out: Path
    tables: str
    """Model, by name or directory, whose gene tables describe the genes."""
    devices: int
    tensorboard: bool
    model: Mapping[str, Any]
    """Fields of :class:`~univerce.model.UCEConfig`; ``like`` names the model whose other fields are used."""
    pretrain: PretrainConfig
    data: tuple[DataEntry, ...]

    def model_config(self, table: ad.AnnData) -> UCEConfig:
        """The model configuration for the features of a gene table."""
        fields = dict(self.model)
        like = fields.pop("like", None)
        if self.pretrain.continue_from is not None:
            base = find_model(self.pretrain.continue_from).config
        elif like is not None:
            base = SHAPES[like]
        else:
            base = UCEConfig()
        width = {"token_dim": table.n_vars, "token_encoder": str(gene_table_info(table)["encoder"])}
        given = base.to_dict() | {"model_id": self.out.resolve().name} | width | fields
        return UCEConfig.from_dict(given)


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe; paths in it are relative to its directory.

    ``FileError`` if it is not valid TOML, or an entry is missing, unknown or of another type; ``FileNotFoundError`` if
    the file or its data do not exist.
    """
    path = as_path(path)
    content = read_toml(path)
    with reading(path, "a recipe"):
        return _recipe(content, path)


def _recipe(content: Mapping[str, Any], path: Path) -> Recipe:
    here = path.parent
    top = {"out", "tables", "devices", "tensorboard", "model", "pretrain", "data"}
    _check_keys(content, top, f"{path}")
    if "out" not in content or not content.get("data"):
        raise ValueError(f'{path} needs out = "DIRECTORY" and at least one [[data]] with a path.')

    entries = []
    for given in content["data"]:
        _check_keys(given, _names(DataEntry), f"{path}: [[data]]")
        if "path" not in given:
            raise ValueError(f"{path}: a [[data]] has no path.")
        file = here / given["path"]
        if not file.exists():
            raise FileNotFoundError(f"{path}: there is no {file}.")
        species = given.get("species")
        if str(species).endswith((".h5ad", ".zarr", ".zarr.zip")):
            species = here / species
        entries.append(DataEntry(**({"name": file.stem} | given | {"path": file, "species": species})))
    pretrain = dict(content.get("pretrain", {}))
    _check_keys(pretrain, _names(PretrainConfig), f"{path}: [pretrain]")
    held_out = [*pretrain.get("held_out_sets", ()), *(entry.name for entry in entries if entry.held_out)]
    pretrain["held_out_sets"] = tuple(dict.fromkeys(held_out))
    if "continue_from" in pretrain:
        pretrain["continue_from"] = _model_name(pretrain["continue_from"], here)
    model = dict(content.get("model", {}))
    _check_keys(model, _names(UCEConfig) | {"like"}, f"{path}: [model]")
    if "like" in model and model["like"] not in SHAPES:
        raise ValueError(f"{path}: [model] like={model['like']!r} is not known; use one of {', '.join(SHAPES)}.")
    return Recipe(
        out=here / content["out"], tables=_model_name(content.get("tables", BUNDLED_MODEL), here),
        devices=content.get("devices", 1), tensorboard=content.get("tensorboard", False), model=model,
        pretrain=PretrainConfig(**pretrain), data=tuple(entries),
    )  # fmt: skip


def place_tables(recipe: Recipe, directory: Path) -> None:
    """Link or copy the gene tables of a recipe into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    files = table_files(recipe.tables)
    for entry in recipe.data:
        if isinstance(entry.species, Path):
            files[str(gene_table_info(read_table(entry.species))["species"])] = entry.species
    for species, file in files.items():
        target = directory / f"{species}{'.h5ad' if file.suffix == '.h5ad' else '.zarr.zip'}"
        try:
            os.link(file, target)
        except OSError:
            shutil.copyfile(file, target)


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{where} has unknown entries: {', '.join(unknown)}. Known are {', '.join(sorted(known))}.")


def _names(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def _model_name(name: str, here: Path) -> str:
    """The name of a model, or the path of its directory."""
    return str(here / name) if (here / name).is_dir() else name
