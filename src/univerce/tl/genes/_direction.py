"""Directions in the embedding: a vector, or toward the cells with a label."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.labels import get_labels, given_labels

ALL = "all"


def labels_or_all(adata: ad.AnnData, groupby: str | None) -> Any:
    """Labels of the cells, or one group of all cells."""
    return pd.Categorical([ALL] * adata.n_obs) if groupby is None else get_labels(adata.obs, groupby)


def check_direction(name: str, value: Any, groups: pd.Categorical, groupby: str | None, n_dims: int) -> None:
    """Raise ``ValueError`` unless the argument ``name`` is a label of ``groupby`` or a vector ``[n_dims]``."""
    if isinstance(value, str):
        if groupby is None:
            raise ValueError(f"{name}={value!r} is a label. Pass its column of obs as groupby=.")
        if value not in groups.categories:
            labels = ", ".join(map(repr, groups.categories[:20]))
            raise ValueError(f"{name}={value!r} is not a label of obs[{groupby!r}]; its labels are {labels}.")
        return
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (n_dims,) or not np.isfinite(vector).all() or not vector.any():
        raise ValueError(
            f"{name} must be a label or a finite vector of {n_dims} numbers, not all zero; its shape is {vector.shape}."
        )


def as_direction(value: Any) -> Any:
    """A label as text, a vector as it is."""
    return given_labels(value)[0] if np.ndim(value) == 0 else value


def unit_vector(value: Any, groups: pd.Categorical, embedding: np.ndarray, *, contrast: bool) -> np.ndarray:
    """``[n_dims]`` unit vector of a direction: a vector, or toward the centroid of the cells with a label.

    With ``contrast`` the direction of a label is its centroid minus the centroid of all other cells. ``ValueError`` if
    these cells have no ``embedding``.
    """
    if isinstance(value, str):
        known = ~np.isnan(embedding[:, 0])
        mine, others = known & np.asarray(groups == value), known & np.asarray(groups != value)
        if not mine.any() or (contrast and not others.any()):
            raise ValueError(
                f"{int(mine.sum())} cells with counts have the label {value!r} and {int(others.sum())} do not. A "
                f"direction requires {'both' if contrast else 'some with the label'}."
            )
        value = embedding[mine].mean(axis=0) - (embedding[others].mean(axis=0) if contrast else 0)
    vector = np.asarray(value, dtype=np.float64)
    return np.asarray(vector / np.linalg.norm(vector))
