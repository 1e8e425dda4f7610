"""The space of an embedding: what is recorded of it, and whether two are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anndata as ad

if TYPE_CHECKING:
    pass


def compare_spaces(adata: ad.AnnData, other: ad.AnnData, use_rep: str, names: tuple[str, str]) -> None:
    """As :func:`check_same_space`, with the names that messages give the two."""
    mine, theirs = recorded_params(adata, names[0], use_rep), recorded_params(other, names[1], use_rep)
    if mine["model_digest"] != theirs["model_digest"]:
        raise ValueError(
            f"The embeddings in obsm[{use_rep!r}] are of two models, {_name(mine)} and {_name(theirs)}: their "
            "distances mean nothing. Embed one of the two anew with the model= of the other."
        )
    digests, others = mine["table_digest"], theirs["table_digest"]
    differ = [species for species in sorted(set(digests) & set(others)) if digests[species] != others[species]]
    if differ:
        raise ValueError(
            f"The embeddings in obsm[{use_rep!r}] (models {_name(mine)} and {_name(theirs)}) were made with two gene "
            f"tables of {', '.join(differ)}. Embed one of the two anew with the table of the other, see "
            "univerce.genes.load_table."
        )


def _name(params: Mapping[str, Any]) -> str:
    return f"{str(params['model'])!r} ({str(params['model_digest'])[:12]})"


def recorded_params(adata: ad.AnnData, name: str, key: str) -> Mapping[str, Any]:
    """What was recorded of an embedding."""
    if key not in adata.obsm:
        raise KeyError(
            f"{name}.obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}. Embed "
            f"the cells with uc.tl.uce_embed({name}, key_added={key!r}), or pass use_rep=."
        )
    entry = adata.uns.get(key)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or not {"model", "model_digest", "table_digest"} <= set(params):
        raise KeyError(
            f"{name}.uns[{key!r}]['params'] does not say which model made {name}.obsm[{key!r}]. Keep what "
            f"uc.tl.uce_embed writes there, or embed again with uc.tl.uce_embed({name}, key_added={key!r})."
        )
    return params
