"""Every type of value in every container, and odd but legal AnnData: each embedded right, or refused with the fix.

What is right is a plain computation in double precision on a dense matrix, from exact sums of the counts of each gene.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse as sp

import univerce as uc
from benchmarks.measurement import Run, check
from univerce.inference.embed import load_encoder

N_CELLS, N_GENES = 6, 40
TOLERANCE = 1e-5
TYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "object",
)  # fmt: skip
EMBEDDED, REFUSED, NONE = "embedded", "refused", "-"


@cache
def genes() -> tuple[list[str], np.ndarray, float, np.ndarray]:
    """Names of genes, their vectors ``[n_genes, dim]``, the scale of their weights and the center of the model."""
    table = uc.genes.load_table("human")
    model: Any = load_encoder(uc.model.find_model(), [table]).model
    symbols = table.obs["symbol"]
    rows = np.flatnonzero((symbols != "") & ~symbols.duplicated(keep=False))[::37][:N_GENES]
    vectors = model.vectors(table, rows).astype(np.float64)
    return symbols.iloc[rows].tolist(), vectors, model.config.scale, np.asarray(model.center, dtype=np.float64)


def right(counts: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Embed exact counts ``[n_cells, n_vars]`` of the genes ``columns``, one cell and gene at a time."""
    _, vectors, scale, center = genes()
    columns = np.arange(counts.shape[1]) if columns is None else columns
    out = []
    for cell in counts.tolist():
        total = [0] * len(vectors)
        for gene, count in zip(columns, cell, strict=True):
            total[gene] += int(count)
        weights = np.array([np.log1p(scale * x / sum(total)) if any(total) else 0.0 for x in total])
        z = weights @ vectors - center
        out.append(z / np.linalg.norm(z) if any(total) else np.full(len(z), np.nan))
    return np.array(out)


def base(high: int = 100) -> np.ndarray:
    """Counts ``[n_cells, n_genes]``; the last cell expresses every gene."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, high, (N_CELLS, N_GENES)) * (rng.random((N_CELLS, N_GENES)) < 0.3)
    counts[-1] = rng.integers(1, high, N_GENES)
    return counts


def cells(X: Any, **parts: Any) -> ad.AnnData:
    """An AnnData of the genes."""
    names = parts.pop("names", None) or genes()[0]
    n = X.shape[0] if X is not None else N_CELLS
    obs = pd.DataFrame(index=[f"c{i}" for i in range(n)])
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=names), uns={"organism": "human"}, **parts)


def outcome(make: Callable[[], tuple[ad.AnnData, np.ndarray]], **options: Any) -> str:
    """Embed what ``make`` makes, with what is right, and say what became of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adata, expected = make()
        except (ImportError, TypeError, ValueError):
            return NONE  # there is no such matrix, or no pyarrow
        try:
            uc.tl.uce_embed(adata, **options)
        except (TypeError, ValueError) as error:
            return REFUSED if len(str(error)) > 40 else f"bare error: {error}"
        found = adata.obsm["X_uce"] if "mod" not in options else adata[options["mod"]].obsm["X_uce"]
    difference = np.abs(found - expected)
    same = np.array_equal(np.isnan(found), np.isnan(expected)) and np.nanmax(difference, initial=0) < TOLERANCE
    return EMBEDDED if same else f"wrong by {np.nanmax(difference):.2g}"


def _h5ad(X: Any, directory: Path) -> ad.AnnData:
    path = directory / "a.h5ad"
    path.unlink(missing_ok=True)  # one that is open cannot be written
    cells(X).write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


def _zarr(X: Any, directory: Path, *, version: int) -> ad.AnnData:
    with ad.settings.override(zarr_write_format=version):
        cells(X).write_zarr(directory / "a.zarr")
    lazy = ad.experimental.read_lazy(directory / "a.zarr")
    return cells(lazy.X)


def containers(directory: Path) -> dict[str, Callable[[np.ndarray], ad.AnnData]]:
    """Ways to hold a dense matrix of any type in an AnnData."""
    return {
        "numpy": cells,
        "numpy, by columns": lambda x: cells(np.asfortranarray(x)),
        "csr_matrix": lambda x: cells(sp.csr_matrix(x)),
        "csc_matrix": lambda x: cells(sp.csc_matrix(x)),
        "csr_array": lambda x: cells(sp.csr_array(x)),
        "csc_array": lambda x: cells(sp.csc_array(x)),
        "dask of numpy": lambda x: cells(da.from_array(x, chunks=(4, 15))),
        "dask of csr_matrix": lambda x: cells(da.from_array(x, chunks=(4, -1)).map_blocks(sp.csr_matrix)),
        "h5ad, dense": lambda x: _h5ad(x, directory),
        "h5ad, CSR": lambda x: _h5ad(sp.csr_matrix(x), directory),
        "h5ad, CSC": lambda x: _h5ad(sp.csc_matrix(x), directory),
        "zarr 2, dense": lambda x: _zarr(x, directory, version=2),
        "zarr 2, CSR": lambda x: _zarr(sp.csr_matrix(x), directory, version=2),
        "zarr 3, CSR": lambda x: _zarr(sp.csr_matrix(x), directory, version=3),
        "view of a view": lambda x: cells(np.vstack([x, x]))[2:][4:, ::-1][:, ::-1],
    }


def typed(container: Callable[[np.ndarray], ad.AnnData], dtype: str) -> str:
    """Embed counts of a type in a container."""
    counts = base() > 0 if dtype == "bool" else base()
    return outcome(lambda: (container(counts.astype(dtype)), right(counts.astype(np.int64))))


def odd(directory: Path) -> dict[str, tuple[str, Callable[[], str]]]:
    """Odd but legal data, what should become of them, and the function that tries them."""
    from benchmarks.odd_data import CASES

    return {
        name: (expected, partial(outcome, partial(make, directory), **options))
        for name, (expected, make, options) in CASES.items()
    }


def main(run: Run) -> None:
    """Try all and write both tables."""
    directory, rows, wrong = run.scratch(), [], []
    for name, container in containers(directory).items():
        found = [typed(container, dtype) for dtype in TYPES]
        rows.append((name, *found))
        wrong += [f"{name}, {dtype}: {what}" for dtype, what in zip(TYPES, found, strict=True) if " " in what]
    title = f"Embedded within {TOLERANCE:g} of a plain computation, or refused; - if no such AnnData exists"
    run.record("data-types", title, ("", *TYPES), rows)
    rows = []
    for name, (expected, tried) in odd(directory).items():
        found = tried()
        rows.append((name, found))
        wrong += [f"{name}: {found}, not {expected}"] if found not in (expected, NONE) else []
    run.record("data-types", title, ("AnnData", "outcome"), rows, append=True)
    print(*wrong, sep="\n")
    check(ok=not wrong, goal="embedded right, or refused")
