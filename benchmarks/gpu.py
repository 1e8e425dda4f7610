"""Rates, memory and precision of the released sizes on a GPU, beside a bare product and the plain forward pass.

``seconds=480`` bounds the time: what may not fit is skipped and named. Writes ``gpu.md`` and ``gpu.json``. All weights
are generated, and layers share theirs, which changes nothing of the work. The usual tests run the same code, tiny, on
the CPU, so that it has been run before it meets a GPU.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

import univerce as uc
from benchmarks import networks
from benchmarks.four_layer import flops
from benchmarks.generated import write_cells
from benchmarks.measurement import Run, check
from univerce._device import choose_batch_size
from univerce.genes.table import iter_token_features, make_table
from univerce.inference.embedder import Embedder, embed_blocks
from univerce.inference.inputs import Drawing, Genes, Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences
from univerce.io.pipeline import Stages
from univerce.model import UCEBrainConfig
from univerce.model.config import UCE_4L, UCE_33L, UCEConfig

HEADER = ("", "measured", "goal", "")
ROOF_SHARE, LOWEST_COSINE = 0.5, 0.999


@dataclass(frozen=True)
class Size:
    config: Any
    n_cells: int
    """Cells that are embedded from the file."""
    goal: float | None
    """Cells a second on one H100."""


@dataclass(frozen=True)
class Setup:
    device: str
    sizes: tuple[Size, ...]
    n_genes: int
    expressed: int
    n_rows: int
    """Rows of the product that is the roof."""
    n_reference: int
    """Cells in a batch of the reference."""
    batches: tuple[int, ...]
    """Further sizes to try."""
    block_rows: int
    """As in ``uc.tl.uce_embed``."""


GPU = Setup(
    device="cuda",
    sizes=(Size(UCE_4L, 10_500, 2500), Size(UCE_33L, 2_500, 300), Size(UCEBrainConfig(), 30_500, 8000)),
    n_genes=18_000, expressed=1000, n_rows=65_536, n_reference=25, batches=(16, 48), block_rows=500,
)  # fmt: skip
_TINY = {"token_dim": 12, "d_model": 16, "n_heads": 2, "d_hidden": 24, "output_dim": 10, "head_dims": (8, 6),
         "max_length": 120, "n_sample": 40}  # fmt: skip
TINY = Setup(
    device="cpu",
    sizes=(
        Size(UCEConfig(**UCE_4L.to_dict() | _TINY | {"decoder_dim": 14, "gene_dim": 8}), 50, 1.0),
        Size(UCEBrainConfig(**UCEBrainConfig().to_dict() | _TINY), 50, None),
    ),
    n_genes=300, expressed=30, n_rows=64, n_reference=3, batches=(5,), block_rows=20,
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One figure."""

    model: str
    what: str
    value: float | None
    """``None`` if it was skipped or failed; ``note`` says why."""
    goal: float | None = None
    """The least."""
    note: str = ""

    def row(self) -> tuple[object, ...]:
        value = "-" if self.value is None else f"{self.value:.5f}" if self.what.startswith("cosine") else self.value
        goal = "" if self.goal is None else f">= {self.goal:,g}"
        if goal and self.value is not None:
            goal += ", met" if self.value >= self.goal else ", missed"
        return f"{self.model}: {self.what}", value, goal, self.note


def main(run: Run) -> None:
    """Measure, where there is a GPU."""
    seconds = float(run.option("seconds", "480"))
    if not torch.cuda.is_available():
        print("gpu: skipped, torch finds no CUDA")
        return
    results = measure(run, GPU, seconds)
    cosines = [r.value for r in results if r.what.startswith("cosine") and r.value is not None]
    check(ok=min(cosines, default=1.0) >= LOWEST_COSINE, goal="bfloat16 agrees with the reference in float32")


def measure(run: Run, setup: Setup, seconds: float) -> list[Result]:
    """Measure what fits into a time, print and write it."""
    begin, results = time.perf_counter(), []
    path = write_cells(
        run.scratch() / "cells.h5ad", max(s.n_cells for s in setup.sizes), setup.n_genes, setup.expressed
    )
    tables: dict[int, ad.AnnData] = {}
    for size in setup.sizes:
        tables.setdefault(size.config.token_dim, _table(size.config.token_dim, setup.n_genes))
    cases = [Case(setup, size, tables[size.config.token_dim], path) for size in setup.sizes]
    for expected, step in _STEPS:  # in the order of their importance
        for case in cases:
            name = case.size.config.model_id
            if time.perf_counter() - begin + expected > seconds:
                results.append(Result(name, step.__name__.strip("_"), None, note="skipped, no time left"))
                continue
            try:
                results.extend(replace(result, model=name) for result in step(case))
            except (RuntimeError, ImportError, OSError) as error:
                note = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:60]}"
                results.append(Result(name, step.__name__.strip("_"), None, note=note))
    results.sort(key=lambda result: [case.size.config.model_id for case in cases].index(result.model))
    card = _card(setup.device)
    took = time.perf_counter() - begin
    title = ", ".join(f"{value}" for value in card.values()) + f"; {setup.n_genes:,} genes; {took:.0f} s in all"
    run.record("gpu", title, HEADER, [result.row() for result in results])
    if run.docs is not None:
        entries = [{k: v for k, v in vars(result).items() if v not in (None, "")} for result in results]
        text = json.dumps({"card": card, "seconds": took, "results": entries}, indent=2)
        (run.docs / "gpu.json").write_text(text + "\n")
    return results


class Case:
    """A network on the device, with cells in a file."""

    def __init__(self, setup: Setup, size: Size, table: ad.AnnData, path: Path) -> None:
        self.setup, self.size, self.config, self.table = setup, size, size.config, table
        self.device = torch.device(setup.device)
        genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
        X = ad.read_h5ad(path, backed="r").X
        names = np.array([f"cell {i}" for i in range(X.shape[0])], dtype=object)
        unused: Any = None
        self.inputs = Inputs(
            X=X, where="X", names=names, species=np.zeros(len(names), int), genes=[genes],
            drawing=Drawing(0, "multinomial", self.config.n_sample, self.config.max_length),
            model=unused, space=unused, model_name="",
        )  # fmt: skip
        self.sentences: Sentences = next(draw_sentences(self.inputs, setup.block_rows))[1][0].draws[0]
        lengths, counts = np.unique(self.sentences.lengths, return_counts=True)
        self.length = int(lengths[counts.argmax()])

    @cached_property
    def network(self) -> Any:
        return networks.network(self.config, "bfloat16").to(self.device)

    @cached_property
    def batch_size(self) -> int:
        chosen = choose_batch_size(self.device, self.config.d_model, self.length, "bfloat16")
        return min(chosen, self.setup.block_rows)

    @cached_property
    def embedder(self) -> Embedder:
        with uc.settings.override(batch_size=self.batch_size):
            return Embedder(self.network, self.table)

    @cached_property
    def roof(self) -> float:
        """Operations a second of the product of the feed-forward layers, with many rows."""
        m, k, n = self.setup.n_rows, self.config.d_model, self.config.d_hidden
        a, b = (torch.randn(rows, k, device=self.device).bfloat16() for rows in (m, n))
        return 2 * m * k * n / self.seconds(lambda: F.linear(a, b), 30)

    def share(self, rate: float) -> float:
        """Part of the roof."""
        return rate * flops(self.config, self.length) / self.roof

    def tokens(self, n_cells: int) -> torch.Tensor:
        return torch.randn(n_cells, self.length, self.config.d_model, device=self.device)

    def seconds(self, work: Callable[[], object], times: int) -> float:
        """Mean seconds of some runs one after the other, after one that does not count."""

        def wait() -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        with torch.inference_mode():
            work()
            wait()
            begin = time.perf_counter()
            for _ in range(times):
                work()
            wait()
        return (time.perf_counter() - begin) / times


def from_file(case: Case) -> Iterator[Result]:
    """Counts of a backed file to embeddings; the first block, which encodes most tokens, is not timed."""
    blocks = range(1, math.ceil(case.size.n_cells / case.setup.block_rows))
    case.embedder.embed(case.sentences)
    if case.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    stages = Stages("read", "tokenize", "forward")
    begin = time.perf_counter()
    drawn = draw_sentences(case.inputs, case.setup.block_rows, blocks=blocks, stages=stages)
    n = sum(len(block.values) for block in embed_blocks(drawn, [case.embedder], stages=stages))
    seconds = time.perf_counter() - begin
    parts = ", ".join(f"{stage} {spent / seconds:.0%}" for stage, spent in stages.seconds.items())
    yield Result("", f"{n:,} cells from a backed h5ad, cells/s", n / seconds, case.size.goal, parts)
    yield Result(
        "", "  share of the bare product", case.share(n / seconds), ROOF_SHARE, f"{case.roof / 1e12:.3g} TFLOP/s"
    )
    if case.device.type == "cuda":
        yield Result("", "  peak memory of the device, GB", torch.cuda.max_memory_allocated() / 1e9)


def reference(case: Case) -> Iterator[Result]:
    """The network as its makers run it: float32, every layer at every position, tokens encoded for each cell."""
    rows = np.flatnonzero(case.sentences.lengths == case.length)[: case.setup.n_reference]
    some = case.sentences.take(rows)  # of one length: the reference of UCE attends to pads
    plain = networks.reference(case.config, case.device)
    ids, index = np.unique(some.ids[:, : case.length], return_inverse=True)
    features = torch.from_numpy(np.concatenate([part for _, part in iter_token_features(case.table, ids)]))
    features, index = features.to(case.device), torch.from_numpy(index.reshape(len(rows), -1)).to(case.device)
    out: list[torch.Tensor] = []
    seconds = case.seconds(lambda: out.append(plain(features[index])), 2) / len(rows)
    yield Result("", f"plain float32, batches of {len(rows)}, cells/s", 1 / seconds)
    cosine = np.sum(out[-1].cpu().numpy() * case.embedder.embed(some), axis=1)
    yield Result("", f"cosine of {len(rows)} cells with it, lowest", float(cosine.min()), LOWEST_COSINE)
    one = torch.from_numpy(case.embedder.embed(some))
    yield Result("", "  of two different cells, mean", float((one @ one.T).fill_diagonal_(torch.nan).nanmean()))
    speed = forward_seconds(case, case.network, case.batch_size)
    yield Result("", "  speed of ours relative to it, forward alone", seconds / speed)


def forward_seconds(case: Case, made: Any, batch: int) -> float:
    """Seconds a cell."""
    tokens = case.tokens(batch)
    return case.seconds(lambda: made.embed(tokens), 4) / batch


def forward(case: Case) -> Iterator[Result]:
    """Batches of several sizes."""
    for batch in sorted({*case.setup.batches, case.batch_size}):
        rate = 1 / forward_seconds(case, case.network, batch)
        what = f"forward alone, batches of {batch}{', the default' * (batch == case.batch_size)}, cells/s"
        yield Result("", what, rate, note=f"{case.share(rate):.0%} of the bare product")


def float32(case: Case) -> Iterator[Result]:
    """Without half precision."""
    made = networks.network(case.config, "float32").to(case.device)
    yield Result("", "forward alone in float32, cells/s", 1 / forward_seconds(case, made, case.setup.batches[0]))


def graph(case: Case) -> Iterator[Result]:
    """A batch as a CUDA graph, which takes the time of launching kernels away."""
    if case.device.type != "cuda":
        return
    batch = case.setup.batches[0]
    tokens, recorded = case.tokens(batch), torch.cuda.CUDAGraph()
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # as a capture wants it
            case.network.embed(tokens)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(recorded):
            case.network.embed(tokens)
    rate = batch / case.seconds(recorded.replay, 4)
    yield Result("", f"forward alone as a CUDA graph, batches of {batch}, cells/s", rate)


def compiled(case: Case) -> Iterator[Result]:
    """The layers through torch's compiler."""
    made = networks.network(case.config, "bfloat16").to(case.device)
    for layer in {id(layer): layer for layer in made.transformer_encoder.layers}.values():
        layer.compile(backend="inductor" if case.device.type == "cuda" else "eager")
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about releases of Python
        rate = 1 / forward_seconds(case, made, case.batch_size)
    note = f"{case.share(rate):.0%} of the bare product, {time.perf_counter() - begin:.0f} s with compiling"
    yield Result("", f"forward alone, compiled, batches of {case.batch_size}, cells/s", rate, note=note)


_STEPS: Sequence[tuple[float, Callable[[Case], Iterator[Result]]]] = (
    (60, from_file), (60, reference), (20, forward), (90, compiled), (20, float32), (20, graph),
)  # fmt: skip
"""Seconds that each may take."""


def _table(token_dim: int, n_genes: int) -> ad.AnnData:
    """Genes on 24 chromosomes, the first of which have more of them, with random features."""
    rng = np.random.default_rng(0)
    chromosome = np.minimum(rng.exponential(8, n_genes).astype(int), 23)
    chromosome[:24] = np.arange(24)

    def features(n: int) -> np.ndarray:
        return rng.standard_normal((n, token_dim), dtype=np.float32)

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


def _card(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    versions = {"torch": f"torch {torch.__version__}", "univerce": f"univerce {uc.__version__}"}
    if device != "cuda":
        return {"name": "CPU", **versions}
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    memory = f"{found.total_memory / 1e9:.0f} GB"
    return {"name": found.name, "memory": memory, "cuda": f"CUDA {torch.version.cuda}", **versions}
