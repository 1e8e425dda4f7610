"""Damage of what the package wrote is found, named, and repaired where it can be computed again."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import univerce as uc
from tests.helpers.atlas_cells import embedded
from univerce.bench._cache import cached_numbers
from univerce.embeddings.cells import Cells
from univerce.inference.store import EmbeddingStore
from univerce.io.arrays import read_arrays, write_arrays
from univerce.io.files import open_anndata
from univerce.io.intact import LISTING, read_rows
from univerce.io.seal import is_intact, seal


@pytest.fixture
def atlas(tmp_path, monkeypatch):
    monkeypatch.setattr("univerce.atlas._store.CHUNK_ROWS", 8)
    uc.atlas.build({"one": embedded(20)}, tmp_path / "a.zarr", groupby="cell_type", min_counts=None)
    return tmp_path / "a.zarr"


def _files(directory: Path) -> list[Path]:
    return sorted(file for file in directory.rglob("*") if file.is_file() and file.name != ".zmetadata")


def test_an_atlas_names_every_file_that_was_lost_cut_or_changed(atlas):
    for file in _files(atlas):
        if file.name == LISTING:
            continue
        data = file.read_bytes()
        embedding = file.parent.name == "X_uce" and not file.name.startswith(".")
        for damaged in (None, data[:-1], bytes([data[0] ^ 1]) + data[1:]):
            file.unlink() if damaged is None else file.write_bytes(damaged)
            with pytest.raises(uc.FileError) as error:
                _ = Cells.read(uc.atlas.open(atlas)).known  # chunks are checked where they are read
            assert str(file if damaged is None or not embedding else atlas) in str(error.value)
            file.write_bytes(data)
    assert uc.atlas.open(atlas, lazy=False).n_obs == 20


def test_a_chunk_that_is_lost_while_an_atlas_is_open_is_an_error_and_not_a_missing_embedding(atlas, monkeypatch):
    monkeypatch.chdir(atlas.parent)
    opened = uc.atlas.open("a.zarr")
    monkeypatch.chdir("/")
    assert Cells.read(opened).known.all()
    (atlas / "obsm" / "X_uce" / "1.0").unlink()
    query = embedded(3)
    with pytest.raises(uc.FileError, match=r"Rows 8 to 15 of 'obsm/X_uce' in .*a\.zarr are damaged: a chunk was lost"):
        uc.tl.search_atlas(query, opened, n_neighbors=2)
    with pytest.raises(uc.FileError, match="Rows 8 to 15"):
        Cells.read(opened).rows(np.array([9]))


def test_a_listing_can_be_deleted_and_a_new_one_is_read_again(atlas):
    (atlas / "obs" / "data_set" / ".zattrs").write_text("{}")
    with pytest.raises(uc.FileError, match=f"if the change is intended, delete .*{LISTING}"):
        uc.atlas.open(atlas)
    (atlas / LISTING).write_text("[]")
    with pytest.raises(uc.FileError, match=LISTING):
        open_anndata(atlas)


def test_a_lost_block_of_a_store_is_an_error_where_a_cell_without_embedding_is_not(tmp_path):
    values = np.ones((6, 3), dtype=np.float32)
    values[1] = np.nan
    store = EmbeddingStore.open(
        tmp_path / "s.zarr", key="X_uce", obs_names=list("abcdef"), dim=3, block_rows=2, fingerprint={}
    )
    for k in store.missing():
        store.write(k, values[store.rows(k)])
    store.finish({})
    rep = open_anndata(tmp_path / "s.zarr").obsm["X_uce"]
    assert Cells(rep).known.tolist() == [True, False, True, True, True, True]
    (tmp_path / "s.zarr" / "obsm" / "X_uce" / "2.0").unlink()
    with pytest.raises(uc.FileError, match=r"Rows 1 to 5 .* a chunk was lost"):
        read_rows(rep, slice(0, 6))


def test_damaged_arrays_and_sealed_files_are_told_at_every_byte(tmp_path):
    path, arrays = tmp_path / "a.npz", {"x": np.arange(6.0).reshape(2, 3), "a b/c": np.array("text")}
    write_arrays(path, **arrays)
    (tmp_path / "sealed").write_bytes(b"content")
    seal(tmp_path / "sealed")
    assert is_intact(tmp_path / "sealed")
    for file in (path, tmp_path / "sealed"):
        data = file.read_bytes()
        for i in range(len(data)):
            for damaged in (data[:i], data[:i] + bytes([data[i] ^ 0x20]) + data[i + 1 :]):
                file.write_bytes(damaged)
                if file == path:
                    found = read_arrays(path)
                    assert found is None or all(np.array_equal(found[name], arrays[name]) for name in arrays)
                else:
                    assert not is_intact(file)
        file.write_bytes(data)
    assert is_intact(tmp_path / "sealed")
    assert read_arrays(path)["a b/c"] == "text"


def test_a_damaged_entry_of_the_cache_is_computed_again_and_named(tmp_path, caplog):
    found = [cached_numbers(tmp_path, [np.ones(3)], lambda: {"score": 0.1})]
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found.append(cached_numbers(tmp_path, [np.ones(3)], lambda: {"score": 0.1}))
    assert f"{file} in the cache is damaged" in caplog.text
    assert found == [{"score": 0.1}] * 2
    assert file.read_bytes() == whole


def test_a_damaged_classifier_is_an_error_and_a_damaged_index_is_built_again(tmp_path, caplog):
    pytest.importorskip("faiss")
    cells = embedded(90)
    classifier, index = tmp_path / "c.h5ad", tmp_path / "i"
    uc.tl.LabelClassifier.fit(cells, groupby="cell_type", method="centroid").save(classifier)
    assert ad.read_h5ad(classifier).n_obs == 3  # other readers do not mind the seal
    search = {"n_neighbors": 3, "method": "ivf", "index": index}
    uc.tl.search_atlas(cells[:5].copy(), cells, **search)
    for file in (classifier, index):
        whole = file.read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:]):
            file.write_bytes(damaged)
            if file == classifier:
                with pytest.raises(uc.FileError, match=r"c\.h5ad is damaged"):
                    uc.tl.LabelClassifier.load(file)
            else:
                with caplog.at_level(logging.WARNING, logger="univerce"):
                    uc.tl.search_atlas(cells[:5].copy(), cells, **search)
                assert f"The index {index} is damaged and is built again" in caplog.text
                assert file.read_bytes() == whole
                caplog.clear()
