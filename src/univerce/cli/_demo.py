"""``univerce demo``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce.cli._commands import add_command, path
from univerce.cli._files import say, write
from univerce.io.atomic import replacing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Paul Tol's "muted" scheme and black: ten colors that color-blind readers can distinguish.
COLORS = (
    "#332288", "#88CCEE", "#000000", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#44AA99",
)  # fmt: skip
NEIGHBORS, FOLDS = 15, 5


def add(commands: Any) -> None:
    """Add the command."""
    text = "Embed and draw 700 bundled blood cells, offline."
    demo = add_command(commands, "demo", _demo, text, examples="univerce demo -o blood", device=True)
    demo.add_argument(
        "-o", "--output", type=path, default=Path("univerce-demo"), metavar="DIR", help="default: univerce-demo"
    )


def _demo(args: argparse.Namespace) -> None:
    import scanpy as sc

    from univerce import datasets, pl, tl

    args.output.mkdir(parents=True, exist_ok=True)
    adata = datasets.pbmc68k_reduced()
    say(f"{adata.n_obs} human blood cells of {adata.obs['cell_type'].nunique()} types, {adata.n_vars} genes")

    began = time.perf_counter()
    tl.uce_embed(adata, species="human", model="uce-mini")
    seconds = time.perf_counter() - began
    print(f"Embedded {adata.n_obs} cells in {seconds:.1f} s ({adata.n_obs / seconds:.0f} cells a second).")

    expression = adata.copy()
    sc.pp.normalize_total(expression)
    sc.pp.log1p(expression)
    sc.pp.pca(expression, n_comps=50, random_state=0)
    adata.obsm["X_pca"] = expression.obsm["X_pca"]

    labels = adata.obs["cell_type"]
    scores = {key: knn_accuracy(adata.obsm[key], labels) for key in ("X_uce", "X_pca")}
    print(f"Accuracy of the cell type, {NEIGHBORS} nearest neighbors, mean ± sd of {FOLDS} stratified folds:")
    for key, name in (("X_uce", "UCE (uce-mini)"), ("X_pca", "PCA (fitted to these cells)")):
        print(f"  {name:<28} {scores[key].mean():.3f} ± {scores[key].std():.3f}")
    print(f"  {'most common type':<28} {labels.value_counts(normalize=True).iloc[0]:.3f}")

    for key, name in (("X_uce", "X_umap_uce"), ("X_pca", "X_umap_pca")):
        say(f"UMAP of {key}")
        sc.pp.neighbors(adata, use_rep=key, n_neighbors=NEIGHBORS, key_added=key, random_state=0)
        sc.tl.umap(adata, neighbors_key=key, key_added=name, random_state=0)
    panels = {
        f"UCE, uce-mini (kNN accuracy {scores['X_uce'].mean():.2f})": "X_umap_uce",
        f"PCA, log-normalized (kNN accuracy {scores['X_pca'].mean():.2f})": "X_umap_pca",
    }
    adata.uns["cell_type_colors"] = list(COLORS[: labels.cat.categories.size])
    figure: Any = pl.embedding_grid(adata, panels, ["cell_type"], size=8, figsize=(7.09, 2.9), return_fig=True)
    with replacing(args.output / "umap.png") as part:
        figure.savefig(part, dpi=300)
    with replacing(args.output / "pbmc68k_uce.h5ad") as part:
        write(adata, part, ".h5ad")
    print(f"Wrote {args.output / 'umap.png'} and {args.output / 'pbmc68k_uce.h5ad'}.")


def knn_accuracy(embedding: np.ndarray, labels: pd.Series) -> np.ndarray:
    """``[n_folds]`` accuracy of nearest neighbors in each fold of a stratified cross-validation."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_score(KNeighborsClassifier(NEIGHBORS), embedding, labels.astype(str), cv=folds)
