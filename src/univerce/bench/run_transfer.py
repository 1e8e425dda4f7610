"""Score embeddings by label transfer between two data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import as_seed, check_adata, check_counts, check_whole, check_writable, get_layer, layer_name
from univerce.bench._method import Method
from univerce.bench._runs import as_methods, as_seeds, run_all
from univerce.bench._sides import BATCH, embed_sides, make_sides
from univerce.bench._tables import score_table, write
from univerce.bench._transfer import choose_pair, largest_type, score_transfer
from univerce.bench.run import BASELINES


@document
def run_transfer(
    adata: ad.AnnData,
    reference: ad.AnnData,
    *,
    groupby: str,
    methods: Sequence[str | Method] = ("UCE", *BASELINES[:3], "random"),
    layer: str | None = None,
    gene_key: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    min_cells: int = 10,
    n_bootstrap: int = 1000,
    cache: str | Path | None = None,
    rng: int | np.random.Generator = 0,
    key_added: str = "benchmark_transfer",
) -> pd.DataFrame:
    """Transfer labels from a reference to a query of any species with several methods, and score them.

    A method that knows the genes of every species (UCE) embeds query and reference separately, with all genes. Other
    methods get both as one data set with the batches ``"query"`` and ``"reference"`` and the genes that both have under
    one name, ignoring case and names that are not one-to-one. No method sees the labels of the query.

    Nearest neighbors, logistic regression and centroids are fitted to the reference and predict the query. ``"centroid
    top k"`` is the share of the types whose centroid in the query has that in the reference among the ``k`` nearest.
    The row ``"largest type"`` assigns the largest type of the reference to every cell.

    Parameters
    ----------
    adata
        The query, with raw counts.
    reference
        The reference, with raw counts. Its ``obsm`` gets embeddings, too.
    groupby
        Column of ``obs`` in both with the cell types.
    methods
        As for :func:`univerce.bench.run`; keys of ``obsm`` must hold one space in both.
    layer
        Layer with the counts in both; ``None`` for ``X``.
    gene_key
        Column of ``var`` in both with gene names; ``None`` for ``var_names``.
    %(seeds)s
    min_cells
        Types with fewer cells in the reference are not used.
    %(n_bootstrap, cache, rng, key_added)s

    Returns
    -------
    The scores, in the columns of :func:`univerce.bench.run`. Cells of types that the reference lacks are not scored.
    Also writes:

    ``adata.uns[key_added]["table"]``
        The same table.
    ``adata.uns[key_added]["runs"]``, ``["params"]``
        As by :func:`univerce.bench.run`.
    ``adata.uns[key_added]["types"]``
        Cells of each type in both.
    ``adata.uns[key_added]["confusion"]``
        Types predicted by logistic regression.
    ``adata.obsm["X_transfer_METHOD"]`` and the same in ``reference``, with ``_SEED`` for methods that depend on one
        The embeddings.
    ``adata.obsm[f"{key_added}_cells"]``
        The cells with correct labels, for :func:`univerce.bench.compare`.

    Raises
    ------
    KeyError
        If a column or the layer does not exist.
    ValueError
        If values are not counts, the data share fewer than two types, a method is unknown, or every run fails.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> scores = uc.bench.run_transfer(query, reference, groupby="cell_type", methods=["PCA"])
    >>> scores.query("metric == 'logistic accuracy'").set_index("method")["value"].round(2).to_dict()
    {'PCA': 0.8, 'largest type': 0.36}
    """
    for data, name in ((adata, "adata"), (reference, "reference")):
        check_adata(data)
        check_writable(data)
        check_counts(get_layer(data, layer), where=f"{name}: {layer_name(layer)}")
    check_whole("min_cells", min_cells, 2)
    check_whole("n_bootstrap", n_bootstrap, 0)
    chosen_seeds, seed = as_seeds(seeds), as_seed(rng)
    chosen = as_methods(methods, adata)
    sides = make_sides(adata, reference, chosen, groupby=groupby, layer=layer, gene_key=gene_key)
    directory = None if cache is None else Path(cache).expanduser()
    runs, pair, results = run_all(
        chosen,
        chosen_seeds,
        embed=lambda method, seed: embed_sides(method, sides, seed=seed, cache=directory),
        choose=lambda done: choose_pair(adata, reference, groupby, [r.values for r in done], min_cells),
        score=lambda run, pair: score_transfer(run.values, pair, adata.n_obs, n_bootstrap=n_bootstrap, seed=seed),
    )
    scores = pd.concat([score_table(runs, results), largest_type(pair, chosen_seeds[0])], ignore_index=True)
    keys = {key: key.replace("X_", "X_transfer_", 1) for key in results}
    for run in runs:
        if run.embedding is not None:
            parts = np.split(run.embedding, [adata.n_obs])
            adata.obsm[keys[run.key()]], reference.obsm[keys[run.key()]] = parts
    params = {
        "groupby": groupby, "batch_key": BATCH, "n_shared_genes": 0 if sides.joint is None else sides.joint.n_vars,
        "seeds": np.array(chosen_seeds), "min_cells": min_cells, "n_bootstrap": n_bootstrap, "n_cells": pair.counts,
        "seed": seed,
    }  # fmt: skip
    write(
        adata, key_added, scores, runs=runs, results=results, scored=pair.query,
        used=np.concatenate([pair.query, adata.n_obs + pair.reference]), keys=keys, types=pair.table, params=params,
    )  # fmt: skip
    return scores
