"""Two data sets in the form that each method takes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import get_layer
from univerce.bench._cache import data_digest
from univerce.bench._method import Method
from univerce.bench._runs import Run, run_method, shown
from univerce.embeddings.groups import shared_genes

BATCH: Final = "data_set"
LABELS: Final = "known_type"


@dataclass(frozen=True, eq=False)
class Sides:
    """A query and a reference."""

    query: ad.AnnData
    """With all of its genes."""
    reference: ad.AnnData
    joint: ad.AnnData | None
    """Both, the query first, on their shared genes, with the labels of the reference; None without shared genes."""
    n_shared: int

    @cached_property
    def digests(self) -> tuple[str, str, str]:
        """Of the three."""
        return tuple("" if a is None else data_digest(a) for a in (self.query, self.reference, self.joint))  # type: ignore[return-value]


def make_sides(
    query: ad.AnnData,
    reference: ad.AnnData,
    methods: Sequence[Method],
    *,
    labels: str,
    layer: str | None,
    gene_symbols: str | None,
) -> Sides:
    """Both alone, and both as one."""
    both = (query, reference)
    for adata, name in zip(both, ("query", "reference"), strict=True):
        if gene_symbols is not None and gene_symbols not in adata.var:
            found = ", ".join(map(repr, adata.var.columns)) or "none"
            raise KeyError(f"gene_symbols={gene_symbols!r} is not in {name}.var; its columns are: {found}.")
        if labels not in adata.obs:
            found = ", ".join(map(repr, adata.obs.columns)) or "none"
            raise KeyError(f"labels={labels!r} is not in {name}.obs; its columns are: {found}.")
    alone = [shown(a, get_layer(a, layer), methods) for a in both]
    for a in alone:
        a.obs = a.obs.drop(columns=labels)  # no method needs the labels of cells that it is not told
    genes = [a.var_names if gene_symbols is None else a.var[gene_symbols] for a in both]
    columns = shared_genes(*genes)
    if len(columns[0]) == 0:
        return Sides(alone[0], alone[1], None, 0)
    x = sp.vstack([sp.csr_matrix(a.X)[:, c] for a, c in zip(alone, columns, strict=True)], format="csr")
    names = [f"{name} {cell}" for a, name in zip(both, ("query", "reference"), strict=True) for cell in a.obs_names]
    obs = pd.DataFrame(index=pd.Index(names))
    obs[BATCH] = np.repeat(["query", "reference"], [query.n_obs, reference.n_obs])
    taught = reference.obs[labels].astype(object)
    obs[LABELS] = pd.Categorical([*[None] * query.n_obs, *taught.where(taught.notna(), None)])
    var = pd.DataFrame(index=pd.Index(np.asarray(genes[1])[columns[1]].astype(str)))
    return Sides(alone[0], alone[1], ad.AnnData(x, obs=obs, var=var), len(columns[0]))


def embed_sides(method: Method, sides: Sides, *, seed: int, cache: Path | None) -> Run:
    """Embed the query and, below it, the reference."""
    common: dict[str, Any] = {"seed": seed, "cache": cache}
    if method.own_genes or method.stored:
        parts = [
            run_method(method, data, digest=digest, batch=None, labels=None, **common)
            for data, digest in zip((sides.query, sides.reference), sides.digests[:2], strict=True)
        ]
        failed = next((p for p in parts if p.embedding is None), None)
        if failed is not None:
            return failed
        widths = [p.values.shape[1] for p in parts]
        if widths[0] != widths[1]:
            reason = f"{widths[0]} columns in the query and {widths[1]} in the reference are not one space."
            return dataclasses.replace(parts[0], embedding=None, reason=reason)
        return dataclasses.replace(
            parts[0], embedding=np.concatenate([p.embedding for p in parts]), seconds=sum(p.seconds for p in parts),
            peak_mb=max(p.peak_mb for p in parts), cached=all(p.cached for p in parts),
        )  # fmt: skip
    if sides.joint is None:
        return Run(method, seed, None, reason="query and reference share no gene by name")
    takes = inspect.signature(method.embed).parameters
    also = {"reference": ["reference"]} if "reference" in takes and "reference" not in method.options else {}
    return run_method(method, sides.joint, digest=sides.digests[2], batch=BATCH, labels=LABELS, also=also, **common)
