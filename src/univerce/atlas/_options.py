"""Data sets and options of an atlas, resolved and checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import anndata as ad
import numpy as np

from univerce._validate import as_path, as_seed, check_whole
from univerce.io.files import opened

Data: TypeAlias = ad.AnnData | Path | str
Column: TypeAlias = str | Mapping[str, str | None] | None
"""A column of obs, or one for each data set by its name."""

_RESERVED = {"data_set", "obs_name", "row", "species", "cell_type", "coarse_type"}


@dataclass(frozen=True, eq=False)
class Source:
    """A named data set, in memory or in a file."""

    key: str
    data: ad.AnnData | Path

    @property
    def name(self) -> str:
        """Name of the data set in messages."""
        return f"data[{self.key!r}]"

    @property
    def origin(self) -> str:
        """Path of the data set, or ``"AnnData"``."""
        return "AnnData" if isinstance(self.data, ad.AnnData) else str(self.data)

    def opened(self) -> AbstractContextManager[ad.AnnData]:
        """Open the data set; matrices of a file stay on disk."""
        return nullcontext(self.data) if isinstance(self.data, ad.AnnData) else opened(self.data, expression=True)


@dataclass(frozen=True, eq=False)
class Options:
    """Options of :func:`univerce.atlas.build`, see there."""

    use_rep: str
    columns: Mapping[str, Column]
    """Column of the atlas, and the column of the data sets it is read from."""
    species: Column
    model: str | Path | None
    layer: str | None
    gene_key: str | None
    max_cells: int | None
    min_counts: int | None
    coarse_map: Mapping[str, str] | None
    seed: int
    check_space: bool

    @classmethod
    def resolve(
        cls,
        sources: Sequence[Source],
        *,
        groupby: Column,
        obs_keys: Sequence[str] | Mapping[str, Column],
        rng: int | np.random.Generator,
        **options: Any,
    ) -> Self:
        """Check the options against the names of the data sets."""
        obs_keys = [obs_keys] if isinstance(obs_keys, str) else obs_keys
        others = dict(obs_keys) if isinstance(obs_keys, Mapping) else {key: key for key in obs_keys}
        if reserved := sorted(_RESERVED & set(others)):
            raise ValueError(f"obs_keys= names {reserved[0]!r}, a column that the atlas writes; choose another name.")
        keys = [source.key for source in sources]
        for what, option in {"groupby": groupby, **others, "species": options["species"]}.items():
            if unknown := [key for key in option if key not in keys] if isinstance(option, Mapping) else []:
                raise ValueError(f"{what} names the data set {unknown[0]!r}; there are {', '.join(map(repr, keys))}.")
        if missing := [key for key in keys if key not in groupby] if isinstance(groupby, Mapping) else []:
            raise KeyError(f"groupby has no entry for the data set {missing[0]!r}; give its column, or None.")
        if options["max_cells"] is not None:
            check_whole("max_cells_per_dataset", options["max_cells"], 1)
        if options["min_counts"] is not None:
            check_whole("min_counts", options["min_counts"], 0)
        return cls(columns={"cell_type": groupby, **others}, seed=as_seed(rng), **options)


def pick(option: Column, key: str) -> str | None:
    """The value of an option for one data set."""
    return option.get(key) if isinstance(option, Mapping) else option


def as_sources(data: Data | Sequence[Data] | Mapping[str, Data]) -> list[Source]:
    """Name the data sets: by the keys of a mapping, the stems of files, or ``data_0``, ``data_1``, ..."""
    if isinstance(data, ad.AnnData | str | Path):
        data = [data]
    if isinstance(data, Mapping):
        pairs = [(str(key), value) for key, value in data.items()]
    else:
        pairs = [(Path(v).stem if isinstance(v, str | Path) else f"data_{i}", v) for i, v in enumerate(data)]
    if not pairs:
        raise ValueError("data is empty; an atlas needs at least one data set.")
    keys = [key for key, _ in pairs]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"Two data sets are named {repeated[0]!r}; pass a mapping such as {{'name': data}}.")
    sources = []
    for key, value in pairs:
        if not isinstance(value, ad.AnnData | str | Path):
            raise TypeError(f"The data set {key!r} must be an AnnData or a path, not {type(value).__name__}.")
        if not isinstance(value, ad.AnnData) and not as_path(value).exists():
            raise FileNotFoundError(f"The data set {key!r} is not at {str(value)!r}.")
        sources.append(Source(key, value if isinstance(value, ad.AnnData) else as_path(value)))
    return sources
