"""A benchmark written down as TOML: data, methods and transfers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from univerce._errors import reading
from univerce.bench import Method, method
from univerce.io.text import read_toml


@dataclass(frozen=True)
class DataEntry:
    """One ``[[data]]``: an h5ad or zarr with counts."""

    name: str
    path: Path
    groupby: str = "cell_type"
    batch_key: str | None = None
    layer: str | None = None
    gene_key: str | None = None
    score: bool = True
    """Score it by itself; False for data that only take part in transfers."""


@dataclass(frozen=True)
class TransferEntry:
    """One ``[[transfer]]``: labels pass from the reference to the query."""

    name: str
    reference: str
    query: str
    types: Mapping[str, list[str]] | None = None
    """Coarse type to the labels that mean it, of either data set; labels that are not named are left out."""
    methods: list[str] | None = None
    """Names, as in the tables, of the methods that take part; None is all."""


@dataclass(frozen=True)
class Config:
    """What a TOML file says."""

    data: tuple[DataEntry, ...]
    transfers: tuple[TransferEntry, ...]
    methods: tuple[Method, ...]
    features: tuple[str, ...]
    degrade: tuple[str, ...]
    """Ways of :func:`univerce.bench.degrade`, scored besides the data as they are."""
    seeds: tuple[int, ...]
    min_cells: int
    umap: bool
    cache: Path


def read_config(path: Path, data_dir: Path | None = None) -> Config:
    """Read a benchmark.

    Parameters
    ----------
    path
        A TOML file.
    data_dir
        Where relative paths of data begin; None is ``data_dir`` of the file, in which ``$NAME`` stands for an
        environment variable, or else the directory of the file.

    Raises
    ------
    ValueError
        If the file is not TOML, or an entry is missing or unknown.
    FileNotFoundError
        If the file or its data do not exist.
    """
    content = read_toml(path)
    with reading(path, "the configuration of a campaign"):
        return _config(content, path, data_dir)


def _config(content: Mapping[str, Any], path: Path, data_dir: Path | None) -> Config:
    known = {"data_dir", "data", "transfer", "method", "features", "degrade", "seeds", "min_cells", "umap", "cache"}
    _check_keys(content, known, str(path))
    if not content.get("data") or not content.get("method"):
        raise ValueError(f"{path} needs at least one [[data]] and one [[method]].")
    root = data_dir if data_dir is not None else path.parent / _expanded(content.get("data_dir", "."), path)
    data = tuple(_entry(DataEntry, given, f"{path}: [[data]]", root) for given in content["data"])
    names = [entry.name for entry in data]
    transfers = tuple(_entry(TransferEntry, given, f"{path}: [[transfer]]") for given in content.get("transfer", ()))
    for t in transfers:
        if missing := {t.reference, t.query} - set(names):
            raise ValueError(
                f"{path}: the transfer {t.name!r} names {sorted(missing)[0]!r}; the data are {', '.join(names)}."
            )
    methods = []
    for given in content["method"]:
        if "name" not in given:
            raise ValueError(f"{path}: a [[method]] has no name.")
        methods.append(method(given["name"], **{k: v for k, v in given.items() if k != "name"}))
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"{path}: two [[data]] have the name {repeated[0]!r}.")
    features = content.get("features", "all")
    return Config(
        data, transfers, tuple(methods), (features,) if isinstance(features, str) else tuple(features),
        tuple(content.get("degrade", ())),
        tuple(content.get("seeds", (0, 1, 2))), content.get("min_cells", 10), content.get("umap", True),
        path.parent / _expanded(content.get("cache", ".univerce-bench"), path),
    )  # fmt: skip


def _entry(kind: type, given: Mapping[str, Any], where: str, root: Path | None = None) -> Any:
    _check_keys(given, {f.name for f in fields(kind)}, where)
    needed = ("path",) if kind is DataEntry else ("reference", "query")
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"{where} has no {missing[0]}.")
    if kind is TransferEntry:
        return TransferEntry(**({"name": f"{given['reference']} to {given['query']}"} | dict(given)))
    file = Path(root or ".") / given["path"]
    if not file.exists():
        raise FileNotFoundError(f"{where}: {file} does not exist. Paths begin at data_dir, or at --data.")
    return DataEntry(**({"name": file.stem} | dict(given) | {"path": file}))


def _expanded(text: str, path: Path) -> Path:
    expanded = os.path.expandvars(text)
    if "$" in expanded:
        raise ValueError(f"{path}: {text!r} names an environment variable that is not set; set it, or pass --data.")
    return Path(expanded).expanduser()


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{where}: unknown entry {unknown[0]!r}; the entries are {', '.join(sorted(known))}.")
