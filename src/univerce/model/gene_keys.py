"""Keys of genes: names under which genes of different species share what a linear model learned."""

from __future__ import annotations

import re
from collections.abc import Container

import anndata as ad
import numpy as np

# Fish have two copies of many mammalian genes (sox9a, hbaa1.2), worms a hyphen (rpl-3).
_VARIANTS = tuple(map(re.compile, (r"-", r"[AB]$", r"\.\d+$", r"[AB]\.\d+$", r"[AB]\d*$")))


def gene_keys(table: ad.AnnData, known: Container[str]) -> list[str]:
    """Key of every gene of a table: its symbol in upper case, else its identifier.

    A key that is not ``known`` loses its hyphen or the suffix of a duplicated gene, if the rest is known.
    """
    symbols = table.obs["symbol"].astype(str)
    names = np.where(symbols != "", symbols, table.obs["ensembl_id"].astype(str))
    return [_known(str(name).upper(), known) for name in names]


def _known(key: str, known: Container[str]) -> str:
    if key in known:
        return key
    variants = (pattern.sub("", key) for pattern in _VARIANTS)
    return next((variant for variant in variants if variant in known), key)
