"""What methods stand: scores of data made worse in four ways, beside those of the data as they are.

The sets have batches, and labels go to a held-out batch. ``linear`` sees the labels of that batch too, so that what it
loses counts, not its height.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import anndata as ad
import pandas as pd

from benchmarks.labeled.sets import BATCHED, GUT
from benchmarks.measurement import Run
from univerce import bench
from univerce.bench.degrade import How

METHODS = ("UCE", "PCA", "linear")
SCORES = ("transfer kNN accuracy", "transfer logistic accuracy", "transfer logistic macro-F1")


def main(run: Run) -> None:
    """Score every set as it is and made worse."""
    ways = ("as they are", *get_args(How))
    table = pd.concat([part for name in (*BATCHED, GUT) for part in scores_of(run, name, ways)])
    mean = table.pivot_table(index=["metric", "method"], columns="how", values="value", sort=False)
    n_cells = table.drop_duplicates(["set", "how"]).groupby("how")["n_cells"].sum()
    run.record(
        "robustness",
        f"Labels in a held-out batch, means over {table['set'].nunique()} sets; {n_cells['as they are']:,} cells, "
        f"{n_cells['few_cells']:,} of few_cells, {n_cells['imbalance']:,} of imbalance",
        ("score, method", *ways),
        [
            (f"{metric.removeprefix('transfer ')}, {method}", *(f"{row[how]:.3f}" for how in ways))
            for (metric, method), row in mean.iterrows()
        ],
    )


def scores_of(run: Run, name: str, ways: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """The scores of one set, made worse in each way."""
    for how in ways:
        adata = ad.read_h5ad(run.data / "eval" / f"{name}.h5ad")
        if how != "as they are":
            adata = bench.degrade(adata, how, groupby="cell_type")
        scores = bench.run(
            adata, groupby="cell_type", batch_key="batch", methods=METHODS, seeds=[0], scib=False, n_bootstrap=0
        )
        kept = scores[(scores["group"] == "all") & scores["metric"].isin(SCORES)]
        yield kept.assign(set=name, how=how, n_cells=adata.uns["benchmark"]["params"]["n_cells"]["scored"])
