"""The space of an embedding: the model and gene tables it comes from, and whether two embeddings are comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import RECORDS

_STATED = "stated: "
_REQUIRED = frozenset({"model", "model_digest", "species", "table_digest"})


def stated_digest(model: str) -> str:
    """Digest of a model that is known by name only, of embeddings that others computed."""
    return f"{_STATED}{model}"


def space_column(use_rep: str) -> str:
    """Column of ``obs`` with the space of each cell."""
    return f"{use_rep}_space"


@dataclass(frozen=True)
class Space:
    """Model and gene tables of an embedding, as recorded in ``uns["univerce"][use_rep]``.

    Two embeddings are in one space if they come from one model and from the same gene table of every shared species.
    Seed, sampling, padding and precision add noise and do not change the space. The model of an embedding that others
    computed is known by name only, see :func:`univerce.atlas.read_precomputed`.

    ``anndata.concat`` drops what differs in ``uns``, or all of it, and may keep the record of one part for all. So each
    cell holds the same facts in ``obs[f"{use_rep}_space"]``.
    """

    model: str
    model_digest: str
    species: tuple[str, ...]
    table_digest: Mapping[str, str]
    """Digest of the gene table of each species."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Everything else on record: seed, sampling, precision, coverage, version."""

    @classmethod
    def find(cls, adata: ad.AnnData, use_rep: str) -> Self | None:
        """Read the space of ``obsm[use_rep]``; ``None`` if no model is recorded.

        ``ValueError`` if the cells come from several spaces.
        """
        records = adata.uns.get(RECORDS)
        found = [cls.parse(records.get(use_rep))] if isinstance(records, Mapping) else []
        column = space_column(use_rep)
        if column in adata.obs:
            found += [cls.parse(_parse_json(text)) for text in pd.unique(adata.obs[column])]
        spaces = [space for space in found if space is not None]
        return reduce(lambda one, other: one.join(other, use_rep), spaces) if spaces else None

    @classmethod
    def parse(cls, record: Any) -> Self | None:
        """Read a record; ``None`` if it is none, or lost gene tables when data of several species were joined."""
        if not isinstance(record, Mapping) or not set(record) >= _REQUIRED:
            return None
        digests = {str(k): str(v) for k, v in record["table_digest"].items()}
        model_digest = str(record["model_digest"])
        species = {*map(str, np.atleast_1d(record["species"])), *digests}
        if not species <= set(digests) and not model_digest.startswith(_STATED):
            return None
        return cls(
            model=str(record["model"]),
            model_digest=model_digest,
            species=tuple(sorted(species)),
            table_digest=digests,
            details={k: v for k, v in record.items() if k not in _REQUIRED},
        )

    def write(self, adata: ad.AnnData, key: str) -> None:
        """Write ``uns["univerce"][key]`` and ``obs[f"{key}_space"]``."""
        others = adata.uns.get(RECORDS)
        adata.uns[RECORDS] = {**(others if isinstance(others, Mapping) else {}), key: self.record}
        adata.obs[space_column(key)] = self.column(adata.n_obs)

    @property
    def record(self) -> dict[str, Any]:
        """Content of ``uns["univerce"][use_rep]``."""
        return self._facts | dict(self.details)

    def column(self, n: int) -> pd.Categorical[Any]:
        """``[n]`` content of ``obs[f"{use_rep}_space"]``: the model and gene tables of each cell as JSON."""
        return pd.Categorical.from_codes(np.zeros(n, dtype=np.int8), categories=pd.Index([json.dumps(self._facts)]))

    @property
    def _facts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "model_digest": self.model_digest,
            "species": list(self.species),
            "table_digest": dict(self.table_digest),
        }

    def is_of(self, model: str, digest: str) -> bool:
        """Whether a model made the embedding: the same digest, or the same name if one is known by name only."""
        if self.model_digest.startswith(_STATED) or digest.startswith(_STATED):
            return self.model == model
        return self.model_digest == digest

    def join(self, other: Self, use_rep: str) -> Self:
        """Combine the species and gene tables of both; ``ValueError`` if they are two spaces."""
        self.check_same(other, use_rep)
        return replace(
            self,
            model_digest=other.model_digest if self.model_digest.startswith(_STATED) else self.model_digest,
            species=tuple(sorted({*self.species, *other.species})),
            table_digest={**self.table_digest, **other.table_digest},
        )

    def check_same(self, other: Self, use_rep: str) -> None:
        """Raise ``ValueError`` unless both are one space."""
        if not self.is_of(other.model, other.model_digest):
            raise ValueError(
                f"The embeddings in obsm[{use_rep!r}] come from two models, {self} and {other}: their distances are "
                "meaningless. Embed one of the two again with the model= of the other."
            )
        shared = sorted(set(self.table_digest) & set(other.table_digest))
        if differ := [name for name in shared if self.table_digest[name] != other.table_digest[name]]:
            raise ValueError(
                f"The embeddings in obsm[{use_rep!r}] (models {self} and {other}) come from two gene tables of "
                f"{', '.join(differ)}. Embed one of the two again with the table of the other, see "
                "univerce.genes.load_table."
            )

    def __str__(self) -> str:
        return f"{self.model!r} ({self.model_digest[:12]})"


@dataclass(frozen=True)
class EmbeddingInfo:
    """What must agree before two embeddings are compared: their width and their space."""

    n_dims: int
    space: Space | None
    """``None`` if nothing is recorded, as for other methods."""
    use_rep: str
    name: str
    """Name of the data in messages."""

    def require_space(self) -> Space:
        """The space; ``KeyError`` if none is recorded."""
        if self.space is None:
            name, key = self.name, self.use_rep
            raise KeyError(
                f"Neither {name}.uns[{RECORDS!r}][{key!r}] nor {name}.obs[{space_column(key)!r}] says which model made "
                f"{name}.obsm[{key!r}]. Keep what uc.tl.uce_embed writes there, or embed again with "
                f"uc.tl.uce_embed({name}, key_added={key!r})."
            )
        return self.space

    def check_comparable(self, other: EmbeddingInfo, *, check_space: bool = True) -> None:
        """Raise unless distances between the two embeddings mean something.

        ``check_space=False`` compares the widths alone, for embeddings of other methods. ``ValueError`` if they differ,
        ``KeyError`` if a space is not recorded.
        """
        if self.n_dims != other.n_dims:
            raise ValueError(
                f"obsm[{self.use_rep!r}] has {self.n_dims} columns in {self.name} and {other.n_dims} in {other.name}: "
                "they are not in one space. Embed both with the same model."
            )
        if not check_space:
            return
        try:
            mine, theirs = self.require_space(), other.require_space()
        except KeyError as error:  # no such hint when two models are on record
            hint = "If both are in one space, such as that of one scVI model, pass check_space=False."
            raise KeyError(f"{error.args[0]} {hint}") from error
        mine.check_same(theirs, self.use_rep)


def _parse_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):  # a cell without an embedding, or a column of the user
        return None
