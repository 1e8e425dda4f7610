"""Gene tables: their parts, digest, files, and tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.toy import toy_genes, toy_table
from univerce.genes import table as tables
from univerce.genes.table import (
    N_SPECIAL,
    chromosome_index,
    gene_features,
    gene_table_info,
    iter_token_features,
    make_table,
    n_tokens,
    read_table,
    table_digest,
    validate_table,
    write_around,
    write_table,
)

N, DIM = 30, 8


def parts(**changes):
    """Arguments of ``make_table`` with some replaced."""
    rng = np.random.default_rng(0)
    special = rng.normal(size=(N_SPECIAL, DIM)).astype(np.float32)
    special[0] = 0
    return {
        "genes": toy_genes(N, 4),
        "features": rng.normal(size=(N, DIM)).astype(np.float32),
        "species": "toy",
        "encoder": "toy",
        "source": "simulated",
        "special_features": special,
        "chromosome_names": [f"chr{c}" for c in range(4)],
        "chromosome_codes": [5, 8, 11, 14],
        "chromosome_features": rng.normal(size=(4, DIM)).astype(np.float32),
    } | changes


# Parts


def test_a_table_holds_its_parts():
    p = parts()
    table = make_table(**p, version="116")
    for column in ("symbol", "ensembl_id", "chromosome", "start", "chromosome_code"):
        assert table.obs[column].tolist() == p["genes"][column].tolist()
    assert table.obs.dtypes[["start", "chromosome_code"]].tolist() == [np.int64, np.int32]
    np.testing.assert_array_equal(table.X, p["features"])
    for key in ("special_features", "chromosome_names", "chromosome_codes", "chromosome_features"):
        np.testing.assert_array_equal(table.uns[key], p[key])
    info = gene_table_info(table)
    assert {k: info[k] for k in ("species", "encoder", "source", "version")} == {
        "species": "toy", "encoder": "toy", "source": "simulated", "version": "116",
    }  # fmt: skip
    assert info["digest"] == table_digest(table)


def test_genes_are_named_by_ensembl_id_else_symbol_and_missing_names_are_empty():
    genes = toy_genes(N, 4)
    genes.loc[[1, 2], "ensembl_id"] = ""
    genes.loc[2, "symbol"] = genes.loc[1, "symbol"]
    genes.loc[3, "symbol"], genes.loc[4, "ensembl_id"] = None, np.nan
    table = make_table(**parts(genes=genes))
    assert table.obs_names[:5].tolist() == ["ENS00000", "GENE1", "GENE1-1", "ENS00003", "GENE4"]
    assert table.obs_names.name == "gene_id"
    assert table.obs["symbol"].iloc[3] == table.obs["ensembl_id"].iloc[4] == ""


def shifted(codes: list[int]) -> pd.DataFrame:
    genes = toy_genes(N, 4)
    return genes.assign(chromosome_code=genes["chromosome_code"].map(dict(zip([5, 8, 11, 14], codes, strict=True))))


def test_parts_that_do_not_fit_are_refused():
    for changes, message in (
        ({"special_features": np.zeros((3, DIM))}, r"'special_features'\] must be \[4, 8\]"),
        ({"special_features": np.ones((4, DIM))}, "is the PAD token and must be zero"),
        ({"chromosome_names": ["chr0"]}, "disagree: 1 names, 4 codes"),
        ({"chromosome_features": np.ones((4, DIM + 1))}, r"shape \(4, 9\), expected \[4, 8\]"),
        ({"chromosome_codes": [5, 8, 8, 14]}, "must increase strictly"),
        ({"chromosome_codes": [14, 11, 8, 5]}, "must increase strictly"),
        ({"genes": shifted([5, 8, 11, 99])}, r"codes without a token: \[99\]"),
    ):
        with pytest.raises(ValueError, match=message):
            make_table(**parts(**changes))


def test_an_anndata_without_a_part_is_not_a_table():
    for place, key in (("obs", "start"), ("uns", "chromosome_codes"), ("uns", "gene_table")):
        table = toy_table()
        del getattr(table, place)[key]
        with pytest.raises(ValueError, match=f"Not a gene table: {key} missing"):
            validate_table(table)


# Tokens


def test_chromosomes_are_found_by_their_code_and_all_tokens_counted():
    table = toy_table(N, 4)
    names = np.asarray(table.uns["chromosome_names"])[chromosome_index(table)]
    assert names.tolist() == table.obs["chromosome"].tolist()
    assert n_tokens(table) == 4 + N + 4


def every_token(table: ad.AnnData) -> np.ndarray:
    blocks = [table.uns["special_features"], table.X[:], table.uns["chromosome_features"]]
    return np.concatenate([np.asarray(b, dtype=np.float32) for b in blocks])


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def typed(request: pytest.FixtureRequest) -> ad.AnnData:
    features = np.random.default_rng(1).normal(scale=20, size=(N, DIM)).astype(request.param)
    return make_table(**parts(features=features))


@pytest.mark.parametrize("name", ["", "t.h5ad", "t.zarr.zip"], ids=["in memory", "on disk", "packed"])
def test_features_read_in_blocks_equal_those_indexed_at_once(typed, tmp_path, name):
    opened = read_table(write_table(typed, tmp_path / name)) if name else typed
    for ids in (np.arange(4 + N + 4), np.array([0, 3, 5, 9, 12, 33, 34, 37]), np.array([2, 35]), np.array([], int)):
        expected = every_token(typed)[ids]
        for block in (1, 7, 10_000):
            covered = 0
            for place, features in iter_token_features(opened, ids, block=block):
                assert features.dtype == np.float32
                assert place.start == covered
                assert len(features) == place.stop - place.start <= block
                np.testing.assert_array_equal(features, expected[place])
                covered = place.stop
            assert covered == len(ids)


# Digest


def column(name: str, value: Any) -> Callable[[ad.AnnData], None]:
    def change(table: ad.AnnData) -> None:
        table.obs[name] = [value, *table.obs[name].tolist()[1:]]

    return change


def array(name: str) -> Callable[[ad.AnnData], None]:
    def change(table: ad.AnnData) -> None:
        table.uns[name].flat[-1] = 99

    return change


CHANGES = {
    "a symbol": column("symbol", "OTHER"),
    "an identifier": column("ensembl_id", "OTHER"),
    "a start": column("start", 10**6),
    "the chromosome of a gene": column("chromosome_code", 8),
    "a feature": lambda table: table.X.__setitem__((-1, -1), 99),
    "a special token": array("special_features"),
    "a chromosome token": array("chromosome_features"),
    "a chromosome code": array("chromosome_codes"),
}


def test_the_digest_changes_with_every_part():
    before = table_digest(toy_table())
    assert before == table_digest(toy_table())
    for name, change in CHANGES.items():
        table = toy_table()
        assert table.obs["chromosome_code"].iloc[0] != 8
        change(table)
        assert table_digest(table) != before, name


def test_the_digest_does_not_depend_on_the_source_and_is_the_same_in_memory_and_on_disk(tmp_path, monkeypatch):
    one, other = make_table(**parts()), make_table(**parts(source="elsewhere"))
    assert gene_table_info(one)["digest"] == gene_table_info(other)["digest"]
    table = toy_table()
    monkeypatch.setattr(tables, "_DIGEST_ROWS", 7)
    assert table_digest(table) == gene_table_info(table)["digest"]
    assert table_digest(read_table(write_table(table, tmp_path / "t.h5ad"))) == gene_table_info(table)["digest"]


# Disk


@pytest.mark.parametrize("name", ["t.h5ad", "t.zarr.zip"])
def test_a_table_is_read_as_it_was_written(tmp_path, typed, name):
    path = write_table(typed, tmp_path / "new" / name)
    assert path == tmp_path / "new" / name
    assert [p.name for p in path.parent.iterdir()] == [name]
    back = read_table(path)
    assert back.isbacked == (name == "t.h5ad")
    assert back.X.dtype == typed.X.dtype
    np.testing.assert_array_equal(back.X[:], typed.X)
    pd.testing.assert_frame_equal(back.obs, typed.obs, check_categorical=False, check_dtype=False)
    for key in ("special_features", "chromosome_names", "chromosome_codes", "chromosome_features"):
        np.testing.assert_array_equal(back.uns[key], typed.uns[key])
    assert dict(gene_table_info(back)) == dict(gene_table_info(typed))
    assert table_digest(back) == gene_table_info(typed)["digest"]


def test_a_packed_table_is_the_same_bytes_every_time(tmp_path, monkeypatch):
    first = write_table(toy_table(), tmp_path / "one" / "t.zarr.zip")
    one, year = first.read_bytes(), time.time() + 365 * 86400
    monkeypatch.setattr(time, "time", lambda: year)
    assert write_table(toy_table(), tmp_path / "other" / "t.zarr.zip").read_bytes() == one
    assert write_table(toy_table(seed=1), tmp_path / "third" / "t.zarr.zip").read_bytes() != one
    assert write_table(read_table(first), tmp_path / "again.zarr.zip").read_bytes() == one


def test_writing_replaces_the_old_table_only_when_it_is_done(tmp_path, monkeypatch):
    path = write_table(toy_table(), tmp_path / "t.zarr.zip")
    before = path.read_bytes()
    monkeypatch.setattr(tables, "_write_packed", lambda table, path: path.write_bytes(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_table(toy_table(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_suffixes_and_missing_files_are_refused(tmp_path):
    for name in ("t.csv", "t.zarr", "t", "t.h5ad.gz"):
        with pytest.raises(ValueError, match=r"Name a gene table \*\.h5ad or \*\.zarr\.zip, not 't"):
            write_table(toy_table(), tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"There is no gene table at .*t\.h5ad"):
        read_table(tmp_path / "t.h5ad")


def test_another_anndata_is_neither_written_nor_read(tmp_path):
    other = ad.AnnData(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="Not a gene table"):
        write_table(other, tmp_path / "t.h5ad")
    assert not list(tmp_path.iterdir())
    other.write_h5ad(tmp_path / "t.h5ad")
    with pytest.raises(ValueError, match="Not a gene table"):
        read_table(tmp_path / "t.h5ad")


def _change(table: ad.AnnData, part: str) -> None:
    if part == "features":
        table.X[3, 2] += 1
    elif part == "chromosome features":
        table.uns["chromosome_features"][0, 0] += 1
    else:
        values = table.obs[part].to_numpy(copy=True)
        values[3] = values[3] * 2
        table.obs[part] = values


@pytest.mark.parametrize(
    "name, part",
    [("t.h5ad", "features"), ("t.zarr.zip", "chromosome features"), ("t.h5ad", "symbol"), ("t.zarr.zip", "start")],
)
def test_a_table_that_does_not_match_its_digest_is_neither_written_nor_read(tmp_path, monkeypatch, name, part):
    table = toy_table()
    noted = table.uns["gene_table"]["digest"]
    _change(table, part)
    said = rf"was changed after it was built: its digest is {table_digest(table)[:12]}.* says {noted[:12]}.*make_table"
    with pytest.raises(ValueError, match=f"The gene table {said}"):
        write_table(table, tmp_path / name)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_CHECKED_BYTES", -1)
        path = write_table(table, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{path} {said}"):
        read_table(path)


def test_the_digest_of_a_large_table_is_not_computed_to_read_it(tmp_path, monkeypatch):
    path = write_table(toy_table(), tmp_path / "t.h5ad")
    monkeypatch.setattr(tables, "table_digest", lambda table: pytest.fail("the whole table was read"))
    monkeypatch.setattr(tables, "_CHECKED_BYTES", N * DIM * 4 - 1)
    table = read_table(path)
    assert table.shape == (N, DIM)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["t.h5ad", "t.zarr.zip"])
@pytest.mark.parametrize("key", ["X", "special_features", "chromosome_features"])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, monkeypatch, name, key, value):
    """The digest fits: whoever made the table wrote them."""
    table = toy_table()
    values = table.X if key == "X" else table.uns[key]
    values[2, 1] = value
    table.uns["gene_table"]["digest"] = table_digest(table)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "validate_table", lambda table: None)
        path = write_table(table, tmp_path / name)
    said = f"features of {table.obs_names[2]!r}" if key == "X" else rf"uns\['{key}'\]"
    with pytest.raises(uc.FileError, match=f"{path} .*{said}.* not finite"):
        read_table(path)
    if key == "X":
        monkeypatch.setattr(tables, "_CHECKED_BYTES", -1)  # too large to be read as a whole
        large = read_table(path)
        assert len(gene_features(large, np.array([0, 1, 3]))) == 3
        with pytest.raises(ValueError, match=said):
            list(iter_token_features(large, np.arange(N_SPECIAL, N_SPECIAL + N)))


def test_x_listed_among_the_layers_is_not_written_again(tmp_path, monkeypatch):
    """anndata 0.13 lists X under the key None."""
    table = make_table(**parts())
    layers = type(table.layers)
    with h5py.File(tmp_path / "t.h5ad", "w") as file, monkeypatch.context() as patch:
        file["X"] = table.X
        file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        patch.setattr(layers, "items", lambda self: {None: table.X}.items())
        write_around(file, table)
    written = read_table(tmp_path / "t.h5ad")
    assert table_digest(written) == table_digest(table)
    assert [name for name in written.layers if name is not None] == []
