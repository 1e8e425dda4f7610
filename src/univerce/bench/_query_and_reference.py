"""Query and reference in the form that each method takes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_column
from univerce.bench._cache import data_digest
from univerce.bench._expression import get_counts
from univerce.bench._method import Method
from univerce.bench._runs import Run, run_method, visible
from univerce.embeddings.groups import shared_genes

BATCH: Final = "data_set"
LABELS: Final = "known_type"


@dataclass(frozen=True, eq=False)
class Sides:
    """A query and a reference, each with all genes, and both on their shared genes."""

    query: ad.AnnData
    reference: ad.AnnData
    joint: ad.AnnData | None
    """The query first, with the labels of the reference; None without shared genes."""

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Of query, reference and both."""
        return tuple("" if a is None else data_digest(a) for a in (self.query, self.reference, self.joint))


def make_sides(
    query: ad.AnnData,
    reference: ad.AnnData,
    methods: Sequence[Method],
    *,
    groupby: str,
    layer: str | None,
    gene_key: str | None,
) -> Sides:
    """Separate and joint data, without the labels of the query."""
    for name, adata in (("adata", query), ("reference", reference)):
        for option, key, slot in (("groupby", groupby, "obs"), ("gene_key", gene_key, "var")):
            check_column(option, key, getattr(adata, slot), f"{name}.{slot}")
    counts = get_counts(query, layer, name="adata"), get_counts(reference, layer, name="reference")
    alone = visible(query, counts[0], methods), visible(reference, counts[1], methods)
    for a in alone:
        a.obs = a.obs.drop(columns=groupby)
    genes = [a.var_names if gene_key is None else a.var[gene_key] for a in alone]
    shared = shared_genes(*genes)
    if len(shared[0]) == 0:
        return Sides(*alone, None)
    x = sp.vstack([sp.csr_matrix(a.X)[:, c] for a, c in zip(alone, shared, strict=True)], format="csr")
    obs = pd.DataFrame({BATCH: np.repeat(["query", "reference"], [a.n_obs for a in alone])})
    obs.index = obs[BATCH] + " " + np.concatenate([a.obs_names for a in alone])
    labels = reference.obs[groupby].astype(object)
    obs[LABELS] = pd.Categorical([*[None] * query.n_obs, *labels.where(labels.notna(), None)])
    obs.index.name = None
    var = pd.DataFrame(index=pd.Index(np.asarray(genes[1])[shared[1]].astype(str)))
    return Sides(*alone, ad.AnnData(x, obs=obs, var=var))


def embed_sides(method: Method, sides: Sides, *, seed: int, cache: Path | None = None) -> Run:
    """Embed the query and, below it, the reference."""
    embed = partial(run_method, method, seed=seed, cache=cache)
    if not (method.own_genes or method.stored):
        if sides.joint is None:
            return Run(method, seed, None, reason="query and reference share no gene by name")
        takes = inspect.signature(method.embed).parameters
        more: dict[str, Any] = {}
        if "reference" in takes and "reference" not in method.options:
            more["reference"] = ["reference"]
        return embed(sides.joint, digest=sides.digests[2], batch_key=BATCH, groupby=LABELS, **more)
    parts = [
        embed(data, digest=digest, batch_key=None, groupby=None)
        for data, digest in zip((sides.query, sides.reference), sides.digests[:2], strict=True)
    ]
    if failed := [part for part in parts if part.embedding is None]:
        return failed[0]
    widths = [part.values.shape[1] for part in parts]
    if widths[0] != widths[1]:
        reason = f"{widths[0]} columns in the query and {widths[1]} in the reference are different spaces."
        return dataclasses.replace(parts[0], embedding=None, reason=reason)
    return dataclasses.replace(
        parts[0], embedding=np.concatenate([part.values for part in parts]), cached=all(p.cached for p in parts),
        seconds=sum(part.seconds for part in parts), peak_mb=max(part.peak_mb for part in parts),
    )  # fmt: skip
