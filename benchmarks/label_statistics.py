"""Transferred labels where the truth is known: confidences, thresholds, sets, composition, novelty of simulated cells.

Twelve types in four lineages, of unequal size and spread, with an effect of the donor. Every number is the mean and
standard deviation over simulations. ``seeds=`` sets their number.
"""

from __future__ import annotations

from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.measurement import Run
from univerce._settings import settings
from univerce.embeddings.classifiers import Neighbors
from univerce.embeddings.neighbors import exact_neighbors, recall
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.transfer_labels import transfer_labels

N_TYPES, N_DIMS = 12, 24
SHARES = np.geomspace(1, 0.04, N_TYPES) / np.geomspace(1, 0.04, N_TYPES).sum()
NAMES = np.array([f"type {k}" for k in range(N_TYPES)])
KEY = "type_transferred"


class World:
    """Types and donors of one simulation."""

    def __init__(self, seed: int, donor_effect: float = 0.35) -> None:
        self.rng = np.random.default_rng(seed)
        lineage = 2.2 * self.rng.normal(size=(4, N_DIMS))[np.arange(N_TYPES) % 4]
        self.center = lineage / np.sqrt(N_DIMS) * 2 + self.rng.normal(size=(N_TYPES, N_DIMS)) * 0.38
        self.spread = self.rng.uniform(0.6, 1.3, size=N_TYPES)
        self.donor_effect, self.n_donors = donor_effect, 0

    def cells(self, n: int, *, n_donors: int, shares: np.ndarray = SHARES) -> ad.AnnData:
        """Cells of new donors."""
        y = self.rng.choice(N_TYPES, size=n, p=shares)
        donor = self.rng.integers(n_donors, size=n)
        shift = self.donor_effect * self.rng.normal(size=(n_donors, N_TYPES, N_DIMS))
        x = self.center[y] + shift[donor, y] + self.spread[y, None] * self.rng.normal(size=(n, N_DIMS))
        first, self.n_donors = self.n_donors, self.n_donors + n_donors
        obs = pd.DataFrame({"type": NAMES[y], "donor": [f"d{first + d}" for d in donor]})
        obs.index = [f"{first}-{i}" for i in range(n)]
        return ad.AnnData(obs=obs, obsm={"X": x.astype(np.float32)})


def label(
    query: ad.AnnData, reference: ad.AnnData | LabelClassifier, fit: dict | None = None, **options
) -> pd.DataFrame:
    groupby = {} if isinstance(reference, LabelClassifier) else {"groupby": "type"}
    transfer_labels(query, reference, use_rep="X", check_space=False, fit_options=fit, **groupby, **options)
    out = query.obs[[KEY, f"{KEY}_best", f"{KEY}_confidence", f"{KEY}_novelty"]].copy()
    return out.set_axis(["label", "best", "confidence", "novelty"], axis=1).astype({"label": str, "best": str})


def error(found: pd.DataFrame, truth: pd.Series) -> float:
    return expected_error(reliability(found["confidence"].to_numpy(), (found["best"] == truth).to_numpy()))


def calibration(seed: int) -> Iterator[tuple[str, str, float]]:
    for donors, fit in (("same donors", {}), ("new donors", {"batch_key": "donor"})):
        world = World(seed, 0.0 if donors == "same donors" else 0.35)
        reference, query = world.cells(3000, n_donors=8), world.cells(3000, n_donors=8)
        for method in ("logistic", "knn", "centroid"):
            found = label(query, reference, fit | {"method": method})
            yield f"calibration error, {method}, {donors}", "0", error(found, query.obs["type"])


def composition(seed: int) -> Iterator[tuple[str, str, float]]:
    world = World(seed, 0.0)
    reference = world.cells(8000, n_donors=1)
    classifier = LabelClassifier.fit(reference, groupby="type", use_rep="X", max_cells=300)
    for name, shares in (("as the reference", SHARES), ("reversed", SHARES[::-1]), ("half the types", halved())):
        query = world.cells(3000, n_donors=1, shares=shares)
        for prior in ("reference", "uniform", "query"):
            found = label(query, classifier, {"prior": prior})
            right = found["best"] == query.obs["type"]
            yield f"accuracy, query {name}, prior={prior!r}", "", right.mean()
            yield f"calibration error, query {name}, prior={prior!r}", "0", error(found, query.obs["type"])
        said = query.uns[KEY]["classes"]["share"].to_numpy()
        true = query.obs["type"].value_counts(normalize=True).reindex(classifier.classes.index, fill_value=0)
        yield f"largest error of an estimated share, query {name}", "0", np.abs(said - true).max()


def halved() -> np.ndarray:
    shares = np.where(np.arange(N_TYPES) % 2, SHARES, 0)
    return shares / shares.sum()


def thresholds(seed: int) -> Iterator[tuple[str, str, float]]:
    world = World(seed, 0.0)
    reference, query = world.cells(1500, n_donors=1), world.cells(4000, n_donors=1)
    found = label(query, reference, threshold={"accuracy": 0.9})
    kept = found["label"] != "unknown"
    right = (found["label"] == query.obs["type"])[kept].mean()
    yield "accuracy at the threshold of {'accuracy': 0.9}", "0.9", right
    yield "its reported value less the true one", "0", query.uns[KEY]["scores"]["accuracy_at_threshold"] - right


def sets(seed: int) -> Iterator[tuple[str, str, float]]:
    for name, n_donors, fit in (("same donors", 0, {}), ("new donors, 4 known", 4, {"batch_key": "donor"}),
                                ("new donors, 12 known", 12, {"batch_key": "donor"})):  # fmt: skip
        world = World(seed, 0.35 if n_donors else 0.0)
        reference, query = world.cells(4000, n_donors=max(n_donors, 1)), world.cells(6000, n_donors=12)
        label(query, reference, fit | {"n_folds": max(n_donors, 5)}, label_set=0.9)
        inside = pd.Series(
            [t in s.split(" | ") for t, s in zip(query.obs["type"], query.obs[f"{KEY}_set"].astype(str), strict=True)]
        )
        by_type = inside.groupby(query.obs["type"].to_numpy()).mean()
        yield f"coverage of label_set=0.9, mean of types, {name}", "0.9", by_type.mean()
        yield f"coverage of label_set=0.9, worst type, {name}", "", by_type.min()
        reported = query.uns[KEY]["classes"]["set_coverage"].mean()
        yield f"its reported value, mean of types, {name}", "", reported
        yield f"labels in a set, {name}", "", query.obs[f"{KEY}_set_size"].mean()


def novelty(seed: int) -> Iterator[tuple[str, str, float]]:
    world = World(seed)
    reference, query = world.cells(4000, n_donors=8), world.cells(4000, n_donors=8)
    missing = NAMES[seed % N_TYPES]
    reference = reference[(reference.obs["type"] != missing).to_numpy()].copy()
    found = label(query, reference, {"batch_key": "donor"})
    new = query.obs["type"] == missing
    yield "share of cells beyond 95 % of their label, known types", "0.05", (found["novelty"][~new] > 0.95).mean()
    yield "share of cells beyond 95 % of their label, missing type", "", (found["novelty"][new] > 0.95).mean()


def index(seed: int) -> Iterator[tuple[str, str, float]]:
    world = World(seed)
    reference, query = world.cells(20000, n_donors=8).obsm["X"], 1.5 * world.cells(500, n_donors=8).obsm["X"]
    exact, _ = exact_neighbors(query, reference, 15)
    for kind in ("ivf", "hnsw"):
        model = Neighbors.fit(reference, np.zeros(len(reference), int), 1, search=kind)
        for name, cells in (("the index", reference), ("the query", query)):
            ready, _ = model.tuned(cells[:256])
            found, _ = ready._index.search(query, 15, effort=ready.effort)
            yield f"recall for another data set, {kind}, tuned on {name}", "0.98", recall(found, exact)


def main(run: Run) -> None:
    n_seeds = int(run.option("seeds", "10") or 10)
    found: dict[tuple[str, str], list[float]] = {}
    with settings.override(progress=False):
        for simulate in (calibration, composition, thresholds, sets, novelty, index):
            for seed in range(n_seeds if simulate is not index else min(n_seeds, 3)):
                for what, right, value in simulate(seed):
                    found.setdefault((what, right), []).append(float(value))
    rows = [
        (what, right, f"{np.mean(v):.3f} ± {np.std(v, ddof=1) if len(v) > 1 else 0:.3f}", len(v))
        for (what, right), v in found.items()
    ]
    title = "Transferred labels in simulations with known truth, mean ± standard deviation"
    run.record("labels", title, ("", "target", "measured", "simulations"), rows)
