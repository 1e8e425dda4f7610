"""How many draws an embedding needs: agreement of two seeds and accuracy, by draws, sampling and sentences a cell.

On real cells (``--data``), with uce-tiny and with a network of its shape, of random weights so large that the
transformer decides. ``cells=600`` is the number of cells.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.lines import Line2D
from sklearn.neighbors import KNeighborsClassifier

import univerce as uc
from benchmarks.labeled.sets import FACS
from benchmarks.measurement import Run, check
from univerce.inference.embedder import Embedder, embed_blocks
from univerce.inference.inputs import Drawing, Inputs, resolve_inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.model import UCE
from univerce.model.config import UCE_TINY
from univerce.pl._figure import DOUBLE, PALETTE, style

DRAWS, SAMPLINGS, SENTENCES, SEEDS, K = ((128, 256, 512, 1024), ("multinomial", "systematic"), (1, 4), (0, 1), 15)
LABELS = "cell_type"


def random_network() -> UCE:
    """Weights of unit gain and more, so that the transformer mixes what it reads."""
    network = UCE(UCE_TINY).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 2 / parameter.shape[1] ** 0.5)
    return network


def embedding(inputs: Inputs, network: UCE, drawing: Drawing) -> np.ndarray:
    embedders = [Embedder(network, g.table) for g in inputs.genes]
    drawn = draw_sentences(replace(inputs, drawing=drawing), 200)
    return np.concatenate([block.values for block in embed_blocks(drawn, embedders)])


def accuracy(rep: np.ndarray, labels: np.ndarray) -> float:
    """Share of cells that most of their neighbors, without themselves, name rightly."""
    classifier = KNeighborsClassifier(K + 1, metric="cosine", algorithm="brute").fit(rep, labels)
    near = classifier.kneighbors(rep, return_distance=False)
    near = np.array([[j for j in row if j != i][:K] for i, row in enumerate(near)])
    codes = np.unique(labels, return_inverse=True)[1]
    votes = np.array([np.bincount(row).argmax() for row in codes[near]])
    return float(np.mean(votes == codes))


def main(run: Run) -> None:
    """Embed with every sampling, and compare seeds."""
    cells, n_cells = ad.read_h5ad(run.data / "eval" / f"{FACS}.h5ad"), int(run.option("cells", "600"))
    rows = np.sort(np.random.default_rng(0).choice(cells.n_obs, min(n_cells, cells.n_obs), replace=False))
    cells = cells[rows].copy()
    labels = cells.obs[LABELS].astype(str).to_numpy()
    inputs = resolve_inputs(
        cells, species="human", model="uce-tiny", mod=None, layer=None, gene_key=None, rng=0, sampling=None
    )
    networks = {"uce-tiny": uc.model.load_network(inputs.model), "random weights": random_network()}
    table, curves = [], {}
    for name, network in networks.items():
        for sampling in SAMPLINGS:
            for n_draws in SENTENCES:
                for n in DRAWS:
                    reps = [embedding(inputs, network, Drawing(s, sampling, n, 1536, n_draws)) for s in SEEDS]
                    agree = float(np.sum(reps[0] * reps[1], axis=1).mean())
                    right = float(np.mean([accuracy(rep, labels) for rep in reps]))
                    curves.setdefault((name, sampling, n_draws), []).append((agree, right))
                    table.append((name, sampling, str(n_draws), str(n), f"{agree:.4f}", f"{right:.3f}"))
    header = ("model", "sampling", "sentences", "draws", "cosine of two seeds", f"kNN accuracy, k = {K}")
    title = f"{len(labels)} sorted blood cells of {len(set(labels))} types, two seeds"
    run.record("draws", title, header, table)
    if run.docs is not None:
        draw(curves, run.docs / "draws.png")
    name = "random weights"
    for sampling in SAMPLINGS:
        check(ok=curves[name, sampling, 1][-1][0] > curves[name, sampling, 1][0][0], goal="more draws, less noise")
        check(ok=curves[name, sampling, 4][0][0] > curves[name, sampling, 1][0][0], goal="more sentences, less noise")


def draw(curves: dict[tuple[str, str, int], list[tuple[float, float]]], path: Path) -> None:
    """A row for each model: agreement of two seeds, and accuracy."""
    names = list(dict.fromkeys(name for name, *_ in curves))
    with style():
        figure, axes = plt.subplots(len(names), 2, figsize=(DOUBLE, DOUBLE * 0.3 * len(names)), layout="constrained")
        for row, name in zip(axes, names, strict=True):
            for (of, sampling, n_draws), points in curves.items():
                if of != name:
                    continue
                look = {
                    "color": PALETTE[SAMPLINGS.index(sampling)], "marker": "o^s"[SAMPLINGS.index(sampling)],
                    "linestyle": "-" if n_draws == 1 else "--", "markersize": 3, "linewidth": 1,
                }  # fmt: skip
                for ax, values in zip(row, zip(*points, strict=True), strict=True):
                    ax.plot(DRAWS, values, **look)
            for ax, what in zip(row, ("cosine of two seeds", "kNN accuracy"), strict=True):
                ax.set(xscale="log", title=name, xlabel="draws a sentence", ylabel=what)
                ax.set_xticks(DRAWS, [str(n) for n in DRAWS])
                ax.minorticks_off()
        handles = [
            Line2D([], [], color=PALETTE[i], marker="o^s"[i], markersize=3, label=s) for i, s in enumerate(SAMPLINGS)
        ]
        handles += [
            Line2D([], [], color="black", linestyle=line, label=f"{n} sentence{'s' * (n > 1)}")
            for n, line in zip(SENTENCES, ("-", "--"), strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.savefig(path, dpi=200)
        plt.close(figure)
