"""What one data set gives to an atlas: a sample of its cells, their embedding and what is known of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_counts, get_layer, layer_name
from univerce._version import __version__
from univerce.atlas._recipe import Recipe, Source, pick
from univerce.atlas._space import Space, known_params
from univerce.embeddings.cells import gather, get_embedding, known_cells
from univerce.embeddings.labels import get_labels
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.species_of import species_of
from univerce.inference.tokens import cell_keys
from univerce.io.blocks import iter_blocks
from univerce.model.checkpoint import find_model
from univerce.tl.uce_embed import uce_embed

logger = logging.getLogger(__name__)
_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Part:
    """The cells that a data set gives."""

    values: np.ndarray
    """``[n_kept, n_dims]`` float16."""
    obs: pd.DataFrame
    record: dict[str, Any]
    """Its row in ``uns["atlas"]["data_sets"]``."""
    params: Mapping[str, Any]
    """What is recorded of its space; may be empty."""


def check_source(source: Source, recipe: Recipe, space: Space) -> None:
    """Find what is wrong with a data set before hours of embedding, and enter its space.

    Raises
    ------
    ValueError
        When it has no cells or two of one name, lacks counts to embed, or lies in another space.
    KeyError
        When a column or a record of the space is missing.
    """
    called = f"data[{source.name!r}]"
    with source.opened() as adata:
        if adata.n_obs == 0:
            raise ValueError(f"{called} has no cells; leave it out.")
        if not adata.obs_names.is_unique:
            repeated = adata.obs_names[adata.obs_names.duplicated()][0]
            raise ValueError(
                f"{called} has several cells called {repeated!r}; call obs_names_make_unique() on it first."
            )
        for column in filter(None, (pick(option, source.name) for option in recipe.columns.values())):
            get_labels(adata.obs, column, name=called)
        if recipe.use_rep in adata.obsm:
            width = get_embedding(adata, recipe.use_rep, name=called).shape[1]
            space.enter(called, width, adata.uns.get(recipe.use_rep))
            return
        if recipe.model is None or not recipe.check_space:
            why = "model=None" if recipe.model is None else "check_space=False"
            raise KeyError(
                f"{called}.obsm[{recipe.use_rep!r}] does not exist, and with {why} it is not computed: embed it first."
            )
        if adata.n_vars == 0 or (adata.X is None and recipe.layer is None):
            raise ValueError(
                f"{called} has neither an embedding obsm[{recipe.use_rep!r}] nor counts to compute it from."
            )
        get_layer(adata, recipe.layer)
        species_of(adata, pick(recipe.species, source.name), known=available_species(recipe.model))
        model = find_model(recipe.model)
        made = {"model": model.config.model_id, "model_digest": model.digest, "table_digest": {}, "species": []}
        space.enter(called, model.config.output_dim, {"params": made})


def collect(source: Source, recipe: Recipe) -> Part:
    """Choose cells of a data set, and embed them when it is not embedded yet."""
    called, rep = f"data[{source.name!r}]", recipe.use_rep
    with source.opened() as adata:
        embedded = rep in adata.obsm
        enough, applied = _enough_counts(adata, recipe, called, embedded=embedded)
        known = known_cells(get_embedding(adata, rep, name=called)) if embedded else np.ones(adata.n_obs, dtype=bool)
        names = adata.obs_names.astype(str).to_numpy(dtype=object)
        rows = sample_cells(names, enough & known, recipe.max_cells, recipe.seed)
        if embedded:
            params = known_params(adata.uns.get(rep))
            values = gather(get_embedding(adata, rep, name=called), rows)
        else:
            values, params = _embed(adata, rows, source.name, recipe)
        found = np.isfinite(values).all(axis=1)
        n_unknown = int((~known).sum() + (~found).sum())
        rows, values = rows[found], values[found]
        obs = _describe(adata, rows, source.name, recipe, params)
        n_cells = adata.n_obs
    if n_unknown:
        logger.info("%s: %s cells without an embedding are left out.", called, f"{n_unknown:,}")
    if len(rows) == 0:
        logger.warning("%s gives no cell to the atlas: none is left of %s.", called, f"{n_cells:,}")
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(
            f"{called}.obsm[{rep!r}] holds values that float16 cannot: {np.abs(values).max():.3g}. Scale it."
        )
    record = {
        "source": source.origin, "n_cells": n_cells, "n_enough_counts": int(enough.sum()), "n_unembedded": n_unknown,
        "n_kept": len(rows), "min_counts": float(recipe.min_counts or 0) if applied else np.nan,
        "max_cells": np.nan if recipe.max_cells is None else float(recipe.max_cells), "seed": str(recipe.seed),
        "embedded": "before" if embedded else "here", "labels": pick(recipe.columns["cell_type"], source.name) or "",
        "model": params.get("model", ""), "model_digest": params.get("model_digest", ""),
        "table_digest": "; ".join(f"{k} {v}" for k, v in params.get("table_digest", {}).items()),
        "univerce_version": __version__,
    }  # fmt: skip
    return Part(half, obs, record, params)


def sample_cells(names: np.ndarray, allowed: np.ndarray, max_cells: int | None, seed: int) -> np.ndarray:
    """Rows of at most ``max_cells`` of the allowed cells, in file order.

    A cell is chosen by the hash of the seed and its name, so the order of the cells in the file does not matter, and a
    larger sample contains a smaller one.
    """
    rows = np.flatnonzero(allowed)
    if max_cells is None or len(rows) <= max_cells:
        return rows
    keys = cell_keys(names[rows], seed, draw=-1)  # the draws of the sentences have the numbers from 0 on
    return np.sort(rows[np.argsort(keys, kind="stable")[:max_cells]])


def _counts(adata: ad.AnnData, layer: str | None) -> Any:
    return adata if layer in (None, "X") and adata.isbacked and adata.is_view else get_layer(adata, layer)


def _enough_counts(adata: ad.AnnData, recipe: Recipe, called: str, *, embedded: bool) -> tuple[np.ndarray, bool]:
    """Which cells have enough counts, and whether that could be seen; an embedding may come without counts."""
    every = np.ones(adata.n_obs, dtype=bool)
    if not recipe.min_counts:
        return every, True
    problem = "it has none"
    if adata.n_vars > 0 and (adata.X is not None or recipe.layer is not None):
        try:
            return _totals(_counts(adata, recipe.layer), layer_name(recipe.layer)) >= recipe.min_counts, True
        except ValueError as error:
            if not embedded:
                raise ValueError(f"{called}: {error}") from error
            problem = str(error)
    logger.warning(
        "%s: min_counts=%s is not applied, for want of counts: %s.", called, recipe.min_counts, problem.strip(".")
    )
    return every, False


def _totals(matrix: Any, where: str) -> np.ndarray:
    sums = []
    for _, block in iter_blocks(matrix, _BLOCK_ROWS):
        check_counts(block, where=where)
        sums.append(np.asarray(block.sum(axis=1), dtype=np.float64).ravel())
    return np.concatenate(sums)


def _embed(adata: ad.AnnData, rows: np.ndarray, name: str, recipe: Recipe) -> tuple[np.ndarray, dict[str, Any]]:
    """Embed the chosen cells only."""
    if len(rows) == 0:
        return np.empty((0, find_model(recipe.model).config.output_dim), dtype=np.float32), {}
    blocks = []
    for block_rows, block in iter_blocks(_counts(adata, recipe.layer), _BLOCK_ROWS):
        here = rows[(rows >= block_rows.start) & (rows < block_rows.stop)]
        blocks.append(block[here - block_rows.start])
    chosen = ad.AnnData(
        sp.vstack(blocks, format="csr"), obs=adata.obs.iloc[rows].copy(), var=adata.var.copy(), uns=dict(adata.uns)
    )
    with warnings.catch_warnings():  # such cells are left out, with their number logged
        warnings.filterwarnings("ignore", message=r".*no count in any gene of the model")
        uce_embed(
            chosen, species=pick(recipe.species, name), model=recipe.model, gene_key=recipe.gene_key, rng=recipe.seed,
            key_added=recipe.use_rep,
        )  # fmt: skip
    return chosen.obsm[recipe.use_rep], known_params(chosen.uns[recipe.use_rep])


def _describe(
    adata: ad.AnnData, rows: np.ndarray, name: str, recipe: Recipe, params: Mapping[str, Any]
) -> pd.DataFrame:
    """``obs`` of the chosen cells; text, where missing is NaN."""
    original = adata.obs_names[rows].astype(str)
    obs = pd.DataFrame({"data_set": name, "obs_name": original, "row": rows}, index=f"{name}:" + original)
    for key, option in recipe.columns.items():
        if option is None:
            continue
        column = pick(option, name)
        obs[key] = np.nan if column is None else np.asarray(get_labels(adata.obs, column).astype(object))[rows]
        obs[key] = obs[key].astype(object)
    obs["species"] = _species(adata, rows, name, recipe, params)
    if recipe.coarse_map is not None:
        obs["coarse_type"] = _coarse(obs.get("cell_type"), recipe.coarse_map, name, len(obs))
    return obs


def _species(
    adata: ad.AnnData, rows: np.ndarray, name: str, recipe: Recipe, params: Mapping[str, Any]
) -> Sequence[Any]:
    stated = pick(recipe.species, name)
    made_of = params.get("species", [])
    if stated is None and len(made_of) == 1:
        return made_of * len(rows)
    try:
        keys, _ = species_of(adata, stated, known=available_species(recipe.model or BUNDLED_MODEL))
    except ValueError:
        if stated is not None:
            raise
        logger.info("data[%r]: the species is not stated, and missing in the atlas; species= states it.", name)
        return [np.nan] * len(rows)
    return [keys] * len(rows) if isinstance(keys, str) else [keys[row] for row in rows]


def _coarse(types: pd.Series | None, coarse_map: Mapping[str, str], name: str, n: int) -> np.ndarray:
    if types is None:
        return np.full(n, np.nan, dtype=object)
    if unknown := sorted(set(types.dropna()) - set(coarse_map)):
        logger.warning(
            "data[%r]: %d types have no coarse type in coarse_map, it is missing for them: %s.", name, len(unknown),
            ", ".join(map(repr, unknown[:10])),
        )  # fmt: skip
    return types.map(dict(coarse_map)).astype(object).to_numpy()
