"""Linear models: vectors, weights and decoder against plain loops, and the file."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from tests.helpers.tiny import tiny_linear, tiny_table
from univerce.genes.hashed import identity_signs
from univerce.genes.table import read_table, write_table
from univerce.model import find_model
from univerce.model.linear import Linear, gene_keys, gene_weights, token_features


def test_a_vector_is_rarity_times_features_and_landmark(tmp_path):
    model, table = tiny_linear(), tiny_table("human")
    landmark = {int(place): k for k, place in enumerate(model.landmarks)}
    found = model.vectors(table, np.arange(table.n_obs))
    n_landmarks = n_unknown = 0
    for row, symbol in enumerate(table.obs["symbol"]):
        unit = table.X[row] / np.linalg.norm(table.X[row])
        place = model.keys.index(symbol.upper()) if symbol.upper() in model.keys else None
        expected = unit @ model.weight
        if place in landmark:
            expected = expected + model.landmark_vectors[landmark[place]]
            n_landmarks += 1
        n_unknown += place is None
        rarity = model.rarity.max() if place is None else model.rarity[place]
        np.testing.assert_allclose(found[row], rarity * expected, rtol=1e-4, atol=1e-5)
    assert n_landmarks > 10
    assert n_unknown == 5
    np.testing.assert_array_equal(model.vectors(table, np.array([3, 50])), found[[3, 50]])
    on_disk = read_table(write_table(table, tmp_path / "human.h5ad"))
    assert on_disk.isbacked
    np.testing.assert_array_equal(model.vectors(on_disk, np.array([3, 50])), found[[3, 50]])


@pytest.mark.parametrize(
    "name, key",
    [
        ("Sox9", "SOX9"), ("sox9a", "SOX9"), ("sox9b", "SOX9"), ("hbaa1.2", "HBAA1"), ("gapdh.1", "GAPDH"),
        ("rpl-3", "RPL3"), ("krt1a2", "KRT1"), ("HLA-DRA", "HLA-DRA"), ("unc-54", "UNC-54"), ("", "ENS7"),
    ],
)  # fmt: skip
def test_a_key_is_the_name_or_that_of_the_gene_that_was_duplicated(name, key):
    known = {"SOX9", "HBAA1", "GAPDH", "RPL3", "KRT1", "HLA-DRA", "HLADRA"}
    table = ad.AnnData(obs=pd.DataFrame({"symbol": [name], "ensembl_id": ["ens7"]}, index=["0"]))
    assert gene_keys(table, known) == [key]


def test_signs_of_a_name_are_those_of_its_key():
    table = tiny_table("human", token_dim=16)
    table.uns["gene_table"] = dict(table.uns["gene_table"]) | {"n_identity": 8, "identity_seed": 3}
    features = token_features(table[:2], ["SOX9", "INS"])
    signs = identity_signs(pd.DataFrame({"symbol": ["SOX9", "INS"]}), 8, seed=3)
    expected = np.hstack([table.X[:2, :8], signs])
    np.testing.assert_allclose(features, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)


def test_weights_are_logs_of_shares_of_the_mapped_counts():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (20, 9)).astype(np.int32)
    counts[4, [0, 1, 2, 3, 4, 5, 6, 7]] = 0  # only a variable without a gene
    columns = np.array([0, 1, 2, 3, 2, 4, 5, 0, -1])
    found = gene_weights(sp.csr_matrix(counts), columns, 6, 50.0)
    for cell, row in enumerate(counts):
        by_gene = np.array([row[columns == gene].sum() for gene in range(6)])
        expected = np.log(1 + 50 * by_gene / max(by_gene.sum(), 1))
        np.testing.assert_allclose(found[cell].toarray()[0], expected, rtol=1e-6)
    assert found.has_sorted_indices


def test_weights_and_vectors_of_different_genes_are_an_error():
    with pytest.raises(ValueError, match="weights of 6 genes and vectors of 5"):
        tiny_linear().sums(sp.csr_matrix(np.ones((2, 6), np.float32)), np.ones((5, 4), np.float32))


def test_cells_are_of_unit_length_and_missing_without_counts():
    model, table = tiny_linear(), tiny_table("human")
    vectors = model.vectors(table, np.arange(table.n_obs))
    counts = np.random.default_rng(1).poisson(0.3, (30, table.n_obs)).astype(float)
    counts[7] = 0
    cells = model.cells(gene_weights(sp.csr_matrix(counts), np.arange(table.n_obs), table.n_obs, 100.0), vectors)
    assert np.isnan(cells[7]).all()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    sums = np.log1p(100 * share) @ vectors - model.center
    kept = np.arange(30) != 7
    np.testing.assert_allclose(cells[kept], (sums / np.linalg.norm(sums, axis=1, keepdims=True))[kept], atol=1e-5)


def test_genes_with_slopes_are_decoded():
    model, table = tiny_linear(), tiny_table("human")
    rows = np.random.default_rng(0).permutation(table.n_obs)
    rows = rows[model.decodes(table, rows)]
    assert len(rows) > 10
    assert not model.decodes(table, np.arange(5)).any()  # unknown genes
    cells = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    found, d = model.decode(cells, table, rows), model.decoder
    for j, row in enumerate(rows):
        at = d.genes.tolist().index(model.keys.index(table.obs["symbol"].iloc[row].upper()))
        expected = cells @ (d.slopes[at] * d.scale[at]) + d.intercept[at]
        np.testing.assert_allclose(found[:, j], expected, rtol=1e-4, atol=1e-5)


def test_a_model_comes_back_as_it_was_written(tmp_path):
    made = tiny_linear()
    written = made.save(tmp_path)
    found = find_model(tmp_path)
    assert found == written
    assert not found.reads_sentences
    back, table = Linear.read(found), tiny_table("human")
    assert back.keys == made.keys
    rows = np.arange(table.n_obs)
    np.testing.assert_array_equal(back.vectors(table, rows), made.vectors(table, rows))
    np.testing.assert_array_equal(back.center, made.center)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"center": np.zeros(3, np.float32)}, "center has the shape"),
        ({"center": None}, "has no 'center'; it holds no linear model"),
        ({"weight": np.full((12, 10), np.nan, np.float16)}, "weight holds values that are not finite"),
        ({"decoder.scale": np.full(28, np.inf, np.float32)}, "decoder.scale holds values that are not finite"),
        ({"decoder.slopes": np.zeros((2, 10), np.int8)}, r"decoder.slopes has the shape \(2, 10\)"),
        ({"landmarks": np.array([99], np.int32), "landmark_vectors": np.zeros((1, 10), np.float16)}, "not among the"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(tmp_path, change, message):
    found = tiny_linear().save(tmp_path)
    arrays = load_file(found.weights) | change
    save_file({name: array for name, array in arrays.items() if array is not None}, found.weights)
    with pytest.raises(ValueError, match=message):
        Linear.read(found)


def test_threads_do_not_change_a_byte(monkeypatch):
    model = tiny_linear()
    rng = np.random.default_rng(0)
    weights = sp.random(3000, 200, density=0.5, format="csr", dtype=np.float32, random_state=rng)
    vectors = rng.normal(size=(200, model.config.output_dim)).astype(np.float32)
    assert weights.nnz > 250_000
    found = {}
    for n_threads in ("1", "3", "2,1", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
        found[n_threads] = model.cells(weights, vectors)
    for values in found.values():
        assert values.tobytes() == found["1"].tobytes()
    np.testing.assert_allclose(model.sums(weights, vectors), weights.toarray() @ vectors - model.center, atol=1e-3)
