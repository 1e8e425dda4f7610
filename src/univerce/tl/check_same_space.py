"""May two embeddings be compared?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anndata as ad

from univerce._keys import X_UCE
from univerce._validate import get_modalities
from univerce.tl._recorded import recorded_params

if TYPE_CHECKING:
    from mudata import MuData


def check_same_space(
    adata: ad.AnnData | MuData, other: ad.AnnData | MuData, *, mod: str | None = None, use_rep: str = X_UCE
) -> None:
    """Raise unless the embeddings of two AnnData lie in one space.

    They do when one model made both, from the same gene table of every species that they share. Seed, sampling,
    padding and precision may differ: they add noise and do not change the space. Only what
    :func:`univerce.tl.uce_embed` recorded is read, never the values.

    Parameters
    ----------
    adata, other
        AnnData that :func:`univerce.tl.uce_embed` has written to.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm`` and of its parameters in ``uns``, in both.

    Returns
    -------
    ``None``.

    Raises
    ------
    ValueError
        When the models differ, or the gene tables of a species that both hold.
    KeyError
        When either has no ``obsm[use_rep]`` or no ``uns[use_rep]["params"]``.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:6].copy()
    >>> uc.tl.uce_embed(adata, progress=False)
    >>> uc.tl.check_same_space(adata[:3], adata[3:])
    >>> other = adata.copy()
    >>> other.uns["X_uce"]["params"] |= {"model": "uce-4l", "model_digest": "another"}
    >>> uc.tl.check_same_space(adata, other)
    Traceback (most recent call last):
    ValueError: The embeddings in obsm['X_uce'] are of two models, 'uce-mini' (...) and 'uce-4l' (another): ...
    """
    adata, other = get_modalities(mod, adata, other)
    compare_spaces(adata, other, use_rep, ("adata", "other"))


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
