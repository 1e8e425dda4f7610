"""Variables that are not genes, by the feature types of 10x matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from univerce._validate import get_column
from univerce.genes.spellings import clean_names

_COLUMNS = ("feature_types", "feature_type")
_GENES = {"gene expression", "gex"}
_OTHERS = {
    "antibody capture", "antigen capture", "crispr guide capture", "multiplexing capture", "custom", "peaks", "adt",
    "hto", "atac",
}  # fmt: skip


def other_features(var: pd.DataFrame) -> np.ndarray:
    """Find the variables that are not genes: ``[n_vars]`` their feature type, ``""`` for genes.

    Beside "Gene Expression" every other type is none; without it the types that are known. CELLxGENE keeps biotypes of
    genes in ``feature_type``.
    """
    found = np.full(len(var.index), "", dtype=object)
    for column in _COLUMNS:
        if column in var:
            types = np.array(clean_names(get_column(var, column, name="adata.var")), dtype=object)
            lower = np.array([name.lower() for name in types], dtype=object)
            genes = np.isin(lower, list(_GENES))
            others = ~genes & (lower != "") if genes.any() else np.isin(lower, list(_OTHERS))
            found[others] = types[others]
    return found
