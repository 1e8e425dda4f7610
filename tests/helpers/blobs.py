"""Labeled Gaussian clusters as embeddings."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

PARAMS = {"model": "toy", "model_digest": "abc", "species": ["human"], "table_digest": {"human": "xyz"}}


def blobs(
    sizes: dict[str, int],
    *,
    seed: int = 0,
    n_dims: int = 8,
    spread: float = 1.0,
    n_batches: int = 3,
    shift: float = 0.3,
) -> ad.AnnData:
    """Cells of each type around a center that depends only on the name of the type.

    ``obs`` has ``type`` and ``batch`` (batches are shifted), ``obsm["X_toy"]`` the points and ``uns["univerce"]`` a
    record of their space.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(list(sizes), list(sizes.values())))
    center = {name: np.random.default_rng(list(name.encode())).normal(size=n_dims) for name in sizes}
    batch = rng.integers(n_batches, size=len(labels))
    points = np.array([center[name] for name in labels]) + shift * rng.normal(size=(n_batches, n_dims))[batch]
    points += spread * rng.normal(size=points.shape)
    obs = pd.DataFrame(
        {"type": pd.Categorical(labels, categories=list(sizes)), "batch": [f"b{b}" for b in batch]},
        index=[f"cell {seed}-{i}" for i in range(len(labels))],
    )
    return ad.AnnData(obs=obs, obsm={"X_toy": points.astype(np.float32)}, uns={"univerce": {"X_toy": dict(PARAMS)}})


class OneScale(TransformerMixin, BaseEstimator):
    """Center the columns and scale all of them to a mean variance of one."""

    def fit(self, x, y=None):
        self.mean_, self.scale_ = np.mean(x, axis=0), np.sqrt(np.mean(np.var(x, axis=0)))
        return self

    def transform(self, x):
        return (x - self.mean_) / self.scale_
