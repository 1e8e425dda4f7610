"""The report: one HTML file without external files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

import pandas as pd

from benchmarks.campaign.run import Outcome
from benchmarks.campaign.tables import DETAILS, MAIN, TRANSFER, about, costs, failures, summary
from univerce import pl
from univerce._version import __version__
from univerce.bench import compare, list_methods, published

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; font-size: 1.3rem; }
h3 { font-size: 1.05rem; margin-bottom: .3rem; }
figure { margin: 1rem 0; } figure div { overflow-x: auto; } img { max-width: 100%; height: auto; min-width: 32rem; }
figcaption, .note { color: #555; font-size: .87rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.text { white-space: normal; text-align: left; min-width: 14rem;
} thead th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; } nav a { margin-right: 1rem; }
@media print { h2 { break-before: page; } }
"""


def html_report(outcomes: Sequence[Outcome]) -> str:
    """The report of a campaign as HTML."""
    sections = [_data(o) if o.key == "benchmark" else _transfer(o) for o in outcomes]
    transfers = [o for o in outcomes if o.key == "benchmark_transfer"]
    if transfers:
        sections.append(_pairs(transfers))
    sections.append(_methods(outcomes))
    links = "".join(f'<a href="#s{i}">{escape(o.name)}</a>' for i, o in enumerate(outcomes))
    body = "".join(f'<section id="s{i}">{section}</section>' for i, section in enumerate(sections))
    params = outcomes[-1].adata.uns[outcomes[-1].key]["params"]
    versions = ", ".join(f"{k} {v}" for k, v in params["versions"].items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Benchmark of cell embeddings</title><style>{_STYLE}</style></head><body>"
        "<h1>Benchmark of cell embeddings</h1>"
        f'<p class="note">univerce {escape(__version__)}. {escape(str(params["hardware"]))}. {escape(versions)}.</p>'
        '<p class="note">Mean ± standard deviation over seeds. * saw the labels that it is scored on; (controls) '
        f"are ends of the scale.</p><nav>{links}</nav>{body}</body></html>"
    )


def _data(o: Outcome) -> str:
    found, adata = o.adata.uns[o.key], o.adata
    params = found["params"]
    parts = [f"<h2>{escape(o.name)}</h2><p class=note>{escape(about(o))}</p>"]
    parts.append(_figure(lambda: pl.benchmark_table(adata, return_fig=True), "Scores; see the tables for all of them."))
    parts.append(_table(summary(o, MAIN, ("Total", "kNN accuracy"))))
    parts += [_details("The other metrics", _table(summary(o, DETAILS, ("Total", "kNN accuracy"))))]
    parts.append(_failed(o))
    if len(best := _best(found)) == 2:
        parts.append("<h3>The two best methods that did not see the labels</h3>" + _table(_compared(o, *best)))
    if "UCE" in set(found["runs"]["method"]) and "PCA" in set(found["runs"]["method"]) and set(best) != {"UCE", "PCA"}:
        parts.append("<h3>UCE and PCA, in pairs</h3>" + _table(_compared(o, "UCE", "PCA")))
    bases = {key.removeprefix("umap "): key for key in adata.obsm if key.startswith("umap ")}
    color = [str(params["groupby"]), *([o.batch_key] if o.batch_key else [])]
    names = list(bases)
    for start in range(0, len(names), 4):
        part = {name: bases[name] for name in names[start : start + 4]}
        parts.append(_figure(partial(pl.embedding_grid, adata, part, color, return_fig=True), "UMAP, first seed."))
    parts.append(_figure(lambda: pl.benchmark_silhouettes(adata, return_fig=True), "Silhouette of each type."))
    for name in [n for n in ("UCE", "PCA") if o.batch_key and n in set(found["confusion"].get("method", ()))]:
        caption = "Labels by logistic regression in a batch that it had not seen."
        parts.append(_figure(partial(pl.benchmark_confusion, adata, name, return_fig=True), caption))
    parts.append("<h3>Cost</h3>" + _table(costs(o)))
    types = found["types"].set_index("type").astype(str)
    return "".join(parts) + _details("Types and cells", _table(types))


def _transfer(o: Outcome) -> str:
    note = f"{about(o)} {o.reference} is the reference, {o.query} the query."
    parts = [f"<h2>{escape(o.name)}</h2><p class=note>{escape(note)}</p>"]
    parts += [_table(summary(o, TRANSFER, ("logistic accuracy",))), _failed(o)]
    names = set(o.adata.uns[o.key]["confusion"]["method"])
    for name in [n for n in ("UCE", "log-norm") if n in names]:
        draw = lambda name=name: pl.benchmark_confusion(o.adata, name, key=o.key, return_fig=True)  # noqa: E731
        parts.append(_figure(draw, "Labels by logistic regression."))
    return "".join(parts)


def _pairs(transfers: Sequence[Outcome]) -> str:
    scores = pd.concat([o.adata.uns[o.key]["table"].assign(pair=o.name) for o in transfers], ignore_index=True)
    known = published()
    centroids = known[known["metric"].str.startswith("centroid")]
    parts = ["<h2>All pairs</h2>"]
    for metric in ("kNN accuracy", "logistic accuracy", "centroid top 1"):
        reported = centroids if metric == "centroid top 1" else None
        draw = lambda metric=metric, reported=reported: pl.transfer_table(  # noqa: E731
            scores, metric=metric, published=reported, return_fig=True
        )
        parts.append(_figure(draw, f"{metric} of every method and pair."))
    return "".join(parts)


def _methods(outcomes: Sequence[Outcome]) -> str:
    used = {name for o in outcomes for name in o.adata.uns[o.key]["runs"]["method"]}
    table = list_methods().set_index("name")
    table = table.loc[
        [n for n in table.index if n in used], ["zero_shot", "uses_batch", "uses_labels", "license", "citation"]
    ]
    atlas = published()
    atlas = atlas[~atlas["metric"].str.startswith("centroid")].pivot_table(
        index="method", columns="metric", values="value", sort=False
    )
    return (
        "<h2>Methods</h2>" + _table(table.astype(str))
        + "<h3>Published, not measured: Tabula Sapiens v2</h3>" + _table(atlas.map("{:.3f}".format))
        + f'<p class="note">{escape(published()["source"].iloc[0])}</p>'
    )  # fmt: skip


def _best(found: Any) -> list[str]:
    runs = found["runs"]
    peers = runs[(runs["status"] == "done") & ~runs["control"] & ~runs["uses_labels"]]["method"].unique()
    scores = found["table"]
    for metric in ("Total", "kNN accuracy"):
        values = scores[(scores["metric"] == metric) & (scores["group"] == "all") & scores["method"].isin(peers)]
        if values["value"].notna().any():
            return list(values.groupby("method")["value"].mean().nlargest(2).index)
    return []


def _compared(o: Outcome, a: str, b: str) -> pd.DataFrame:
    table = compare(o.adata, a, b, key=o.key).set_index("metric")
    out = pd.DataFrame(index=table.index)
    out[a], out[b] = table["value_a"].map("{:.3f}".format), table["value_b"].map("{:.3f}".format)
    out["difference"] = table["difference"].map("{:+.3f}".format)
    interval = [
        f"{low:+.3f} to {high:+.3f}" if low == low else "–"
        for low, high in zip(table["low"], table["high"], strict=True)
    ]
    out["95 % interval"] = interval
    out["winner"] = table["winner"].replace("", "–")
    shares = zip(table["superiority"], table["superiority_low"], table["superiority_high"], strict=True)
    out["superiority"] = [f"{v:.2f} ({low:.2f} to {high:.2f})" if v == v else "–" for v, low, high in shares]
    units = zip(table["n_units"], table["unit"], strict=True)
    out["resampled"] = [f"{n} of {unit}" if n else unit for n, unit in units]
    return out


def _failed(o: Outcome) -> str:
    table = failures(o)
    return "<h3>Failed</h3>" + _table(table) if len(table) else ""


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _table(table: pd.DataFrame) -> str:
    def cells(row: Iterable[object]) -> Iterator[str]:
        for value in row:
            text = str(value)
            yield f"<td{' class=text' if len(text) > 40 else ''}>{escape(text)}</td>"

    head = "".join(f"<th>{escape(str(c))}</th>" for c in [table.index.name or "", *table.columns])
    rows = "".join(
        f"<tr><td>{escape(str(i))}</td>{''.join(cells(r))}</tr>"
        for i, r in zip(table.index, table.to_numpy(), strict=True)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _figure(draw: Callable[[], Any], caption: str) -> str:
    """A PNG inside the page."""
    import matplotlib.pyplot as plt

    figure = draw()
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=170, bbox_inches="tight")
    width = figure.get_size_inches()[0]
    plt.close(figure)
    data = base64.b64encode(out.getvalue()).decode()
    return (
        f'<figure><div><img alt="{escape(caption)}" style="width:{width * 125:.0f}px" '
        f'src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
