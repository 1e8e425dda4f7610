"""A plot finds its result without a key. Without a result, or without counts, the error says what to call or pass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import univerce as uc
from tests.contracts.test_mudata import ONE, TWO, cells, of_two

NO_KEY = {"embedding_grid", "transfer_table"}
PLOTS = sorted({*uc.pl.__all__} - NO_KEY)
CHOICES = {"benchmark_confusion": {"method": "PCA"}}
"""Arguments without a default."""
CALLS = {"label_transfer": "uc.tl.transfer_labels"} | {n: "uc.bench.run" for n in PLOTS if n.startswith("benchmark")}
OWN = {"compare_groups", "dendrogram", "evaluate_find_cells", "evaluate_ood_score", "lineage_colocalization"}
OWN |= {"marker_fold_changes", "ontology_distance", "silhouette_by_type", "tissue_homogeneity"}


def call(name: str) -> str:
    return CALLS.get(name, f"uc.tl.{name}")


def default_key(function: Callable, parameter: str = "key") -> Any:
    return inspect.signature(function).parameters[parameter].default


@pytest.fixture(scope="module")
def analyzed() -> ad.AnnData:
    """Cells with a result of every analysis that is plotted, by its default key."""
    out = cells()
    out.obs["cell_type"] = out.obs["type"]
    for name in OWN:
        ONE[name](out)
    for name in ("centroid_alignment", "find_cells", "ood_score"):
        TWO[name](out, cells(1))
    uc.tl.transfer_labels(out, out.copy(), use_rep="X_toy")
    uc.bench.run(out, groupby="type", methods=["PCA"], seeds=[0], scib=False)
    real = uc.datasets.pbmc68k_reduced()[:20].copy()
    uc.tl.delete_genes(real, "CD79A")
    attributed = uc.tl.gene_attribution(real, "CD19+ B", groupby="cell_type")
    for key, result in (("deleted", real), ("gene_attribution", attributed)):
        out.uns[key] = result.uns[key]
    return out


def test_a_plot_asks_only_for_what_has_no_default():
    for name in PLOTS:
        asked = [p.name for p in inspect.signature(getattr(uc.pl, name)).parameters.values() if p.default is p.empty]
        assert asked == ["adata", *CHOICES.get(name, ())]


@pytest.mark.parametrize("name", PLOTS)
def test_without_a_result_the_error_names_its_key_and_the_function_to_call(name):
    plot = getattr(uc.pl, name)
    said = rf"adata\.uns\['{default_key(plot)}'\] does not exist\. Call {re.escape(call(name))} first"
    with pytest.raises(KeyError, match=said):
        plot(ad.AnnData(np.ones((2, 2))), **CHOICES.get(name, {}))


def test_the_key_is_that_of_the_analysis():
    shared = [n for n in PLOTS if n in uc.tl.__all__ and "key_added" in inspect.signature(getattr(uc.tl, n)).parameters]
    assert len(shared) >= 12
    for name in shared:
        assert default_key(getattr(uc.pl, name)) == default_key(getattr(uc.tl, name), "key_added")


def test_a_result_is_found_without_its_key_and_named_if_the_key_is_another(analyzed):
    for name in PLOTS:
        plot, options = getattr(uc.pl, name), CHOICES.get(name, {})
        with pytest.raises(KeyError, match=rf"'lost'\] does not exist\. Pass key='{default_key(plot)}', written by"):
            plot(analyzed, key="lost", **options)
        for other in {*analyzed.uns} - {default_key(plot)}:
            with pytest.raises(KeyError, match=rf"'{other}'\] is not a result of {re.escape(call(name))}\. Pass key="):
                plot(analyzed, key=other, **options)


def test_transferred_labels_need_no_key(analyzed):
    uc.pl.label_transfer(analyzed, show=False)
    plt.close()
    uc.tl.label_clusters(analyzed, groupby="tissue")
    assert "cell_type_transferred_by_tissue" in analyzed.obs
    with pytest.raises(KeyError, match=r"obs\['lost_best'\] does not exist. Pass key='cell_type_transferred'\."):
        uc.tl.label_clusters(analyzed, "lost", groupby="tissue")
    with pytest.raises(KeyError, match=r"obs\['cell_type_transferred_best'\] .* Call uc\.tl\.transfer_labels first"):
        uc.tl.label_clusters(cells(), groupby="tissue")


def test_something_else_than_an_anndata_with_results_is_refused():
    with pytest.raises(TypeError, match=r"not MuData; pass mdata\['rna'\] or mdata\['protein'\]\."):
        uc.pl.ood_score(of_two(cells()))
    with pytest.raises(TypeError, match="An AnnData is needed, not DataFrame"):
        uc.pl.silhouette_by_type(cells().obs)
    with pytest.raises(TypeError, match=r"pass the tables that uc\.bench\.run_transfer returns"):
        uc.pl.transfer_table(cells())


def log_normalized() -> ad.AnnData:
    """Cells whose counts are in a layer."""
    out = cells()
    out.layers["umi"] = out.X.copy()
    out.X = np.log1p(out.X)
    return out


READERS: dict[str, Callable[..., Any]] = {
    "tissue_homogeneity": ONE["tissue_homogeneity"],
    "compare_groups": ONE["compare_groups"],
    "marker_fold_changes": ONE["marker_fold_changes"],
    "evaluate_find_cells": ONE["evaluate_find_cells"],
    "bench.run": lambda a, **o: uc.bench.run(a, groupby="type", methods=["PCA"], seeds=[0], scib=False, **o),
}


@pytest.mark.parametrize("call", READERS.values(), ids=READERS.keys())
def test_without_counts_the_error_names_an_argument_that_works(call):
    with pytest.raises(ValueError, match=r"Raw counts may be in adata\.layers\['umi'\]: pass (.+?['}])\.") as error:
        call(log_normalized())
    argument = re.search(r"pass (.+?['}])\.", str(error.value))[1]
    call(log_normalized(), **eval(f"dict({argument})"))


def test_counts_in_raw_are_named_where_they_are_read():
    adata = uc.datasets.pbmc68k_reduced()[:50].copy()
    adata.raw = adata
    adata.X = adata.X.log1p()
    for call in (uc.pp.map_genes, uc.tl.uce_embed):
        with pytest.raises(ValueError, match=r"log-transformed.* Raw counts may be in adata\.raw: pass layer='raw'\."):
            call(adata)
        call(adata, layer="raw")
    adata.obs["found"] = np.arange(50) < 25
    with pytest.raises(ValueError, match=r"in adata\.raw: pass adata\.raw\.to_adata\(\)\."):
        uc.tl.marker_fold_changes(adata, groupby="phase")


EMBEDDED = {
    name: call
    for name, call in (ONE | TWO).items()
    if {"use_rep", "use_reps"} & {*inspect.signature(getattr(uc.tl, name)).parameters}
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_without_an_embedding_the_error_names_its_key_and_the_function_to_call(name):
    parameters = inspect.signature(getattr(uc.tl, name)).parameters
    default = (parameters.get("use_rep") or parameters["use_reps"]).default
    assert default in ("X_uce", ("X_uce",))
    data = cells()
    del data.obsm["X_toy"]
    with pytest.raises(KeyError, match=r"obsm\['X_toy'\] does not exist; .* uc\.tl\.uce_embed"):
        EMBEDDED[name](data) if name in ONE else EMBEDDED[name](data, cells(1))


def test_found_cells_are_read_by_the_key_of_find_cells():
    for name in ("compare_groups", "marker_fold_changes"):
        assert default_key(getattr(uc.tl, name), "found_key") == default_key(uc.tl.find_cells, "key_added")
        data = cells()
        del data.obs["found"]
        with pytest.raises(KeyError, match=r"obs\['found'\] does not exist; .* uc\.tl\.find_cells"):
            ONE[name](data)
