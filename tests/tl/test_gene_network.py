"""uc.tl.gene_network: edges against a plain double loop, and what is refused."""

from __future__ import annotations

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.tiny import tiny_cells
from univerce.genes.load import load_table
from univerce.tl.gene_network import gene_network


@pytest.fixture
def names(tiny_model) -> list[str]:
    return load_table("human", model=tiny_model).obs["symbol"].astype(str).tolist()[::-1][:40]


def cosines(names, model) -> np.ndarray:
    table = load_table("human", model=model)
    place = {symbol: i for i, symbol in enumerate(table.obs["symbol"].astype(str))}
    x = np.asarray(table.X)[[place[name] for name in names]].astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("options", [{"threshold": 0.3}, {"n_neighbors": 3}, {"n_neighbors": 5, "threshold": 0.4}])
def test_edges_are_those_of_a_double_loop(names, tiny_model, monkeypatch, options, block):
    monkeypatch.setattr(sys.modules[gene_network.__module__], "_BLOCK", block)
    table = gene_network(names, species="human", model=tiny_model, **options)
    cosine = cosines(names, tiny_model)
    np.fill_diagonal(cosine, -np.inf)
    rank = np.argsort(np.argsort(-cosine, axis=1), axis=1)
    expected = {}
    for i in range(40):
        for j in range(i + 1, 40):
            near = min(rank[i, j], rank[j, i]) < options.get("n_neighbors", 99)
            if near and cosine[i, j] >= options.get("threshold", -1):
                expected[names[i], names[j]] = cosine[i, j]
    found = table.set_index(["source", "target"])["similarity"]
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(found[list(expected)], list(expected.values()), atol=1e-6)
    assert table["similarity"].is_monotonic_decreasing


def test_the_default_keeps_what_is_at_least_half_alike(names, tiny_model):
    table = gene_network(names, species="human", model=tiny_model)
    assert len(table) == (np.triu(cosines(names, tiny_model), 1) >= 0.5).sum()
    pd.testing.assert_frame_equal(table, gene_network(names, species="human", model=tiny_model))


def test_the_genes_of_a_data_set_and_several_names_of_one_gene(tiny_model):
    adata = tiny_cells()
    table = gene_network(adata, model=tiny_model, threshold=-1)
    assert len(table) == 60 * 59 // 2
    assert "no gene" not in {*table["source"], *table["target"]}
    first, second = adata.var_names[:2]
    once = gene_network([first, first.lower(), second], species="human", model=tiny_model, threshold=-1)
    assert once[["source", "target"]].to_numpy().tolist() == [[first, second]]


def test_families_are_neighbours_in_the_bundled_model():
    genes = ["CD3D", "CD3E", "CD3G", "RPL3", "RPL4", "RPL5", "KRT5", "KRT14"]
    best = gene_network(genes, species="human", n_neighbors=1)
    assert (best["source"].str[:2] == best["target"].str[:2]).all()


def test_no_edge_leaves_an_empty_table(names, tiny_model):
    table = gene_network(names, species="human", model=tiny_model, threshold=1.0)
    assert table.columns.tolist() == ["source", "target", "similarity"]
    assert table.empty


@pytest.mark.parametrize(
    ("genes", "options", "match"),
    [
        (["CD3D", "no gene"], {"species": "human"}, "1 of 2 genes are not in the gene table of 'human': 'no gene'"),
        (["CD3D"], {"species": "human"}, "1 genes of 'human' are left"),
        ("CD3D", {"species": "human"}, "one gene"),
        (["CD3D", "CD3E"], {}, "species= must say"),
        (["CD3D", "CD3E"], {"species": "human", "threshold": 2}, "threshold=2"),
        (["CD3D", "CD3E"], {"species": "human", "n_neighbors": 0}, "n_neighbors=0"),
        (["CD3D", "CD3E"], {"species": "human", "n_neighbors": 2.5}, "n_neighbors=2.5"),
        (["CD3D", "CD3E"], {"species": "unicorn"}, "unicorn"),
    ],
)
def test_bad_input_is_refused(genes, options, match):
    with pytest.raises(ValueError, match=match):
        gene_network(genes, **options)


def test_cells_of_several_species_need_a_word(tiny_model):
    adata = ad.concat([tiny_cells("human", 3), tiny_cells("mouse", 3)], join="outer", fill_value=0)
    adata.obs["organism"] = ["human"] * 3 + ["mouse"] * 3
    with pytest.raises(ValueError, match="pass species="):
        gene_network(adata, model=tiny_model)
    assert len(gene_network(adata, species="mouse", model=tiny_model, n_neighbors=1)) > 0
    assert "human" in uc.genes.available_species(tiny_model)
