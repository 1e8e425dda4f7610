"""What goes into an atlas, resolved and checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anndata as ad
import numpy as np

from univerce._settings import settings
from univerce._validate import as_seed
from univerce.io.files import opened

Data: TypeAlias = ad.AnnData | Path | str
Column: TypeAlias = str | Mapping[str, str | None] | None
"""A column of obs, or one for each data set by its name."""


@dataclass(frozen=True, eq=False)
class Source:
    """A data set by its name, in memory or in a file."""

    name: str
    data: ad.AnnData | Path

    @contextmanager
    def opened(self) -> Iterator[ad.AnnData]:
        """The data set, whose matrices stay in their file."""
        if isinstance(self.data, ad.AnnData):
            yield self.data
        else:
            with opened(self.data, expression=True) as adata:
                yield adata

    @property
    def origin(self) -> str:
        """What provenance says of it."""
        return "AnnData" if isinstance(self.data, ad.AnnData) else str(self.data)


@dataclass(frozen=True, eq=False)
class Recipe:
    """The options of :func:`univerce.atlas.build`, which has their meaning."""

    use_rep: str
    columns: Mapping[str, Column]
    """Column of the atlas, and where its values come from."""
    species: Column
    model: str | Path | None
    layer: str | None
    gene_key: str | None
    max_cells: int | None
    min_counts: int | None
    coarse_map: Mapping[str, str] | None
    seed: int
    check_space: bool
    show: bool

    @classmethod
    def resolve(
        cls,
        sources: Sequence[Source],
        *,
        labels: Column,
        tissue: Column,
        donor: Column,
        ontology_id: Column,
        rng: int | np.random.Generator,
        **options: Any,
    ) -> Recipe:
        """Check the options against the names of the data sets."""
        columns = {"cell_type": labels, "tissue": tissue, "donor": donor, "ontology_id": ontology_id}
        names = [source.name for source in sources]
        for what, option in {"labels": labels, **columns, "species": options["species"]}.items():
            if unknown := [key for key in option if key not in names] if isinstance(option, Mapping) else []:
                raise ValueError(f"{what} names the data set {unknown[0]!r}; there are {', '.join(map(repr, names))}.")
        if missing := [name for name in names if name not in labels] if isinstance(labels, Mapping) else []:
            raise KeyError(f"labels has no entry for the data set {missing[0]!r}; give its column, or None.")
        for what, least in (("max_cells", 1), ("min_counts", 0)):
            value = options[what]
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least
            ):
                word = "max_cells_per_dataset" if what == "max_cells" else what
                raise ValueError(f"{word}={value!r} must be None or a whole number from {least} on.")
        show = settings.progress
        return cls(columns=columns, seed=as_seed(rng), show=show, **options)


def pick(option: Column, name: str) -> str | None:
    """What an option says of the data set ``name``."""
    return option.get(name) if isinstance(option, Mapping) else option


def as_sources(data: Data | Sequence[Data] | Mapping[str, Data]) -> list[Source]:
    """Data sets by their names: those of a mapping, the stems of files, ``data_0`` and so on for AnnData.

    Raises
    ------
    ValueError
        When there is none, or two have one name.
    TypeError
        When one is neither AnnData nor path.
    FileNotFoundError
        When a file does not exist.
    """
    if isinstance(data, ad.AnnData | str | Path):
        data = [data]
    if isinstance(data, Mapping):
        pairs = [(str(name), value) for name, value in data.items()]
    else:
        pairs = [(_name(value, i), value) for i, value in enumerate(data)]
    if not pairs:
        raise ValueError("data is empty; an atlas needs at least one data set.")
    names = [name for name, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Two data sets are called {repeated[0]!r}; pass a mapping, as in {{'name': data}}, to tell them apart."
        )
    sources = []
    for name, value in pairs:
        if not isinstance(value, ad.AnnData | str | Path):
            raise TypeError(f"The data set {name!r} must be an AnnData or a path, not {type(value).__name__}.")
        if not isinstance(value, ad.AnnData) and not Path(value).exists():
            raise FileNotFoundError(f"The data set {name!r} is not at {str(value)!r}.")
        sources.append(Source(name, value if isinstance(value, ad.AnnData) else Path(value)))
    return sources


def _name(value: Any, i: int) -> str:
    return Path(value).stem if isinstance(value, str | Path) else f"data_{i}"
