"""The tokens of several gene tables, numbered through."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np

from univerce.genes.table import N_SPECIAL, chromosome_index, gene_table_info
from univerce.inference.sentences import GenomeOrder


class Vocabulary:
    """The tokens of several gene tables; each brings its special tokens, genes and chromosomes, copies only once."""

    def __init__(self, tables: Sequence[ad.AnnData]) -> None:
        unique: dict[str, ad.AnnData] = {}
        for table in tables:
            unique.setdefault(digest(table), table)
        sizes = [N_SPECIAL + t.n_obs + len(t.uns["chromosome_codes"]) for t in unique.values()]
        bases = np.cumsum([0, *sizes]).tolist()
        self.base = dict(zip(unique, bases, strict=False))
        """First token of each table, by digest."""
        self.order = {d: GenomeOrder.build(chromosome_index(t), t.obs["start"].to_numpy()) for d, t in unique.items()}
        """Genome order of each table, by digest."""
        self.features = np.concatenate([_features(t) for t in unique.values()])
        """``[n_tokens, token_dim]``."""


def digest(table: ad.AnnData) -> str:
    """Digest of a gene table."""
    return str(gene_table_info(table)["digest"])


def _features(table: ad.AnnData) -> np.ndarray:
    parts = (table.uns["special_features"], table.X[:], table.uns["chromosome_features"])
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])
