"""Candidates for the recipe of the bundled model, compared on training sets that are left out of the fit.

A third of the training sets (``--data``) is left out of everything: rarity, landmarks and axes. Two partitions into
thirds; ``partitions=1`` does one, ``thirds=0,2`` leaves only some out. The left-out sets are scored by 15 nearest
neighbors: accuracy in five folds within sets with published labels and, for the others, on clusters of one half of the
counts while the other half is embedded; balanced accuracy from one blood set to another, and between human blood and
mouse spleen, whose cells get types from the markers of their clusters. ``only=`` names some candidates, divided by
semicolons.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from sklearn.metrics import balanced_accuracy_score

import univerce as uc
from benchmarks.labeled.scores import enough_cells, log_norm, nearest_neighbors, within
from benchmarks.measurement import Run
from univerce.model.linear import Decoder, Linear, LinearConfig, gene_weights
from univerce.training.axes import noise_adjusted_axes, scatter
from univerce.training.fit_linear import LinearFit
from univerce.training.measured_cells import GeneStatistics, MeasuredCells, bags, named_genes

BLOOD = ("human_pbmc", "human_bonemarrow", "mouse_spleen")
MARKERS = {
    "T": ["CD3D", "CD3E", "CD2", "CD3G"],
    "B": ["CD79A", "CD79B", "MS4A1", "CD19"],
    "NK": ["NKG7", "KLRD1", "GNLY", "KLRB1C", "NCR1"],
    "monocyte": ["LYZ", "LYZ2", "CD14", "FCN1", "CSF1R", "CD68"],
    "pDC": ["LILRA4", "IRF7", "SIGLECH", "TCF4"],
    "platelet": ["PPBP", "PF4", "GP9"],
}
BASE = LinearFit()


@dataclass(frozen=True, eq=False)
class Scored:
    """A training set with labels to score."""

    cells: MeasuredCells
    labels: np.ndarray
    """Published labels, or clusters of one half of the counts."""
    kind: str
    seen: sp.csr_matrix
    """``[n_cells, n_genes]`` counts to embed for the score within the set."""
    types: np.ndarray | None
    """Types by markers, for blood."""

    @cached_property
    def seen_weights(self) -> sp.csr_matrix:
        n = self.seen.shape[1]
        return gene_weights(self.seen, np.arange(n), n, self.cells.scale)


def read_sets(data: Path, fit: LinearFit) -> list[Scored]:
    found, tables = [], {s: uc.genes.load_table(s) for s in ("human", "mouse")}
    known = named_genes(tables.values())
    for i, path in enumerate(sorted((data / "train").glob("*.h5ad"))):
        adata = ad.read_h5ad(path)
        rng = np.random.default_rng([fit.seed, i])
        adata = adata[np.sort(rng.permutation(adata.n_obs)[: fit.cells_per_set])].copy()
        adata.X = sp.csr_matrix(adata.X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = uc.pp.training_set(adata, name=path.stem, species=str(adata.obs["species"].iloc[0]))
            kept = np.asarray(adata.X[:, s.rows >= 0].sum(axis=1)).ravel() > 0
            cells = MeasuredCells.sample(s, known, adata.n_obs, fit.scale, np.random.default_rng(0))
            assert cells.counts.shape[0] == kept.sum()
            found.append(_scored(cells, adata.obs[kept], rng))
    return found


def _scored(cells: MeasuredCells, obs: pd.DataFrame, rng: np.random.Generator) -> Scored:
    published = "cell_type" in obs and obs["cell_type"].astype(str).nunique() > 1
    blood = cells.name.startswith(BLOOD)
    clusters = None
    if blood or not published:
        half = cells.counts.copy()
        if not published:
            half.data = rng.binomial(half.data.astype(int), 0.5).astype(np.float32)
        clusters = _clusters(half)
    if published:
        labels, seen = obs["cell_type"].astype(str).to_numpy(object), cells.counts
    else:
        labels, seen = clusters, cells.counts - half
        seen.eliminate_zeros()
    kind = "published" if published else "blood" if blood else "others"
    return Scored(cells, labels, kind, sp.csr_matrix(seen), _types(cells, clusters) if blood else None)


def _clusters(counts: sp.csr_matrix) -> np.ndarray:
    adata = ad.AnnData(log_norm(counts))
    sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars - 1))
    sc.pp.pca(adata, n_comps=min(20, adata.n_obs - 1), random_state=0)
    sc.pp.neighbors(adata, n_neighbors=min(15, adata.n_obs - 1), random_state=0)
    sc.tl.leiden(adata, resolution=1, flavor="igraph", n_iterations=2, random_state=0)
    return adata.obs["leiden"].astype(str).to_numpy(object)


def _types(cells: MeasuredCells, clusters: np.ndarray) -> np.ndarray:
    """The type whose markers are highest in the cluster of a cell, compared with all cells; '' if none stands out."""
    logs = log_norm(cells.counts)
    scores = {}
    for name, markers in MARKERS.items():
        columns = np.flatnonzero(np.isin(cells.keys, markers))
        scores[name] = np.asarray(logs[:, columns].mean(axis=1)).ravel() if len(columns) else np.zeros(len(clusters))
    table = pd.DataFrame(scores)
    table = ((table - table.mean()) / table.std().clip(lower=1e-6)).groupby(clusters).mean()
    best = table.idxmax(axis=1).where(table.max(axis=1) > 0.5, "")
    return best.loc[clusters].to_numpy(object)


class Fold:
    """Everything that depends on the sets in the fit alone."""

    def __init__(self, inside: list[Scored], known: frozenset[str], least_sets: int, n_landmarks: int) -> None:
        cells = [s.cells for s in inside]
        self.statistics = GeneStatistics.of(cells, known)
        self.landmarks = self.statistics.landmarks(n_landmarks, least_sets)
        dim = cells[0].features.shape[1] + len(self.landmarks)
        self.noise, self.total = np.zeros((dim, dim)), np.zeros((dim, dim))
        means = []
        for c in cells:
            values = bags(c, self.statistics, self.landmarks, 1.0)
            means.append(values.mean(axis=0))
            if len(values) > 1:
                of_noise, of_all = scatter(values, c.neighbors)
                self.noise += of_noise
                self.total += of_all
        self.mean = np.mean(means, axis=0)
        self.token_dim = cells[0].features.shape[1]

    def model(self, fit: LinearFit) -> Linear:
        n = min(fit.n_landmarks, len(self.landmarks))
        used = np.arange(self.token_dim + n)
        scale = np.where(used < self.token_dim, 1.0, fit.landmark_weight)
        noise, total = (x[np.ix_(used, used)] * scale * scale[:, None] for x in (self.noise, self.total))
        ridge = fit.ridge * np.trace(noise) / self.token_dim
        axes = noise_adjusted_axes(noise, total, fit.output_dim, ridge=ridge, power=fit.power)
        axes *= scale[:, None].astype(np.float32)
        config = LinearConfig("candidate", self.token_dim, "", fit.output_dim, fit.scale)
        return Linear(
            config=config, keys=self.statistics.keys, rarity=self.statistics.rarity, weight=axes[: self.token_dim],
            landmarks=self.landmarks[:n], landmark_vectors=axes[self.token_dim :], center=self.mean[used] @ axes,
            decoder=Decoder.empty(fit.output_dim),
        )  # fmt: skip


def score(model: Linear, outside: list[Scored], inside: list[Scored]) -> list[tuple[str, str, float]]:
    """Kind, sets and score."""
    rows, embedded = [], {}
    for s in outside:
        vectors = vectors_of(model, s.cells)
        if (pd.Series(s.labels).value_counts() >= 5).sum() < 2:
            continue
        kept = np.flatnonzero(enough_cells(s.labels))
        x = model.cells(s.seen_weights, vectors)
        kept = kept[~np.isnan(x[kept, 0])]
        if len(kept) >= 25:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append((s.kind, s.cells.name, within(nearest_neighbors(), x[kept], s.labels[kept])["accuracy"]))
        if s.types is not None:
            embedded[s.cells.name] = model.cells(s.cells.weights, vectors), s.types
    for s in inside:  # references of the other species, which may be in the fit
        if s.types is not None and any(s.cells.species != o.cells.species and o.types is not None for o in outside):
            embedded.setdefault(s.cells.name, (model.cells(s.cells.weights, vectors_of(model, s.cells)), s.types))
    names = {s.cells.name for s in outside}
    for a, (x, of_x) in embedded.items():
        for b, (y, of_y) in embedded.items():
            same = a.split("_")[0] == b.split("_")[0]
            if a == b or not ({a, b} <= names if same else {a, b} & names):
                continue
            known = (of_x != "") & pd.Series(of_x).map(pd.Series(of_x).value_counts()).ge(10).to_numpy()
            test = np.isin(of_y, np.unique(of_x[known]))
            if len(np.unique(of_y[test])) < 2 or len(np.unique(of_x[known])) < 2:
                continue
            guess = nearest_neighbors().fit(x[known], of_x[known]).predict(y[test])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                right = balanced_accuracy_score(of_y[test], guess)
            rows.append(("blood to blood" if same else "human, mouse", f"{a} > {b}", float(right)))
    return rows


def vectors_of(model: Linear, c: MeasuredCells) -> np.ndarray:
    """As ``Linear.vectors``, from what is known of the cells already."""
    places = np.array([model.index.get(key, -1) for key in c.keys])
    landmark = np.full(len(model.keys) + 1, -1)
    landmark[model.landmarks] = np.arange(len(model.landmarks))
    mine = landmark[places]
    vectors = _features(c) @ model.weight
    vectors[mine >= 0] += model.landmark_vectors[mine[mine >= 0]]
    return vectors * np.append(model.rarity, model.rarity.max())[places][:, None]


@cache
def _features(c: MeasuredCells) -> np.ndarray:
    return c.features


CANDIDATES: Mapping[str, LinearFit] = {
    "1,200 landmarks, weight 2": BASE,
    "no landmarks": dataclasses.replace(BASE, n_landmarks=0),
    "weight 1": dataclasses.replace(BASE, landmark_weight=1.0),
    "weight 3": dataclasses.replace(BASE, landmark_weight=3.0),
    "weight 4": dataclasses.replace(BASE, landmark_weight=4.0),
    "600 landmarks": dataclasses.replace(BASE, n_landmarks=600),
    "2,400 landmarks": dataclasses.replace(BASE, n_landmarks=2400),
    "2,400 landmarks, weight 3": dataclasses.replace(BASE, n_landmarks=2400, landmark_weight=3.0),
    "ridge 0.4": dataclasses.replace(BASE, ridge=0.4),
    "ridge 1.6": dataclasses.replace(BASE, ridge=1.6),
    "power 0.5": dataclasses.replace(BASE, power=0.5),
    "power 1": dataclasses.replace(BASE, power=1.0),
    "64 outputs": dataclasses.replace(BASE, output_dim=64),
    "256 outputs": dataclasses.replace(BASE, output_dim=256),
}


def main(run: Run) -> None:
    """Score all candidates on both partitions."""
    names = (run.option("only") or ";".join(CANDIDATES)).split(";")
    sets = read_sets(run.data, BASE)
    print(f"{len(sets)} sets read", flush=True)
    known = named_genes(uc.genes.load_table(s) for s in BASE.names_of)
    found = []
    for partition in range(int(run.option("partitions", "2"))):
        part = np.random.default_rng(partition).permutation(len(sets)) % 3
        for k in map(int, run.option("thirds", "0,1,2").split(",")):
            began = time.perf_counter()
            inside, outside = ([s for s, p in zip(sets, part, strict=True) if (p == k) == out] for out in (False, True))
            most = max(CANDIDATES[name].n_landmarks for name in names)
            fold = Fold(inside, known, BASE.least_sets * 2 // 3, most)
            for name in names:
                for kind, where, value in score(fold.model(CANDIDATES[name]), outside, inside):
                    found.append((name, partition, k, kind, where, value))
            print(f"partition {partition}, third {k}: {time.perf_counter() - began:.0f} s", flush=True)
            scores = pd.DataFrame(found, columns=["candidate", "partition", "third", "kind", "where", "score"])
            if csv := run.option("csv"):
                scores.to_csv(csv, index=False)  # so far
    by_partition = scores.groupby(["candidate", "kind", "partition"], sort=False)["score"].mean().unstack()
    mean, spread = (f(axis=1).unstack() for f in (by_partition.mean, by_partition.std))
    order = ["published", "blood", "others", "blood to blood", "human, mouse"]
    rows = [
        (
            name, *(f"{mean.loc[name, kind]:.3f} ± {spread.loc[name, kind]:.3f}" for kind in order),
            f"{mean.loc[name].mean():.3f}",
        )
        for name in names
    ]  # fmt: skip
    run.record("selection", f"{len(sets)} training sets, a third left out, two partitions", ("", *order, "mean"), rows)
