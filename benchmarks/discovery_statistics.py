"""Rare cells, ontology distances and comparisons of methods under known truth: bounds, levels and power.

No real data. ``repeats=400`` simulations of each setting; the table is ``discovery.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import networkx as nx
import numpy as np
import pandas as pd
from scipy.stats import norm, ttest_ind

from benchmarks.measurement import Run
from univerce.bench._paired import paired_means
from univerce.tl.discovery._thresholds import (
    Rates,
    abundance,
    clopper_pearson,
    count_rates,
    estimate_prevalence,
    precision_of,
    threshold_of_precision,
)
from univerce.tl.ontology._pairs import TypePairs, compare_steps, draw_pairs
from univerce.tl.ontology.graph import tree_distances

HEADER = ("simulation", "measure", "univerce", "common practice", "target")
Row = tuple[str, str, str, str, str]


def main(run: Run) -> None:
    n = int(run.option("repeats", "400") or 400)
    rows = [*rare_cells(n), *ranking(n), *ontology(n), *comparisons(n)]
    title = f"Simulations with known truth, {n} repeats (fewer with 100,000 negatives and for two methods)"
    run.record("discovery", title, HEADER, rows)


def share(hits: list[bool] | np.ndarray) -> str:
    """A share and its 95 % interval."""
    if len(hits) == 0:
        return "–"
    low, high = clopper_pearson(float(np.sum(hits)), len(hits))
    return f"{np.mean(hits):.3f} ({float(low):.3f}–{float(high):.3f})"


def rare_cells(n: int) -> Iterator[Row]:
    """Scores of positives and negatives are normal, so precision, recall and prevalence are known."""
    settings = (  # distance in standard deviations, positives, negatives, prevalence, precision
        (2.5, 60, 3000, 0.1, 0.6),
        (4.0, 100, 5000, 0.01, 0.8),
        (3.0, 500, 100_000, 0.01, 0.8),
        (5.0, 150, 5000, 1e-4, 0.9),
    )
    for apart, n_positives, n_negatives, prevalence, precision in settings:
        rng = np.random.default_rng(0)
        positive = np.repeat([True, False], [n_positives, n_negatives])
        missed, before, outside, refused = [], [], [], []
        for _ in range(n if n_negatives < 50_000 else n // 4):
            score = rng.normal(np.where(positive, apart, 0.0))

            def true_precision(threshold: float, apart: float = apart, prevalence: float = prevalence) -> float:
                return float(precision_of(norm.sf(threshold - apart), norm.sf(threshold), prevalence))

            before.append(true_precision(_point_threshold(score, positive, prevalence, precision)) < precision)
            try:
                threshold = threshold_of_precision(score, positive, prevalence, precision)
            except ValueError:
                refused.append(True)
                threshold = apart / 2
            else:
                refused.append(False)
                missed.append(true_precision(threshold) < precision)
            found = prevalence * norm.sf(threshold - apart) + (1 - prevalence) * norm.sf(threshold)
            _, low, high = estimate_prevalence(
                np.array([rng.binomial(20_000, found)]), np.array([20_000]), count_rates(score, positive, threshold)
            )
            outside.append(not low[0] <= prevalence <= high[0])
        name = f"rare cells: prevalence {prevalence:g}, {n_negatives:,} negatives, {n_positives} positives"
        yield name, f"true precision below the promised {precision}", share(missed), share(before), "<= 0.05"
        yield name, "precision refused", share(refused), "0", ""
        yield name, "prevalence outside of its interval", share(outside), "–", "<= 0.05"


def _point_threshold(score: np.ndarray, positive: np.ndarray, prevalence: float, precision: float) -> float:
    """Lowest threshold whose precision on the held-out cells themselves is enough, as before; infinite for none."""
    order = np.argsort(-score)
    true, false = np.cumsum(positive[order]), np.cumsum(~positive[order])
    estimate = precision_of(true / positive.sum(), false / (~positive).sum(), prevalence)
    enough = np.flatnonzero((estimate >= precision) & (true + false >= 10))
    return float(score[order[enough[-1]]]) if len(enough) else np.inf


def ranking(n: int) -> Iterator[Row]:
    """One data set of 1,000 cells with 10 % sought, one with 3 %, and 40 of 1 to 20 cells with 3 %."""
    rng = np.random.default_rng(1)
    rates, sizes = Rates(95, 100, 50, 5000), np.array([1000, 1000, *rng.integers(1, 21, 40)])
    names = np.array(["rich", "poor", *[f"small {i}" for i in range(40)]])
    of_cell = pd.Categorical(np.repeat(names, sizes), categories=names)
    chance = np.repeat([0.1, 0.03, *[0.03] * 40], sizes)
    first = []
    for _ in range(n):
        found = rng.random(len(chance)) < 0.95 * chance + 0.01 * (1 - chance)
        table = abundance(of_cell, np.zeros(len(chance)), found, rates)
        by_share = table.sort_values("share", ascending=False, kind="stable")["group"].iloc[0]
        first.append((table["group"].iloc[0] == "rich", by_share == "rich"))
    yield "42 data sets, one of them enriched", "the enriched one ranks first", *map(share, np.array(first).T), "1"


def ontology(n: int) -> Iterator[Row]:
    """Sixteen types at the leaves of a binary tree, centers at random, or inherited from their ancestors."""
    tree = nx.relabel_nodes(nx.balanced_tree(2, 4, create_using=nx.DiGraph).reverse(), str)
    leaves = [str(i) for i in range(15, 31)]
    steps, distances = tree_distances(tree, leaves), np.array([0, 2, 4, 6, 8])
    up = np.array([[leaf in nx.ancestors(tree, node) | {node} for node in tree] for leaf in leaves], dtype=float)
    for name, wanted in (("terms assigned at random", "0.05"), ("types inherit from their ancestors", "high")):
        rng = np.random.default_rng(2)
        p, of_types, pairs_p = [], [], []
        for _ in range(n):
            centers = rng.normal(size=(16, 8)) if wanted == "0.05" else 0.7 * up @ rng.normal(size=(len(tree), 8))
            labels = rng.choice(16, 400, p=rng.permutation(np.arange(1, 17)) / 136)
            points = centers[labels] + rng.normal(size=(400, 8))
            first, second = draw_pairs(400, 20_000, rng)
            apart = np.linalg.norm(points[first] - points[second], axis=1)
            pairs = TypePairs.sum(steps, labels[first], labels[second], apart)
            table, summary = compare_steps(pairs, distances, 199, 0, rng)
            p += table["p_value"].dropna().tolist()
            of_types.append(summary["p_value"])
            parts = [apart[steps[labels[first], labels[second]] == d] for d in distances[1:]]
            tests = zip(parts[1:], parts[:-1], strict=True)
            pairs_p += [ttest_ind(a, b, equal_var=False, alternative="greater").pvalue for a, b in tests]
        tested = share(np.array(p) <= 0.05), share(np.array(pairs_p) <= 0.05), wanted
        yield f"ontology: {name}", "steps with p <= 0.05", *tested
        yield f"ontology: {name}", "correlation of types with p <= 0.05", share(np.array(of_types) <= 0.05), "–", wanted


def comparisons(n: int) -> Iterator[Row]:
    """Two methods are right in 80 % of the cells on average, more in some donors and less in others."""
    for n_donors, n_cells, spread in ((5, 200, 0.05), (8, 200, 0.05), (8, 1000, 0.1), (20, 200, 0.05)):
        for gap in (0.0, 0.08):
            rng = np.random.default_rng(3)
            donors = np.repeat(np.arange(n_donors), n_cells)
            compare = partial(paired_means, strata=np.zeros(len(donors), dtype=np.int64), unit="donor", n=300, rng=rng)
            named, before, outside = [], [], []
            for _ in range(n // 2):
                right = [
                    rng.random(len(donors)) < np.clip(mean + rng.normal(0, spread / 2**0.5, n_donors), 0, 1)[donors]
                    for mean in (0.8, 0.8 - gap)
                ]
                x, y = (r.astype(float)[:, None] for r in right)
                of_donors, of_cells = compare(x, y, units=donors), compare(x, y, units=None)
                named.append(not of_donors["low"] <= 0 <= of_donors["high"])
                before.append(not of_cells["low"] <= 0 <= of_cells["high"])
                outside.append(not of_donors["low"] <= gap <= of_donors["high"])
            name = f"two methods, {n_donors} donors of {n_cells} cells, difference varies by {spread}"
            if gap:
                yield name, f"winner named, {gap} better", share(named), share(before), "high"
            else:
                yield name, "winner named, equally good", share(named), share(before), "0.05"
