"""All that a configuration asks for, one data set and one pair after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.campaign.config import Config, DataEntry, TransferEntry
from univerce._validate import get_layer
from univerce.bench import Method, degrade, run, run_transfer
from univerce.embeddings.labels import get_labels, given_labels

TYPES = "benchmark_type"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one data set, or of one pair."""

    name: str
    adata: ad.AnnData
    """The data, or the query, with everything in ``obsm`` and ``uns``."""
    key: str
    """In ``uns``."""
    batch_key: str | None = None
    reference: str = ""
    query: str = ""


def run_config(config: Config, report: Callable[[str], None] = lambda _: None) -> list[Outcome]:
    """Run everything; what is cached is read."""
    outcomes = []
    for entry in config.data:
        for features, how in product(config.features, ("", *config.degrade)) if entry.score else ():
            adata, layer = _read(entry), entry.layer
            if how:
                adata, layer = degrade(adata, how, groupby=entry.groupby, layer=layer), None
            report(f"{entry.name}: {adata.n_obs:,} cells, {adata.n_vars:,} genes, features={features} {how}")
            run(
                adata, groupby=entry.groupby, batch_key=entry.batch_key, layer=layer, methods=config.methods,
                features=features, seeds=config.seeds, min_cells=config.min_cells, cache=config.cache,
            )  # fmt: skip
            if config.umap:
                add_umaps(adata)
            suffix = "" if features == "all" else ", 2,000 variable genes"
            suffix += f", {how.replace('_', ' ')}" if how else ""
            outcomes.append(Outcome(f"{entry.name}{suffix}", adata, "benchmark", batch_key=entry.batch_key))
    for transfer in config.transfers:
        by_name = {entry.name: entry for entry in config.data}
        entries = [by_name[name] for name in (transfer.query, transfer.reference)]
        sides = [_side(entry) for entry in entries]
        _rename_types(sides, transfer)
        query, reference = (side[side.obs[TYPES].notna()].copy() for side in sides)
        report(f"{transfer.name}: {reference.n_obs:,} reference cells, {query.n_obs:,} query cells")
        methods = [m for m in config.methods if _takes_part(m, transfer)]
        symbols = {by_name[name].gene_key for name in (transfer.query, transfer.reference)}
        if len(symbols) > 1:
            raise ValueError(f"The transfer {transfer.name!r} needs one gene_key for both data sets, not {symbols}.")
        run_transfer(
            query, reference, groupby=TYPES, donor_key=by_name[transfer.query].batch_key, methods=methods,
            gene_key=symbols.pop(), seeds=config.seeds, min_cells=config.min_cells, cache=config.cache,
        )  # fmt: skip
        outcomes.append(
            Outcome(transfer.name, query, "benchmark_transfer", reference=transfer.reference, query=transfer.query)
        )
    return outcomes


def _takes_part(method: Method, transfer: TransferEntry) -> bool:
    """Of the controls only random numbers mean something where the types of the query are hidden."""
    if transfer.methods is not None:
        return method.name in transfer.methods
    return not method.control or method.name == "random"


def _read(entry: DataEntry) -> ad.AnnData:
    return ad.read_zarr(entry.path) if entry.path.is_dir() else ad.read_h5ad(entry.path)


def _side(entry: DataEntry) -> ad.AnnData:
    """The data with counts in ``X`` and labels in ``obs[TYPES]``."""
    adata = _read(entry)
    adata.X = get_layer(adata, entry.layer)
    adata.obs[TYPES] = get_labels(adata.obs, entry.groupby, name=entry.name)
    return adata


def _rename_types(sides: Sequence[ad.AnnData], transfer: TransferEntry) -> None:
    """Labels to the coarse types of a transfer; labels without one are missing."""
    if transfer.types is None:
        return
    coarse = {label: name for name, members in transfer.types.items() for label in given_labels(members)}
    known = sorted({label for side in sides for label in side.obs[TYPES].cat.categories})
    if unknown := [label for label in coarse if label not in known]:
        raise ValueError(
            f"[transfer.types] of {transfer.name!r} names {unknown[0]!r}, which neither data set has; their labels are "
            f"{', '.join(map(repr, known[:20]))}."
        )
    for side in sides:
        side.obs[TYPES] = pd.Categorical(side.obs[TYPES].astype(object).map(coarse))


def add_umaps(adata: ad.AnnData) -> None:
    """``obsm["umap METHOD"]`` of the first run of each method; NaN for cells without an embedding."""
    import scanpy as sc

    runs = adata.uns["benchmark"]["runs"]
    done = runs[(runs["status"] == "done") & ~runs["control"]].drop_duplicates("method")
    for name, key in zip(done["method"], done["obsm"], strict=True):
        known = np.isfinite(adata.obsm[key]).all(axis=1)
        shell = ad.AnnData(adata.obsm[key][known], obs=pd.DataFrame(index=adata.obs_names[known]))
        sc.pp.neighbors(shell, use_rep="X", n_neighbors=15, random_state=0)
        sc.tl.umap(shell, random_state=0)
        out = np.full((adata.n_obs, 2), np.nan, dtype=np.float32)
        out[known] = shell.obsm["X_umap"]
        adata.obsm[f"umap {name}"] = out
