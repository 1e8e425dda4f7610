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
        self._names = np.concatenate([_names(t, base) for t, base in zip(unique.values(), bases, strict=False)])

    def mean_by_name(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Average the known values ``[n_tokens]`` over the species that have a gene of the same name; 0 if none is."""
        _, name = np.unique(self._names, return_inverse=True)
        total, count = np.bincount(name, values * known), np.bincount(name, known)
        return np.divide(total, count, out=np.zeros_like(total), where=count > 0)[name]


def digest(table: ad.AnnData) -> str:
    """Digest of a gene table."""
    return str(gene_table_info(table)["digest"])


def _features(table: ad.AnnData) -> np.ndarray:
    parts = (table.uns["special_features"], table.X[:], table.uns["chromosome_features"])
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])


def _names(table: ad.AnnData, base: int) -> np.ndarray:
    """Symbol of each token, or its identifier, in upper case; special tokens and chromosomes have unique names."""
    symbol = table.obs["symbol"].astype(str)
    names = symbol.where(symbol != "", table.obs["ensembl_id"].astype(str)).str.upper().to_numpy(dtype=str)
    others = [f"token {base + k}" for k in range(N_SPECIAL + len(table.uns["chromosome_codes"]))]
    return np.concatenate([others[:N_SPECIAL], names, others[N_SPECIAL:]])
