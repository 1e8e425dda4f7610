"""All analyses accept a MuData with ``mod=``, with the results of the modality alone."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.tiny import tiny_cells

IDS = {"T": "T", "B": "B", "monocyte": "mono", "neutrophil": "neutro"}
LINEAGES = {"lymphoid": "lymphoid", "myeloid": "myeloid"}
REP = {"groupby": "type", "use_rep": "X_toy"}


def graph() -> nx.DiGraph:
    above = {"T": "lymphoid", "B": "lymphoid", "mono": "myeloid", "neutro": "myeloid"}
    out = nx.DiGraph([*above.items(), ("lymphoid", "cell"), ("myeloid", "cell")])
    nx.set_node_attributes(out, {term: {"name": term, "synonyms": ()} for term in out})
    out.graph |= {"alternative": {}, "obsolete": {}}
    return out


def dendrogram(adata: Any, mod: str | None = None, **options: Any) -> pd.DataFrame:
    uc.tl.dendrogram(adata, "type", ontology=graph(), ontology_ids=IDS, mod=mod, **options)
    return uc.get.table(adata, "uce_dendrogram", mod=mod)


def label_clusters(adata: Any, mod: str | None = None, **options: Any) -> None:
    uc.tl.transfer_labels(adata, cells(1), groupby="type", use_rep="X_toy", mod=mod)
    return uc.tl.label_clusters(adata, "type_transferred", groupby="tissue", mod=mod, **options)


def cells(seed: int = 0) -> ad.AnnData:
    """Cells with an embedding and counts, some of them found, in two tissues and from six donors."""
    out = blobs(dict.fromkeys(IDS, 30), seed=seed)
    number = np.arange(out.n_obs)
    counts = np.random.default_rng(seed).poisson(3, (out.n_obs, 12)).astype(np.float32)
    out.obs["tissue"] = np.array(["lung", "gut"])[number % 2]
    out.obs["donor"] = [f"d{i % 6}" for i in number]
    out.obs["condition"] = np.array(["control", "ill"])[number % 6 // 3]
    out.obs["found"] = number // 6 % 3 == 0
    names = [f"GENE{i}" for i in range(12)]
    return ad.AnnData(counts, obs=out.obs, var=pd.DataFrame(index=names), obsm=dict(out.obsm), uns=dict(out.uns))


def of_two(data: ad.AnnData) -> Any:
    """A MuData of the cells and another modality."""
    from mudata import MuData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata about names
        other = ad.AnnData(np.ones((data.n_obs, 2), np.float32), obs=pd.DataFrame(index=data.obs_names))
        return MuData({"rna": data, "protein": other})


ONE: dict[str, Callable[..., Any]] = {
    "centroids": lambda a, **o: uc.tl.centroids(a, "type", use_rep="X_toy", **o),
    "compare_groups": lambda a, **o: uc.tl.compare_groups(
        a, condition_key="condition", donor_key="donor", control="control", min_cells=2, **o
    ),
    "dendrogram": lambda a, **o: dendrogram(a, use_rep="X_toy", **o),
    "evaluate_find_cells": lambda a, **o: uc.tl.evaluate_find_cells(
        a, "type", use_reps="X_toy", n_comps=5, **o
    ),
    "evaluate_ood_score": lambda a, **o: uc.tl.evaluate_ood_score(
        a, groupby="type", use_reps="X_toy", n_neighbors=5, **o
    ),
    "label_clusters": lambda a, **o: label_clusters(a, **o),
    "lineage_colocalization": lambda a, **o: uc.tl.lineage_colocalization(
        a, lineages=LINEAGES, ontology=graph(), ontology_ids=IDS, **REP, **o
    ),
    "map_terms": lambda a, **o: uc.tl.map_terms(a, groupby="type", ontology=graph(), **o),
    "marker_fold_changes": lambda a, **o: uc.tl.marker_fold_changes(a, groupby="tissue", **o),
    "ontology_distance": lambda a, **o: uc.tl.ontology_distance(
        a, ontology=graph(), ontology_ids=IDS, n_pairs=300, **REP, **o
    ),
    "silhouette_by_type": lambda a, **o: uc.tl.silhouette_by_type(a, groupby="type", use_reps="X_toy", **o),
    "tissue_homogeneity": lambda a, **o: uc.tl.tissue_homogeneity(a, n_permutations=9, **REP, **o),
}  # fmt: skip
TWO: dict[str, Callable[..., Any]] = {
    "centroid_alignment": lambda a, b, **o: uc.tl.centroid_alignment(a, b, n_permutations=9, **REP, **o),
    "check_same_space": lambda a, b, **o: uc.tl.check_same_space(a, b, use_rep="X_toy", **o),
    "find_cells": lambda a, b, **o: uc.tl.find_cells(a, b, groups="T", **REP, **o),
    "ood_score": lambda a, b, **o: uc.tl.ood_score(a, b, use_rep="X_toy", **o),
    "search_atlas": lambda a, b, **o: uc.tl.search_atlas(
        a, b, use_rep="X_toy", groupby="type", n_neighbors=3, **o
    ),
    "transfer_labels": lambda a, b, **o: uc.tl.transfer_labels(a, b, groupby="type", use_rep="X_toy", **o),
}  # fmt: skip
MODEL: dict[str, Callable[..., Any]] = {
    "uce_embed": lambda a, model, **o: uc.tl.uce_embed(a, model=model, **o),
    "delete_genes": lambda a, model, **o: uc.tl.delete_genes(a, a_gene(), model=model, **o),
    "gene_attribution": lambda a, model, **o: uc.tl.gene_attribution(
        a, np.ones(10), model=model, tolerance=1e3, **o
    ),
    "gene_network": lambda a, model, **o: uc.tl.gene_network(a, context=True, model=model, **o),
    "predict_expression": lambda a, model, **o: uc.tl.predict_expression(a, a_gene(), model=model, **o),
    "reconstruction_loss": lambda a, model, **o: uc.tl.reconstruction_loss(a, model=model, n_queries=10, **o),
}  # fmt: skip


def a_gene() -> str:
    return str(tiny_cells(n=1).var_names[0])


def check_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, ad.AnnData):
        found, expected = found.to_df(), expected.to_df()
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        assert found is expected is None


def check_written(found: ad.AnnData, expected: ad.AnnData) -> None:
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    assert set(found.uns) == set(expected.uns)
    assert set(found.obsm) == set(expected.obsm)


def test_all_functions_with_mod_are_tested():
    taking = {name for name in uc.tl.__all__ if "mod" in inspect.signature(getattr(uc.tl, name)).parameters}
    assert taking == {*ONE, *TWO, *MODEL}
    assert {*uc.tl.__all__} - taking == {"LabelClassifier"}


@pytest.mark.parametrize("call", ONE.values(), ids=ONE.keys())
def test_a_modality_is_analyzed_like_an_anndata(call):
    alone, data = cells(), of_two(cells())
    check_equal(call(data, mod="rna"), call(alone))
    check_written(data.mod["rna"], alone)


@pytest.mark.parametrize("call", TWO.values(), ids=TWO.keys())
def test_each_of_two_data_sets_may_be_a_mudata(call):
    alone = cells()
    expected = call(alone, cells(1))
    for first, second in (
        (of_two(cells()), of_two(cells(1))),
        (of_two(cells()), cells(1)),
        (cells(), of_two(cells(1))),
    ):
        check_equal(call(first, second, mod="rna"), expected)
        check_written(first if isinstance(first, ad.AnnData) else first.mod["rna"], alone)


@pytest.mark.parametrize("call", MODEL.values(), ids=MODEL.keys())
def test_a_modality_is_embedded_like_an_anndata(call, tiny_model):
    alone = tiny_cells(n=6)
    uc.tl.uce_embed(alone, model=tiny_model)
    data = of_two(alone.copy())
    data.uns["organism"] = data.mod["rna"].uns.pop("organism")  # the species may be in the MuData
    check_equal(call(data, tiny_model, mod="rna"), call(alone, tiny_model))


def test_a_classifier_is_fitted_to_a_modality():
    options = {"groupby": "type", "use_rep": "X_toy"}
    alone = uc.tl.LabelClassifier.fit(cells(), **options)
    found = uc.tl.LabelClassifier.fit(of_two(cells()), mod="rna", **options)
    np.testing.assert_array_equal(found.held_out["probability"], alone.held_out["probability"])


def test_a_missing_or_unused_modality_is_an_error():
    with pytest.raises(ValueError, match="A MuData needs mod="):
        uc.tl.centroids(of_two(cells()), "type", use_rep="X_toy")
    with pytest.raises(KeyError, match="mod='atac' is not in the MuData; it has 'rna', 'protein'"):
        uc.tl.ood_score(of_two(cells()), cells(1), mod="atac", use_rep="X_toy")
    with pytest.raises(ValueError, match="none is given; leave mod out"):
        uc.tl.check_same_space(cells(), cells(), mod="rna", use_rep="X_toy")
