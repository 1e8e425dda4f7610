"""Rates, memory and precision of the released sizes on a GPU, compared with a matrix product.

Takes minutes, and needs CUDA. All weights are
generated, and layers share theirs, which changes nothing of the work. The usual tests run the same code, tiny, on the
CPU, so that it has been run before it meets a GPU.
"""

from __future__ import annotations

import copy
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

import univerce as uc
from benchmarks.four_layer import flops
from benchmarks.generated import counts, gene_names
from benchmarks.measurement import Run, check
from benchmarks.scale import network
from univerce._device import choose_batch_size
from univerce.genes.table import make_table
from univerce.inference.embedder import Embedder, embed_blocks
from univerce.inference.inputs import Drawing, Genes, Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import cell_keys, tokenize
from univerce.io.pipeline import Stages
from univerce.model import UCE
from univerce.model.config import UCE_4L, UCE_33L, UCEConfig

HEADER = ("", "measured", "goal", "")
Row = tuple[str, object, str, str]


@dataclass(frozen=True)
class Model:
    config: UCEConfig
    n_cells: int
    goal: str
    """Cells a second."""


@dataclass(frozen=True)
class Setup:
    device: str
    models: tuple[Model, ...]
    n_genes: int
    expressed: int
    n_mini: int
    """Cells that the bundled model embeds."""
    roof: tuple[int, int, int]
    """Shape of the product that is the roof."""
    batches: tuple[int, ...]
    """Further sizes to try."""
    compiler: str | None
    block_rows: int = 500
    """As in ``uc.tl.uce_embed``."""


GPU = Setup(
    device="cuda",
    models=(Model(UCE_4L, 10_000, ">= 2,500"), Model(UCE_33L, 2_000, ">= 300 on an H200")),
    n_genes=19_790, expressed=1000, n_mini=10_000, roof=(65_536, 1280, 5120), batches=(16, 64), compiler="inductor",
)  # fmt: skip
_TINY = {
    "token_dim": 12, "d_model": 16, "n_heads": 2, "d_hidden": 24, "output_dim": 10, "decoder_dim": 14, "gene_dim": 8,
    "head_dims": (8, 6), "max_length": 120, "n_sample": 40,
}  # fmt: skip
TINY = Setup(
    device="cpu",
    models=(Model(UCEConfig(**UCE_4L.to_dict() | _TINY), 30, ""),),
    n_genes=300, expressed=30, n_mini=5, roof=(64, 16, 24), batches=(3,), compiler=None,
    block_rows=20,
)  # fmt: skip


def main(run: Run) -> None:
    """Measure, where there is a GPU."""
    if torch.cuda.is_available():
        check(ok=min(measure(run, GPU)) > 0.9, goal="bfloat16 on the GPU agrees with float32 on the CPU")
    else:
        print("gpu: skipped, torch finds no CUDA")


def measure(run: Run, setup: Setup) -> list[float]:
    """Print the table; returns the lowest cosine of each model with float32 on the CPU."""
    rows: list[Row] = []
    cosines: list[float] = []
    roof = _roof(setup)
    shape = " x ".join(map(str, setup.roof))
    rows.append((f"bfloat16 product {shape}, TFLOP/s: the roof", roof / 1e12, "", ""))
    for model in setup.models:
        name = f"{model.config.n_layers} layers"
        begin = time.perf_counter()
        for what, value, goal, note in _model_rows(setup, model, roof, cosines):
            rows.append((f"{name}: {what}", value, goal, note))
        rows.append((f"{name}: seconds that all of this took", time.perf_counter() - begin, "", ""))
    rows.append(_mini_row(setup))
    title = f"{_name(setup.device)}, torch {torch.__version__}, {torch.get_num_threads()} threads of the CPU"
    run.record("gpu", title, HEADER, rows)
    return cosines


def _model_rows(setup: Setup, model: Model, roof: float, cosines: list[float]) -> Iterator[Row]:
    config, device = model.config, torch.device(setup.device)
    table, X = _table(config, setup.n_genes), counts(0, model.n_cells, setup.n_genes, setup.expressed)
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    names = np.array([f"cell {i}" for i in range(model.n_cells)], dtype=object)
    keys, order = cell_keys(names, 0), genes.order()
    sizes = {"n_sample": config.n_sample, "max_length": config.max_length}
    sentences = tokenize(X[: setup.block_rows], genes.rows, order, keys[: setup.block_rows], **sizes)
    for threads in (1, os.cpu_count() or 1):
        begin = time.perf_counter()
        tokenize(X, genes.rows, order, keys, threads=threads, **sizes)
        rate = model.n_cells / (time.perf_counter() - begin)
        yield f"tokenizer, {threads} threads, cells/s", rate, "more than all of it", ""

    exact = network(config, "float32")
    made = network(config, "bfloat16").to(device)
    length = int(np.median(sentences.lengths))
    chosen = min(choose_batch_size(device, config.d_model, length, "bfloat16"), model.n_cells)
    for batch in (*setup.batches, chosen):
        rate = batch / _forward_seconds(made, batch, length, device)
        share = f"{rate * flops(config, length) / roof:.0%} of the roof"
        what = f"forward alone, {batch} sentences of {length}{' (chosen)' if batch == chosen else ''}, cells/s"
        yield what, rate, "60% of the roof", share

    with uc.settings.override(batch_size=chosen):
        embedder = Embedder(made, table)
    few = sentences.take(np.arange(4))
    with uc.settings.override(batch_size=1):
        here = Embedder(exact, table).embed(few)
    cosines.append(float(np.sum(here * embedder.embed(few), axis=1).min()))
    yield "lowest cosine of 4 cells with float32 on the CPU", f"{cosines[-1]:.5f}", ">= 0.999", ""

    embedder.embed(sentences)  # encodes the tokens
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    stages = Stages("read", "tokenize", "forward")
    rest = slice(setup.block_rows, model.n_cells)
    begin = time.perf_counter()
    nothing: Any = None
    inputs = Inputs(
        X=X[rest], where="X", names=names[rest], species=np.zeros(len(names[rest]), int), genes=[genes],
        drawing=Drawing(0, "multinomial", config.n_sample, config.max_length), model=nothing, space=nothing,
        model_name="",
    )  # fmt: skip
    drawn = draw_sentences(inputs, setup.block_rows, stages=stages)
    n = sum(len(block.values) for block in embed_blocks(drawn, [embedder], stages=stages))
    rate = n / (time.perf_counter() - begin)
    share = f"{rate * flops(config, length) / roof:.0%} of the roof"
    yield f"counts to embeddings of {n:,} cells, cells/s", rate, model.goal, share
    slowest = max(stages.seconds, key=lambda stage: stages.seconds[stage])
    yield "  share of the time in the slowest stage", stages.seconds[slowest] / (n / rate), "", slowest
    if device.type == "cuda":
        yield "  peak memory of the device, GB", torch.cuda.max_memory_allocated() / 1e9, "", ""
        yield "  batch size in the end", embedder.batch_size, "", f"{chosen} at first"
    if setup.compiler is not None:
        yield _compiled_row(setup, made, chosen, length, device)


def _forward_seconds(made: UCE, batch: int, length: int, device: torch.device, times: int = 5) -> float:
    tokens = torch.randn(batch, length, made.config.d_model, device=device)

    @torch.inference_mode()
    def run() -> object:
        return made.embed(tokens)

    return _seconds(run, device, times)


def _compiled_row(setup: Setup, made: UCE, batch: int, length: int, device: torch.device) -> Row:
    """An experiment: the layers through torch's compiler, which may not be there."""
    what = "forward alone with torch.compile, cells/s"
    made = copy.deepcopy(made)
    for layer in {id(layer): layer for layer in made.transformer_encoder.layers}.values():
        layer.compile(backend=setup.compiler)
    begin = time.perf_counter()
    try:
        seconds = _forward_seconds(made, batch, length, device)
    except (RuntimeError, ImportError, OSError, subprocess.SubprocessError) as error:
        return what, "failed", "", f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    return what, batch / seconds, "", f"{time.perf_counter() - begin:.0f} s with compiling"


def _mini_row(setup: Setup) -> Row:
    adata = ad.AnnData(counts(0, setup.n_mini, 20_000), obs=pd.DataFrame(index=[str(i) for i in range(setup.n_mini)]))
    adata.var_names = gene_names()
    with uc.settings.override(device=setup.device):
        uc.tl.uce_embed(adata[:5].copy(), species="human")  # loads and compiles
        begin = time.perf_counter()
        uc.tl.uce_embed(adata, species="human")
    assert np.isfinite(adata.obsm["X_uce"]).all()
    rate = setup.n_mini / (time.perf_counter() - begin)
    return f"uc.tl.uce_embed with uce-mini, {setup.n_mini:,} cells, all of the call, cells/s", rate, "", ""


def _roof(setup: Setup) -> float:
    """Operations a second of a product like that of the feed-forward layers, but with as many rows as a batch."""
    m, k, n = setup.roof
    device = torch.device(setup.device)
    a, b = (torch.randn(rows, k, device=device).bfloat16() for rows in (m, n))
    return 2 * m * k * n / _seconds(lambda: torch.nn.functional.linear(a, b), device, 50)


def _seconds(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Mean seconds of some runs one after the other, after one that does not count."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    work()
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - begin) / times


def _table(config: UCEConfig, n_genes: int) -> ad.AnnData:
    """Genes on 24 chromosomes, the first of which have more of them, with random features."""
    rng = np.random.default_rng(0)
    chromosome = np.minimum(rng.exponential(8, n_genes).astype(int), 23)
    chromosome[:24] = np.arange(24)

    def features(n: int) -> np.ndarray:
        return rng.standard_normal((n, config.token_dim), dtype=np.float32)

    special = features(4)
    special[0] = 0
    genes = pd.DataFrame(
        {
            "symbol": [f"GENE{i}" for i in range(n_genes)],
            "ensembl_id": [f"ENSG{i}" for i in range(n_genes)],
            "chromosome": [f"chr{c}" for c in chromosome],
            "start": rng.integers(1, 2 * 10**8, n_genes),
            "chromosome_code": chromosome,
        }
    )
    return make_table(
        genes, features(n_genes), species="human", encoder="generated", source="simulated", special_features=special,
        chromosome_names=[f"chr{c}" for c in range(24)], chromosome_codes=np.arange(24),
        chromosome_features=features(24),
    )  # fmt: skip


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"
