"""Odd but legal AnnData, each with what is right: see :mod:`benchmarks.data_types`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import dask.array as da
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.data_types import EMBEDDED, N_CELLS, N_GENES, REFUSED, base, cells, genes, right

Made = tuple[ad.AnnData, np.ndarray]
CASES: dict[str, tuple[str, Callable[[Path], Made], dict[str, Any]]] = {}


def case(name: str, expected: str = EMBEDDED, **options: Any) -> Callable:
    """Add a function that makes an AnnData and what is right."""

    def add(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        CASES[name] = expected, make, options
        return make

    return add


def _values(name: str, expected: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    @case(name, expected)
    def _(_: Path) -> Made:
        counts = change(base())
        return cells(counts), right(counts) if expected == EMBEDDED else counts


def _at(value: Any, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    def change(counts: np.ndarray) -> np.ndarray:
        counts = counts.astype(dtype)
        counts[0, 0] = counts[-1, 1] = value
        return counts

    return change


for _dtype in ("int64", "uint32", "uint64", "float64"):
    _values(f"a count above 2^31, {_dtype}", EMBEDDED, _at(2**31 + 5, _dtype))
for _dtype in ("int64", "uint64", "float64"):
    _values(f"a count above 2^53, {_dtype}", EMBEDDED, _at(2**53 + 2, _dtype))
_values("the largest counts of uint64", EMBEDDED, lambda x: np.where(x > 0, np.uint64(2**64 - 1), np.uint64(0)))
_values("negative zeros", EMBEDDED, lambda x: np.where(x == 0, -0.0, x))
_values("a negative count", REFUSED, _at(-1, "int32"))
_values("a fraction", REFUSED, _at(0.5, "float32"))
_values("a missing value", REFUSED, _at(np.nan, "float32"))
_values("infinity", REFUSED, _at(np.inf, "float32"))
_values("a cell without counts", EMBEDDED, lambda x: x * (np.arange(N_CELLS) != 2)[:, None])
_values("one cell with every gene", EMBEDDED, lambda x: x[-1:])
_values("one cell", EMBEDDED, lambda x: x[:1])
_values("two cells", EMBEDDED, lambda x: x[:2])
_values("no cell", REFUSED, lambda x: x[:0])


def _sparse(name: str, change: Callable[[sp.csr_matrix], Any]) -> None:
    @case(name)
    def _(_: Path) -> Made:
        counts = base(250)
        return cells(change(sp.csr_matrix(counts.astype("uint8")))), right(counts)


def _int64(x: sp.csr_matrix) -> sp.csr_matrix:
    x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    return x


def _with_zeros(x: sp.csr_matrix) -> sp.csr_matrix:
    full = x.toarray()
    return sp.csr_matrix(
        (full.ravel(), np.indices(x.shape)[1].ravel(), np.arange(len(full) + 1) * full.shape[1]), shape=x.shape
    )


def _unsorted(x: sp.csr_matrix) -> sp.csr_matrix:
    for begin, end in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        x.indices[begin:end], x.data[begin:end] = x.indices[begin:end][::-1].copy(), x.data[begin:end][::-1].copy()
    x.has_sorted_indices = False
    return x


def _repeated(x: sp.csr_matrix | sp.csc_matrix) -> Any:
    """Every entry three times, together 200 to 250 times its part, so that sums of uint8 would wrap around."""
    parts = np.stack([x.data // 3, x.data // 3, x.data - 2 * (x.data // 3)], axis=1).ravel()
    return type(x)((parts, np.repeat(x.indices, 3), x.indptr * 3), shape=x.shape)


def _doubled(kind: Callable[[Any], Any]) -> Callable[[Path], Made]:
    def make(_: Path) -> Made:
        counts = base(250)
        x = kind(counts.astype("uint8"))
        twice = type(x)((np.repeat(x.data, 2), np.repeat(x.indices, 2), x.indptr * 2), shape=x.shape)
        return cells(twice), right(2 * counts)

    return make


_sparse("indices of 64 bits", _int64)
_sparse("explicit zeros", _with_zeros)
_sparse("unsorted indices", _unsorted)
_sparse("repeated entries", _repeated)
for _kind in (sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array):
    case(f"repeated entries beyond uint8, {_kind.__name__}")(_doubled(_kind))


@case("repeated entries beyond uint8, h5ad CSC")
def _(directory: Path) -> Made:
    adata, expected = _doubled(sp.csc_matrix)(directory)
    adata.write_h5ad(directory / "b.h5ad")
    return ad.read_h5ad(directory / "b.h5ad", backed="r"), expected


@case("repeated entries beyond uint8, dask")
def _(directory: Path) -> Made:
    adata, expected = _doubled(sp.csr_matrix)(directory)
    x = adata.X
    blocks = [da.from_delayed(_delayed(x[i : i + 3]), shape=(3, N_GENES), dtype=x.dtype) for i in (0, 3)]
    return cells(da.concatenate(blocks)), expected


def _delayed(x: Any) -> Any:
    import dask

    return dask.delayed(lambda: x)()


def _named(name: str, names: Callable[[list[str]], Any]) -> None:
    @case(name)
    def _(_: Path) -> Made:
        adata = cells(base())
        adata.var.index = names(genes()[0])
        return adata, right(base())


_named("categorical var_names", pd.CategoricalIndex)
_named("nullable text as var_names", lambda names: pd.Index(pd.array(names, dtype="string")))
_named("arrow text as var_names", lambda names: pd.Index(pd.array(names, dtype="string[pyarrow]")))
_named("lower case var_names", lambda names: pd.Index([name.lower() for name in names]))
_named("blanks around var_names", lambda names: pd.Index([f" {name} " for name in names]))


@case("var_names that repeat")
def _(_: Path) -> Made:
    columns = np.r_[np.arange(N_GENES), 3, 3, 5]
    counts = np.hstack([base(), base()[:, [3, 7, 9]]])
    return cells(counts, names=[genes()[0][k] for k in columns]), right(counts, columns)


@case("var_names made unique")
def _(directory: Path) -> Made:
    adata, expected = CASES["var_names that repeat"][1](directory)
    adata.var_names_make_unique()
    return adata, expected


@case("obs_names that are numbers")
def _(_: Path) -> Made:
    adata = cells(base())
    adata.obs.index = pd.RangeIndex(N_CELLS)
    return adata, right(base())


@case("obs_names that repeat", REFUSED)
def _(_: Path) -> Made:
    adata = cells(base())
    adata.obs_names = ["a"] * N_CELLS
    return adata, base()


@case("columns of obs of every kind")
def _(_: Path) -> Made:
    adata = cells(base())
    n = N_CELLS
    adata.obs["number"], adata.obs["flag"], adata.obs["text"] = np.arange(n), True, "a"
    adata.obs["category"] = pd.Categorical(["x", None] * (n // 2))
    adata.obs["nullable"] = pd.array([1, None] * (n // 2), dtype="Int64")
    adata.obs["time"] = pd.Timestamp("2026-01-01")
    return adata, right(base())


@case("arrow text in obs")
def _(_: Path) -> Made:
    adata = cells(base())
    adata.obs["arrow"] = pd.array(["x", None] * (N_CELLS // 2), dtype="string[pyarrow]")
    return adata, right(base())


@case("two columns of obs with one name")
def _(_: Path) -> Made:
    adata = cells(base())
    adata.obs = pd.DataFrame(np.zeros((N_CELLS, 2)), columns=["x", "x"], index=adata.obs_names)
    return adata, right(base())


@case("obsm as DataFrame, slashes in uns")
def _(_: Path) -> Made:
    adata = cells(base())
    adata.obsm["X_table"] = pd.DataFrame(np.eye(N_CELLS), index=adata.obs_names, columns=list("abcdef"))
    adata.uns |= {"a/b": {"c/d": 1}, "univerce": {}}
    return adata, right(base())


@case("through ad.concat, a gene lacking in one part")
def _(_: Path) -> Made:
    whole = cells(base())
    counts = base()
    counts[:3, 4] = 0
    joint = ad.concat([whole[:3, np.arange(N_GENES) != 4], whole[3:]], join="outer", fill_value=0, uns_merge="same")
    return joint, right(counts)


@case("through ad.concat, missing where a gene lacks", REFUSED)
def _(_: Path) -> Made:
    whole = cells(base().astype("float32"))
    return ad.concat([whole[:3, :30], whole[3:]], join="outer", uns_merge="same"), base()


@case("some genes, adata[:, hvg]")
def _(_: Path) -> Made:
    adata = cells(sp.csr_matrix(base()))
    adata.var["hvg"] = np.arange(N_GENES) % 2 == 0
    return adata[:, adata.var["hvg"]], right(base() * (np.arange(N_GENES) % 2 == 0))


@case("counts in a layer", layer="counts")
def _(_: Path) -> Made:
    return cells(np.log1p(base()), layers={"counts": sp.csr_matrix(base())}), right(base())


def _raw(directory: Path) -> Made:
    adata = cells(sp.csr_matrix(base()))
    adata.raw = adata
    adata.X = np.log1p(base())
    return adata[:, :20].copy(), right(base())


case("counts in raw, of more genes", layer="raw")(_raw)


@case("counts in raw of an h5ad", layer="raw")
def _(directory: Path) -> Made:
    adata, expected = _raw(directory)
    adata.write_h5ad(directory / "raw.h5ad")
    return ad.read_h5ad(directory / "raw.h5ad", backed="r"), expected


@case("X is None, counts in a layer", layer="counts")
def _(_: Path) -> Made:
    return cells(None, layers={"counts": base()}), right(base())


@case("X is None", REFUSED)
def _(_: Path) -> Made:
    return cells(None), base()


@case("a modality of a MuData", mod="rna")
def _(_: Path) -> Made:
    rna, protein = cells(base()), ad.AnnData(np.ones((N_CELLS, 2)), obs=pd.DataFrame(index=cells(base()).obs_names))
    rna.obs["n"] = 1
    mdata = md.MuData({"rna": rna, "adt": protein})
    mdata.pull_obs()
    return mdata, right(base())


@case("antibodies named like genes")
def _(_: Path) -> Made:
    names = genes()[0]
    adata = cells(np.hstack([base(), np.full((N_CELLS, 3), 900)]), names=[*names, *names[:3]])
    adata.var["feature_types"] = ["Gene Expression"] * N_GENES + ["Antibody Capture"] * 3
    return adata, right(base())


@case("mouse genes beside human genes, prefixes cut off")
def _(_: Path) -> Made:
    names = genes()[0]
    adata = cells(np.hstack([base(), base()[:, ::-1]]), names=[*names, *(name.capitalize() for name in names)])
    adata.var["genome"] = ["GRCh38"] * N_GENES + ["mm10"] * N_GENES
    return adata, right(base())


@case("a masked array", REFUSED)
def _(_: Path) -> Made:
    return cells(np.ma.masked_equal(base(), 3), layers={"counts": base()}), base()
