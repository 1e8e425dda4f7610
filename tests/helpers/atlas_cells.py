"""Small labeled cells with an embedding, and without."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from tests.helpers.tiny import tiny_cells

PARAMS = {"model": "m", "model_digest": "d", "table_digest": {"human": "t"}, "species": ["human"]}
TYPES = ("B cell", "T cell", "macrophage")


def embedded(n: int = 40, seed: int = 0, *, counts: bool = False, **params) -> ad.AnnData:
    """Cells with a random embedding; with counts from 150 to 250 when they have any."""
    rng = np.random.default_rng([5, seed])
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(TYPES, n)),
            "tissue": rng.choice(["lung", "liver"], n),
            "donor": rng.integers(1, 4, n),
        },
        index=[f"cell {i}" for i in range(n)],
    )
    X = sp.csr_matrix(rng.multinomial(1, [0.2] * 5, n) * rng.integers(150, 251, (n, 1))) if counts else None
    adata = ad.AnnData(X, obs=obs, obsm={"X_uce": rng.normal(size=(n, 6)).astype(np.float32)})
    adata.uns["univerce"] = {"X_uce": PARAMS | params}
    return adata


def counted(species: str = "human", n: int = 30, **options) -> ad.AnnData:
    """Cells with counts that are not embedded."""
    adata = tiny_cells(species, n, **options)
    adata.obs["cell_type"] = [TYPES[i % 3] for i in range(n)]
    return adata
