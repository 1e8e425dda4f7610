"""Means over seeds and the order of methods, for all figures of a benchmark."""

from __future__ import annotations

import numpy as np
import pandas as pd


def means_over_seeds(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over the seeds: a row for each method, a column for each metric."""
    rows = scores[(scores["group"] == "all") & (scores["kind"] != "failed")]
    grouped = rows.groupby(["method", "metric"], sort=False)["value"]
    order = list(dict.fromkeys(scores["method"]))
    tables = (grouped.mean(), grouped.std(ddof=1))
    mean, spread = (t.unstack("metric").reindex(order) for t in tables)
    return mean, spread


def marked(runs: pd.DataFrame) -> dict[str, str]:
    """Names of the methods, with ``*`` if they saw the labels, and ``†`` if they were trained on the data."""
    uses = runs.groupby("method", sort=False)["uses_labels"].any()
    trained = set(trained_on(runs)["method"])
    return {str(n): f"{n}{' *' * bool(labels)}{' †' * (n in trained)}" for n, labels in uses.items()}


def trained_on(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of methods that were trained on data sets that are scored, whose ids are in ``has_seen``."""
    return runs[~runs["has_seen"].isin(["no", "possibly", "unknown"])]


def is_control(runs: pd.DataFrame) -> dict[str, bool]:
    """Which methods are controls."""
    return {str(k): bool(v) for k, v in runs.groupby("method", sort=False)["control"].any().items()}


def ranked(values: pd.Series, control: dict[str, bool]) -> list[str]:
    """Names from best to worst, controls after methods, failed ones last."""
    keyed = [(control.get(str(n), False), -np.inf if np.isnan(v) else v, str(n)) for n, v in values.items()]
    return [name for _, _, name in sorted(keyed, key=lambda k: (k[0], -k[1]))]
