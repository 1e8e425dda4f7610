"""Score embeddings of one data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import as_seed, check_adata, check_whole, check_writable
from univerce.bench import _scib
from univerce.bench._bootstrap import CELLS
from univerce.bench._cache import data_digest
from univerce.bench._embedding_scores import score
from univerce.bench._expression import get_counts, open_problems_genes, principal_components
from univerce.bench._method import Method
from univerce.bench._runs import Run, as_methods, as_seeds, run_all, run_method, visible
from univerce.bench._scgraph import consensus
from univerce.bench._scored_cells import Scored, choose_scored
from univerce.bench._structure_scores import Scib
from univerce.bench._tables import score_table, types_won, write
from univerce.embeddings.labels import get_labels

Features = Literal["all", "open_problems"]
BASELINES = ("log-norm", "HVG", "PCA", "random", "cell types")


@document
def run(
    adata: ad.AnnData,
    *,
    groupby: str,
    batch_key: str | None = None,
    donor_key: str | None = None,
    methods: Sequence[str | Method] = ("UCE", *BASELINES),
    features: Features = "all",
    layer: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    min_cells: int = 10,
    scib: Scib = True,
    n_bootstrap: int = 1000,
    cache: str | Path | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = "benchmark",
) -> pd.DataFrame:
    """Embed the cells with several methods, and score all embeddings on the same cells.

    If a method fails, the reason is reported and the others continue. Cells are scored if they have a type with at
    least ``min_cells`` cells, a batch, and an embedding by every method. The scores are

    - scIB (Luecken et al. 2022) by ``scib_metrics``, not scaled between methods: bio conservation, batch correction and
      their total;
    - scGraph (Wang et al. 2024): whether the distances between types agree with those in the expression of batches of
      100 cells or more;
    - the silhouette of each type, scaled to [0, 1], and the share of the types that a method wins;
    - the accuracy, macro-F1 and accuracy of the best three of 15 nearest neighbors in five folds;
    - the same of neighbors and logistic regression in a held-out batch;
    - hierarchical precision, recall and F1 of these labels, if ``obs[f"{groupby}_ontology_term_id"]`` has the terms of
      the types, as in the CELLxGENE schema (see :func:`univerce.tl.map_terms`);
    - the share of types whose centroid in one batch has that in another batch as the nearest, or among the 3 nearest.

    With one batch, scores that need two are NaN. Identical rows of an embedding are separated by a ten-thousandth of
    its spread.

    Parameters
    ----------
    adata
        Annotated data matrix with raw counts.
    %(groupby, batch_key)s
    donor_key
        Column of ``obs`` with the donors, which are resampled for the intervals; ``None`` resamples the batches.
    methods
        Names from :func:`univerce.bench.list_methods`, keys of ``obsm``, and :class:`univerce.bench.Method`.
    features
        ``"all"`` uses all genes, ``"open_problems"`` the 2,000 genes that are variable in most batches.
    %(layer, seeds, min_cells)s
    scib
        Compute the scIB scores, which take most of the time. ``"intervals"`` also computes them without each donor or
        batch, for their intervals, if there are five; this multiplies the time by their number.
    %(n_bootstrap, cache, rng, key_added)s

    Returns
    -------
    The scores: a row for each ``method``, ``seed``, ``metric`` and ``group`` (a type, a held-out batch, or ``"all"``)
    with ``kind``, ``value``, 95 % interval ``low`` to ``high``, the ``unit`` that it resamples (the donors or batches,
    or ``"cells"`` if there are fewer than five), ``n_cells`` and ``note``. Shares of types and scGraph have intervals
    over the ``"types"``, exact for shares, scIB has them with ``scib="intervals"``. Seconds and peak memory (MB above
    that before the run) have the kind ``"cost"``, failed runs the kind ``"failed"``. Also sets the following fields:

    ``uns[key_added]["table"]``
        The same table.
    ``uns[key_added]["runs"]``
        Status, reason, key in ``obsm``, missing cells, equal rows and cost of each run, and whether the method
        ``has_seen`` the cells in its training: ids of data sets, ``"no"``, ``"unknown"``, or ``"possibly"`` if both are
        of CELLxGENE. Ids of the data are in ``obs["dataset_id"]``, ``uns["dataset_id"]`` or ``uns["citation"]``, those
        of the training in ``uc.bench.method(..., pretrained_on=)``.
    ``uns[key_added]["types"]``
        Cells of each type, scored and not.
    ``uns[key_added]["confusion"]``
        Types predicted by logistic regression in a held-out batch.
    ``uns[key_added]["left_out"]``
        scIB scores without each donor or batch, with ``scib="intervals"``.
    ``uns[key_added]["params"]``
        Parameters, numbers of cells, versions and hardware.
    ``obsm["X_METHOD"]``, ``obsm["X_METHOD_SEED"]``
        The embeddings.
    ``obsm[f"{key_added}_cells"]``
        The contribution of each cell, for :func:`univerce.bench.compare`.
    ``obsm[f"{key_added}_predicted"]``
        The type of each cell by each classifier.

    Raises
    ------
    KeyError
        If a column or the layer does not exist.
    ValueError
        If values are not counts, a method is unknown, every run fails, or fewer than two types have ``min_cells``
        cells.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> scores = uc.bench.run(
    ...     adata, groupby="cell_type", methods=["PCA", "random"], seeds=[0], scib=False
    ... )
    >>> scores.query("metric == 'kNN accuracy'").set_index("method")["value"].round(2).to_dict()
    {'PCA': 0.81, 'random': 0.33}
    """
    if features not in get_args(Features):
        raise ValueError(f"features={features!r} is not known; use one of {', '.join(get_args(Features))}.")
    if not (isinstance(scib, bool) or scib == "intervals"):
        raise ValueError(f"scib={scib!r} is not known; use True, False or 'intervals'.")
    check_adata(adata)
    check_writable(adata, key_added)
    check_whole("min_cells", min_cells, 2)
    check_whole("n_bootstrap", n_bootstrap, 0)
    chosen_seeds, seed = as_seeds(seeds), as_seed(rng)
    for column in (groupby, batch_key, donor_key):
        if column is not None:
            get_labels(adata.obs, column)
    chosen = as_methods(methods, adata)
    data = visible(adata, get_counts(adata, layer), chosen)
    if features == "open_problems":
        data = data[:, open_problems_genes(data, batch_key)].copy()
    unit = donor_key or batch_key or CELLS
    digest, directory = data_digest(data), None if cache is None else Path(cache).expanduser()

    def embed(method: Method, seed: int) -> Run:
        asked: dict[str, Any] = {"batch_key": batch_key, "groupby": groupby}
        return run_method(method, data, digest=digest, seed=seed, cache=directory, **asked)

    def choose(done: list[Run]) -> tuple[Scored, np.ndarray | None, pd.DataFrame | None]:
        scored = choose_scored(adata, groupby, batch_key, donor_key, [r.values for r in done], min_cells)
        enough = bool(scib) and len(scored.rows) > _scib.N_NEIGHBORS
        counts, types = data[scored.rows], np.asarray(scored.types, dtype=str)
        batches = np.zeros(len(types)) if scored.batches is None else scored.batches.codes
        return scored, principal_components(counts) if enough else None, consensus(counts, types, batches)

    runs, (scored, *_), results = run_all(
        chosen,
        chosen_seeds,
        embed=embed,
        choose=choose,
        score=lambda run, c: score(
            run.values, *c, scib=scib, n_bootstrap=n_bootstrap, seed=seed, unit=unit, cache=directory
        ),
    )
    scores = score_table(runs, results)
    scores = pd.concat([scores, types_won(scores, runs)], ignore_index=True)
    for run in runs:
        if run.embedding is not None:
            adata.obsm[run.key()] = run.embedding
    params = {
        "groupby": groupby, "batch_key": batch_key or "", "unit": unit, "features": features, "n_vars": data.n_vars,
        "seeds": np.array(chosen_seeds), "min_cells": min_cells, "n_bootstrap": n_bootstrap, "n_cells": scored.counts,
        "n_batches": 1 if scored.batches is None else len(scored.batches.categories), "data_digest": digest,
        "seed": seed,
    }  # fmt: skip
    write(
        adata, key_added, scores, runs=runs, results=results, scored=scored.rows, used=scored.rows,
        keys={key: key for key in results}, types=scored.table, params=params,
    )  # fmt: skip
    return scores
