"""uc.tl.gene_network: edges against a plain double loop and a plain transformer, and bad input."""

from __future__ import annotations

import sys
from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional as F

import univerce as uc
from tests.helpers.reference import ReferenceUCE
from tests.helpers.tiny import tiny_cells
from univerce.genes.load import load_table
from univerce.genes.table import N_SPECIAL, iter_token_features
from univerce.model import find_model, load_network
from univerce.tl.genes.gene_network import gene_network


def edges(*args, **options) -> pd.DataFrame:
    return uc.get.table(gene_network(*args, **options), "gene_network")


@pytest.fixture
def human() -> ad.AnnData:
    return tiny_cells(n=2)


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
@pytest.mark.parametrize("options", [{"threshold": 0.3}, {"n_neighbors": 3}, {"n_neighbors": 5, "threshold": 0.4}, {}])
def test_edges_are_those_of_a_double_loop(human, names, tiny_model, monkeypatch, options, block):
    monkeypatch.setattr(sys.modules[gene_network.__module__], "_BLOCK", block)
    network = gene_network(human, names, model=tiny_model, **options)
    table = network.uns["gene_network"]["table"]
    cosine = cosines(names, tiny_model)
    np.fill_diagonal(cosine, -np.inf)
    rank = np.argsort(np.argsort(-cosine, axis=1), axis=1)
    least = options.get("threshold", -1 if options else 0.5)
    expected = {
        (names[i], names[j]): cosine[i, j]
        for i, j in combinations(range(40), 2)
        if min(rank[i, j], rank[j, i]) < options.get("n_neighbors", 99) and cosine[i, j] >= least
    }
    found = table.set_index(["source", "target"])["similarity"]
    assert len(found) == len(expected) > 5
    np.testing.assert_allclose(found[list(expected)], list(expected.values()), atol=1e-6)
    assert table["similarity"].is_monotonic_decreasing
    matrix = pd.DataFrame(network.obsp["similarity"].toarray(), network.obs_names, network.obs_names)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert network.obsp["similarity"].nnz == 2 * len(expected)
    assert matrix.loc[*table.iloc[0][["source", "target"]]] == table["similarity"].iloc[0]


def test_genes_of_a_data_set_several_names_of_one_gene_and_any_sequence(human, names, tiny_model, tmp_path):
    network = gene_network(human, model=tiny_model, threshold=-1)
    assert len(network.uns["gene_network"]["table"]) == 60 * 59 // 2
    assert "no gene" not in network.obs_names
    first, second = human.var_names[:2]
    once = edges(human, [first, first.lower(), second], model=tiny_model, threshold=-1)
    assert once[["source", "target"]].to_numpy().tolist() == [[first, second]]
    by_series, by_list = (edges(human, genes, model=tiny_model) for genes in (pd.Series(names), names))
    pd.testing.assert_frame_equal(by_series, by_list)
    empty = gene_network(human, names, model=tiny_model, threshold=1.0)
    empty.write_h5ad(tmp_path / "x.h5ad")
    back = uc.get.table(ad.read_h5ad(tmp_path / "x.h5ad"), "gene_network")
    assert back.columns.tolist() == ["source", "target", "similarity"]
    assert back.empty


def test_families_are_neighbors_in_the_bundled_model(human):
    genes = ["CD3D", "CD3E", "CD3G", "RPL3", "RPL4", "RPL5", "KRT5", "KRT14"]
    best = edges(human, genes, n_neighbors=1)
    assert (best["source"].str[:2] == best["target"].str[:2]).all()


def plain_context(cells: ad.AnnData, path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Mean output of torch's own transformer at the places of each gene, minus the mean over all genes."""
    table, model = load_table("human", model=path), find_model(path)
    uc.pp.uce_tokenize(cells, model=path)
    plain = ReferenceUCE(model.config).eval()
    plain.load_state_dict(load_network(model).state_dict(), strict=False)
    symbols = table.obs["symbol"].astype(str).tolist()
    found: dict[str, list[np.ndarray]] = {}
    for ids, length in zip(cells.obsm["uce_sentences"], cells.obs["uce_sentences_length"], strict=True):
        if length == 0:
            continue
        ids = ids[:length]
        features = np.concatenate([block for i in ids for _, block in iter_token_features(table, np.array([i]))])
        with torch.inference_mode():
            x = plain.encoder(F.normalize(torch.from_numpy(features)[:, None], dim=2)) * model.config.d_model**0.5
            read = plain.transformer_encoder(x + plain.pos_encoder.pe[:length])[:, 0].numpy()
        for token, values in zip(ids - N_SPECIAL, read, strict=True):
            if 0 <= token < table.n_obs:
                found.setdefault(symbols[token], []).append(values)
    means = {gene: np.mean(values, axis=0, dtype=float) for gene, values in found.items()}
    middle = np.mean(list(means.values()), axis=0)
    return {gene: mean - middle for gene, mean in means.items()}, symbols


def test_genes_in_context_are_the_outputs_of_a_plain_transformer(tiny_model):
    cells = tiny_cells(n=8, empty=(2,))
    vectors, symbols = plain_context(cells.copy(), tiny_model)
    network = gene_network(cells, symbols, context=True, model=tiny_model, threshold=-1)
    np.testing.assert_allclose(network.X, [vectors[gene] for gene in network.obs_names], atol=1e-4)
    table = network.uns["gene_network"]["table"]
    assert {*table["source"], *table["target"]} == set(vectors)
    unit = {gene: vector / np.linalg.norm(vector) for gene, vector in vectors.items()}
    expected = [unit[a] @ unit[b] for a, b in zip(table["source"], table["target"], strict=True)]
    np.testing.assert_allclose(table["similarity"], expected, atol=1e-4)
    assert np.std(expected) > 0.1


def test_genes_in_context_depend_on_the_seed_but_not_on_the_order_of_the_cells(tiny_model):
    cells = tiny_cells(n=8)
    first = edges(cells, context=True, model=tiny_model)
    pd.testing.assert_frame_equal(edges(cells[::-1].copy(), context=True, model=tiny_model), first)
    assert not first.equals(edges(cells, context=True, model=tiny_model, rng=1))


def test_genes_that_occur_in_no_sentence_are_left_out_and_named(tiny_model, caplog):
    cells = tiny_cells(n=4)
    silent = cells.var_names[7]
    cells.X = cells.X @ sp.diags((cells.var_names != silent).astype(np.float32)).tocsr()
    network = gene_network(cells, context=True, model=tiny_model, threshold=-1)
    assert silent not in network.obs_names
    assert "of 60 genes, which occur in no sentence of the cells" in caplog.text
    assert silent in caplog.text
    with pytest.raises(ValueError, match="1 genes occur in the sentences"):
        gene_network(cells, [silent, cells.var_names[0]], context=True, model=tiny_model)


@pytest.mark.parametrize(
    ("genes", "options", "match"),
    [
        (["CD3D", "no gene"], {}, "1 of 2 genes are not in the gene table of 'human': 'no gene'"),
        (["CD3D"], {}, "1 genes of 'human' are left"),
        ("CD3D", {}, "one gene"),
        (["CD3D", "CD3E"], {"threshold": 2}, "threshold=2"),
        (["CD3D", "CD3E"], {"n_neighbors": 0}, "n_neighbors=0"),
        (["CD3D", "CD3E"], {"species": "unicorn"}, "unicorn"),
    ],
)
def test_bad_input_is_an_error(human, genes, options, match):
    with pytest.raises(ValueError, match=match):
        gene_network(human, genes, **options)


def test_cells_of_several_species_need_the_species_of_the_genes(tiny_model):
    adata = ad.concat([tiny_cells("human", 3), tiny_cells("mouse", 3)], join="outer", fill_value=0)
    adata.obs["organism"] = ["human"] * 3 + ["mouse"] * 3
    with pytest.raises(ValueError, match="Pass the species="):
        gene_network(adata, model=tiny_model)
    assert len(edges(adata, species="mouse", model=tiny_model, n_neighbors=1)) > 0
