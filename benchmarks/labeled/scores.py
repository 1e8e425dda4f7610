"""Scores of embeddings, and the plain representations they are measured against: arrays in, numbers or arrays out."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.helpers.blobs import OneScale

N_NEIGHBORS = 15
N_FOLDS = 5
MAX_LOGISTIC = 2000
"""Cells that a logistic regression is fitted and scored on within a set."""


# Scores of labels ----------------------------------------------------------------------------------------------------


def enough_cells(labels: np.ndarray, least: Sequence[int] = (10, 5)) -> np.ndarray:
    """Which cells have a label with enough cells: the first number of ``least`` that leaves two labels."""
    counts = pd.Series(labels).map(pd.Series(labels).value_counts()).to_numpy()
    for n in least:
        kept = counts >= n
        if len(np.unique(labels[kept])) > 1:
            return kept
    raise ValueError(f"No two labels have {least[-1]} cells or more.")


def label_scores(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Share of right labels, and F1 averaged over the labels that occur."""
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro F1": float(f1_score(labels, predicted, average="macro", labels=np.unique(labels), zero_division=0)),
    }


def nearest_neighbors(metric: str = "euclidean") -> KNeighborsClassifier:
    return KNeighborsClassifier(N_NEIGHBORS, metric=metric, algorithm="brute")


def logistic_regression():
    """On features that are centered and divided by one number, by the cells it is trained on."""
    return make_pipeline(OneScale(), LogisticRegression(max_iter=200))


def strong_linear(n_genes: int = 1000, n_components: int = 50):
    """Standardized ranks of the genes that differ most between labels (analysis of variance), their components, a line.

    Hard to beat within a set. It sees the labels of the cells it is trained on twice, so it has no nearest neighbors.
    """
    return make_pipeline(
        VarianceThreshold(), StandardScaler(), SelectKBest(f_classif, k=n_genes),
        PCA(n_components, svd_solver="randomized", random_state=0), LogisticRegression(max_iter=200),
    )  # fmt: skip


def within(classifier, x, labels: np.ndarray) -> dict[str, float]:
    """Stratified cross-validation."""
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return label_scores(labels, cross_val_predict(classifier, x, labels, cv=folds))


def across(classifier, x, labels: np.ndarray, x_test, labels_test: np.ndarray) -> dict[str, float]:
    """Train on some cells, test on those others whose label occurs among the first."""
    known = np.isin(labels_test, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted = classifier.fit(x, labels).predict(x_test[known])
    return label_scores(labels_test[known], predicted)


def subset_for_logistic(labels: np.ndarray, most: int = MAX_LOGISTIC) -> np.ndarray:
    """At most ``most`` rows, of each label its share, always the same ones."""
    rows = np.arange(len(labels))
    if len(rows) <= most:
        return rows
    return np.sort(train_test_split(rows, train_size=most, stratify=labels, random_state=0)[0])


def scib(spaces: Mapping[str, np.ndarray], labels: np.ndarray, batch: np.ndarray, before: str) -> pd.DataFrame:
    """Scores of scib-metrics, one row for each space: 0.6 x bio conservation + 0.4 x batch correction is the total.

    ``before`` names the space that the others are compared with by the explained variance of the batches.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scib_metrics
        from scib_metrics.benchmark import Benchmarker
        from scib_metrics.nearest_neighbors import NeighborsResults

        scib_metrics.settings.verbosity = logging.WARNING

        def neighbors(x: np.ndarray, k: int) -> NeighborsResults:
            distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors(x)
            return NeighborsResults(indices=indices, distances=distances)

        adata = ad.AnnData(sp.csr_matrix((len(labels), 1), dtype=np.float32))
        adata.obs["label"], adata.obs["batch"] = pd.Categorical(labels), pd.Categorical(batch)
        for name, x in spaces.items():
            adata.obsm[name] = np.ascontiguousarray(x, dtype=np.float32)
        bench = Benchmarker(
            adata, "batch", "label", list(spaces), pre_integrated_embedding_obsm_key=before, progress_bar=False
        )
        bench.prepare(neighbors)
        bench.benchmark()
        scores = bench.get_results(min_max_scale=False)
    return scores.loc[list(spaces), ["Bio conservation", "Batch correction", "Total"]].astype(float)


# Scores without labels -----------------------------------------------------------------------------------------------


def paired_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[n_cells]`` cosine of each row of one with the same row of the other."""
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def mean_cosine(x: np.ndarray) -> float:
    """Mean cosine between two different rows."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    n = len(unit)
    return float((np.square(unit.sum(0)).sum() - n) / (n * (n - 1)))


def hide(counts: sp.csr_matrix, share: float, rng: np.random.Generator) -> tuple[sp.csr_matrix, list[np.ndarray]]:
    """Set the counts of a share of each cell's expressed genes to zero; which genes those were comes second."""
    shown = counts.copy()
    hidden = []
    for begin, end in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        places = begin + rng.permutation(end - begin)[: round(share * (end - begin))]
        hidden.append(np.sort(counts.indices[places]))
        shown.data[places] = 0
    shown.eliminate_zeros()
    return shown, hidden


def silent_genes(
    counts: sp.csr_matrix, how_many: Sequence[int], measured: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """For each cell some of the measured genes without a count."""
    out = []
    for i, n in enumerate(how_many):
        silent = np.setdiff1d(measured, counts.indices[counts.indptr[i] : counts.indptr[i + 1]])
        out.append(rng.choice(silent, size=min(n, len(silent)), replace=False))
    return out


def cell_auroc(scores: np.ndarray, expressed: list[np.ndarray], silent: list[np.ndarray]) -> np.ndarray:
    """``[n_cells]`` AUROC of telling a cell's expressed genes from its silent ones by ``scores`` [n_cells, n_genes]."""
    return np.array(
        [
            roc_auc_score(np.repeat([1, 0], [len(e), len(s)]), np.concatenate([row[e], row[s]]))
            for row, e, s in zip(scores, expressed, silent, strict=True)
        ]
    )


# Plain representations -----------------------------------------------------------------------------------------------


def log_norm(counts: sp.csr_matrix) -> sp.csr_matrix:
    """log(1 + counts per 10,000 of the cell)."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    logs = sp.csr_matrix(counts.multiply((1e4 / np.maximum(totals, 1))[:, None]), dtype=np.float32)
    logs.data = np.log1p(logs.data)
    return logs


def ranks(logs: sp.csr_matrix, n_genes: int = 5000) -> np.ndarray:
    """Rank of the expressed genes of each cell, 0 without a count, of the genes in most cells: ``[n_cells, n]``."""
    common = np.sort(np.argsort(-np.bincount(logs.indices, minlength=logs.shape[1]), kind="stable")[:n_genes])
    out = logs.copy()
    for begin, end in itertools.pairwise(out.indptr):
        out.data[begin:end] = rankdata(out.data[begin:end]) / max(end - begin, 1)
    return out[:, common].toarray()


def variable_genes(logs: sp.csr_matrix, n: int = 2000, batch: np.ndarray | None = None) -> np.ndarray:
    """Columns of the most variable genes, those variable in most batches first."""
    if logs.shape[1] <= n:
        return np.arange(logs.shape[1])
    adata = ad.AnnData(logs)
    if batch is not None:
        adata.obs["batch"] = pd.Categorical(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(adata, n_top_genes=n, batch_key=None if batch is None else "batch")
    return np.flatnonzero(adata.var["highly_variable"])


def components(fitted: np.ndarray, *projected: np.ndarray, n: int = 50) -> list[np.ndarray]:
    """Principal components of the first matrix, and where the others fall on them."""
    n = min(n, fitted.shape[0] - 1, fitted.shape[1])
    pca = PCA(n, svd_solver="full" if min(fitted.shape) < 200 else "covariance_eigh").fit(fitted)
    return [pca.transform(x) for x in (fitted, *projected)]


def shared_genes(names: Sequence[str], others: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the genes whose upper-case name occurs once in both, in one order."""
    a, b = (pd.Series(np.arange(len(x)), index=pd.Index(x).astype(str).str.upper()) for x in (names, others))
    a, b = (x[~x.index.duplicated(keep=False)] for x in (a, b))
    shared = a.index.intersection(b.index).sort_values()
    return a[shared].to_numpy(), b[shared].to_numpy()


def expressed_share(counts: sp.csr_matrix, names: Sequence[str]) -> pd.Series:
    """Share of the cells with a count, by upper-case name; of variables of one name the highest."""
    share = np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1]) / counts.shape[0]
    return pd.Series(share, index=pd.Index(names).astype(str).str.upper()).groupby(level=0).max()


def inverse_frequency(shares: Sequence[pd.Series], rarest: float = 1e-3) -> pd.Series:
    """log(1 / share of the cells that express a gene), the share averaged over the data sets that have the gene."""
    mean = pd.concat(shares, axis=1).mean(axis=1)
    return np.log(1 / mean.clip(lower=rarest))


def bag_of_features(
    counts: sp.csr_matrix, rows: np.ndarray, features: np.ndarray, symbols: Sequence[str], idf: Mapping[str, float]
) -> np.ndarray:
    """Sum over a cell's genes of log(1 + counts per 10,000) x idf x direction of the gene's features, of unit length.

    Parameters
    ----------
    counts
        ``[n_cells, n_vars]``.
    rows
        ``[n_vars]`` row of each variable in ``features``, -1 for none.
    features
        ``[n_genes, token_dim]``.
    symbols
        ``[n_genes]`` symbols of the genes.
    idf
        Weight by upper-case symbol; genes that it lacks get its median.
    """
    weight = pd.Series(idf).reindex(pd.Index(symbols).astype(str).str.upper()).fillna(pd.Series(idf).median())
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    weighted = np.where(rows[:, None] >= 0, unit[rows] * weight.to_numpy()[rows, None], 0)
    cells = log_norm(counts) @ weighted.astype(np.float32)
    return cells / np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-12)
