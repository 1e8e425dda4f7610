"""Check that two embeddings may be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad

from univerce._keys import X_UCE
from univerce._validate import get_modalities
from univerce.embeddings.cells import Cells

if TYPE_CHECKING:
    from mudata import MuData


def check_same_space(
    adata: ad.AnnData | MuData, other: ad.AnnData | MuData, *, mod: str | None = None, use_rep: str = X_UCE
) -> None:
    """Check that two embeddings share a space, and raise an error if not.

    Embeddings share a space if they come from the same model and, for every shared species, from the same gene table.
    Seed, sampling, padding and precision may differ. The check reads the records of :func:`univerce.tl.uce_embed`, not
    the values.

    Parameters
    ----------
    adata, other
        AnnData that :func:`univerce.tl.uce_embed` has written to.
    mod
        Modality to use of each input that is a MuData.
    use_rep
        Key of the embedding in ``obsm`` of both.

    Raises
    ------
    ValueError
        If the models differ, or the gene tables of a shared species, also within one of the two.
    KeyError
        If either has no ``obsm[use_rep]`` or no record of its model.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:6].copy()
    >>> uc.tl.uce_embed(adata)
    >>> uc.tl.check_same_space(adata[:3], adata[3:])
    >>> other = adata.copy()
    >>> uc.tl.uce_embed(other, model="uce-tiny")
    >>> uc.tl.check_same_space(adata, other)
    Traceback (most recent call last):
    ValueError: The embeddings in obsm['X_uce'] come from two models, 'uce-mini' (...) and 'uce-tiny' (...): ...
    """
    adata, other = get_modalities(mod, adata, other)
    spaces = [Cells.read(a, use_rep, name=n).require_space() for a, n in ((adata, "adata"), (other, "other"))]
    spaces[0].check_same(spaces[1], use_rep)
