"""Cells that a data set adds to an atlas: a subsample, their embedding and their annotation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._keys import RECORDS
from univerce._settings import logger, progress_bar
from univerce._validate import check_counts, counts_elsewhere, get_counts, layer_name
from univerce._version import __version__
from univerce.atlas._options import Options, Source, pick
from univerce.atlas._store import Writer
from univerce.embeddings.cells import Cells
from univerce.embeddings.groups import has_counts
from univerce.embeddings.labels import get_labels
from univerce.embeddings.space import EmbeddingInfo, Space
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import species_of
from univerce.inference.sentences import shuffled_rows
from univerce.io.blocks import iter_blocks
from univerce.model.find import find_model
from univerce.tl.uce_embed import uce_embed

_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Part:
    """Cells of one data set."""

    values: np.ndarray
    """``[n_kept, n_dims]`` float16."""
    obs: pd.DataFrame
    record: dict[str, Any]
    """Row in ``uns["univerce_atlas"]["data_sets"]``."""
    space: Space | None


def check_sources(sources: Sequence[Source], options: Options, before: EmbeddingInfo | None) -> None:
    """Raise for errors that can be found before anything is computed; ``before`` is the embedding of the atlas."""
    for source in sources:
        before = _join(before, _check_source(source, options), options.check_space)


def add_sources(
    writer: Writer, sources: Sequence[Source], options: Options, before: EmbeddingInfo | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write the data sets, one in memory at a time.

    Returns the record of each data set, and ``uns`` with the space of the atlas, empty if it was not checked.
    """
    joint, records = before, {}
    for source in progress_bar(sources, desc="atlas", unit="data set"):
        part = _collect(source, options)
        records[source.key] = part.record
        if len(part.values):
            info = EmbeddingInfo(part.values.shape[1], part.space, options.use_rep, source.name)
            joint = _join(joint, info, options.check_space)
        writer.add(part.values, part.obs)
    uns = {}
    if options.check_space and joint is not None and joint.space is not None:
        uns[RECORDS] = {options.use_rep: replace(joint.space, details={"univerce_version": __version__}).record}
    return pd.DataFrame.from_dict(records, orient="index"), uns


def _join(joint: EmbeddingInfo | None, new: EmbeddingInfo, check_space: bool) -> EmbeddingInfo:
    """Width and space of all data sets so far."""
    try:
        new.check_comparable(joint or new, check_space=check_space)
    except (KeyError, ValueError) as error:
        raise type(error)(f"{new.name} cannot join the atlas. {error.args[0]}") from error
    space = new.space
    if joint is not None and joint.space is not None:
        space = joint.space if space is None else joint.space.join(space, new.use_rep)
    return replace(new, space=space, name="the data sets before it")


def _check_source(source: Source, options: Options) -> EmbeddingInfo:
    """Check a data set before anything is embedded, and find the width and space of its embedding."""
    with source.opened() as adata:
        if adata.n_obs == 0:
            raise ValueError(f"{source.name} has no cells; leave it out.")
        if not adata.obs_names.is_unique:
            repeated = adata.obs_names[adata.obs_names.duplicated()][0]
            raise ValueError(f"{source.name} has several cells named {repeated!r}; call obs_names_make_unique() first.")
        for column in filter(None, (pick(option, source.key) for option in options.columns.values())):
            get_labels(adata.obs, column, name=source.name)
        if options.use_rep in adata.obsm:
            return Cells.read(adata, options.use_rep, name=source.name).info
        if options.model is None or not options.check_space:
            why = "model=None" if options.model is None else "check_space=False"
            raise KeyError(
                f"{source.name}.obsm[{options.use_rep!r}] does not exist, and with {why} it is not computed: embed it "
                "first."
            )
        if not has_counts(adata, options.layer):
            raise ValueError(
                f"{source.name} has neither an embedding obsm[{options.use_rep!r}] nor counts to compute it from."
            )
        _check_genes(adata, source, options)
        model = find_model(options.model)
        space = Space(model.config.model_id, model.digest, species=(), table_digest={})
        return EmbeddingInfo(model.config.output_dim, space, options.use_rep, source.name)


def _check_genes(adata: ad.AnnData, source: Source, options: Options) -> None:
    """Raise if a sample of the values are not counts, or no variable is a gene."""
    model = BUNDLED_MODEL if options.model is None else options.model
    try:
        with warnings.catch_warnings():  # given when the cells are embedded
            warnings.simplefilter("ignore")
            keys, tables = species_of(adata, pick(options.species, source.key), known=available_species(model))
            resolve_genes(adata, keys, model, layer=options.layer, gene_key=options.gene_key, tables=tables)
    except (KeyError, ValueError) as error:
        raise type(error)(f"{source.name}: {error.args[0]}") from error


def _collect(source: Source, options: Options) -> Part:
    """Choose cells of a data set, and embed them if it has no embedding."""
    rep = options.use_rep
    with source.opened() as adata:
        cells = Cells.read(adata, rep, name=source.name) if rep in adata.obsm else None
        enough, applied = _enough_counts(adata, options, source.name, embedded=cells is not None)
        known = np.ones(adata.n_obs, dtype=bool) if cells is None else cells.known
        rows = np.flatnonzero(enough & known)
        if options.max_cells is not None and len(rows) > options.max_cells:
            names = adata.obs_names.astype(str).to_numpy(dtype=object)
            rows = np.sort(shuffled_rows(names, rows, options.seed, draw=-1)[: options.max_cells])
        if cells is None:
            values, space = _embed(adata, rows, source.key, options)
        else:
            with np.errstate(over="ignore"):
                values, space = cells.rows(rows, np.float16), cells.space
            if len(beyond := rows[np.isinf(values).any(axis=1)]):
                raise ValueError(
                    f"{source.name}.obsm[{rep!r}] holds values beyond the range of float16: "
                    f"{np.abs(cells.rows(beyond)).max():.3g}. Scale it."
                )
        missing = np.isnan(values).any(axis=1)
        n_unknown = int((~known).sum() + missing.sum())
        if missing.any():
            rows, values = rows[~missing], values[~missing]
        obs = _describe(adata, rows, source.key, options, space)
        n_cells = adata.n_obs
    if n_unknown:
        logger.info("%s: %s cells without an embedding are left out.", source.name, f"{n_unknown:,}")
    if len(rows) == 0:
        logger.warning("%s adds no cell to the atlas: none of %s is left.", source.name, f"{n_cells:,}")
    record = {
        "source": source.origin, "n_cells": n_cells, "n_enough_counts": int(enough.sum()), "n_unembedded": n_unknown,
        "n_kept": len(rows), "min_counts": float(options.min_counts or 0) if applied else np.nan,
        "max_cells": np.nan if options.max_cells is None else float(options.max_cells), "seed": str(options.seed),
        "embedded": "here" if cells is None else "before",
        "groupby": pick(options.columns["cell_type"], source.key) or "",
        "model": "" if space is None else space.model, "model_digest": "" if space is None else space.model_digest,
        "table_digest": "" if space is None else "; ".join(f"{k} {v}" for k, v in space.table_digest.items()),
        "univerce_version": __version__,
    }  # fmt: skip
    return Part(values, obs, record, space)


def _enough_counts(adata: ad.AnnData, options: Options, name: str, *, embedded: bool) -> tuple[np.ndarray, bool]:
    """``[n_obs]`` cells with enough counts, and whether counts were found; an embedding may come without them."""
    every = np.ones(adata.n_obs, dtype=bool)
    if not options.min_counts:
        return every, True
    problem = "it has none"
    if has_counts(adata, options.layer):
        fix = partial(counts_elsewhere, adata, options.layer)
        try:
            sums = []
            for _, block in iter_blocks(get_counts(adata, options.layer)[0], _BLOCK_ROWS):
                check_counts(block, where=layer_name(options.layer), fix=fix)
                sums.append(np.asarray(block.sum(axis=1), dtype=np.float64).ravel())
            return np.concatenate(sums) >= options.min_counts, True
        except ValueError as error:
            if not embedded:
                raise ValueError(f"{name}: {error}") from error
            problem = str(error)
    logger.warning("%s: min_counts=%s is not applied without counts: %s.", name, options.min_counts, problem.strip("."))
    return every, False


def _embed(adata: ad.AnnData, rows: np.ndarray, key: str, options: Options) -> tuple[np.ndarray, Space | None]:
    if len(rows) == 0:
        return np.empty((0, find_model(options.model).config.output_dim), dtype=np.float16), None
    X, var = get_counts(adata, options.layer)
    blocks = []
    for block_rows, block in iter_blocks(X, _BLOCK_ROWS):
        here = rows[(rows >= block_rows.start) & (rows < block_rows.stop)]
        blocks.append(block[here - block_rows.start])
    chosen = ad.AnnData(
        sp.vstack(blocks, format="csr"), obs=adata.obs.iloc[rows].copy(), var=var.copy(), uns=dict(adata.uns)
    )
    with warnings.catch_warnings():  # such cells are left out and their number is logged
        warnings.filterwarnings("ignore", message=r".* cells have no embedding")
        uce_embed(
            chosen, species=pick(options.species, key), model=options.model, gene_key=options.gene_key,
            rng=options.seed, key_added=options.use_rep,
        )  # fmt: skip
    return chosen.obsm[options.use_rep].astype(np.float16), Space.find(chosen, options.use_rep)


def _describe(adata: ad.AnnData, rows: np.ndarray, key: str, options: Options, space: Space | None) -> pd.DataFrame:
    """``obs`` of the chosen cells as text; missing is NaN."""
    original = adata.obs_names[rows].astype(str)
    obs = pd.DataFrame({"data_set": key, "obs_name": original, "row": rows}, index=f"{key}:" + original)
    for name, option in options.columns.items():
        if option is not None:
            column = pick(option, key)
            labels: Any = np.nan if column is None else np.asarray(get_labels(adata.obs, column).astype(object))[rows]
            obs[name] = pd.Series(labels, index=obs.index, dtype=object)
    obs["species"] = _species(adata, rows, key, options, space)
    if options.coarse_map is not None:
        obs["coarse_type"] = _coarse(obs.get("cell_type"), options.coarse_map, key, len(obs))
    return obs


def _species(adata: ad.AnnData, rows: np.ndarray, key: str, options: Options, space: Space | None) -> Sequence[Any]:
    stated = pick(options.species, key)
    if stated is None and space is not None and len(space.species) == 1:
        return list(space.species) * len(rows)
    try:
        species, _ = species_of(adata, stated, known=available_species(options.model or BUNDLED_MODEL))
    except ValueError:
        if stated is not None:
            raise
        logger.info("data[%r]: the species is not stated and is missing in the atlas. Pass species=.", key)
        return [np.nan] * len(rows)
    return [species] * len(rows) if isinstance(species, str) else [species[row] for row in rows]


def _coarse(types: pd.Series | None, coarse_map: Mapping[str, str], key: str, n: int) -> np.ndarray:
    if types is None:
        return np.full(n, np.nan, dtype=object)
    if unknown := sorted(set(types.dropna()) - set(coarse_map)):
        logger.warning(
            "data[%r]: %d types are not in coarse_map and have no coarse type: %s.", key, len(unknown),
            ", ".join(map(repr, unknown[:10])),
        )  # fmt: skip
    return types.map(dict(coarse_map)).astype(object).to_numpy()


def coarse_table(coarse_map: Mapping[str, str] | None) -> dict[str, pd.DataFrame]:
    """Table of the coarse types for ``uns["univerce_atlas"]``."""
    if not coarse_map:
        return {}
    return {"coarse_map": pd.DataFrame(sorted(coarse_map.items()), columns=["cell_type", "coarse_type"]).astype(str)}
