"""Score embeddings by the labels that they carry from one data set to another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._settings import settings
from univerce._validate import as_seed, check_adata, check_counts, check_whole, check_writable, get_layer, layer_name
from univerce.bench._method import Method
from univerce.bench._record import hardware, versions
from univerce.bench._runs import as_methods, as_seeds
from univerce.bench._sides import BATCH, embed_sides, make_sides
from univerce.bench._tables import table_of_cells, table_of_confusion, table_of_runs, table_of_scores
from univerce.bench._transfer import largest_type, pair_cells, score_transfer
from univerce.bench.run import BASELINES

logger = logging.getLogger(__name__)


def run_transfer(
    query: ad.AnnData,
    reference: ad.AnnData,
    *,
    labels: str,
    methods: Sequence[str | Method] = ("UCE", *BASELINES[:3], "random"),
    layer: str | None = None,
    gene_symbols: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    min_cells: int = 10,
    n_bootstrap: int = 1000,
    cache: str | Path | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = "benchmark_transfer",
) -> pd.DataFrame:
    """Label the cells of one data set by another, of the same species or of another one, by each method.

    A method that knows the genes of every species (UCE) embeds the two one at a time, with all of their genes. Every
    other method sees both as one data set with two batches, ``"query"`` and ``"reference"``, on the genes that both
    have under one name, whatever its case; names that are not one-to-one are left out. No method is told a label of the
    query.

    Nearest neighbors, logistic regression and centroids, fitted to the reference, label the query; ``"centroid top
    k"`` is the share of the types whose centroid in the query has that of the reference among the ``k`` nearest ones.
    The row ``"largest type"`` calls every cell what most cells of the reference are.

    Parameters
    ----------
    query
        Cells that are labeled; results are written into it.
    reference
        Cells that teach; its ``obsm`` gets their embeddings.
    labels
        Column of ``obs`` in both; types are the same when their labels are.
    methods
        As for :func:`univerce.bench.run`; keys of ``obsm`` must lie in one space in both.
    layer
        Layer with the counts in both; ``None`` is ``X``.
    gene_symbols
        Column of ``var`` in both with the names of the genes; ``None`` is ``var_names``.
    seeds
        Seeds of the methods that depend on one; the others run once.
    min_cells
        Types of the reference with fewer cells are not taught.
    n_bootstrap
        Resamples of the cells for the 95 % intervals of accuracies; 0 for none.
    cache
        Directory with embeddings, as for :func:`univerce.bench.run`.
    rng
        Seed, or generator, of resamples.
    key_added
        Key in ``query.uns``.

    Returns
    -------
    The scores, in the columns of :func:`univerce.bench.run`. Cells of the query whose type the reference lacks are not
    scored; ``query.uns[key_added]["params"]["n_cells"]`` counts them. Written are:

    ``query.uns[key_added]["scores"]``, ``["runs"]``, ``["params"]``
        As by :func:`univerce.bench.run`.
    ``query.uns[key_added]["types"]``
        Every type with its cells in both.
    ``query.uns[key_added]["confusion"]``
        Types and the types that logistic regression gave them.
    ``query.obsm["X_transfer_METHOD"]`` and the same in ``reference``, with ``_SEED`` for methods that depend on one
        Every embedding.
    ``query.obsm[f"{key_added}_cells"]``
        Which cells were labeled right, for :func:`univerce.bench.compare`.

    Raises
    ------
    KeyError
        When a column or the layer does not exist.
    ValueError
        When values are not counts, both share fewer than two types or no gene, a method is unknown, or every run
        failed.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> scores = uc.bench.run_transfer(query, reference, labels="cell_type", methods=["PCA"])
    >>> scores.query("metric == 'logistic accuracy'").set_index("method")["value"].round(2).to_dict()
    {'PCA': 0.8, 'largest type': 0.36}
    """
    both = (query, reference)
    for adata, name in zip(both, ("query", "reference"), strict=True):
        check_adata(adata)
        check_writable(adata)
        check_counts(get_layer(adata, layer), where=f"{name}: {layer_name(layer)}")
    check_whole("min_cells", min_cells, 2)
    check_whole("n_bootstrap", n_bootstrap, 0)
    chosen_seeds, seed = as_seeds(seeds), as_seed(rng)
    chosen = as_methods(methods, query)
    sides = make_sides(query, reference, chosen, labels=labels, layer=layer, gene_symbols=gene_symbols)
    todo = [(m, s) for m in chosen for s in (chosen_seeds if m.seeded else chosen_seeds[:1])]
    show = settings.progress
    with tqdm(total=2 * len(todo), unit="step", desc="transfer", disable=not show) as bar:
        runs = []
        for m, s in todo:
            bar.set_postfix_str(m.name)
            runs.append(embed_sides(m, sides, seed=s, cache=None if cache is None else Path(cache).expanduser()))
            if runs[-1].reason:
                logger.warning("%s, seed %d, failed: %s", m.name, s, runs[-1].reason)
            bar.update()
        done = [r for r in runs if r.embedding is not None]
        if not done:
            raise ValueError(f"Every run failed; the first, {runs[0].method.name}: {runs[0].reason}")
        pair = pair_cells(query, reference, labels, [r.values for r in done], min_cells)
        results = {}
        for r in done:
            bar.set_postfix_str(f"scores of {r.method.name}")
            results[r.key()] = score_transfer(r.values, pair, n_bootstrap=n_bootstrap, seed=seed)
            bar.update()
        bar.update(len(runs) - len(done))

    scores = pd.concat([table_of_scores(runs, results), largest_type(pair, chosen_seeds[0])], ignore_index=True)
    keys = {r.key(): r.key().replace("X_", "X_transfer_", 1) for r in done}
    for r in done:
        query.obsm[keys[r.key()]], reference.obsm[keys[r.key()]] = np.split(r.values, [query.n_obs])
    table = table_of_runs(runs, np.concatenate([pair.query, query.n_obs + pair.reference]))
    params: dict[str, Any] = {
        "labels": labels, "batch": BATCH, "n_shared_genes": sides.n_shared, "seeds": np.array(chosen_seeds),
        "min_cells": min_cells, "n_bootstrap": n_bootstrap, "n_cells": pair.counts, "versions": versions(),
        "hardware": hardware(), "seed": seed,
    }  # fmt: skip
    query.uns[key_added] = {
        "scores": scores, "runs": table.assign(obsm=table["obsm"].map(lambda k: keys.get(k, ""))), "types": pair.table,
        "confusion": table_of_confusion(done, results), "params": params,
    }  # fmt: skip
    cells = table_of_cells(query, pair.query, results)
    query.obsm[f"{key_added}_cells"] = cells.rename(columns=lambda c: c.replace("X_", "X_transfer_", 1))
    return scores.copy()
