"""Training sets with something to score: what a model is worth on sets that took no part in its fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from scipy.stats import rankdata
from sklearn.metrics import balanced_accuracy_score

import univerce as uc
from benchmarks.labeled.scores import (
    components,
    enough_cells,
    log_norm,
    nearest_neighbors,
    scib,
    variable_genes,
    within,
)
from univerce.model.linear import Linear, gene_keys, gene_weights, token_features
from univerce.training.fit_linear import LinearFit
from univerce.training.measured_cells import MeasuredCells, named_genes

BLOOD = ("human_pbmc", "human_bonemarrow", "mouse_spleen")
MARKERS = {
    "T": ["CD3D", "CD3E", "CD2", "CD3G"],
    "B": ["CD79A", "CD79B", "MS4A1", "CD19"],
    "NK": ["NKG7", "KLRD1", "GNLY", "KLRB1C", "NCR1"],
    "monocyte": ["LYZ", "LYZ2", "CD14", "FCN1", "CSF1R", "CD68"],
    "pDC": ["LILRA4", "IRF7", "SIGLECH", "TCF4"],
    "platelet": ["PPBP", "PF4", "GP9"],
}
SAME_AS_TYPE = ("mouse_bmdc", "mouse_preimplantation")
"""Sets whose batches are their types."""


def weigh(counts: sp.csr_matrix, how: str, scale: float) -> sp.csr_matrix:
    """Weights of the genes of each cell: those of the package (``log``), or others that start alike."""
    n = counts.shape[1]
    if how == "log":
        return gene_weights(counts, np.arange(n), n, scale)
    out = sp.csr_matrix(counts, dtype=np.float64)
    total = np.asarray(out.sum(axis=1)).ravel()
    share = scale * out.data / np.repeat(total, np.diff(out.indptr))
    if how == "sqrt":
        out.data = np.sqrt(share)
    elif how == "acosh":  # 4 * overdispersion is 1 / pseudocount: for large shares as the logarithm
        out.data = np.arccosh(1 + share / 2)
    else:  # rank among the expressed genes of the cell
        for begin, end in zip(out.indptr[:-1], out.indptr[1:], strict=True):
            out.data[begin:end] = rankdata(out.data[begin:end]) / max(end - begin, 1)
    return out.astype(np.float32)


@cache
def _features_of(species: str, known: frozenset[str]) -> np.ndarray:
    table = uc.genes.load_table(species)
    return token_features(table, gene_keys(table, known))


@dataclass(frozen=True, eq=False)
class Weighed(MeasuredCells):
    """Cells under one of the weights; features are kept."""

    known: frozenset[str] = frozenset()
    how: str = "log"

    @cached_property
    def weights(self) -> sp.csr_matrix:
        return weigh(self.counts, self.how, self.scale)

    @property
    def features(self) -> np.ndarray:
        return _features_of(self.species, self.known)[self.rows]

    @property
    def log_norm(self) -> sp.csr_matrix:
        return log_norm(self.counts)

    def weighed(self, how: str) -> Weighed:
        """The same cells under other weights; their neighbors do not depend on them."""
        out = replace(self, how=how)
        out.__dict__["neighbors"] = self.neighbors
        return out


@dataclass(frozen=True, eq=False)
class Scored:
    """A training set with labels to score."""

    cells: Weighed
    labels: np.ndarray
    """Published labels, or clusters of one half of the counts."""
    kind: str
    seen: sp.csr_matrix
    """``[n_cells, n_genes]`` counts to embed for the score within the set."""
    types: np.ndarray | None
    """Types by markers, for blood."""
    batch: np.ndarray | None
    """Batches, if they are not the types."""


def read_sets(data: Path, fit: LinearFit) -> list[Scored]:
    """All training sets, with up to ``fit.cells_per_set`` cells of each."""
    found, tables = [], {s: uc.genes.load_table(s) for s in ("human", "mouse")}
    known = named_genes(iter(tables.values()))
    for i, path in enumerate(sorted((data / "train").glob("*.h5ad"))):
        adata = ad.read_h5ad(path)
        rng = np.random.default_rng([fit.seed, i])
        adata = adata[np.sort(rng.permutation(adata.n_obs)[: fit.cells_per_set])].copy()
        adata.X = sp.csr_matrix(adata.X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s = uc.pp.training_set(adata, name=path.stem, species=str(adata.obs["species"].iloc[0]))
            kept = np.asarray(adata.X[:, s.rows >= 0].sum(axis=1)).ravel() > 0
            cells = Weighed.sample(s, known, adata.n_obs, fit.scale, np.random.default_rng(0))
            cells = replace(cells, known=known)
            assert cells.counts.shape[0] == kept.sum()
            found.append(_scored(cells, adata.obs[kept], rng))
    return found


def _scored(cells: Weighed, obs: pd.DataFrame, rng: np.random.Generator) -> Scored:
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
    batch = None
    if "batch" in obs and not cells.name.startswith(SAME_AS_TYPE):
        batch = obs["batch"].astype(str).to_numpy(object)
    return Scored(cells, labels, kind, sp.csr_matrix(seen), _types(cells, clusters) if blood else None, batch)


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


def score(model: Linear, how: str, outside: list[Scored], inside: list[Scored]) -> list[tuple[str, str, float]]:
    """Kind, sets and score of 15 nearest neighbors."""
    rows, embedded = [], {}
    for s in outside:
        vectors = vectors_of(model, s.cells)
        if (pd.Series(s.labels).value_counts() >= 5).sum() < 2:
            continue
        kept = np.flatnonzero(enough_cells(s.labels))
        x = model.cells(weigh(s.seen, how, s.cells.scale), vectors)
        kept = kept[~np.isnan(x[kept, 0])]
        if len(kept) >= 25:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append((s.kind, s.cells.name, within(nearest_neighbors(), x[kept], s.labels[kept])["accuracy"]))
        if s.types is not None:
            embedded[s.cells.name] = embed(model, how, s), s.types
    for s in inside:  # references of the other species, which may be in the fit
        if s.types is not None and any(s.cells.species != o.cells.species and o.types is not None for o in outside):
            embedded.setdefault(s.cells.name, (embed(model, how, s), s.types))
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


def integration(models: dict[str, tuple[Linear, str]], outside: list[Scored]) -> list[tuple[str, str, str, float]]:
    """Candidate, measure, set and score of scIB in left-out sets with batches, and in all their human blood."""
    rows = []
    labeled = [s for s in outside if s.types is not None or s.kind == "published"]
    groups = {s.cells.name: [(s, s.batch)] for s in labeled if s.batch is not None}
    blood = [s for s in outside if s.types is not None and s.cells.species == "human"]
    groups["human blood"] = [(s, np.full(len(s.labels), s.cells.name, dtype=object)) for s in blood]
    for where, parts in groups.items():
        if not parts:
            continue
        labels = np.concatenate([s.labels if s.types is None else s.types for s, _ in parts])
        batch = np.concatenate([b for _, b in parts])
        kept = np.flatnonzero((labels != "") & _often(labels, 10) & _often(batch, 20))
        if len(kept) < 100 or len(set(labels[kept])) < 2 or len(set(batch[kept])) < 2:
            continue
        spaces = {
            c: np.concatenate([embed(model, how, s) for s, _ in parts])[kept] for c, (model, how) in models.items()
        }
        columns = [pd.Series(np.arange(len(s.cells.keys)), index=s.cells.keys) for s, _ in parts]
        columns = [x[~x.index.duplicated()] for x in columns]
        shared = sorted(set.intersection(*(set(x.index) for x in columns)))
        logs = sp.vstack([log_norm(s.cells.counts[:, x[shared]]) for (s, _), x in zip(parts, columns, strict=True)])
        (pca,) = components(logs[kept][:, variable_genes(logs[kept])].toarray())
        scores = scib(spaces | {"PCA": pca}, labels[kept], batch[kept], "PCA")
        rows += [
            (name, measure, where, float(value)) for name, row in scores.iterrows() for measure, value in row.items()
        ]
    return rows


def _often(values: np.ndarray, least: int) -> np.ndarray:
    return pd.Series(values).map(pd.Series(values).value_counts()).to_numpy() >= least


def embed(model: Linear, how: str, s: Scored) -> np.ndarray:
    return model.cells(weigh(s.cells.counts, how, s.cells.scale), vectors_of(model, s.cells))


def vectors_of(model: Linear, c: Weighed) -> np.ndarray:
    """As ``Linear.vectors``, from what is known of the cells already."""
    places = np.array([model.index.get(key, -1) for key in c.keys])
    landmark = np.full(len(model.keys) + 1, -1)
    landmark[model.landmarks] = np.arange(len(model.landmarks))
    mine = landmark[places]
    vectors = c.features @ model.weight
    vectors[mine >= 0] += model.landmark_vectors[mine[mine >= 0]]
    return vectors * np.append(model.rarity, model.rarity.max())[places][:, None]
