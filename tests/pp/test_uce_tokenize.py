"""uc.pp.uce_tokenize: the content of a sentence, and what it depends on."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from mudata import MuData

import univerce as uc
from tests.helpers.tiny import CONFIG, tiny_cells, tiny_table
from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT
from univerce.model import UCEConfig, find_model

EMPTY = (3, 11)


@pytest.fixture
def cells() -> ad.AnnData:
    return tiny_cells(empty=EMPTY)


@pytest.fixture(autouse=True)
def _quiet():
    with uc.settings.override(progress=False):
        yield


def check_sentence(sentence: np.ndarray, table: ad.AnnData, expressed: set[str], config: UCEConfig) -> int:
    """Read a sentence word by word, by the rules of the paper; returns the number of chromosomes."""
    words = sentence.tolist()
    assert words.pop(0) == CLS
    chromosomes, drawn = [], 0
    while words:
        first = words.pop(0) - N_SPECIAL - table.n_obs
        assert first >= 0, "a group starts with its chromosome"
        chromosomes.append(table.uns["chromosome_names"][first])
        group = []
        while (word := words.pop(0)) != RIGHT:
            group.append(word - N_SPECIAL)
        genes = table.obs.iloc[group]
        assert len(group) >= 1
        assert set(genes["symbol"]) <= expressed
        assert (genes["chromosome"] == chromosomes[-1]).all()
        assert genes["start"].is_monotonic_increasing
        drawn += len(group)
    assert drawn == config.n_sample
    assert len(set(chromosomes)) == len(chromosomes)
    return len(chromosomes)


def test_every_sentence_follows_the_rules_of_the_paper(cells, tiny_model):
    table = tiny_table("human")
    assert uc.pp.uce_tokenize(cells, model=tiny_model) is None
    ids, lengths = cells.obsm["uce_sentences"], cells.obs["uce_sentences_length"].to_numpy()
    assert ids.dtype == np.int32
    assert ids.shape == (cells.n_obs, lengths.max())
    orders = set()
    for i, length in enumerate(lengths):
        assert (ids[i, length:] == PAD).all()
        if i in EMPTY:
            assert length == 0
        else:
            expressed = set(cells.var_names[cells.X[i].toarray().ravel() > 0])
            assert check_sentence(ids[i, :length], table, expressed, CONFIG) > 1
            orders.add(tuple(t for t in ids[i] if t >= N_SPECIAL + table.n_obs))
    assert len(orders) > 5, "the order of the chromosomes is random"


def sentences(cells: ad.AnnData, model: Path, **options) -> np.ndarray:
    adata = uc.pp.uce_tokenize(cells, model=model, copy=True, **options)
    return adata.obsm["uce_sentences"]


def padded(ids: np.ndarray) -> np.ndarray:
    return np.pad(ids, ((0, 0), (0, CONFIG.max_length - ids.shape[1])))


def test_a_sentence_depends_on_the_cell_its_name_the_seed_and_the_sampling_alone(cells, tiny_model):
    whole = padded(sentences(cells, tiny_model))
    for rows in (np.random.default_rng(0).permutation(cells.n_obs), slice(4, 6)):
        np.testing.assert_array_equal(padded(sentences(cells[rows].copy(), tiny_model)), whole[rows])
    filled = np.setdiff1d(np.arange(cells.n_obs), EMPTY)
    renamed = cells.copy()
    renamed.obs_names = [f"{name}'" for name in cells.obs_names]
    for adata, options in ((cells, {"rng": 1}), (cells, {"sampling": "systematic"}), (renamed, {})):
        other = padded(sentences(adata, tiny_model, **options))
        assert (other[filled] != whole[filled]).any(axis=1).mean() > 0.9


def test_the_parameters_and_the_seed_of_a_generator_are_recorded(cells, tiny_model):
    rng = np.random.default_rng(8)
    first, second = (
        uc.pp.uce_tokenize(cells, model=tiny_model, rng=rng, sampling="systematic", copy=True) for _ in range(2)
    )
    params = first.uns["uce_sentences"]["params"]
    assert params["seed"] != second.uns["uce_sentences"]["params"]["seed"]
    again = sentences(cells, tiny_model, rng=params["seed"], sampling="systematic")
    np.testing.assert_array_equal(first.obsm["uce_sentences"], again)
    expected = {
        "model": "tiny", "model_digest": find_model(tiny_model).digest, "species": ["human"], "sampling": "systematic",
        "n_sample": CONFIG.n_sample, "n_draws": 1, "layer": "X", "gene_key": {"human": "var_names"},
        "table_digest": {"human": tiny_table("human").uns["gene_table"]["digest"]},
    }  # fmt: skip
    assert {key: params[key] for key in expected} == expected


def test_a_copy_and_a_modality_of_a_mudata(cells, tiny_model):
    copied = uc.pp.uce_tokenize(cells, model=tiny_model, key_added="words", copy=True)
    assert (list(copied.obsm), list(copied.obs)) == (["words"], ["words_length"])
    assert list(copied.uns) == ["organism", "words"]
    assert (list(cells.obsm), list(cells.obs), list(cells.uns)) == ([], [], ["organism"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from mudata
        data = MuData({"rna": cells, "protein": cells[:, :3].copy()})
    assert uc.pp.uce_tokenize(data, model=tiny_model, mod="rna") is None
    np.testing.assert_array_equal(data["rna"].obsm["uce_sentences"], copied.obsm["words"])
    assert not data["protein"].obsm


def test_bad_options_are_refused_and_nothing_is_written(cells, tiny_model):
    for options, error, said in (
        ({"sampling": "all"}, ValueError, "sampling='all'.*multinomial, systematic"),
        ({"model": "uce-5l"}, ValueError, "no model 'uce-5l'.*uce-mini"),
        ({"layer": "counts"}, KeyError, "layer='counts'"),
        ({"rng": None}, TypeError, "rng=None"),
        ({"species": "rat"}, ValueError, "'rat'.*human, mouse, zebrafish"),
    ):
        with pytest.raises(error, match=said):
            uc.pp.uce_tokenize(cells, **({"model": tiny_model} | options))
    assert not cells.obsm


def test_a_view_of_a_file_is_refused_before_the_work(cells, tiny_model, tmp_path, caplog):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match=r"view of a backed AnnData.*to_memory\(\)"):
        uc.pp.uce_tokenize(backed[:5], model=tiny_model)
    assert not caplog.records
    uc.pp.uce_tokenize(backed, model=tiny_model)
    np.testing.assert_array_equal(backed.obsm["uce_sentences"], sentences(cells, tiny_model))
    backed.file.close()


def test_the_default_is_the_bundled_model_that_reads_sentences():
    adata = uc.datasets.pbmc68k_reduced()[:4].copy()
    uc.pp.uce_tokenize(adata)
    assert adata.uns["uce_sentences"]["params"]["model"] == "uce-tiny"
    uc.tl.uce_embed(adata, model="uce-tiny")
    fresh = uc.datasets.pbmc68k_reduced()[:4].copy()
    uc.tl.uce_embed(fresh, model="uce-tiny")
    np.testing.assert_array_equal(adata.obsm["X_uce"], fresh.obsm["X_uce"])
    assert len(np.unique(adata.obsm["X_uce"], axis=0)) == 4
