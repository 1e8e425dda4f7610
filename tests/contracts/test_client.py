"""Results of uc.tl.search_atlas and uc.tl.transfer_labels on a dask cluster are those of a single process."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem

import univerce as uc
from tests.helpers.blobs import blobs
from univerce.embeddings import index as _index
from univerce.embeddings import neighbors as _neighbors
from univerce.io import workers as _cluster
from univerce.io.files import embedding_digest, open_anndata
from univerce.io.ondisk import OnDisk

pytest.importorskip("distributed", reason="needs the extra dask")
pytest.importorskip("faiss", reason="needs the extra faiss")
pytestmark = pytest.mark.slow

N, N_ATLAS, K = 70, 900, 9
MISSING, MISSING_IN_ATLAS = (4, 33), (0, 450, 899)
PARAMS = {"model": "m", "model_digest": "d", "species": ["human"], "table_digest": {"human": "t"}}
SIZES = {"CD4 T": 60, "CD8 T": 40, "B": 40, "mono": 30}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of queries and parts of the atlas that do not divide their numbers of rows."""
    monkeypatch.setattr(_neighbors, "ROUNDED_ROWS", 32)
    monkeypatch.setattr(_neighbors, "_PART_ROWS", 128)
    with uc.settings.override(progress=False):
        yield


def cells(n: int, seed: int, missing: tuple[int, ...], dtype: type = np.float32) -> ad.AnnData:
    """Few distinct values, so that distances are tied."""
    rng = np.random.default_rng([8, seed])
    rep = rng.integers(-1, 2, (n, 6)).astype(dtype)
    rep[::5] += rng.normal(size=rep[::5].shape).astype(dtype)
    rep[list(missing)] = np.nan
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical([f"type {k}" for k in rng.integers(0, 5, n)])},
        index=[f"{seed}-{i}" for i in range(n)],
    )
    return ad.AnnData(obs=obs, obsm={"X_uce": rep}, uns={"univerce": {"X_uce": PARAMS}})


def write(adata: ad.AnnData, path: Path) -> Path:
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", adata)
    return path


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Path:
    return write(cells(N_ATLAS, 1, MISSING_IN_ATLAS, np.float16), tmp_path_factory.mktemp("atlas") / "atlas.zarr")


def query(path: Path | None = None, n: int = N) -> ad.AnnData:
    made = cells(n, 0, MISSING)
    return made if path is None else open_anndata(write(made, path))


def search(adata: ad.AnnData, atlas: Any, **options: Any) -> ad.AnnData:
    uc.tl.search_atlas(adata, atlas, n_neighbors=K, **options)
    return adata


def check_same(mine: ad.AnnData, theirs: ad.AnnData) -> None:
    pd.testing.assert_frame_equal(mine.obs, theirs.obs, check_exact=True)
    for key in ("atlas_indices", "atlas_distances"):
        assert mine.obsm[key].tobytes() == theirs.obsm[key].tobytes()
    assert set(mine.uns["atlas"]) == set(theirs.uns["atlas"])
    assert mine.uns["atlas"]["params"] == theirs.uns["atlas"]["params"]
    pd.testing.assert_frame_equal(uc.get.table(mine, "atlas"), uc.get.table(theirs, "atlas"))


@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
def test_workers_find_the_same_neighbors(suffix, client, tmp_path, caplog):
    atlas = write(cells(N_ATLAS, 1, MISSING_IN_ATLAS, np.float16), tmp_path / f"atlas.{suffix}")
    here = search(query(), atlas)
    assert (here.obsm["atlas_indices"][list(MISSING)] == -1).all()
    assert not np.isin(here.obsm["atlas_indices"], MISSING_IN_ATLAS).any()
    assert len(np.unique(here.obsm["atlas_distances"])) < N * K / 2, "there must be ties"
    for cells_on_disk in (None, tmp_path / f"query.{suffix}"):
        with caplog.at_level("INFO", "univerce"):
            check_same(search(query(cells_on_disk), atlas, client=client), here)
    assert "3 of 900 cells of the atlas have no embedding" in caplog.text


def test_the_atlas_is_not_read_in_this_process(atlas, client, monkeypatch):
    here = search(query(), atlas)
    for module, name in ((_neighbors, "_search"), (_cluster, "read_rows")):
        real = getattr(module, name)

        def only_queries(first, *rest, real=real):
            assert not isinstance(first, np.ndarray) or len(first) == N
            assert np.asarray(first[:1]).dtype != np.float16, "a row of the atlas was read here"
            return real(first, *rest)

        monkeypatch.setattr(module, name, only_queries)
    check_same(search(query(), atlas, client=client), here)


def test_an_atlas_that_was_opened_is_as_good_as_its_path(atlas, client):
    check_same(search(query(), open_anndata(atlas), client=client), search(query(), open_anndata(atlas)))


@pytest.mark.parametrize("method", ["ivf", "hnsw", "compressed"])
def test_workers_read_the_index_from_its_file(method, atlas, client, tmp_path, monkeypatch):
    options = {"method": method, "index": tmp_path / "atlas.faiss", "target_recall": 0.8}
    here = search(query(n=1100), atlas, **options)  # more than one block
    assert here.uns["atlas"]["params"]["recall"] >= 0.8
    monkeypatch.setattr(_index.NeighborIndex, "search", lambda *_, **__: pytest.fail("this process must not search"))
    check_same(search(query(n=1100), atlas, client=client, **options), here)


def test_workers_refuse_the_index_of_another_atlas(atlas, client, tmp_path):
    path = tmp_path / "atlas.faiss"
    search(query(), atlas, method="ivf", index=path)
    digest = embedding_digest(open_anndata(atlas).obsm["X_uce"])
    some = query().obsm["X_uce"]
    index = _index.read_index(path, kind="ivf", digest=digest)
    index.search_on_workers(client, some, K, path=path, digest=digest, effort=1)
    with pytest.raises(ValueError, match="on the worker is missing or of another atlas; all workers must see"):
        index.search_on_workers(client, some, K, path=path, digest="0" * 64, effort=1)


@pytest.mark.parametrize("method", ["exact", "ivf", "compressed"])
def test_workers_search_only_where_asked(method, atlas, client, tmp_path):
    options: dict[str, Any] = {"where": {"cell_type": ["type 1", "type 4"]}, "metric": "correlation", "method": method}
    options |= {} if method == "exact" else {"index": tmp_path / "i", "target_recall": 0.9}
    here = search(query(), atlas, **options)
    assert set(here.obs["atlas_label"].dropna()) == {"type 1", "type 4"}
    check_same(search(query(), atlas, client=client, **options), here)


def test_workers_refuse_another_atlas_at_the_path(atlas, client, monkeypatch):
    rep = open_anndata(atlas).obsm["X_uce"]
    other = replace(OnDisk.find(rep), shape=(N_ATLAS + 1, 6))
    monkeypatch.setattr(_neighbors.OnDisk, "find", lambda each: other if each is rep else None)
    with pytest.raises(ValueError, match=r"obsm/X_uce differs on the worker \(\(900, 6\) <f2, not \(901, 6\)"):
        _neighbors.exact_neighbors(query().obsm["X_uce"], rep, K, client=client)


class Dying:
    """Work that notes which parts it begins, and kills its process in the middle of one, the first time."""

    def __init__(self, work: Any, begun: Path) -> None:
        self.work, self.begun = work, begun

    def __call__(self, rows: slice, block: Any, part: slice) -> Any:
        note = self.begun / f"{rows.start}-{part.start}"
        with note.open("a") as file:
            file.write("x")
        if (rows.start, part.start) == (32, 256) and note.stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(rows, block, part)


def test_a_worker_that_is_killed_changes_nothing(atlas, client, tmp_path, monkeypatch):
    here, begun, real = search(query(), atlas), tmp_path / "begun", _neighbors.map_blocks
    begun.mkdir()
    monkeypatch.setattr(
        _neighbors,
        "map_blocks",
        lambda client, work, items, *, name: real(client, Dying(work, begun), items, name=name),
    )
    check_same(search(query(), atlas, client=client), here)
    times = {file.name: file.stat().st_size for file in begun.iterdir()}
    assert len(times) == 3 * 8, "three blocks of queries, eight parts of the atlas"
    assert times["32-256"] == 2
    client.wait_for_workers(2, timeout=60)


def test_what_workers_cannot_read_is_refused(client):
    made = cells(N_ATLAS, 1, ())
    with pytest.raises(ValueError, match=r"client= needs an atlas that its workers can read.*write_zarr and pass its"):
        search(query(), made, client=client)
    with pytest.raises(ValueError, match=r"client= and method='ivf': workers read the index from a file; pass index="):
        search(query(), made, client=client, method="ivf")
    with pytest.raises(TypeError, match=r"client must be a dask\.distributed\.Client, not a str"):
        search(query(), made, client="tcp://127.0.0.1:8786")


def test_too_few_embeddings_are_an_error(client, tmp_path):
    made = cells(12, 1, tuple(range(5)))
    path = write(made, tmp_path / "small.zarr")
    with pytest.raises(ValueError, match="9 neighbors were asked for and the reference has 7 embeddings"):
        search(query(), path, client=client)


# Labels ---------------------------------------------------------------------------------------------------------------


WRITTEN = r"^t(_|$)"


def transferred(reference: Any, adata: ad.AnnData, client: Any = None, **options: Any) -> ad.AnnData:
    classifier = uc.tl.LabelClassifier.fit(reference, groupby="type", use_rep="X_toy", client=client, **options)
    uc.tl.transfer_labels(adata, classifier, key_added="t", threshold={"coverage": 0.9}, client=client)
    return adata


def labeled(seed: int = 0, times: int = 1) -> ad.AnnData:
    made = blobs({name: n * times for name, n in SIZES.items()}, spread=1.0, seed=seed)
    made.obsm["X_toy"][[3, 90]] = np.nan
    return made


@pytest.mark.parametrize("method", ["logistic", "centroid", "knn", "ivf", "compressed"])
def test_workers_predict_the_same_labels(method, client, tmp_path):
    index = method in ("ivf", "compressed")
    options = {"method": "knn", "knn_options": {"search": method}} if index else {"method": method}
    reference, adata = labeled(), labeled(1, 30)
    here = transferred(reference, adata.copy(), **options)
    assert here.obs["t"].isna().sum() == 2
    stored = write(reference, tmp_path / "reference.zarr"), open_anndata(write(adata, tmp_path / "query.h5ad"))
    for labels, unlabeled in ((reference, adata), stored):
        there = transferred(labels, unlabeled, client=client, **options)
        pd.testing.assert_frame_equal(there.obs.filter(regex=WRITTEN), here.obs.filter(regex=WRITTEN), check_exact=True)
        assert there.uns["t"]["params"] == here.uns["t"]["params"]


def test_a_reference_on_disk_is_read_by_the_workers(client, tmp_path, monkeypatch):
    reference, adata = labeled(), labeled(1, 30)
    here = transferred(reference, adata.copy())
    path = write(reference, tmp_path / "reference.zarr")
    query = open_anndata(write(adata, tmp_path / "query.zarr"))
    monkeypatch.setattr(_cluster, "read_rows", lambda *_: pytest.fail("this process must not read rows"))
    there = transferred(path, query, client=client)
    pd.testing.assert_frame_equal(there.obs.filter(regex=WRITTEN), here.obs.filter(regex=WRITTEN), check_exact=True)


def test_transfer_labels_requires_a_client():
    with pytest.raises(TypeError, match=r"client must be a dask\.distributed\.Client, not a str"):
        transferred(labeled(), labeled(seed=1), client="tcp://127.0.0.1:8786")
