"""Exact neighbors against a slow float64 search and scikit-learn, and the faiss index against the exact ones."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from univerce.embeddings import _codes
from univerce.embeddings.index import build_index, import_faiss, read_index, tune, write_index
from univerce.embeddings.neighbors import exact_neighbors, recall, rerank

KINDS, METRICS = ("ivf", "hnsw", "compressed"), ("euclidean", "cosine", "correlation")


def clustered(n: int, d: int = 16, *, seed: int = 0, dtype: type = np.float32, n_centers: int = 20) -> np.ndarray:
    rng = np.random.default_rng([7, seed])
    centers = np.random.default_rng(7).normal(size=(n_centers, d))
    return (centers[rng.integers(0, n_centers, n)] + 0.3 * rng.normal(size=(n, d))).astype(dtype)


def slow_neighbors(query, reference, k) -> tuple[np.ndarray, np.ndarray]:
    """All distances in float64, sorted by distance and then row."""
    distances = np.sqrt(((query.astype(float)[:, None] - reference.astype(float)[None]) ** 2).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_exact_neighbors_are_those_of_scikit_learn(metric, dtype):
    query, reference = clustered(40, seed=1), clustered(900, dtype=dtype)
    indices, distances = exact_neighbors(query, reference, 11, metric=metric)
    oracle = NearestNeighbors(n_neighbors=11, algorithm="brute", metric=metric).fit(reference.astype(float))
    expected, order = oracle.kneighbors(query.astype(float))
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=60)
@given(data=st.data())
def test_ties_are_broken_by_the_row_whatever_the_blocks(data):
    n, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 10))
    n_reference = data.draw(st.integers(k, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    query = rng.integers(-1, 2, (n, 3)).astype(np.float32)  # few values: many ties
    reference = rng.integers(-1, 2, (n_reference, 3)).astype(np.float16)
    indices, distances = exact_neighbors(query, reference, k, block_rows=data.draw(st.integers(1, 70)))
    order, expected = slow_neighbors(query, reference, k)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(distances, expected.astype(np.float32))


def test_block_size_query_order_and_container_change_no_bit(tmp_path):
    query, reference = clustered(300, 64, seed=1), clustered(2000, 64, dtype=np.float16)
    reference[500:700] = reference[0]  # far more equal rows than neighbors
    query[3] = reference[0]
    indices, distances = exact_neighbors(query, reference, 20)
    np.testing.assert_array_equal(indices[3], [0, *range(500, 519)])
    assert (distances[3] == 0).all()
    on_disk = zarr.open_array(tmp_path / "a", mode="w", shape=(2000, 64), chunks=(300, 64), dtype="f2", zarr_format=2)
    on_disk[:] = reference
    shuffled = np.random.default_rng(0).permutation(300)
    for rows, other, block_rows in (
        (shuffled, on_disk, 333),
        (np.arange(300), reference, 1),
        (shuffled[:1], on_disk, 64),
    ):
        i, d = exact_neighbors(query[rows], other, 20, block_rows=block_rows)
        np.testing.assert_array_equal(i, indices[rows])
        np.testing.assert_array_equal(d, distances[rows])


def test_distances_far_from_the_origin_are_exact():
    """Where |q|^2 + |r|^2 - 2qr in float32 has no correct digit left."""
    rng = np.random.default_rng(0)
    reference = (1000 + rng.normal(scale=1e-2, size=(500, 30))).astype(np.float32)
    query = reference[:20] + np.float32(1e-3)
    indices, distances = exact_neighbors(query, reference, 5)
    order, expected = slow_neighbors(query, reference, 5)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_missing_rows_have_no_neighbors_and_are_none(metric):
    query, reference = clustered(10, seed=1), clustered(200)
    expected = exact_neighbors(query, reference, 5, metric=metric)
    kept = np.setdiff1d(np.arange(203), [0, 50, 202])
    holes = np.full((203, 16), np.nan, dtype=np.float32)
    holes[kept] = reference
    holes[50, 1:] = 0  # the first value stays missing
    holes[202] = np.inf
    query[4, 3], query[7] = np.nan, np.inf
    indices, distances = exact_neighbors(query, holes, 5, metric=metric, block_rows=64)
    known = np.setdiff1d(np.arange(10), [4, 7])
    np.testing.assert_array_equal(indices[known], kept[expected[0][known]])
    np.testing.assert_array_equal(distances[known], expected[1][known])
    assert (indices[[4, 7]] == -1).all()
    assert np.isnan(distances[[4, 7]]).all()


def test_a_row_of_zeros_has_no_direction():
    query, reference = clustered(3, seed=1), clustered(50)
    query[1] = reference[2] = 0
    indices, distances = exact_neighbors(query, reference, 49, metric="cosine")
    assert (indices[1] == -1).all()
    assert np.isnan(distances[1]).all()
    assert 2 not in indices[0]
    assert 2 in exact_neighbors(query, reference, 50)[0][0]


def test_a_constant_row_has_no_correlation():
    query, reference = clustered(3, seed=1), clustered(50)
    query[1], reference[2] = 0.1, 0.7  # whose means are rounded
    indices, _ = exact_neighbors(query, reference, 49, metric="correlation")
    assert (indices[1] == -1).all()
    assert 2 not in indices[0]
    with pytest.raises(ValueError, match="50 neighbors were asked for and the reference has 49 embeddings"):
        exact_neighbors(query, reference, 50, metric="correlation")


@pytest.mark.parametrize("metric", METRICS)
def test_some_rows_are_searched_as_if_there_were_no_others(metric):
    query, reference = clustered(40, seed=1), clustered(900, dtype=np.float16)
    reference[::50] = np.nan
    only = np.random.default_rng(0).random(900) < 0.2
    only[128:256] = False  # blocks that are not read
    rows = np.flatnonzero(only)
    indices, distances = exact_neighbors(query, reference, 9, metric=metric, only=only, block_rows=64)
    expected = exact_neighbors(query, reference[rows], 9, metric=metric)
    np.testing.assert_array_equal(indices, rows[expected[0]])
    np.testing.assert_array_equal(distances, expected[1])
    n = int(np.isfinite(reference[rows]).all(axis=1).sum())
    with pytest.raises(ValueError, match=f"{n + 1} neighbors were asked for and the reference has {n} embeddings"):
        exact_neighbors(query, reference, n + 1, metric=metric, only=only)


@pytest.mark.parametrize("metric", METRICS)
def test_reranking_all_rows_is_the_exact_search(metric, monkeypatch):
    monkeypatch.setattr("univerce.embeddings.neighbors.READ_ROWS", 64)
    query, reference = clustered(30, seed=1), clustered(300, dtype=np.float16)
    reference[40:60] = reference[0]  # ties
    query[4], reference[100] = np.nan, np.nan
    candidates = np.stack([np.random.default_rng(i).permutation(310) for i in range(30)])
    candidates[candidates >= 300] = -1
    candidates[4] = -1
    found, expected = (
        rerank(query, reference, candidates, 25, metric=metric),
        exact_neighbors(query, reference, 25, metric=metric),
    )
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    few = rerank(query, reference, np.array([[7, -1, 3]] * 30), 3)
    assert (np.sort(few[0][:4], axis=1) == [-1, 3, 7]).all()
    assert np.isnan(few[1][:4, 2]).all()


@pytest.mark.parametrize(
    "reference, options, message",
    [
        ((4, 3), {"k": 5}, "5 neighbors .* 4 embeddings; ask for at most 4"),
        ((0, 3), {"k": 1}, "the reference has 0 embeddings"),
        ((4, 2), {"k": 1}, "3 columns and the reference 2"),
        ((4, 3), {"k": 0}, "k=0 must be an integer"),
        ((4, 3), {"k": 1, "metric": "l1"}, "metric='l1' is not known"),
    ],
)
def test_invalid_searches_are_errors(reference, options, message):
    with pytest.raises(ValueError, match=message):
        exact_neighbors(np.zeros((2, 3)), np.zeros(reference), **options)


def test_embeddings_are_counted_without_the_missing_rows():
    reference = clustered(10)
    reference[:4] = np.nan
    with pytest.raises(ValueError, match="7 neighbors were asked for and the reference has 6 embeddings"):
        exact_neighbors(clustered(2), reference, 7)
    with pytest.raises(ValueError, match="7 neighbors were asked for and the reference has 6 embeddings"):
        build_index(reference, "ivf").search(clustered(2), 7)
    with pytest.raises(ValueError, match="7 neighbors were asked for and the reference has 6 embeddings"):
        build_index(reference, "compressed").candidates(clustered(2), 7, effort=1)


def test_no_queries_have_no_neighbors():
    indices, distances = exact_neighbors(np.zeros((0, 16)), clustered(9), 3)
    assert indices.shape == distances.shape == (0, 3)


def test_progress_counts_every_pair():
    seen = []
    exact_neighbors(clustered(10), clustered(100), 3, block_rows=30, done=seen.append)
    assert sum(seen) == 1000


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_searched_with_all_effort_finds_the_exact_neighbors(kind, dtype):
    query, reference = clustered(50, seed=1), clustered(2000, dtype=dtype)
    reference[100] = query[5] = np.nan
    index = build_index(reference, kind, seed=3)
    indices, distances = index.search(query, 10, effort=index.max_effort)
    exact, expected = exact_neighbors(query, reference, 10)
    assert recall(indices, exact) > 0.999
    np.testing.assert_allclose(distances, expected, rtol=1e-3)
    assert (indices[5] == -1).all()
    assert np.isnan(distances[5]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_searches_some_rows_by_any_metric(kind, metric):
    query, reference = clustered(50, seed=1), clustered(2000, dtype=np.float16)
    reference[100], reference[101] = np.nan, 0
    only = np.random.default_rng(0).random(2000) < 0.1
    index = build_index(reference, kind, metric=metric)
    exact, expected = exact_neighbors(query, reference, 10, metric=metric, only=only)
    effort, share = tune(index, query, exact, target=0.99, only=only)
    indices, distances = index.search(query, 10, effort=effort, only=only)
    assert recall(indices, exact) == pytest.approx(share)
    assert share >= 0.99
    assert only[indices].all()
    same = indices == exact
    np.testing.assert_allclose(distances[same], expected[same], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=f"{only.sum() + 1} neighbors were asked for"):
        index.search(query, only.sum() + 1, only=only)


def test_distances_of_a_compressed_index_are_exact():
    query, reference = clustered(50, 300, seed=1), clustered(2000, 300, dtype=np.float16)
    exact, expected = exact_neighbors(query, reference, 10)
    index = build_index(reference, "compressed")
    indices, distances = index.search(query, 10, effort=index.max_effort)
    same = indices == exact
    assert same.mean() > 0.95
    np.testing.assert_array_equal(distances[same], expected[same])
    assert import_faiss().extract_index_ivf(index.index).d == 256


@pytest.mark.parametrize("n, d", [(1, 1), (1, 12), (3, 40), (40, 3)])
def test_small_references_are_compressed_too(n, d):
    reference = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    index = build_index(reference, "compressed")
    indices, distances = index.search(reference, 1, effort=index.max_effort)
    np.testing.assert_array_equal(indices[:, 0], np.arange(n))
    assert (distances == 0).all()


def test_an_interrupted_build_goes_on_to_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_codes, "PART_ROWS", 256)
    monkeypatch.setattr(_codes, "BLOCK_ROWS", 100)
    reference = clustered(2000, dtype=np.float16)
    reference[300:600] = np.nan  # a part without embeddings

    def build(name, parts, done=None) -> bytes:
        write_index(tmp_path / name, build_index(reference, "compressed", parts=parts, done=done), digest="a")
        return (tmp_path / name).read_bytes()

    whole, parts, rows = build("whole", None), tmp_path / "parts", []

    def stop(n) -> None:
        rows.append(n)
        if len(rows) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("never", parts, stop)
    written = {file: file.stat().st_mtime_ns for file in parts.glob("*.npz")}
    assert len(written) == 6
    last = parts / "1024.npz"
    last.write_bytes(last.read_bytes()[:-100])  # cut off
    assert build("resumed", parts) == whole
    assert {file for file, time in written.items() if file.stat().st_mtime_ns != time} == {last}


def test_too_little_effort_leaves_places_empty():
    index = build_index(clustered(400), "ivf")
    indices, distances = index.search(clustered(30, seed=1), 100, effort=1)
    assert (indices[:, 0] >= 0).all()
    assert (indices == -1).any()
    np.testing.assert_array_equal(indices == -1, np.isnan(distances))


def test_tuning_finds_the_least_effort_for_a_recall():
    query, reference = clustered(60, seed=1), clustered(3000)
    exact = exact_neighbors(query, reference, 20)[0]
    index = build_index(reference, "ivf")
    found = {e: recall(index.search(query, 20, effort=e)[0], exact) for e in range(1, index.max_effort + 1)}
    for target in (0.0, 0.8, 0.95, 1.0, 2.0):
        effort, measured = tune(index, query, exact, target=target)
        enough = [e for e, share in found.items() if share >= target]
        assert effort == (min(enough) if enough else index.max_effort)
        assert measured == found[effort]


def test_recall_is_the_share_found_of_the_queries_that_have_neighbors():
    exact = np.array([[1, 2, 3, 4], [-1, -1, -1, -1], [5, 6, 7, 8]])
    assert recall(np.array([[4, 3, 9, -1], [1, 2, 3, 4], [8, 7, 6, 5]]), exact) == 0.75
    assert np.isnan(recall(exact[1:2], exact[1:2]))


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_read_back_and_a_stale_one_is_not(kind, tmp_path):
    query, reference = clustered(20, seed=1), clustered(500, dtype=np.float16)
    reference[7] = np.nan
    index = build_index(reference, kind)
    path = tmp_path / "cells.faiss"
    assert read_index(path, kind=kind, digest="a") is None
    write_index(path, index, digest="a")
    assert [f.name for f in tmp_path.iterdir()] == ["cells.faiss"]
    back = read_index(path, kind=kind, digest="a", reference=reference)
    for mine, theirs in zip(back.search(query, 9, effort=4), index.search(query, 9, effort=4), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert read_index(path, kind=kind, digest="b") is None
    assert read_index(path, kind="hnsw" if kind == "ivf" else "ivf", digest="a") is None
    assert read_index(path, kind=kind, digest="a", metric="cosine") is None


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"{}\n", b"[1]\n"])
def test_another_file_is_not_overwritten(tmp_path, content):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an index of an embedding"):
        read_index(path, kind="ivf", digest="a")


@pytest.mark.parametrize("kind", ["ivf", "compressed"])
def test_an_index_is_built_the_same_again(kind):
    query, reference = clustered(30, seed=1), clustered(2000)
    first, second = (build_index(reference, kind, seed=5).search(query, 9, effort=2) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_invalid_indices_are_errors():
    with pytest.raises(ValueError, match="kind='flat' is not known"):
        build_index(clustered(5), "flat")
    with pytest.raises(ValueError, match="no embeddings"):
        build_index(np.full((5, 3), np.nan), "ivf")


def test_a_missing_faiss_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[faiss\]"'):
        build_index(clustered(5), "ivf")
