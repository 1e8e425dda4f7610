"""Candidates for the recipe of the bundled model, compared on training sets that are left out of the fit.

A third of the training sets (``--data``) is left out of everything: rarity, landmarks and axes. Two partitions into
thirds; ``partitions=1`` does one. The left-out sets are scored by 15 nearest neighbors: accuracy in five folds within
sets with published labels and, for the others, on clusters of one half of the counts while the other half is embedded;
balanced accuracy from one blood set to another, and between human blood and mouse spleen, whose cells get types from
the markers of their clusters. scIB scores the left-out sets with batches and types, and all left-out human blood with
the sets as batches. ``only=`` names some candidates, divided by semicolons, and ``csv=`` a file of scores to continue.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import univerce as uc
from benchmarks.left_out import Scored, embed, integration, read_sets, score
from benchmarks.measurement import Run
from univerce.model.linear import Decoder, Linear, LinearConfig
from univerce.training.axes import nearest_cells, noise_adjusted_axes, scatter
from univerce.training.fit_linear import LinearFit
from univerce.training.measured_cells import GeneStatistics, bags, named_genes

BASE = LinearFit()
KINDS = [
    "published", "blood", "others", "blood to blood", "human, mouse", "Bio conservation", "Batch correction", "Total",
]  # fmt: skip
ALIKE = 0.5
"""Cosine of two cells of different groups that count as the same kind of cell."""


@dataclass(frozen=True)
class Candidate:
    """A recipe: that of the package, or one with a step that the package does not have."""

    fit: LinearFit = BASE
    weights: str = "log"
    """``log``, ``sqrt``, ``acosh`` or ``rank``."""
    apart: str = ""
    """Differences between mutual nearest neighbors of two ``batches`` or of two ``sets`` are noise, too."""
    share: float = 1.0
    """Their part of the noise."""


def _fit(**changes: float) -> Candidate:
    return Candidate(replace(BASE, **changes))


CANDIDATES = {
    "1,200 landmarks, weight 2": Candidate(),
    "no landmarks": _fit(n_landmarks=0),
    "weight 1": _fit(landmark_weight=1.0),
    "weight 3": _fit(landmark_weight=3.0),
    "weight 4": _fit(landmark_weight=4.0),
    "600 landmarks": _fit(n_landmarks=600),
    "2,400 landmarks": _fit(n_landmarks=2400),
    "ridge 0.4": _fit(ridge=0.4),
    "ridge 1.6": _fit(ridge=1.6),
    "power 0.5": _fit(power=0.5),
    "power 1": _fit(power=1.0),
    "32 outputs": _fit(output_dim=32),
    "64 outputs": _fit(output_dim=64),
    "square root of the share": Candidate(weights="sqrt"),
    "acosh of the share": Candidate(weights="acosh"),
    "rank in the cell": Candidate(weights="rank"),
    "batches apart are noise": Candidate(apart="batches"),
    "sets apart are noise": Candidate(apart="sets"),
    "sets apart, half": Candidate(apart="sets", share=0.5),
    "sets apart, double": Candidate(apart="sets", share=2.0),
}


class Fold:
    """Everything that depends on the sets in the fit and on the weights of genes."""

    def __init__(self, inside: list[Scored], known: frozenset[str], weights: str, n_landmarks: int) -> None:
        self.inside, self.weights = inside, weights
        cells = [s.cells.weighed(weights) for s in inside]
        self.statistics = GeneStatistics.of(cells, known)
        self.landmarks = self.statistics.landmarks(n_landmarks, BASE.least_sets * 2 // 3)
        self.token_dim = cells[0].features.shape[1]
        self.values = [bags(c, self.statistics, self.landmarks, 1.0) for c in cells]
        self.mean = np.mean([x.mean(axis=0) for x in self.values], axis=0)
        parts = [scatter(x, c.neighbors) for x, c in zip(self.values, cells, strict=True) if len(x) > 1]
        self.noise, self.total = (sum(part[k] for part in parts) for k in (0, 1))
        self.apart: dict[str, np.ndarray] = {}

    def model(self, candidate: Candidate) -> Linear:
        fit = candidate.fit
        n = min(fit.n_landmarks, len(self.landmarks))
        used = np.arange(self.token_dim + n)
        scale = np.where(used < self.token_dim, 1.0, fit.landmark_weight)
        noise, total = (x[np.ix_(used, used)] * scale * scale[:, None] for x in (self.noise, self.total))
        ridge = fit.ridge * np.trace(noise) / self.token_dim
        if candidate.apart:
            apart = self.between(candidate.apart)[np.ix_(used, used)] * scale * scale[:, None]
            noise += apart * (candidate.share * np.trace(noise) / np.trace(apart))
        axes = noise_adjusted_axes(noise, total, fit.output_dim, ridge=ridge, power=fit.power)
        axes *= scale[:, None].astype(np.float32)
        return Linear(
            config=LinearConfig("candidate", self.token_dim, "", fit.output_dim, fit.scale),
            keys=self.statistics.keys, rarity=self.statistics.rarity, weight=axes[: self.token_dim],
            landmarks=self.landmarks[:n], landmark_vectors=axes[self.token_dim :], center=self.mean[used] @ axes,
            decoder=Decoder.empty(fit.output_dim),
        )  # fmt: skip

    def between(self, apart: str) -> np.ndarray:
        """Scatter of the differences between like neighborhoods of two groups, as the first candidate sees them."""
        if apart not in self.apart:
            base = self.model(Candidate(replace(BASE, n_landmarks=min(BASE.n_landmarks, len(self.landmarks)))))
            groups = list(self._groups(base, apart))
            pairs = itertools.combinations(groups, 2)
            out = np.zeros_like(self.noise)
            n_pairs = 0
            for (set_a, x, smooth_x), (set_b, y, smooth_y) in pairs:
                if apart == "batches" and set_a != set_b:
                    continue
                i, j = _mutual(x, y)
                if len(i):
                    d = smooth_x[i] - smooth_y[j]
                    out += d.T @ d
                    n_pairs += len(i)
            print(f"{apart}: {n_pairs} pairs of cells in {len(groups)} groups", flush=True)
            self.apart[apart] = out
        return self.apart[apart]

    def _groups(self, base: Linear, apart: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for s, values in zip(self.inside, self.values, strict=True):
            vectors = embed(base, self.weights, s)
            batch = s.batch if apart == "batches" else np.full(len(values), s.cells.name, dtype=object)
            for one in [] if batch is None else np.unique(batch):
                rows = np.flatnonzero(batch == one)
                if len(rows) >= 20:
                    nearest = nearest_cells(s.cells.log_norm[rows])
                    yield s.cells.name, vectors[rows], (values[rows] + values[rows][nearest].sum(axis=1)) / 11


def _mutual(x: np.ndarray, y: np.ndarray, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    cosine = x @ y.T
    of_x, of_y = (np.zeros(cosine.shape, dtype=bool) for _ in range(2))
    np.put_along_axis(of_x, np.argsort(-cosine, axis=1)[:, :k], values=True, axis=1)
    np.put_along_axis(of_y, np.argsort(-cosine, axis=0)[:k], values=True, axis=0)
    return np.nonzero(of_x & of_y & (cosine > ALIKE))


def main(run: Run) -> None:
    """Score all candidates."""
    first = next(iter(CANDIDATES))
    names = list(dict.fromkeys([first, *(run.option("only") or ";".join(CANDIDATES)).split(";")]))
    if unknown := set(names) - CANDIDATES.keys():
        raise SystemExit(f"only={sorted(unknown)[0]!r} is no candidate; choose from {'; '.join(CANDIDATES)}.")
    csv = Path(run.option("csv") or run.scratch() / "selection.csv")
    columns = ["candidate", "partition", "third", "kind", "where", "score"]
    scores = pd.read_csv(csv) if csv.exists() else pd.DataFrame(columns=columns)
    sets = read_sets(run.data, BASE)
    print(f"{len(sets)} sets read", flush=True)
    known = named_genes(uc.genes.load_table(s) for s in BASE.names_of)
    for partition, third in itertools.product(range(int(run.option("partitions", "2"))), range(3)):
        here = (scores["partition"] == partition) & (scores["third"] == third)
        missing = [name for name in names if name not in set(scores.loc[here, "candidate"])]
        if not missing:
            continue
        began = time.process_time()
        part = np.random.default_rng(partition).permutation(len(sets)) % 3
        inside, outside = ([s for s, p in zip(sets, part, strict=True) if (p == third) == out] for out in (False, True))
        models, found = {}, []
        for weights in dict.fromkeys(CANDIDATES[name].weights for name in missing):
            mine = [name for name in missing if CANDIDATES[name].weights == weights]
            fold = Fold(inside, known, weights, max(CANDIDATES[name].fit.n_landmarks for name in mine))
            for name in mine:
                models[name] = fold.model(CANDIDATES[name]), weights
                rows = score(*models[name], outside, inside)
                found += [(name, partition, third, *row) for row in rows]
        for name, measure, where, value in integration(models, outside):
            found.append((name, partition, third, measure, where, value))
        scores = pd.DataFrame([*scores.itertuples(index=False), *found], columns=columns)
        scores.to_csv(csv, index=False)  # so far
        print(f"partition {partition}, third {third}: {time.process_time() - began:.0f} CPU seconds", flush=True)
    show(run, scores, names, first)


def show(run: Run, scores: pd.DataFrame, names: list[str], first: str) -> None:
    """Means, and in brackets the difference to the first candidate: mean and standard deviation over the folds."""
    folds = scores.groupby(["candidate", "partition", "third", "kind"])["score"].mean().unstack()[KINDS]
    rows = []
    for name in [*names, *(["PCA"] if "PCA" in folds.index else [])]:
        apart = folds.loc[name] - folds.loc[first]
        text = folds.loc[name].mean().map("{:.3f}".format)
        if name != first:
            text += [f" ({m:+.3f} ± {sd:.3f})" for m, sd in zip(apart.mean(), apart.std(), strict=True)]
        rows.append((name, *text.where(folds.loc[name].notna().any(), "")))
    run.record("selection", f"Training sets left out in turn (thirds), {len(apart)} folds", ("", *KINDS), rows)
