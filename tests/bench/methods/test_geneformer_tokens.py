"""Geneformer's tokens against loops, and its dictionaries in their published form."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods._geneformer_tokens import Dictionaries, rank_tokens
from univerce.bench.methods._sequences import counts_of_tokens

SYMBOLS = [f"GENE{i}" for i in range(20)]
FILES = ("token_dictionary_gc1.pkl", "gene_median_dictionary_gc1.pkl", "gene_name_id_dict_gc1.pkl")


def dictionaries(n_genes: int = 20, *, ends: bool = False) -> Dictionaries:
    """Tokens in no order of the genes, medians that change the order of the counts."""
    special = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if ends else [])]
    genes = [f"ENSG{i:05d}" for i in range(n_genes)]
    order = np.random.default_rng(0).permutation(n_genes)
    token = {s: i for i, s in enumerate(special)} | {genes[g]: len(special) + i for i, g in enumerate(order)}
    median = dict(zip(genes, np.random.default_rng(1).uniform(0.5, 4, n_genes), strict=True))
    return Dictionaries(token, median, {f"GENE{i}": genes[i] for i in range(n_genes)})


def write_published(known: Dictionaries, directory) -> None:
    """As they are published: pickles, with numbers of numpy."""
    token = {k: np.int64(v) if v > 1 else v for k, v in known.token.items()}
    median = {k: np.float64(v) for k, v in known.median.items()}
    for name, content in zip(FILES, (token, median, known.ensembl), strict=True):
        (directory / name).write_bytes(pickle.dumps(content, protocol=4))


def plain_tokens(counts, names, known: Dictionaries, length: int) -> list[list[int]]:
    """The published procedure, gene by gene."""
    sentences = []
    for row in np.asarray(counts, dtype=np.float64):
        total = row.sum()
        values = {}
        for name, count in zip(names, row, strict=True):
            gene = known.ensembl.get(name)
            if gene in known.token and count > 0:
                values[gene] = count / total * 10_000 / known.median[gene]
        ranked = sorted(values, key=lambda gene: (-values[gene], known.token[gene]))
        sentences.append([known.token[gene] for gene in ranked][:length])
    return sentences


@pytest.mark.parametrize("length", [3, 2048])
def test_tokens_are_those_of_the_published_procedure(length):
    cells, known = typed_cells(n=40, n_genes=25, names=[*SYMBOLS, *(f"none{i}" for i in range(5))]), dictionaries()
    counts = counts_of_tokens(cells.X, known.tokens(cells.var_names), len(known.token))
    total = np.asarray(cells.X.sum(axis=1)).ravel()
    got = rank_tokens(counts, total, known.medians(), length)
    assert [g.tolist() for g in got] == plain_tokens(cells.X.toarray(), cells.var_names, known, length)


def test_the_order_of_the_variables_does_not_matter_even_where_genes_tie():
    cells, known = typed_cells(n=40, n_genes=20, names=SYMBOLS), dictionaries()
    known = Dictionaries(known.token, dict.fromkeys(known.median, 1.0), known.ensembl)
    sentences = []
    for order in (np.arange(20), np.random.default_rng(0).permutation(20)):
        part = cells[:, order]
        counts = counts_of_tokens(part.X, known.tokens(part.var_names), len(known.token))
        sentences.append(rank_tokens(counts, np.asarray(cells.X.sum(axis=1)).ravel(), known.medians(), 2048))
    for first, second in zip(*sentences, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_case_worked_by_hand():
    counts = sp.csr_matrix(np.array([[0, 0, 4, 2, 0, 9], [0, 0, 0, 0, 0, 0]], dtype=float))
    medians = np.array([1, 1, 2.0, 0.5, 1, 6.0])  # 4/2 = 2, 2/0.5 = 4, 9/6 = 1.5
    got = rank_tokens(counts, np.array([15.0, 0.0]), medians, 10)
    assert [g.tolist() for g in got] == [[3, 2, 5], []]


def test_identifiers_symbols_and_versions_are_the_same_gene_and_special_tokens_are_no_genes():
    known = dictionaries()
    known.ensembl["ENSA"] = "ENSG00003"  # a symbol that looks like an identifier
    names = np.array(["GENE3", "ENSG00003", "ENSG00003.12", "ENSA", "ENSG99999", "none", "", "<pad>"], dtype=object)
    assert known.tokens(names).tolist() == [known.token["ENSG00003"]] * 4 + [-1] * 4


@pytest.mark.parametrize("ends", [False, True], ids=["version 1", "version 2"])
def test_dictionaries_are_read_as_published_and_json_comes_first(tmp_path, ends):
    known = dictionaries(ends=ends)
    write_published(known, tmp_path)
    assert (Dictionaries.read(tmp_path), Dictionaries.read(tmp_path).has_ends) == (known, ends)
    for name, content in zip(FILES, (known.token, known.median, known.ensembl), strict=True):
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(content))
        (tmp_path / name).write_bytes(b"no pickle")
    assert Dictionaries.read(tmp_path) == known


def test_a_dictionary_that_is_missing_or_there_twice_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no token_dictionary\*.*/gene_dictionaries_30m/ of it for version 1"):
        Dictionaries.read(tmp_path)
    write_published(dictionaries(), tmp_path)
    (tmp_path / "token_dictionary_gc2.pkl").write_bytes((tmp_path / FILES[0]).read_bytes())
    with pytest.raises(ValueError, match=r"token_dictionary_gc1\.pkl, token_dictionary_gc2\.pkl. Leave one there"):
        Dictionaries.read(tmp_path)


def test_dictionaries_that_do_not_belong_together_are_refused(tmp_path):
    known = dictionaries()
    write_published(Dictionaries(known.token, {"ENSG00001": 1.0}, known.ensembl), tmp_path)
    with pytest.raises(ValueError, match=r"19 genes of the token dictionary .* have no positive median"):
        Dictionaries.read(tmp_path)
    write_published(Dictionaries(known.token | {"ENSG00003": 99}, known.median, known.ensembl), tmp_path)
    with pytest.raises(ValueError, match="are not the numbers from 0 to 21"):
        Dictionaries.read(tmp_path)


@pytest.fixture(scope="module")
def published(test_data, tmp_path_factory):
    """The released dictionaries of 30M cells."""
    return Dictionaries.read(test_data / "geneformer")


def test_the_released_dictionaries_are_read_without_unpickling_them(published):
    assert (len(published.token), len(published.ensembl)) == (25426, 40248)
    assert (published.token["<pad>"], published.token["<mask>"], published.has_ends) == (0, 1, False)
    assert {type(v) for v in published.token.values()} == {int}
    assert {type(v) for v in published.median.values()} == {float}
    assert published.ensembl["CD3E"] == "ENSG00000198851"


def test_real_cells_are_tokenized_as_by_the_published_procedure(published, test_data):
    import anndata as ad

    cells = ad.read_h5ad(test_data / "eval" / "human_pbmc_ifnb_kang_2800_14k.h5ad")[:15].copy()
    counts = counts_of_tokens(cells.X, published.tokens(cells.var_names.to_numpy()), len(published.token))
    got = rank_tokens(counts, np.asarray(cells.X.sum(axis=1)).ravel(), published.medians(), 2048)
    assert counts.sum() / cells.X.sum() > 0.9
    assert [g.tolist() for g in got] == plain_tokens(cells.X.toarray(), cells.var_names, published, 2048)
