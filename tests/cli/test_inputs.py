"""Cells in every format are embedded as the same cells in an AnnData are, or refused in one line."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from mudata import MuData, read_h5mu

import univerce as uc
from tests.helpers.market import market, write_lines
from univerce.cli import _files, main
from univerce.cli._files import pulling_nothing

N = 15


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = uc.datasets.pbmc68k_reduced()[:N].copy()
    del adata.uns, adata.obsm, adata.varm, adata.obsp, adata.raw
    adata.obs = adata.obs[[]]
    adata.var = adata.var[[]].assign(gene_ids=[f"id {i}" for i in range(adata.n_vars)])
    return adata


@pytest.fixture(scope="module")
def expected(cells) -> np.ndarray:
    embedded = uc.tl.uce_embed(cells, "human", copy=True)
    return embedded.obsm["X_uce"]


def _h5_of_10x(adata: ad.AnnData, folder: Path) -> Path:
    """As Cell Ranger 3 and later write it, with antibodies that are no genes."""
    n, m = adata.shape
    X = np.hstack([adata.X.toarray(), np.full((n, 1), 100)])
    with h5py.File(folder / "filtered.h5", "w") as file:
        group = file.create_group("matrix")
        rows, columns = np.nonzero(X)
        group["data"], group["indices"] = X[rows, columns].astype(np.int32), columns.astype(np.int64)
        group["indptr"] = np.concatenate([[0], np.cumsum((X > 0).sum(axis=1))])
        group["shape"], group["barcodes"] = [m + 1, n], np.array(adata.obs_names, dtype="S")
        features = group.create_group("features")
        features["id"] = np.array([*adata.var["gene_ids"], "CD3E"], dtype="S")
        features["name"] = np.array([*adata.var_names, "CD3E"], dtype="S")
        features["feature_type"] = np.array(["Gene Expression"] * m + ["Antibody Capture"], dtype="S")
        features["genome"] = np.array(["GRCh38"] * m + [""], dtype="S")
    return folder / "filtered.h5"


def _loom(adata: ad.AnnData, folder: Path) -> Path:
    with h5py.File(folder / "cells.loom", "w") as file:
        file["matrix"] = adata.X.toarray().T
        file["row_attrs/Gene"] = np.array(adata.var_names, dtype="S")
        file["col_attrs/CellID"] = np.array(adata.obs_names, dtype="S")
        file["col_attrs/tSNE"] = np.zeros((adata.n_obs, 2))
        file["layers/spliced"] = adata.X.toarray().T
    return folder / "cells.loom"


def _h5mu(adata: ad.AnnData, folder: Path) -> Path:
    proteins = ad.AnnData(np.ones((adata.n_obs, 2)), obs=adata.obs, var={"kind": ["a", "b"]})
    with pulling_nothing():
        MuData({"rna": adata, "prot": proteins}).write_h5mu(folder / "cells.h5mu")
    return folder / "cells.h5mu"


def _written(name: str) -> Callable:
    def write(adata: ad.AnnData, folder: Path) -> Path:
        _files.write(adata, folder / name, ".zarr" if name.endswith(".zarr") else ".h5ad")
        return folder / name

    return write


FORMATS = {
    "h5ad": _written("cells.h5ad"),
    "h5ad with another ending": _written("cells.h5"),
    "zarr": _written("cells.zarr"),
    "h5mu": _h5mu,
    "h5 of 10x": _h5_of_10x,
    "directory of 10x": market("", ".gz"),
    "directory of STARsolo": market(""),
    "directory of Cell Ranger 2": market("", genes="genes.tsv"),
    "GEO": market("GSM1_", ".gz"),
    "kallisto": market("cells_x_genes.", genes="genes.txt", cells_first=True),
    "loom": _loom,
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_embedding(write, cells, expected, tmp_path, capsys):
    source = write(cells, tmp_path)
    mod = ["--mod", "rna"] if source.suffix == ".h5mu" else []
    assert main(["embed", "-q", str(source), "-o", str(tmp_path / "o.h5ad"), "--species", "human", *mod]) == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Variable names are not unique")  # of genes and antibodies
        embedded = ad.read_h5ad(tmp_path / "o.h5ad")
    assert list(embedded.obs_names) == list(cells.obs_names)
    np.testing.assert_array_equal(embedded.X.toarray()[:, : cells.n_vars], cells.X.toarray())
    np.testing.assert_array_equal(embedded.obsm["X_uce"], expected)
    assert capsys.readouterr().err.count("\n") == 1, "only what was read"


def test_an_h5mu_keeps_its_modalities_and_asks_for_one(cells, expected, tmp_path, capsys):
    source = _h5mu(cells, tmp_path)
    command = ["embed", "-q", str(source), "-o", str(tmp_path / "o.h5mu"), "--species", "human"]
    assert main(command) == 2
    assert "cells.h5mu holds the modalities rna, prot: add --mod" in capsys.readouterr().err
    assert main([*command, "--mod", "rna"]) == 0
    with pulling_nothing():
        mdata = read_h5mu(tmp_path / "o.h5mu")
    assert list(mdata.mod) == ["rna", "prot"]
    np.testing.assert_array_equal(mdata["rna"].obsm["X_uce"], expected)


def _cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-100]))


DAMAGE = {
    "no genes": (lambda folder: (folder / "genes.tsv").unlink(), "matrix.mtx needs features.tsv or genes.tsv"),
    "other genes": (lambda folder: write_lines(folder / "genes.tsv", ["a"], ["b"]), "matrix.mtx is 765 x 15, but"),
    "a matrix that fits nowhere": (
        lambda folder: write_lines(
            folder / "matrix.mtx", ["%%MatrixMarket matrix array real general", "900000000 900000000", "1"]
        ),
        "matrix.mtx is 900000000 x 900000000, but",
    ),
    "half a matrix": (lambda folder: _cut(folder / "matrix.mtx"), "Truncated file"),
    "one level too high": (
        lambda folder: shutil.move(folder / "matrix.mtx", folder / "sub" / "matrix.mtx"), "Name what is in it: sub."
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage, said", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_directory_is_an_error_of_one_line(damage, said, cells, tmp_path, capsys):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    market("", genes="genes.tsv")(cells, tmp_path / "in")
    damage(tmp_path / "in")
    assert main(["embed", "-q", str(tmp_path / "in"), "-o", str(tmp_path / "o.h5ad"), "--species", "human"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert str(tmp_path / "in") in err
    assert err.count("\n") == 1


def test_a_damaged_or_foreign_file_is_an_error_of_one_line(cells, tmp_path, capsys):
    (tmp_path / "text.h5").write_text("not HDF5")
    half = _written("half.h5ad")(cells, tmp_path)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = [1]
    (tmp_path / "no.zarr").mkdir()
    damaged = "is damaged or is not an HDF5 file"
    for name, said in {
        "text.h5": damaged, "half.h5ad": damaged, "no.zarr": "is damaged or is not a .zarr",
        "other.h5": "holds numbers: it is neither",
    }.items():  # fmt: skip
        assert main(["embed", str(tmp_path / name), "-o", str(tmp_path / "o.h5ad"), "--species", "human"]) == 2
        err = capsys.readouterr().err
        assert f"univerce: error: {tmp_path / name} {said}" in err
        assert err.count("\n") == 1


def test_a_wrong_species_is_an_error_unless_forced(cells, tmp_path, capsys):
    source = _written("cells.h5ad")(cells, tmp_path)
    command = ["embed", "-q", str(source), "-o", str(tmp_path / "o.h5ad"), "--species", "mouse"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "The names fit human better" in err
    assert "If the cells are human, pass --species human. If you are sure, add --force." in err
    assert not (tmp_path / "o.h5ad").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*command, "--force"]) == 0
    err = capsys.readouterr().err
    assert f"univerce: warning: {source}: " in err
    assert "fit human better" in err


def test_counts_in_raw_are_embedded(cells, expected, tmp_path, capsys):
    adata = cells.copy()
    adata.raw = adata
    adata = adata[:, :100].copy()
    adata.X = np.log1p(adata.X.toarray())
    source = _written("cells.h5ad")(adata, tmp_path)
    command = ["embed", "-q", str(source), "-o", str(tmp_path / "o.h5ad"), "--species", "human"]
    assert main(command) == 2
    assert "--layer raw" in capsys.readouterr().err
    for options in ([], ["--backed"]):
        assert main([*command, "--layer", "raw", "--overwrite", *options]) == 0
        embedded = ad.read_h5ad(tmp_path / "o.h5ad")
        np.testing.assert_array_equal(embedded.obsm["X_uce"], expected)
        assert embedded.shape == (N, 100)
        assert embedded.raw.shape == cells.shape
