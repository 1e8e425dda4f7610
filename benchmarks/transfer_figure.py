"""The figure of the README: labels from another data set, from ``csv=`` of ``python -m benchmarks quality``."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.labeled.methods import EXPRESSION, PCA
from benchmarks.measurement import Run

LOOKS = {
    "uce-mini": ("#0072B2", "o", "uce-mini, zero-shot"),
    PCA: ("#D55E00", "s", "PCA, fitted to both data sets"),
    EXPRESSION: ("#999999", "D", "log-normalized expression"),
}
NAMES = {
    "human pbmc facs": "blood, Zheng", "human pbmc sorted": "blood, Zheng (sorted)", "human pbmc ifnb": "blood, Kang",
    "human pbmc ifnb CTRL": "blood, control", "human pbmc ifnb STIM": "blood, interferon",
    "human cellines sc CEL-seq2": "cell lines, CEL-seq2", "human cellines sc Drop-seq": "cell lines, Drop-seq",
    "human breast tumor": "human tumor", "mouse stomach intestine": "mouse gut", "mouse epidermis joost": "mouse skin",
    "zebrafish hema tang": "zebrafish blood", "fly gut fca": "fly gut",
}  # fmt: skip

KINDS = {
    "study": "another study", "species": "another species", "far species": "a far species", "tissue": "another tissue",
    "condition": "another condition", "technology": "another technology",
}  # fmt: skip


def main(run: Run) -> None:
    """Draw the accuracy of nearest neighbors in every direction."""
    scores = pd.read_csv(run.option("csv", "quality.csv"))
    scores = scores[(scores["task"] == "transfer") & (scores["measure"] == "kNN accuracy")]
    wide = scores.pivot_table(index="set", columns="method", values="value", sort=False)[list(LOOKS)]
    parts = wide.index.str.extract(r"^(?P<kind>.*?): (?P<train>.*) > (?P<test>.*)$").set_index(wide.index)
    with mpl.rc_context({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False}):
        figure, ax = plt.subplots(figsize=(7.09, 4.4), layout="constrained")
        y, ticks, labels = 0.0, [], []
        for kind, title in KINDS.items():
            rows = wide[parts["kind"] == kind].sort_values("uce-mini", ascending=False)
            ax.text(-0.012, y, title, weight="bold", ha="right", va="center", transform=ax.get_yaxis_transform())
            y += 1
            for name, values in rows.iterrows():
                ax.plot([values.min(), values.max()], [y, y], color="#DDDDDD", linewidth=1, zorder=0)
                for method, (color, marker, _) in LOOKS.items():
                    ax.scatter(values[method], y, color=color, marker=marker, s=22, linewidth=0, zorder=2)
                ticks.append(y)
                train, test = (NAMES.get(parts.loc[name, side], parts.loc[name, side]) for side in ("train", "test"))
                labels.append(f"{train} → {test}")
                y += 1
        ax.set_yticks(ticks, labels)
        ax.tick_params(length=0)
        ax.set(ylim=(y, -0.8), xlim=(0, 1.01), xlabel="Accuracy of transferred cell types (15 nearest neighbors)")
        ax.xaxis.grid(True, color="#EEEEEE")
        ax.set_axisbelow(True)
        handles = [
            ax.scatter([], [], color=c, marker=m, s=22, linewidth=0, label=text) for c, m, text in LOOKS.values()
        ]
        means = wide.mean()
        for handle, method in zip(handles, LOOKS, strict=True):
            handle.set_label(f"{LOOKS[method][2]}: mean {means[method]:.2f}")
        ax.legend(handles=handles, loc="lower left", frameon=False)
        figure.savefig(run.option("out", "docs/_static/transfers.png"), dpi=200)
    print(wide.assign(difference=wide["uce-mini"] - wide[PCA]).round(3).to_string(), np.round(means, 3), sep="\n")
