"""Scores for cells of a type that the reference lacks: each type of a set is held out in turn.

The other types are split in half: one half is the reference, the other are cells that should not be flagged. Scores are
chosen on ``train``; ``sets=eval`` measures the choice. ``scores=`` names some of :data:`SCORES`, ``splits=`` the number
of times that the halves are dealt. Of a set at most 800 cells are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import univerce as uc
from benchmarks.measurement import Run

K, MIN_CELLS, MAX_CELLS = 15, 30, 800


def main(run: Run) -> None:
    """Compare the scores in both representations."""
    kind = run.option("sets", "train")
    paths = sorted((run.data / str(kind)).glob("*.h5ad"))
    wanted = str(run.option("scores", ",".join(SCORES))).split(",")
    splits = int(run.option("splits", "3"))
    rows = [row for path in paths for row in held_out_types(path, wanted, splits)]
    table = pd.DataFrame(rows)
    per_set = table.groupby(["use_rep", "score", "set", "seed"], sort=False)[["auroc", "flagged", "false"]].mean()
    means = per_set.groupby(["use_rep", "score", "seed"], sort=False).mean()
    summary = means.groupby(["use_rep", "score"], sort=False).agg(["mean", "std"])
    n_types = table.groupby("set")["type"].nunique()
    run.record(
        f"outliers-{kind}",
        f"Each of {n_types.sum()} types of {len(n_types)} sets held out, {MAX_CELLS} cells per set, means over the sets"
        f", {splits} split{'s' * (splits > 1)}",
        ("representation, score", "AUROC", "held-out type flagged at 5 %", "other cells flagged"),
        [
            (f"{rep}, {score}", *(_text(row[m]) for m in ("auroc", "flagged", "false")))
            for (rep, score), row in summary.iterrows()
        ],
    )


def _text(cell: pd.Series) -> str:
    """Mean, and standard deviation over splits, if there are several."""
    return f"{cell['mean']:.3f}" + (f" ± {cell['std']:.3f}" if cell["std"] >= 0 else "")


def held_out_types(path: Path, scores: list[str], splits: int) -> Iterator[dict[str, object]]:
    """A row per type, representation, score and seed."""
    adata = ad.read_h5ad(path)
    if "cell_type" not in adata.obs or adata.obs["cell_type"].isna().all():
        return
    if adata.n_obs > MAX_CELLS:
        adata = adata[np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:MAX_CELLS])].copy()
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    sizes = pd.Series(labels[adata.obs["cell_type"].notna()]).value_counts()
    types = sorted(sizes.index[sizes >= MIN_CELLS])
    if len(types) < 3:
        return
    with uc.settings.override(progress=False):
        uc.tl.uce_embed(adata, "species")
    logs = sc.pp.normalize_total(adata, target_sum=1e4, copy=True)
    sc.pp.log1p(logs)
    representations = {"uce-mini": adata.obsm["X_uce"], "log-normalized, PCA": components(logs)}
    for held_out in types:
        out = labels == held_out
        inside = np.flatnonzero(np.isin(labels, types) & ~out)
        for seed in range(splits):
            order = np.random.default_rng(seed).permutation(inside)
            reference, rest = order[::2], order[1::2]
            query = np.concatenate([rest, np.flatnonzero(out)])
            for rep, values in representations.items():
                for score in scores:
                    far, usual = SCORES[score](values[reference], labels[reference], values[query])
                    limit = np.quantile(usual, 0.95, method="higher")
                    is_out = np.arange(len(query)) >= len(rest)
                    yield {
                        "set": path.stem, "type": held_out, "seed": seed, "use_rep": rep, "score": score,
                        "auroc": roc_auc_score(is_out, far),
                        "flagged": np.mean(far[is_out] > limit), "false": np.mean(far[~is_out] > limit),
                    }  # fmt: skip


def components(logs: ad.AnnData) -> np.ndarray:
    """Principal components of all cells. Those of the cells without the held-out type lack its genes and miss it."""
    sc.pp.highly_variable_genes(logs, n_top_genes=min(2000, logs.n_vars))
    values = logs.X[:, logs.var["highly_variable"].to_numpy()].toarray()
    return PCA(min(50, len(values) - 1, values.shape[1]), random_state=0).fit_transform(values)


def distance(reference: np.ndarray, labels: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the k-th nearest cell."""
    found = NearestNeighbors(n_neighbors=K).fit(reference)
    return found.kneighbors(query)[0][:, -1], found.kneighbors()[0][:, -1]


def density(reference: np.ndarray, labels: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same over that of the neighbors (simplified local outlier factor)."""
    found = NearestNeighbors(n_neighbors=K).fit(reference)
    (far, near), (own, mine) = found.kneighbors(query), found.kneighbors()
    scale = own[:, -1]
    return far[:, -1] / scale[near].mean(axis=1), scale / scale[mine].mean(axis=1)


def one_label(reference: np.ndarray, labels: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the k-th nearest cell of the nearest type, over the median of the type's own."""
    scores, usual = [], np.full(len(reference), np.inf)
    for name in np.unique(labels):
        rows = labels == name
        k = min(K, rows.sum() - 1)
        found = NearestNeighbors(n_neighbors=k).fit(reference[rows])
        scale = np.median(found.kneighbors()[0][:, -1])
        scores.append(found.kneighbors(query)[0][:, -1] / scale)
        others = found.kneighbors(reference)[0][:, -1] / scale
        others[rows] = found.kneighbors()[0][:, -1] / scale
        usual = np.minimum(usual, others)
    return np.min(scores, axis=0), usual


def mahalanobis(reference: np.ndarray, labels: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mahalanobis distance to the nearest type, the covariance pooled (Lee et al. 2018), calibrated by two folds."""

    def fit(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        means = {name: reference[rows & (labels == name)].mean(axis=0) for name in np.unique(labels[rows])}
        residual = reference[rows] - np.array([means[name] for name in labels[rows]])
        precision = LedoitWolf(assume_centered=True).fit(residual).precision_
        apart = [points - mean for mean in means.values()]
        return np.min([np.einsum("ij,jk,ik->i", x, precision, x) for x in apart], axis=0)

    return fit(np.ones(len(labels), bool), query), _two_folds(reference, fit)


def energy(reference: np.ndarray, labels: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-sum-exp of the logits of a classifier (Liu et al. 2020)."""

    def fit(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        scale = reference[rows].std()
        model = LogisticRegression(C=1.0, max_iter=100, tol=1e-3).fit(reference[rows] / scale, labels[rows])
        logits = model.decision_function(points / scale)
        logits = np.column_stack([-logits, logits]) / 2 if logits.ndim == 1 else logits
        top = logits.max(axis=1)
        return -(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))

    return fit(np.ones(len(labels), bool), query), _two_folds(reference, fit)


def _two_folds(reference: np.ndarray, fit: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Scores of the reference by models that did not see the cell."""
    first = np.arange(len(reference)) % 2 == 0
    out = np.empty(len(reference))
    for rows in (first, ~first):
        out[~rows] = fit(rows, reference[~rows])
    return out


SCORES = {
    "k-th neighbor": distance, "local density": density, "nearest type": one_label, "Mahalanobis": mahalanobis,
    "energy": energy,
}  # fmt: skip
