"""Tables of a benchmark as Markdown: one writer for the documentation, the terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.campaign.run import Outcome

MAIN: Final = {
    "Total": "scIB total",
    "Bio conservation": "biology",
    "Batch correction": "batch",
    "KMeans NMI": "NMI",
    "KMeans ARI": "ARI",
    "silhouette": "silhouette",
    "types won": "types won",
    "kNN accuracy": "kNN within",
    "transfer kNN accuracy": "kNN to another batch",
    "transfer logistic accuracy": "logistic to another batch",
    "alignment top 1": "centroids, top 1",
    "scGraph Corr-Weighted": "scGraph",
}
DETAILS: Final = {
    name: name
    for name in (
        "scGraph Rank-PCA", "scGraph Corr-PCA",
        "Isolated labels", "Silhouette label", "cLISI", "BRAS", "iLISI", "KBET", "Graph connectivity", "PCR comparison",
        "kNN macro-F1", "transfer kNN macro-F1", "transfer logistic macro-F1", "alignment top 3",
    )
}  # fmt: skip
TRANSFER: Final = {
    name: name
    for name in (
        "kNN accuracy", "kNN macro-F1", "logistic accuracy", "logistic macro-F1", "nearest centroid accuracy",
        "centroid top 1", "centroid top 3",
    )
}  # fmt: skip


def summary(outcome: Outcome, columns: dict[str, str], sort_by: Sequence[str]) -> pd.DataFrame:
    """Mean ± standard deviation over the seeds as text, the best method first, controls last; a failed run says so."""
    found = outcome.adata.uns[outcome.key]
    scores, runs = found["table"], found["runs"]
    rows = scores[scores["group"] == "all"]
    grouped = rows.groupby(["method", "metric"], sort=False)["value"]
    mean, spread, order = grouped.mean().unstack(), grouped.std(ddof=1).unstack(), list(dict.fromkeys(scores["method"]))
    mean, spread = mean.reindex(order), spread.reindex(order)
    by = next((name for name in sort_by if name in mean and mean[name].notna().any()), None)
    flags = runs.groupby("method")[["control", "uses_labels"]].any()
    control = {n: bool(flags["control"].get(n, True)) for n in order}
    if by is not None:
        order.sort(key=lambda n: (control[n], -np.nan_to_num(mean.loc[n, by], nan=-np.inf)))
    failed = dict(runs.loc[runs["status"] == "failed", ["method", "reason"]].itertuples(index=False))
    shown = [c for c in columns if c in mean and mean[c].notna().any()]
    out = pd.DataFrame(index=pd.Index(order, name="method"), columns=[columns[c] for c in shown], dtype=object)
    for name in order:
        cells = [_text(mean.loc[name, c], spread.loc[name, c]) for c in shown]
        out.loc[name] = ["failed" if name in failed and mean.loc[name, shown].isna().all() else c for c in cells]
    names = [f"{n} *" if bool(flags["uses_labels"].get(n, False)) else n for n in order]
    out.index = pd.Index([f"({n})" if control[o] else n for n, o in zip(names, order, strict=True)], name="method")
    return out


def costs(outcome: Outcome) -> pd.DataFrame:
    """Seconds, the mean over the seeds, and the highest peak of memory among them."""
    runs = outcome.adata.uns[outcome.key]["runs"]
    runs = runs[(runs["status"] == "done") & ~runs["control"]]
    grouped = runs.groupby("method", sort=False)
    table = pd.DataFrame({"seconds": grouped["seconds"].mean().round(1), "peak MB": grouped["peak_mb"].max().round(0)})
    return table.assign(dimensions=grouped["n_dims"].first()).astype(str)


def failures(outcome: Outcome) -> pd.DataFrame:
    """Runs that failed, with their reasons."""
    runs = outcome.adata.uns[outcome.key]["runs"]
    return runs.loc[runs["status"] == "failed", ["method", "seed", "reason"]].set_index("method").astype(str)


def markdown(table: pd.DataFrame) -> str:
    """A table."""
    head = [str(table.index.name or ""), *map(str, table.columns)]
    lines = [
        head,
        ["---"] * len(head),
        *([str(i), *map(str, row)] for i, row in zip(table.index, table.to_numpy(), strict=True)),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_tables(outcomes: Sequence[Outcome]) -> str:
    """All tables of a campaign."""
    parts = []
    for o in outcomes:
        found = o.adata.uns[o.key]
        parts.append(f"### {o.name}\n\n{about(o)}")
        if o.key == "benchmark":
            parts.append(markdown(summary(o, MAIN, ("Total", "kNN accuracy"))))
            parts.append(markdown(summary(o, DETAILS, ("Total", "kNN accuracy"))))
            parts.append(markdown(costs(o)))
        else:
            parts.append(markdown(summary(o, TRANSFER, ("logistic accuracy",))))
        seen = found["runs"].drop_duplicates("method").query("has_seen not in ['no', 'unknown']")
        if len(seen):
            sets = (f"{name}: {ids}" for name, ids in zip(seen["method"], seen["has_seen"], strict=True))
            parts.append(f"Data sets that methods were trained on: {', '.join(sets)}.")
        if len(failed := failures(o)):
            parts.append("Failed:\n\n" + markdown(failed))
    last = found["params"]
    parts.append(
        f"Hardware: {last['hardware']}. Versions: {', '.join(f'{k} {v}' for k, v in last['versions'].items())}."
    )
    return "\n\n".join(parts) + "\n"


_PLURAL = {"rare type": "of rare types"}


def about(outcome: Outcome) -> str:
    """What was scored, in a sentence."""
    params = outcome.adata.uns[outcome.key]["params"]
    counts = {k: int(v) for k, v in params["n_cells"].items() if int(v)}
    cells = ", ".join(f"{v:,} {_PLURAL.get(k, k)}" for k, v in counts.items())
    genes = f"{params['n_vars']:,} genes" if "n_vars" in params else f"{params['n_shared_genes']:,} shared genes"
    batches = f", {params['n_batches']} batches" if "n_batches" in params else ""
    return f"Cells: {cells}; {genes}{batches}; seeds {', '.join(map(str, params['seeds']))}."


def _text(mean: float, spread: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" + (f" ± {spread:.3f}" if spread >= 0.0005 else "")
