"""Score embeddings of one data set beside their baselines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._settings import settings
from univerce._validate import as_seed, check_adata, check_counts, check_whole, check_writable, get_layer, layer_name
from univerce.bench import _scib
from univerce.bench._cache import data_digest
from univerce.bench._features import principal_components, variable_genes
from univerce.bench._method import Method
from univerce.bench._record import hardware, versions
from univerce.bench._runs import as_methods, as_seeds, run_method, shown
from univerce.bench._scored import choose_scored
from univerce.bench._scores import score
from univerce.bench._tables import table_of_cells, table_of_confusion, table_of_runs, table_of_scores, types_won
from univerce.embeddings.labels import get_labels

logger = logging.getLogger(__name__)

Features = Literal["all", "open_problems"]
BASELINES = ("log-norm", "HVG", "PCA", "random", "cell types")


def run(
    adata: ad.AnnData,
    *,
    labels: str,
    batch: str | None = None,
    methods: Sequence[str | Method] = ("UCE", *BASELINES),
    features: Features = "all",
    layer: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    min_cells: int = 10,
    scib: bool = True,
    n_bootstrap: int = 1000,
    cache: str | Path | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = "benchmark",
) -> pd.DataFrame:
    """Embed the cells by each method, and score every embedding on the same cells.

    A method that fails is reported with its reason, and the rest goes on. All embeddings are scored on the cells that
    have a type, a batch and a place in each of them, of types with ``min_cells`` cells or more; how many are left out,
    and why, is in ``uns[key_added]["types"]`` and ``["params"]["n_cells"]``.

    Scored are

    - scIB (Luecken et al. 2022), by ``scib_metrics`` with its own aggregation: five scores of the conservation of
      biology,
      five of the correction of batches, and the total, 0.6 and 0.4 of their means. Nothing is scaled between methods;
    - the silhouette of each type, scaled to [0, 1], and the share of the types that a method wins;
    - the labels that 15 neighbors give within the data, in five folds;
    - the labels that neighbors and logistic regression give to a batch that they have not seen;
    - the share of the types whose centroid in one batch has that of another as the nearest, or among the 3 nearest.

    With one batch, what needs two is NaN, and ``note`` says so. Equal rows of an embedding are moved apart by a
    ten-thousandth of its spread, which ``uns[key_added]["runs"]`` counts; an embedding with more columns than cells is
    rotated into the span of its cells, which changes no distance.

    Parameters
    ----------
    adata
        Cells with raw counts.
    labels
        Column of ``obs`` with the types.
    batch
        Column of ``obs`` with the batches.
    methods
        Names that :func:`univerce.bench.list_methods` lists, keys of ``obsm`` with an embedding, and
        :class:`univerce.bench.Method` or what :func:`univerce.bench.method` gives.
    features
        ``"all"``: methods see all genes. ``"open_problems"``: the 2,000 genes that are variable in most batches, as in
        Open Problems. The two are two experiments and make two tables.
    layer
        Layer with the counts; ``None`` is ``X``.
    seeds
        Seeds of the methods that depend on one; the others run once.
    min_cells
        Types with fewer cells are not scored.
    scib
        Call scib-metrics, which takes most of the time.
    n_bootstrap
        Resamples of the cells for the 95 % intervals of accuracies and silhouettes; 0 for none.
    cache
        Directory where embeddings are kept under the hash of the data, the method, its code, options and weights, the
        seed and the versions; a second call reads them. Methods made inside a function are not kept.
    rng
        Seed, or generator, of resamples and draws.
    key_added
        Key in ``uns``.

    Returns
    -------
    The scores, a row for each ``method``, ``seed``, ``metric`` and ``group`` (a type, a held-out batch, or ``"all"``)
    with its ``kind``, the ``value``, its interval from ``low`` to ``high`` where there is one, and the number of cells.
    Seconds and peak memory (MB above what the process held before) are of kind ``"cost"``, a failed run is one of kind
    ``"failed"`` with its reason as ``note``. Written are:

    ``uns[key_added]["scores"]``
        The same table.
    ``uns[key_added]["runs"]``
        A row for each run: status and reason, key in ``obsm``, cells without an embedding, equal rows, cost.
    ``uns[key_added]["types"]``
        Every type, its cells, and why some are not scored.
    ``uns[key_added]["confusion"]``
        Types and the types that logistic regression gave them in a batch that it had not seen.
    ``uns[key_added]["params"]``
        What was compared, on what, with which versions.
    ``obsm["X_METHOD"]``, ``obsm["X_METHOD_SEED"]``
        Every embedding.
    ``obsm[f"{key_added}_cells"]``
        What each cell contributed, which :func:`univerce.bench.compare` reads.

    Raises
    ------
    KeyError
        When a column or the layer does not exist.
    ValueError
        When values are not counts, a method is unknown, every run failed, fewer than two types have ``min_cells``
        cells, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> scores = uc.bench.run(
    ...     adata, labels="cell_type", methods=["PCA", "random"], seeds=[0], scib=False
    ... )
    >>> scores.query("metric == 'kNN accuracy'").set_index("method")["value"].round(2).to_dict()
    {'PCA': 0.81, 'random': 0.33}
    """
    if features not in get_args(Features):
        raise ValueError(f"features={features!r} is not known; use one of {', '.join(get_args(Features))}.")
    check_adata(adata)
    check_writable(adata)
    check_whole("min_cells", min_cells, 2)
    check_whole("n_bootstrap", n_bootstrap, 0)
    chosen_seeds = as_seeds(seeds)
    seed = as_seed(rng)
    for column in (labels, batch):
        if column is not None:
            get_labels(adata.obs, column)
    chosen = as_methods(methods, adata)
    x = get_layer(adata, layer)
    check_counts(x, where=layer_name(layer))
    data = shown(adata, x, chosen)
    if features == "open_problems":
        data = data[:, variable_genes(data, batch)].copy()
    digest = data_digest(data)
    where = None if cache is None else Path(cache).expanduser()

    todo = [(m, s) for m in chosen for s in (chosen_seeds if m.seeded else chosen_seeds[:1])]
    show = settings.progress
    with tqdm(total=2 * len(todo), unit="step", desc="benchmark", disable=not show) as bar:
        runs = []
        for m, s in todo:
            bar.set_postfix_str(m.name)
            runs.append(run_method(m, data, digest=digest, batch=batch, labels=labels, seed=s, cache=where))
            if runs[-1].reason:
                logger.warning("%s, seed %d, failed: %s", m.name, s, runs[-1].reason)
            bar.update()
        done = [r for r in runs if r.embedding is not None]
        if not done:
            raise ValueError(f"Every run failed; the first, {runs[0].method.name}: {runs[0].reason}")
        scored = choose_scored(adata, labels, batch, [r.values for r in done], min_cells)
        before = principal_components(data[scored.rows]) if scib and len(scored.rows) > _scib.N_NEIGHBORS else None
        results = {}
        for r in done:
            bar.set_postfix_str(f"scores of {r.method.name}")
            results[r.key()] = score(
                r.values, scored, before, scib=scib, n_bootstrap=n_bootstrap, seed=seed, cache=where
            )
            bar.update()
        bar.update(len(runs) - len(done))

    scores = table_of_scores(runs, results)
    scores = pd.concat([scores, types_won(scores, runs)], ignore_index=True)
    for r in done:
        adata.obsm[r.key()] = r.embedding
    adata.obsm[f"{key_added}_cells"] = table_of_cells(adata, scored.rows, results)
    params: dict[str, Any] = {
        "labels": labels, "batch": batch or "", "features": features, "n_vars": data.n_vars,
        "seeds": np.array(chosen_seeds),
        "min_cells": min_cells, "n_bootstrap": n_bootstrap, "n_cells": scored.counts, "n_batches": scored.n_batches,
        "data_digest": digest, "versions": versions(), "hardware": hardware(), "seed": seed,
    }  # fmt: skip
    adata.uns[key_added] = {
        "scores": scores,
        "runs": table_of_runs(runs, scored.rows),
        "types": scored.table,
        "confusion": table_of_confusion(done, results),
        "params": params,
    }
    return scores.copy()
