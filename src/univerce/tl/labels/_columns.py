"""Columns of ``obs`` and colors that a label transfer writes."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import UNKNOWN
from univerce.tl.labels._ancestors import Ancestors
from univerce.tl.labels._predictions import Predictions

_UNKNOWN_COLOR = "#d3d3d3"
_SEPARATOR = " | "


def check_separable(labels: pd.Index) -> None:
    """Raise ``ValueError`` if a set of labels could be read in two ways."""
    for label in labels:
        if _SEPARATOR.join(["", label, ""]).split(_SEPARATOR) != ["", label, ""]:
            raise ValueError(
                f"label_set= separates labels by {_SEPARATOR!r}, which the label {label!r} of the reference holds, or "
                "would next to another. Rename it in the reference."
            )


def write(adata: ad.AnnData, key: str, found: Predictions, classes: pd.DataFrame, ancestors: Ancestors) -> None:
    """Write the columns of ``obs`` and the colors; ``classes`` holds the color of each class."""
    names = list(classes.index)
    labels = list(dict.fromkeys([*names, *sorted(ancestors.names), UNKNOWN]))
    position = {name: i for i, name in enumerate(labels)}
    of_term = np.array([position[name] for name in ancestors.names] + [position[UNKNOWN]])  # the last is for none
    codes = np.where(found.label >= 0, found.label, of_term[found.term])
    codes[found.best < 0] = -1
    adata.obs[key] = written = _categorical(codes, labels)
    adata.obs[f"{key}_confidence"] = found.confidence
    adata.obs[f"{key}_best"] = _categorical(found.best, names)
    adata.obs[f"{key}_second"] = _categorical(found.second, names)
    adata.obs[f"{key}_novelty"] = found.novelty
    if any(ancestors.class_ids):
        id_of = np.array([*ancestors.class_ids, *ancestors.terms, UNKNOWN], dtype=object)
        id_of[id_of == ""] = UNKNOWN
        which = np.where(found.term >= 0, len(names) + found.term, found.label)
        adata.obs[f"{key}_ontology_term_id"] = pd.Categorical(id_of[which])
    if found.sets.shape[1]:
        _write_sets(adata, key, found, names)
    adata.uns.pop(f"{key}_colors", None)
    if all(classes["color"]):
        colors = _colors(classes["color"], ancestors)
        adata.uns[f"{key}_colors"] = [colors[name] for name in written.categories]


def _write_sets(adata: ad.AnnData, key: str, found: Predictions, names: list[str]) -> None:
    packed, which = np.unique(found.sets, axis=0, return_inverse=True)
    sets = np.unpackbits(packed, axis=1, count=len(names)).astype(bool)
    texts = pd.Index([_SEPARATOR.join(name for name, inside in zip(names, row, strict=True) if inside) for row in sets])
    which = np.where(found.best < 0, -1, which.ravel())
    adata.obs[f"{key}_set"] = pd.Categorical.from_codes(which, categories=texts).remove_unused_categories()
    adata.obs[f"{key}_set_size"] = np.append(sets.sum(axis=1), 0)[which].astype(np.int32)


def _categorical(codes: np.ndarray, names: list[str]) -> Any:
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(names)).remove_unused_categories()


def _colors(of_class: pd.Series, ancestors: Ancestors) -> dict[str, str]:
    """Hexadecimal color of each label; an ancestor has the mean color of its classes."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.array([to_rgb(color) for color in of_class])
    colors = dict(zip(of_class.index, map(to_hex, rgb), strict=True)) | {UNKNOWN: _UNKNOWN_COLOR}
    for name, members in zip(ancestors.names, ancestors.members.T, strict=True):
        colors.setdefault(name, to_hex(rgb[members].mean(axis=0)))
    return colors
