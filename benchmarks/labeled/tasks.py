"""What is measured: each function gives one row per set, method, seed and measure."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import logit
from sklearn.metrics import roc_auc_score

import univerce as uc
from benchmarks.labeled.methods import CENTERED, PCA, Key, Methods
from benchmarks.labeled.scores import (
    across,
    cell_auroc,
    enough_cells,
    hide,
    log_norm,
    logistic_regression,
    mean_cosine,
    nearest_neighbors,
    paired_cosine,
    scib,
    silent_genes,
    subset_for_logistic,
    variable_genes,
    within,
)
from benchmarks.labeled.sets import BATCHED, Side, Transfer
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.model.linear import Linear
from univerce.pp.center import center_rows

COLUMNS = ["task", "set", "method", "seed", "measure", "value"]
KNN, LOGISTIC = "kNN", "logistic"
N_REPEATED = 100
"""Cells of each set whose embeddings are compared with each other and between seeds."""
N_HIDDEN = 50
"""Cells of each set of which genes are hidden."""
HIDDEN_SHARE = 0.2


def _rows(task: str, name: str, key: Key, scores: dict[str, float], what: str = "") -> Iterator[tuple]:
    for measure, value in scores.items():
        yield task, name, *key, f"{what} {measure}".strip(), value


def _frame(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def within_set(methods: Methods, name: str) -> pd.DataFrame:
    """Classify cell types within one set: nearest neighbors and logistic regression, five folds."""
    labels = methods.labels(name)
    kept = np.flatnonzero(enough_cells(labels))
    labels = labels[kept]
    some = subset_for_logistic(labels)
    rows = []
    for key, cells in methods.within(name, kept).items():
        if cells.classifier is None:
            rows += _rows("within", name, key, within(nearest_neighbors(cells.metric), cells.neighbors, labels), KNN)
        linear = within((cells.classifier or logistic_regression)(), cells.logistic[some], labels[some])
        rows += _rows("within", name, key, linear, LOGISTIC)
    majority = pd.Series(labels).value_counts(normalize=True).iloc[0]
    rows.append(("within", name, "majority", -1, f"{KNN} accuracy", majority))
    return _frame(rows)


def transfer(methods: Methods, passed: Transfer) -> pd.DataFrame:
    """Classify cell types with a classifier fitted to another set."""
    rows = []
    for train, test in passed.directions():
        (i, labels), (j, labels_test) = side_cells(methods, train), side_cells(methods, test)
        kept = enough_cells(labels)
        i, labels = i[kept], labels[kept]
        name = f"{passed.kind}: {train.label} > {test.label}"
        for key, (a, b) in methods.across(train.name, i, test.name, j).items():
            if a.classifier is None:
                knn = across(nearest_neighbors(a.metric), a.neighbors, labels, b.neighbors, labels_test)
                rows += _rows("transfer", name, key, knn, KNN)
            linear = across((a.classifier or logistic_regression)(), a.logistic, labels, b.logistic, labels_test)
            rows += _rows("transfer", name, key, linear, LOGISTIC)
    return _frame(rows)


def side_cells(methods: Methods, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the cells of one side and their coarse types."""
    labels = pd.Series(methods.labels(side.name))
    if side.types is not None:
        labels = labels.map(side.types)
    kept = labels.notna().to_numpy()
    if side.column is not None:
        kept = kept & (methods.read(side.name).obs[side.column].astype(str) == side.value).to_numpy()
    rows = np.flatnonzero(kept)
    return rows, labels.to_numpy(dtype=object)[rows]


def integration(methods: Methods, name: str) -> pd.DataFrame:
    """Scores of scib-metrics for a set with batches. Expression itself is left out: its k-means takes a minute."""
    labels = methods.labels(name)
    kept = np.flatnonzero(enough_cells(labels))
    batch = methods.read(name).obs[BATCHED[name]].astype(str).to_numpy()[kept]
    cells = {key: c.logistic for key, c in methods.within(name, kept).items()}
    spaces = {key: cells[key] for key in [*methods.whole(name), (PCA, -1)]}
    spaces[CENTERED, -1] = center_rows(cells[methods.name, 0], np.unique(batch, return_inverse=True)[1])
    scores = scib({str(key): x for key, x in spaces.items()}, labels[kept], batch, str((PCA, -1)))
    return _frame([row for key in spaces for row in _rows("scIB", name, key, scores.loc[str(key)].to_dict())])


def _some_cells(methods: Methods, name: str, n: int) -> np.ndarray:
    size = methods.read(name).n_obs
    return np.sort(np.random.default_rng(0).permutation(size)[:n])


def repeatability(methods: Methods, seeds: tuple[int, int] = (0, 1)) -> pd.DataFrame:
    """Cosine of a cell's embeddings with two seeds, by how sentences are drawn."""
    settings = [{"sampling": s, "n_draws": n} for s in ("multinomial", "systematic") for n in (1, 4)]
    if "n_sample" in inspect.signature(uc.tl.uce_embed).parameters:
        longer = 4 * methods.found.config.n_sample
        settings += [{"sampling": s, "n_sample": longer} for s in ("multinomial", "systematic")]
    rows = []
    for name in methods.names:
        adata = methods.read(name)[_some_cells(methods, name, N_REPEATED)].copy()
        for options in settings:
            a, b = (methods.embed(adata, rng=seed, **options) for seed in seeds)
            how = ", ".join(f"{k}={v}" if k != "sampling" else str(v) for k, v in options.items())
            cosine = paired_cosine(a, b)
            rows += _rows("seeds", name, (how, -1), {"cosine": float(cosine.mean()), "lowest": float(cosine.min())})
    return _frame(rows)


def spread(methods: Methods) -> pd.DataFrame:
    """Mean cosine between two random cells of a set, and of all sets, as many from each."""
    parts: dict[Key, list[np.ndarray]] = {}
    rows = []
    for name in methods.names:
        some = _some_cells(methods, name, N_REPEATED)
        for key, x in methods.whole(name).items():
            parts.setdefault(key, []).append(x[some])
            rows += _rows("spread", name, key, {"cosine": mean_cosine(x[some])})
    for key, x in parts.items():
        rows += _rows("spread", "all sets", key, {"cosine": mean_cosine(np.concatenate(x))})
    return _frame(rows)


def hidden_genes(methods: Methods, name: str) -> pd.DataFrame:
    """AUROC, per cell, of telling genes that were hidden from the cell from genes without a count.

    ``frequency`` is how many of the set's other cells express a gene, ``head`` the prediction without it, and
    ``head + frequency`` the prediction that is given it.
    """
    adata, table = methods.read(name), methods.table(methods.species(name))
    genes, var_rows = np.unique(uc.genes.map_names(adata.var_names, table).rows, return_inverse=True)
    to_genes = sp.csr_matrix((np.ones(len(var_rows), np.float32), (np.arange(len(var_rows)), var_rows)))
    counts = (adata.X @ to_genes).tocsr()[:, genes >= 0]
    genes = genes[genes >= 0]
    counts.sort_indices()
    rng = np.random.default_rng(0)
    order = rng.permutation(adata.n_obs)
    n = min(N_HIDDEN, adata.n_obs // 2)
    some, others = np.sort(order[:n]), order[n:]
    frequency = np.bincount(counts[others].indices, minlength=len(genes)) / len(others)
    shown, hidden = hide(counts[some], HIDDEN_SHARE, rng)
    silent = silent_genes(counts[some], [len(h) for h in hidden], np.arange(len(genes)), rng)
    cells = ad.AnnData(shown, obs=adata.obs.iloc[some], var=pd.DataFrame(index=table.obs_names[genes]))
    cells = methods.embedded(cells)
    head = uc.tl.predict_expression(cells, cells.var_names, model=methods.model).X
    scores = {"frequency": np.broadcast_to(frequency, shown.shape), "head": head}
    if methods.model not in RELEASED_MODELS:  # what gene_frequency= would give
        head, frequency = (x.clip(1e-4, 1 - 1e-4) for x in (head, frequency))
        scores["head + frequency"] = logit(head) + logit(frequency)
    return _frame(
        [("hidden genes", name, m, -1, "AUROC", cell_auroc(x, hidden, silent).mean()) for m, x in scores.items()]
    )


def cells_of_a_gene(methods: Methods, name: str) -> pd.DataFrame:
    """AUROC, per variable gene, of telling the cells with a count from the others by the predicted expression.

    The frequency of the gene is the same for all cells: 0.5. ``depth`` ranks cells by their number of genes.
    """
    adata, table = methods.read(name), methods.table(methods.species(name))
    rows = uc.genes.map_names(adata.var_names, table).rows
    logs = log_norm(adata.X)
    share = np.bincount(adata.X.indices, minlength=adata.n_vars) / adata.n_obs
    pool = [j for j in variable_genes(logs, 1000) if rows[j] >= 0 and 0.02 < share[j] < 0.98]
    pool = [j for k, j in enumerate(pool) if rows[j] not in rows[pool[:k]]]
    cells = methods.embedded(adata)
    names, known = table.obs_names[rows[pool]], np.ones(len(pool), dtype=bool)
    if not methods.found.reads_sentences:
        known = Linear.read(methods.found).decodes(table, rows[pool])
    predicted = uc.tl.predict_expression(cells, list(names[known]), model=methods.model).X
    expressed = adata.X[:, np.array(pool)[known]].toarray() > 0
    depth = np.diff(adata.X.indptr)
    scores = np.array([roc_auc_score(y, x) for y, x in zip(expressed.T, predicted.T, strict=True)])
    by_depth = np.array([roc_auc_score(y, depth) for y in expressed.T])
    values = {
        "genes": len(pool), "predicted": float(known.mean()), "median": float(np.median(scores)),
        "lower quartile": float(np.quantile(scores, 0.25)), "below 0.45": float((scores < 0.45).mean()),
        "depth, median": float(np.median(by_depth)),
    }  # fmt: skip
    return _frame([("cells of a gene", name, measure, -1, "AUROC", value) for measure, value in values.items()])


def gene_features(methods: Methods) -> pd.DataFrame:
    """The report on the gene features of the model's tables, in the form of the other tasks."""
    species = uc.genes.available_species(methods.model)
    report = uc.genes.feature_report({s: methods.table(s) for s in species})
    return _frame(
        [("gene features", s, measure, -1, "report", v) for s, row in report.iterrows() for measure, v in row.items()]
    )
