"""Cell types told apart by the bundled model, its untrained twin, principal components and the majority class."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import univerce as uc
from tests.perf.table import print_table
from univerce.genes.assets import BUNDLED_TABLES

pytestmark = pytest.mark.perf

MIN_CELLS = 10  # of a type
KNN = KNeighborsClassifier(15)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    """The bundled model with the weights it began with."""
    directory = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    uc.model.save_model(uc.model.UCE(uc.model.find_model().config), directory)
    (directory / "tables").symlink_to(BUNDLED_TABLES, target_is_directory=True)
    return directory


def test_every_cell_of_the_evaluation_sets_is_embedded(test_data, untrained):
    results = {}
    for path in sorted((test_data / "eval").glob("*.h5ad")):
        adata = labelled(path)
        labels = adata.obs["cell_type"].to_numpy(dtype=str)
        values = {
            "uce-mini": embedding(adata, "uce-mini"),
            "untrained": embedding(adata, untrained),
            "PCA": components(adata),
        }
        assert all(np.isfinite(x).all() for x in values.values())
        scores = {name: accuracy(KNN, x, labels) for name, x in values.items()}
        scores["majority"] = accuracy(DummyClassifier(), labels[:, None], labels)
        print(path.stem, {name: f"{score:.3f}" for name, score in scores.items()}, flush=True)
        results[path.stem] = (adata.n_obs, len(np.unique(labels)), scores)
    assert results

    mean = pd.DataFrame({name: scores for name, (_, _, scores) in results.items()}).mean(axis=1)
    rows = [(name, n, k, *(f"{s:.3f}" for s in scores.values())) for name, (n, k, scores) in results.items()]
    header = ("set", "cells", "types", *mean.index)
    print_table(
        "Accuracy of cell types within a set, 15 nearest neighbours, 5 folds",
        header,
        [*rows, ("mean", "", "", *(f"{s:.3f}" for s in mean))],
    )


def labelled(path: Path) -> ad.AnnData:
    """The cells whose type has enough of them for five folds."""
    adata = ad.read_h5ad(path)
    types = adata.obs["cell_type"].astype(object)
    counts = types.value_counts()
    return adata[types.isin(counts.index[counts >= MIN_CELLS]).to_numpy()].copy()


def embedding(adata: ad.AnnData, model: str | Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names of old annotations
        done = uc.tl.uce_embed(adata, species="species", model=model, progress=False, copy=True)
    return done.obsm["X_uce"]


def components(adata: ad.AnnData) -> np.ndarray:
    """50 principal components of the 2,000 most variable genes, fitted to the set itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logs = adata.copy()
        sc.pp.normalize_total(logs, target_sum=1e4)
        sc.pp.log1p(logs)
        sc.pp.highly_variable_genes(logs, n_top_genes=2000)
        sc.pp.pca(logs, n_comps=50, random_state=0)
    return logs.obsm["X_pca"]


def accuracy(classifier, x: np.ndarray, labels: np.ndarray) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, x, labels, cv=folds).mean())
