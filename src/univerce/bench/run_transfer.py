"""Score embeddings by label transfer between two data sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import check_adata, check_whole, check_writable
from univerce.bench._bootstrap import CELLS
from univerce.bench._method import Method
from univerce.bench._query_and_reference import BATCH, embed_sides, make_sides
from univerce.bench._runs import as_methods, as_seeds, run_all
from univerce.bench._tables import score_table, write
from univerce.bench._transfer_scores import Pair, choose_pair, largest_type, score_transfer
from univerce.bench.run import BASELINES
from univerce.tl.labels.hierarchy import label_lines
from univerce.tl.ontology.graph import as_ontology

if TYPE_CHECKING:
    import networkx as nx


@document
def run_transfer(
    adata: ad.AnnData,
    reference: ad.AnnData,
    *,
    groupby: str,
    donor_key: str | None = None,
    methods: Sequence[str | Method] = ("UCE", *BASELINES[:3], "random"),
    ontology: nx.DiGraph | str | os.PathLike[str] | None = None,
    ontology_ids: Mapping[str, str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    min_cells: int = 10,
    n_bootstrap: int = 1000,
    cache: str | Path | None = None,
    key_added: str = "benchmark_transfer",
) -> pd.DataFrame:
    """Transfer labels from a reference to a query of any species with several methods, and score them.

    A method that can read the genes of any species (UCE) embeds query and reference separately, with all genes. Other
    methods get both as one data set, with the batches ``"query"`` and ``"reference"`` and the genes whose names match
    one-to-one, ignoring case. No method sees the labels of the query.

    Nearest neighbors, logistic regression and centroids are fitted to the reference and predict the query. ``"top 3
    accuracy"`` counts cells whose type is among the three most probable. ``"centroid top k"`` is the share of types
    whose reference centroid is among the ``k`` nearest of the query centroid. The row ``"largest type"`` assigns the
    largest type of the reference to every cell.

    Parameters
    ----------
    adata
        The query, with raw counts; results are written to it.
    reference
        The reference, with raw counts. Embeddings are also written to its ``obsm``.
    groupby
        Column of ``obs`` in both with the cell types.
    donor_key
        Column of ``adata.obs`` with the donors or batches of the query, which are resampled for the intervals.
    methods
        As for :func:`univerce.bench.run`; keys of ``obsm`` must hold one space in both.
    ontology
        ``"CL"`` for the Cell Ontology that is included, the path of an OBO file, or the graph of
        :func:`univerce.datasets.read_ontology`, for hierarchical precision, recall and F1 (Kiritchenko et al. 2006): a
        wrong type gets credit for the ancestors that it shares with the true one. "macro" is the mean over types.
    ontology_ids
        Mapping from types to terms: ids, names or exact synonyms. ``None`` takes the types themselves.
    layer
        Layer with the counts in both; ``None`` for ``X``.
    gene_key
        Column of ``var`` in both with gene names; ``None`` for ``var_names``.
    seeds
        Seeds of the stochastic methods; deterministic methods run once. The first seed is also that of the resamples.
    min_cells
        Types with fewer cells in the reference are not used.
    %(n_bootstrap, cache, key_added)s

    Returns
    -------
    The scores, in the columns of :func:`univerce.bench.run`. Cells of types that the reference lacks are not scored.
    Also sets the following fields:

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
    ``adata.obsm[f"{key_added}_predicted"]``
        The type of each cell by each classifier.

    Raises
    ------
    KeyError
        If a column or the layer does not exist.
    ValueError
        If values are not counts, the data share fewer than two types, a method is unknown, no type is a term of the
        ontology, or every run fails.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> scores = uc.bench.run_transfer(query, reference, groupby="cell_type", methods=["PCA"])
    >>> scores.query("metric == 'logistic accuracy'").set_index("method")["value"].round(2).to_dict()
    {'PCA': 0.8, 'largest type': 0.36}
    """
    for data in (adata, reference):
        check_adata(data)
        check_writable(data, key_added)
    check_whole("min_cells", min_cells, 2)
    check_whole("n_bootstrap", n_bootstrap, 0)
    chosen_seeds = as_seeds(seeds)
    chosen = as_methods(methods, adata)
    sides = make_sides(adata, reference, chosen, groupby=groupby, layer=layer, gene_key=gene_key)
    directory = None if cache is None else Path(cache).expanduser()
    graph = None if ontology is None else as_ontology(ontology)

    def choose(done: Sequence[Any]) -> Pair:
        pair = choose_pair(adata, reference, groupby, donor_key, [run.values for run in done], min_cells)
        return pair if graph is None else replace(pair, lines=label_lines(pair.types, graph, ontology_ids))

    runs, pair, results = run_all(
        chosen,
        chosen_seeds,
        embed=lambda method, seed: embed_sides(method, sides, seed=seed, cache=directory),
        choose=choose,
        score=lambda run, pair: score_transfer(
            run.values, pair, adata.n_obs, n_bootstrap=n_bootstrap, seed=chosen_seeds[0], unit=donor_key or CELLS
        ),
    )
    scores = pd.concat([score_table(runs, results), largest_type(pair, chosen_seeds[0])], ignore_index=True)
    keys = {key: key.replace("X_", "X_transfer_", 1) for key in results}
    for run in runs:
        if run.embedding is not None:
            parts = np.split(run.embedding, [adata.n_obs])
            adata.obsm[keys[run.key()]], reference.obsm[keys[run.key()]] = parts
    params = {
        "groupby": groupby, "batch_key": BATCH, "unit": donor_key or CELLS,
        "n_shared_genes": 0 if sides.joint is None else sides.joint.n_vars,
        "seeds": np.array(chosen_seeds), "min_cells": min_cells, "n_bootstrap": n_bootstrap, "n_cells": pair.counts,
    }  # fmt: skip
    write(
        adata, key_added, scores, runs=runs, results=results, scored=pair.query,
        used=np.concatenate([pair.query, adata.n_obs + pair.reference]), keys=keys, types=pair.table, params=params,
    )  # fmt: skip
    return scores
