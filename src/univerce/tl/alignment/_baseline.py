"""Baseline of an embedding: log-normalized expression, or another embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np

from univerce._settings import logger
from univerce._validate import check_column
from univerce.embeddings.groups import LOGNORM, Groups, has_counts, lognorm_means, shared_genes

_FEW_GENES = 0.1


@dataclass(frozen=True)
class Baseline:
    """Another embedding in ``obsm``, or log-normalized expression; by default there is no baseline."""

    use_rep: str | None = None
    lognorm: bool = False
    layer: str | None = None  # None is X
    gene_key: str | None = None  # None is var_names

    @classmethod
    def parse(cls, baseline: str | Mapping[str, str] | None, use_rep: str, options: Sequence[str]) -> Baseline:
        """Read the argument ``baseline``, a mapping of which may have the ``options``."""
        if baseline == use_rep:
            raise ValueError(f"baseline={baseline!r} is the embedding itself; pass another representation or None.")
        if isinstance(baseline, Mapping):
            if unknown := [name for name in baseline if name not in options]:
                raise ValueError(f"baseline= has no option {unknown[0]!r}; its options are: {', '.join(options)}.")
            return cls(lognorm=True, **baseline)
        return cls(lognorm=True) if baseline == LOGNORM else cls(use_rep=baseline)

    @property
    def name(self) -> str:
        """Name of the representation in tables."""
        return LOGNORM if self.lognorm else str(self.use_rep)

    def expression_means(
        self, data: Sequence[ad.AnnData], groups: Sequence[Groups], names: Sequence[str]
    ) -> tuple[list[np.ndarray], int] | None:
        """Centroids of each data set on shared genes, and the number of genes; ``None`` if a data set has no counts."""
        if missing := [name for a, name in zip(data, names, strict=True) if not has_counts(a, self.layer)]:
            logger.info("No baseline: %s without expression.", " and ".join(missing))
            return None
        columns = [np.arange(a.n_vars) for a in data] if len(data) == 1 else self._shared_columns(data, names)
        parts = zip(data, columns, groups, names, strict=True)
        return [lognorm_means(a, self.layer, c, g, n) for a, c, g, n in parts], len(columns[0])

    def _shared_columns(self, data: Sequence[ad.AnnData], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        key = self.gene_key
        for adata, name in zip(data, names, strict=True):
            check_column("gene_key", key, adata.var, f"{name}.var")
        mine, theirs = (a.var_names if key is None else a.var[key] for a in data)
        columns = shared_genes(mine, theirs)
        fix = 'Pass baseline={"gene_key": ...} with a column of var that holds symbols'
        if len(columns[0]) == 0:
            raise ValueError(
                f"baseline={LOGNORM!r} needs shared genes; their names are {list(mine[:3])} and {list(theirs[:3])}. "
                f"{fix}, or baseline=None."
            )
        least = min(len(mine), len(theirs))
        if len(columns[0]) < _FEW_GENES * least:
            logger.warning(
                "The baseline uses %s shared genes, of %s in the smaller data set; they may match by chance. %s.",
                f"{len(columns[0]):,}", f"{least:,}", fix,
            )  # fmt: skip
        return columns
