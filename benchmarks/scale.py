"""One table of what bounds an embedding: each figure with its limit, ratios within one run.

``cells=20000`` is the number of cells that are embedded from files. Rates go to ``rates.json`` in ``--docs``, from
which ``python -m benchmarks.sizing`` makes the table of large atlases.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
import zarr

from benchmarks.four_layer import flops, product_rate
from benchmarks.generated import counts, gene_names
from benchmarks.measurement import Run, check
from benchmarks.networks import network
from univerce.genes import load_table
from univerce.inference.inputs import Genes
from univerce.inference.sentences import cell_keys, tokenize
from univerce.inference.threads import threads_of_one_core
from univerce.model.config import UCE_4L, UCE_33L, UCEConfig
from univerce.model.layers import pack

LENGTH = 1073
HEADER = ("", "measured", "limit", "share")


Rows = list[tuple[object, ...]]
Rates = dict[str, float]


def main(run: Run) -> None:
    """Measure each stage, then files."""
    n_cells = int(run.option("cells", "20000"))
    rows: Rows = []
    rates: Rates = {}
    tokenizing(rows, rates)
    for config in (UCE_4L, UCE_33L):
        forward(rows, rates, config)
    startup(rows)
    files(run, rows, rates, n_cells)
    title = f"{n_cells:,} generated cells with about 1,000 genes; sentences of {LENGTH:,} tokens for 4 and 33 layers"
    run.record("scale", title, HEADER, rows)
    if run.docs is not None:
        (run.docs / "rates.json").write_text(json.dumps(rates | {"threads": torch.get_num_threads()}, indent=2) + "\n")


def best(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def tokenizing(rows: Rows, rates: Rates) -> None:
    table = load_table("human")
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    X = counts(0, 2000, table.n_obs)
    keys, order = cell_keys([str(i) for i in range(2000)], 0), genes.order()
    speed = {
        threads: 2000 / best(lambda t=threads: tokenize(X, genes.rows, order, keys, threads=t), 4) for threads in (1, 2)
    }
    rows.append(("tokenizer, 1 thread, cells/s", speed[1], "", ""))
    rows.append(("tokenizer, 2 threads, cells/s", speed[2], f"{2 * speed[1]:,.0f}", f"{speed[2] / speed[1] / 2:.0%}"))
    rates["tokenize"] = speed[1]


def forward(rows: Rows, rates: Rates, config: UCEConfig) -> None:
    """Embed a sentence on each core, as an embedding of many cells does."""
    tokens, out = torch.randn(1, LENGTH, config.d_model, generator=torch.Generator().manual_seed(0)), {}
    n = torch.get_num_threads()
    for precision in ("float32", "bfloat16"):
        if precision == "float32" and config is UCE_33L:
            continue
        made = network(config, precision)
        pack(made)

        @torch.inference_mode()
        def embed(tokens, made=made):
            return made.embed(tokens)

        def run(embed=embed, precision=precision):
            with threads_of_one_core(torch.device("cpu")) as each:
                *_, out[precision] = each(embed, [tokens.clone() for _ in range(n)])

        run()
        seconds, roof = best(run) / n, product_rate(getattr(torch, precision))
        limit = 1e9 * roof / flops(config, LENGTH)
        what = f"forward, {config.n_layers} layers, {precision}, cells/s"
        rows.append((what, 1 / seconds, f"{limit:.3g} ({roof:,.0f} GFLOP/s)", f"{1 / seconds / limit:.0%}"))
        rates[f"forward {config.model_id} {precision}"] = 1 / seconds
    if len(out) == 2:
        check(ok=float((out["float32"] * out["bfloat16"]).sum()) >= 0.999, goal="bfloat16 agrees with float32")


def startup(rows: Rows) -> None:
    for what, code, limit in (
        ("import anndata, s", "import anndata", ""),
        ("import univerce, s", "import univerce", "import anndata + 1"),
    ):
        rows.append((what, best(lambda c=code: subprocess.run([sys.executable, "-c", c], check=True), 3), limit, ""))


def write(path: Path, kind: str, chunk: int, n_cells: int) -> Path:
    X = counts(0, n_cells)
    X = sp.csc_matrix(X) if kind == "csc" else X
    adata = ad.AnnData(X, obs=pd.DataFrame(index=[f"cell {i}" for i in range(n_cells)]))
    adata.var_names = gene_names()
    if path.suffix == ".h5ad":
        adata.write_h5ad(path, compression="gzip" if ".gzip" in path.suffixes else None)
        return path
    root = zarr.open_group(path, mode="w", zarr_format=2)
    ad.io.write_elem(root, "/", adata)
    for name in ("data", "indices"):
        values = root["X"][name][:]
        root["X"].create_array(name, data=values, chunks=(chunk,), overwrite=True)
    zarr.consolidate_metadata(root.store)
    return path


FILES = {
    "h5ad, CSR, in memory": (".h5ad", "csr", 0, "memory"),
    "h5ad, CSR, backed": (".h5ad", "csr", 0, "backed"),
    "h5ad, CSR, gzip, backed": (".gzip.h5ad", "csr", 0, "backed"),
    "h5ad, CSC, backed": (".h5ad", "csc", 0, "backed"),
    "h5ad, CSR, lazy": (".h5ad", "csr", 0, "lazy"),
    "zarr, CSR, chunks of 16,384, lazy": (".zarr", "csr", 2**14, "lazy"),
    "zarr, CSR, chunks of 1,048,576, lazy": (".zarr", "csr", 2**20, "lazy"),
    "zarr, CSR, on a dask worker": (".zarr", "csr", 2**20, "dask"),
}


def files(run: Run, rows: Rows, rates: Rates, n_cells: int) -> None:
    peaks, scratch = {}, run.scratch()
    for what, (suffix, kind, chunk, how) in FILES.items():
        path = scratch / f"{kind}-{chunk}{suffix}"
        if not path.exists():
            write(path, kind, chunk, n_cells)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.embed_file", str(path), how, "-"],
            capture_output=True, text=True, check=True, env=run.environment,
        )  # fmt: skip
        got = json.loads(done.stdout.splitlines()[-1])
        speed, stages = n_cells / got["seconds"], got["stages"]
        if stages:
            alone = n_cells / max(stages.get(s, 0) for s in ("read", "weigh", "sum", "write"))
            limit, share = f"{alone:,.0f} (slowest stage)", f"{speed / alone:.0%}"
            rows.append((f"uce-mini from {what}, cells/s", speed, limit, share))
            rows.append(("  reading stage alone, cells/s", n_cells / stages["read"], "", ""))
        else:
            rows.append((f"uce-mini from {what}, cells/s", speed, "", ""))
        peaks[what] = got["peak"]
        if how == "lazy" and chunk == 2**20:
            rates["uce-mini"], rates["read"] = speed, n_cells / stages["read"]
    rows.extend(
        (f"peak memory from {what}, GB", peak, "<= 2", "") for what, peak in peaks.items() if "dask" not in what
    )
    check(ok=max(peak for what, peak in peaks.items() if "memory" not in what) <= 2, goal="peaks of 2 GB")
