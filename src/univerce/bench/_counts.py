"""The counts that methods get."""

from __future__ import annotations

from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce._validate import check_counts, counts_elsewhere, get_layer, layer_name
from univerce.io.blocks import iter_blocks

_BLOCK_ROWS = 8192


def get_counts(adata: ad.AnnData, layer: str | None, *, name: str = "") -> Any:
    """Read the counts into memory, from a file or a dask array too; ``ValueError`` if they are not counts."""
    x = get_layer(adata, layer)
    if not (isinstance(x, np.ndarray) or sp.issparse(x)) or x.dtype == np.float16:  # scipy has no float16
        x = sp.vstack([block for _, block in iter_blocks(x, _BLOCK_ROWS)], format="csr")
    where = f"{name}: {layer_name(layer)}" if name else layer_name(layer)
    check_counts(x, where=where, fix=partial(counts_elsewhere, adata, layer, raw=False))
    return x
