"""What functions write survives files, copies, pickles, subsets and concatenation, on every supported platform."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc

TERMS = {"CD14+ Monocyte": "classical monocyte", "CD19+ B": "B cell", "CD8+ Cytotoxic T": "T cell"}
LINEAGES = {"lymphoid": "lymphocyte", "myeloid": "myeloid leukocyte"}
ONTOLOGY = {"ontology": "CL", "ontology_ids": TERMS, "min_cells": 3, "n_permutations": 9}
TYPE, MODEL = {"groupby": "cell_type"}, {"model": "uce-tiny"}
BENCH = TYPE | {"methods": ["PCA", "random"]}


def _label(adata: ad.AnnData, reference: ad.AnnData) -> None:
    uc.tl.transfer_labels(adata, reference, **TYPE)
    uc.tl.label_clusters(adata, "cell_type_transferred", groupby="phase")


CALLS: dict[str, Callable[[ad.AnnData, ad.AnnData], Any]] = {
    "pp.center": lambda adata, _: uc.pp.center(adata, batch_key="phase"),
    "pp.map_genes": lambda adata, _: uc.pp.map_genes(adata),
    "pp.shuffle_counts": lambda adata, _: uc.pp.shuffle_counts(adata),
    "pp.uce_tokenize": lambda adata, _: uc.pp.uce_tokenize(adata),
    "tl.centroid_alignment": lambda *data: uc.tl.centroid_alignment(*data, tissue_key="phase", min_cells=3),
    "tl.centroids": lambda adata, _: uc.tl.centroids(adata, ["phase", "cell_type"], min_cells=3),
    "tl.compare_groups": lambda adata, _: uc.tl.compare_groups(adata, condition_key="state", control="a", min_cells=3),
    "tl.delete_genes": lambda adata, _: uc.tl.delete_genes(adata, ["CD79A"], **TYPE),
    "tl.dendrogram": lambda adata, _: uc.tl.dendrogram(adata, **TYPE | ONTOLOGY),
    "tl.evaluate_find_cells": lambda adata, _: uc.tl.evaluate_find_cells(adata, min_cells=20, n_comps=5, **TYPE),
    "tl.evaluate_ood_score": lambda adata, _: uc.tl.evaluate_ood_score(adata, **TYPE),
    "tl.find_cells": lambda *data: uc.tl.find_cells(*data, groups="Dendritic", abundance_by="phase", **TYPE),
    "tl.gene_attribution": lambda adata, _: uc.tl.gene_attribution(adata[:9].copy(), "Dendritic", **TYPE),
    "tl.gene_network": lambda adata, _: uc.tl.gene_network(adata, ["CD3D", "CD3E", "CD79A"], n_neighbors=1),
    "tl.label_clusters": _label,
    "tl.lineage_colocalization": lambda adata, _: uc.tl.lineage_colocalization(adata, lineages=LINEAGES, **ONTOLOGY),
    "tl.map_terms": lambda adata, _: uc.tl.map_terms(adata, groupby="type"),
    "tl.marker_fold_changes": lambda adata, _: uc.tl.marker_fold_changes(adata, groupby="phase", min_cells=2),
    "tl.ontology_distance": lambda adata, _: uc.tl.ontology_distance(
        adata, ontology="CL", ontology_ids=TERMS, n_pairs=500, n_permutations=9
    ),
    "tl.ood_score": uc.tl.ood_score,
    "tl.predict_expression": lambda adata, _: uc.tl.predict_expression(adata, ["CD3D", "MS4A1"]),
    "tl.reconstruction_loss": lambda adata, _: uc.tl.reconstruction_loss(adata, **MODEL),
    "tl.search_atlas": lambda *data: uc.tl.search_atlas(*data, n_neighbors=3),
    "tl.silhouette_by_type": lambda adata, _: uc.tl.silhouette_by_type(adata, use_reps=["X_uce", "X_toy"], **TYPE),
    "tl.tissue_homogeneity": lambda adata, _: uc.tl.tissue_homogeneity(adata, tissue_key="phase", min_cells=3),
    "tl.transfer_labels": lambda *data: uc.tl.transfer_labels(*data, threshold={"coverage": 0.8}, **TYPE),
    "tl.uce_embed": lambda adata, _: uc.tl.uce_embed(adata, key_added="X_tiny", **MODEL),
    "bench.run": lambda adata, _: uc.bench.run(adata, seeds=[0], scib=False, **BENCH),
    "bench.run_transfer": lambda *data: uc.bench.run_transfer(*data, **BENCH),
}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    full = uc.datasets.pbmc68k_reduced()[::4]
    adata = ad.AnnData(full.X.copy(), obs=full.obs.copy(), var=full.var[[]].copy(), uns={"organism": "human"})
    uc.tl.uce_embed(adata)
    adata.obsm["X_toy"] = adata.obs[["S_score", "G2M_score"]].to_numpy()
    adata.obs["found"] = adata.obs["cell_type"] == "CD14+ Monocyte"
    adata.obs["state"] = np.where(np.arange(adata.n_obs) % 3, "a", "b")
    adata.obs["type"] = adata.obs["cell_type"].map(TERMS).astype(object)
    return adata


def test_every_function_that_writes_is_covered():
    functions = {f"{m.__name__.split('.')[1]}.{n}": getattr(m, n) for m in (uc.pp, uc.tl, uc.bench) for n in m.__all__}
    signatures = {n: inspect.signature(f) for n, f in functions.items() if inspect.isfunction(f)}
    writing = {n for n, s in signatures.items() if "key_added" in s.parameters}
    returning = {
        n for n, s in signatures.items() if "AnnData" in str(s.return_annotation) and not n.startswith("bench")
    }
    assert set(CALLS) == writing | returning


@pytest.mark.parametrize("name", CALLS)
def test_results_survive(name: str, cells: ad.AnnData, tmp_path: Path):
    adata, reference = cells[::2].copy(), cells[1::2].copy()
    made = CALLS[name](adata, reference)
    result = made if isinstance(made, ad.AnnData) else adata
    _equal(result, pickle.loads(pickle.dumps(result)), name)
    _equal(result, result.copy(), name)
    written = result.copy()  # anndata makes texts categorical as it writes
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(zarr|Zarr|Consolidated).*")
        written.write_h5ad(tmp_path / "result.h5ad")
        written.write_zarr(tmp_path / "result.zarr")
        read = ad.read_h5ad(tmp_path / "result.h5ad"), ad.read_zarr(tmp_path / "result.zarr")
    for copy in read:
        _equal(result, copy, name)
    every_other = result[::2].copy()
    _equal(result.uns, every_other.uns, name)
    for part in ("obs", "obsm"):
        for key in list(getattr(result, part)):
            _equal(getattr(result, part)[key][::2], getattr(every_other, part)[key], f"{name} {part}[{key!r}]")
    half = result.n_obs // 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(obs_names|Observation names).*")
        again = ad.concat([result[:half], result[half:]], uns_merge="same", merge="same")
    for part in ("obs", "obsm", "uns", "var"):
        _equal(getattr(result, part), getattr(again, part), f"{name} {part}", lacking=_dropped)
    if isinstance(made, pd.DataFrame):
        (key,) = set(result.uns) - set(cells.uns)
        for copy in (*read, every_other, again):
            _equal(made, uc.get.table(copy, key), name)


def _dropped(value: Any) -> bool:
    """Whether ``uns_merge="same"`` drops a value: NaN, which is not equal to itself, and empty mappings."""
    return (isinstance(value, Mapping) and not value) or (isinstance(value, float) and np.isnan(value))


def _equal(expected: Any, found: Any, where: str, lacking: Callable[[Any], bool] = lambda _: False) -> None:
    """Compare values; numbers and text keep their kind, but a scalar may be read as one of numpy's."""
    if isinstance(expected, ad.AnnData):
        for part in ("X", "obs", "var", "obsm", "varm", "obsp", "layers", "uns"):
            _equal(getattr(expected, part), getattr(found, part), f"{where} {part}")
    elif isinstance(expected, Mapping):
        kept = {key: value for key, value in expected.items() if key in found or not lacking(value)}
        assert {*kept} == {*found}, where
        for key, value in kept.items():
            _equal(value, found[key], f"{where}[{key!r}]", lacking)
    elif isinstance(expected, pd.DataFrame):
        assert list(expected.columns) == list(found.columns), where
        assert list(expected.index.astype(str)) == list(found.index.astype(str)), where
        for column in expected:
            _equal(expected[column], found[column], f"{where}.{column}")
    elif expected is None:
        assert found is None, where
    elif sp.issparse(expected):
        _equal(expected.toarray(), found.toarray(), where)
    elif getattr(getattr(expected, "dtype", None), "names", None):
        for name in expected.dtype.names:
            _equal(expected[name], found[name], f"{where}[{name!r}]")
    else:
        values, read = (np.asarray(x, dtype=None if _is_number(x) else object) for x in (expected, found))
        missing = np.asarray(pd.isna(values))
        assert values.dtype.kind == read.dtype.kind, where
        np.testing.assert_array_equal(missing, pd.isna(read), err_msg=where)
        np.testing.assert_array_equal(values[~missing], read[~missing], err_msg=where)


def _is_number(values: Any) -> bool:
    dtype = values.dtype if hasattr(values, "dtype") else np.asarray(values).dtype
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"
