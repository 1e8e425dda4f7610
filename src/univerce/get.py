"""Results read back from an AnnData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd

from univerce._validate import get_modality

if TYPE_CHECKING:
    from mudata import MuData

__all__ = ["table"]


def table(adata: ad.AnnData | MuData, key: str, *, mod: str | None = None) -> pd.DataFrame:
    """Table that an analysis wrote to ``uns[key]["table"]``.

    Parameters
    ----------
    adata
        AnnData or MuData that a function of :mod:`univerce.tl` or :mod:`univerce.bench` has written to.
    key
        Key of the result in ``uns``: the ``key_added`` of the analysis.
    mod
        Modality, if ``adata`` is a MuData.

    Returns
    -------
    A copy of the table.

    Raises
    ------
    KeyError
        If ``uns[key]`` holds no table. The message lists the keys that do.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> _ = uc.tl.silhouette_by_type(adata, groupby="cell_type")
    >>> uc.get.table(adata, "silhouette_by_type").columns.tolist()[:2]
    ['n_cells', 'X_uce']
    """
    adata = get_modality(adata, mod)
    entry = adata.uns.get(key)
    found = entry.get("table") if isinstance(entry, Mapping) else None
    if not isinstance(found, pd.DataFrame):
        tables = [
            k for k, v in adata.uns.items() if isinstance(v, Mapping) and isinstance(v.get("table"), pd.DataFrame)
        ]
        raise KeyError(
            f"adata.uns[{key!r}] holds no table; keys with a table are: {', '.join(map(repr, tables)) or 'none'}."
        )
    return found.copy()
