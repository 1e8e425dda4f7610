"""Speed of a model of the size of uce-4l, compared with a plain forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measurement import Run, check
from benchmarks.release import generated_cells, make_model
from tests.helpers.reference import ReferenceUCE
from univerce.genes import load_table
from univerce.genes.table import iter_token_features, n_tokens
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Genes
from univerce.inference.sentences import Sentences, cell_keys, tokenize
from univerce.model import find_model
from univerce.model.checkpoint import read_network
from univerce.model.config import UCE_4L, UCEConfig

N_TIMED, N_REFERENCE = 12, 4
PRECISIONS = ("float32", "bfloat16")


def main(run: Run) -> None:
    """Compare the forward pass with the reference."""
    model = make_model(run.scratch())
    table, cells = load_table("human", model=model), generated_cells(200)
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    sentences = tokenize(cells.X, genes.rows, genes.order(), cell_keys(cells.obs_names, 0))
    lengths, counts = np.unique(sentences.lengths, return_counts=True)
    length = int(lengths[counts.argmax()])  # one length: the reference attends to pads
    some = sentences.take(np.flatnonzero(sentences.lengths == length)[:N_TIMED])
    assert len(some.lengths) == N_TIMED

    embedders = {}
    for precision in PRECISIONS:
        network = read_network(find_model(model), precision=precision)
        embedders[precision] = Embedder(network, table)
        embedders[precision]._encode(some)  # else the first run would be longer
    reference = _reference(model, table, some.take(np.arange(N_REFERENCE)), length)

    runs: dict[str, Callable[[], np.ndarray]] = {"reference": reference}
    runs |= {p: lambda p=p: embedders[p].embed(some) for p in PRECISIONS}
    result, seconds = {}, dict.fromkeys(runs, np.inf)
    for _ in range(3):
        for name, work in runs.items():
            begin = time.perf_counter()
            result[name] = work()
            seconds[name] = min(seconds[name], (time.perf_counter() - begin) / len(result[name]))

    roof = {p: product_rate(getattr(torch, p)) for p in PRECISIONS}
    rows = [("reference, float32", 1 / seconds["reference"], 1.0, "", "", "", "")]
    for precision, goal in zip(PRECISIONS, (">= 1.65x", ">= 8x"), strict=True):
        rate = flops(UCE_4L, length) / seconds[precision] / 1e9
        ratio = seconds["reference"] / seconds[precision]
        share = f"{rate / roof[precision]:.0%}"
        rows.append((precision, 1 / seconds[precision], ratio, goal, rate, roof[precision], share))
    title = f"Forward pass of 4 layers, sentences of {length} tokens"
    header = ("", "cells/s", "x reference", "goal", "GFLOP/s", "GFLOP/s of a matrix product", "share")
    run.record("four-layers", title, header, rows)
    difference = np.abs(result["float32"][:N_REFERENCE] - result["reference"]).max()
    cosine = np.sum(result["float32"] * result["bfloat16"], axis=1)
    print(f"  largest difference from the reference {difference:.1e}; lowest cosine of bfloat16 {cosine.min():.5f}")
    check(ok=difference <= 1e-5, goal="the forward pass agrees with the reference")
    check(ok=cosine.min() >= 0.999, goal="bfloat16 agrees with float32")


def _reference(model: Path, table, sentences: Sentences, length: int) -> Callable[[], np.ndarray]:
    reference = ReferenceUCE(UCE_4L).eval()
    reference.load_state_dict(read_network(find_model(model)).state_dict())
    ids, index = np.unique(sentences.ids[:, :length], return_inverse=True)
    assert ids[-1] < n_tokens(table)
    features = torch.from_numpy(np.concatenate([part for _, part in iter_token_features(table, ids)]))
    index = torch.from_numpy(index.reshape(-1, length).T.copy())

    @torch.inference_mode()
    def run() -> np.ndarray:
        return reference(features[index], torch.ones(len(sentences.lengths), length)).numpy()

    return run


def flops(config: UCEConfig, length: int) -> float:
    """Operations that a cell needs: every layer but the last, of which one position is read, on every token."""
    d, h = config.d_model, config.d_hidden
    return (config.n_layers - 1) * (2 * length * (4 * d * d + 2 * d * h) + 4 * length * length * d)


def product_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of the product of the feed-forward layers, 2048 x 1280 and 1280 x 5120."""
    a, b = torch.randn(2048, 1280).to(dtype), torch.randn(5120, 1280).to(dtype)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        torch.nn.functional.linear(a, b)
        seconds.append(time.perf_counter() - begin)
    return 2 * 2048 * 1280 * 5120 / min(seconds) / 1e9
