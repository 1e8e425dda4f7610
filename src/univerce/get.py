"""Read results from an AnnData."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd

from univerce._validate import get_modality

if TYPE_CHECKING:
    from mudata import MuData

__all__ = ["table"]


def __dir__() -> list[str]:
    return __all__


def table(adata: ad.AnnData | MuData, key: str, *, mod: str | None = None) -> pd.DataFrame:
    """Return the table of a result, ``uns[key]["table"]``.

    Parameters
    ----------
    adata
        AnnData or MuData with results of :mod:`univerce.tl` or :mod:`univerce.bench`.
    key
        Key of the result in ``uns``, the ``key_added`` of the call.
    mod
        Modality with the result, if ``adata`` is a MuData.

    Returns
    -------
    A copy of the table.

    Raises
    ------
    KeyError
        If ``uns[key]`` has no table. The message lists the keys with a table.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_cycle"] = adata.obs[["S_score", "G2M_score"]].to_numpy()
    >>> scores = uc.tl.silhouette_by_type(adata, groupby="phase", use_reps="X_cycle")
    >>> uc.get.table(adata, "silhouette_by_type").equals(scores)
    True
    """
    adata = get_modality(adata, mod)
    tables = {
        name: entry["table"]
        for name, entry in adata.uns.items()
        if isinstance(entry, Mapping) and isinstance(entry.get("table"), pd.DataFrame)
    }
    if key not in tables:
        listed = ", ".join(map(repr, tables)) or "none"
        raise KeyError(f"adata.uns[{key!r}] has no table; keys with a table are: {listed}.")
    return tables[key].copy()
