"""The space of an embedding: what made it, and whether two embeddings may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

_REQUIRED = frozenset({"model", "model_digest", "table_digest"})


@dataclass(frozen=True)
class Space:
    """What made an embedding, as recorded in ``uns[use_rep]["params"]``.

    Two embeddings lie in one space when one model made both, from the same gene table of every species that they share.
    Seed, sampling, padding and precision add noise and do not change the space.
    """

    model: str
    model_digest: str
    species: tuple[str, ...]
    table_digest: Mapping[str, str]
    """Digest of the gene table of each species."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else is recorded: seed, sampling, precision, coverage, version."""

    @classmethod
    def find(cls, uns: Mapping[str, Any], use_rep: str) -> Self | None:
        """The space recorded of ``use_rep``; ``None`` when no model is on record."""
        entry = uns.get(use_rep)
        params = entry.get("params") if isinstance(entry, Mapping) else None
        if not isinstance(params, Mapping) or not set(params) >= _REQUIRED:
            return None
        digests = {str(k): str(v) for k, v in params["table_digest"].items()}
        return cls(
            model=str(params["model"]),
            model_digest=str(params["model_digest"]),
            species=tuple(map(str, np.atleast_1d(params.get("species", sorted(digests))))),
            table_digest=digests,
            details={k: v for k, v in params.items() if k not in _REQUIRED | {"species"}},
        )

    def to_uns(self) -> dict[str, Any]:
        """What ``uns[use_rep]`` holds."""
        own = {
            "model": self.model,
            "model_digest": self.model_digest,
            "species": list(self.species),
            "table_digest": dict(self.table_digest),
        }
        return {"params": own | dict(self.details)}

    def without_details(self) -> Self:
        """The model and its gene tables alone."""
        return replace(self, details={})

    def join(self, other: Self) -> Self:
        """The space of the cells of both."""
        return replace(
            self,
            species=tuple(sorted({*self.species, *other.species})),
            table_digest={**self.table_digest, **other.table_digest},
        )

    def check_same(self, other: Self, use_rep: str) -> None:
        """Raise ``ValueError`` unless both are one space."""
        if self.model_digest != other.model_digest:
            raise ValueError(
                f"The embeddings in obsm[{use_rep!r}] are of two models, {self} and {other}: their distances mean "
                "nothing. Embed one of the two again with the model= of the other."
            )
        shared = sorted(set(self.table_digest) & set(other.table_digest))
        if differ := [name for name in shared if self.table_digest[name] != other.table_digest[name]]:
            raise ValueError(
                f"The embeddings in obsm[{use_rep!r}] (models {self} and {other}) were made with two gene tables of "
                f"{', '.join(differ)}. Embed one of the two again with the table of the other, see "
                "univerce.genes.load_table."
            )

    def __str__(self) -> str:
        return f"{self.model!r} ({self.model_digest[:12]})"


def require_space(space: Space | None, use_rep: str, *, name: str) -> Space:
    """The space; ``KeyError`` when none is recorded."""
    if space is None:
        raise KeyError(
            f"{name}.uns[{use_rep!r}]['params'] does not say which model made {name}.obsm[{use_rep!r}]. Keep what "
            f"uc.tl.uce_embed writes there, or embed again with uc.tl.uce_embed({name}, key_added={use_rep!r})."
        )
    return space


def recorded_params(adata: Any, name: str, key: str) -> Mapping[str, Any]:
    """What was recorded of an embedding."""
    if key not in adata.obsm:
        raise KeyError(
            f"{name}.obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}. Embed "
            f"the cells with uc.tl.uce_embed({name}, key_added={key!r}), or pass use_rep=."
        )
    return require_space(Space.find(adata.uns, key), key, name=name).to_uns()["params"]
