"""uc.tl.uce_embed end to end: an embedding depends on its cell alone, not on the container or the other cells."""

from __future__ import annotations

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import zarr
from mudata import MuData

import univerce as uc
from tests.helpers.reference import ReferenceUCE
from tests.helpers.tiny import CONFIG, N_CHROMOSOMES, N_GENES, tiny_cells, tiny_network, tiny_table, write_tiny_model
from univerce.inference import sentence_blocks as sentences
from univerce.model import find_model

module = importlib.import_module("univerce.tl.uce_embed")

EMPTY = (2, 17)
N = 30
FILLED = np.setdiff1d(np.arange(N), EMPTY)
# float32, and sums in another order
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 2e-6}


@pytest.fixture(autouse=True)
def _quiet():
    with uc.settings.override(progress=False):
        yield


@pytest.fixture
def cells() -> ad.AnnData:
    return tiny_cells(n=N)


@pytest.fixture
def with_empty() -> ad.AnnData:
    return tiny_cells(n=N, empty=EMPTY)


@pytest.fixture(scope="session")
def expected(tiny_model: Path) -> np.ndarray:
    """The embedding of ``cells``."""
    cells = tiny_cells(n=N)
    uc.tl.uce_embed(cells, model=tiny_model)
    return cells.obsm["X_uce"]


def embed(adata: ad.AnnData, model: Path, **options: Any) -> np.ndarray:
    """The embedding, and nothing written into ``adata``."""
    return uc.tl.uce_embed(adata, model=model, copy=True, **options).obsm["X_uce"]


# --- the values


def test_a_cell_is_its_sentence_through_the_plain_network(cells, expected, tiny_model):
    uc.pp.uce_tokenize(cells, model=tiny_model)
    table = tiny_table("human")
    features = np.concatenate([table.uns["special_features"], table.X, table.uns["chromosome_features"]])
    plain = ReferenceUCE(CONFIG)
    plain.load_state_dict(tiny_network().state_dict())
    for ids, length, got in zip(cells.obsm["uce_sentences"], cells.obs["uce_sentences_length"], expected, strict=True):
        tokens = torch.from_numpy(features[ids[:length]].astype(np.float32))[:, None]
        with torch.no_grad():
            alone = plain.eval()(tokens, torch.ones(1, length))[0]
        np.testing.assert_allclose(got, alone, atol=1e-5)
    assert (expected.dtype, expected.shape) == (np.float32, (N, CONFIG.output_dim))
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-6)
    distance = np.linalg.norm(expected[:, None] - expected[None], axis=2)
    assert distance[~np.eye(N, dtype=bool)].min() > 1e3 * CLOSE["atol"], "the embeddings must differ"


def test_other_cells_blocks_and_batches_do_not_matter(cells, expected, tiny_model, monkeypatch):
    for rows in (np.random.default_rng(0).permutation(N), [29], list(range(1, 30, 2))):
        np.testing.assert_allclose(embed(cells[rows].copy(), tiny_model), expected[rows], **CLOSE)
    for block_rows, batch_size in ((1, "auto"), (7, "auto"), (4096, 1), (4096, np.int64(1000))):
        monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
        with uc.settings.override(batch_size=batch_size):
            np.testing.assert_allclose(embed(cells, tiny_model), expected, **CLOSE)


def test_other_genes_and_their_order_do_not_matter(cells, expected, tiny_model):
    order = np.random.default_rng(1).permutation(cells.n_vars)
    np.testing.assert_allclose(embed(cells[:, order].copy(), tiny_model), expected, **CLOSE)
    np.testing.assert_allclose(embed(cells[:, cells.var_names != "no gene"].copy(), tiny_model), expected, **CLOSE)


# --- containers and numbers


def _backed(adata: ad.AnnData, path: Path) -> ad.AnnData:
    adata.write_h5ad(path / "cells.h5ad")
    return ad.read_h5ad(path / "cells.h5ad", backed="r")


def _write_zarr(adata: ad.AnnData, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about future formats
        adata.write_zarr(path)


def _lazy_zarr(X: Any, path: Path) -> Any:
    _write_zarr(ad.AnnData(X), path / "cells.zarr")
    return ad.io.sparse_dataset(zarr.open_group(path / "cells.zarr", mode="r")["X"])


def _dask(X: Any, path: Path) -> Any:
    da = pytest.importorskip("dask.array", reason="needs dask")
    return da.concatenate([da.from_array(X[a:b], chunks=-1, asarray=False) for a, b in ((0, 11), (11, 12), (12, N))])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda X, _: np.asfortranarray(X.toarray().astype("float16")), id="dense float16 in columns"),
        pytest.param(lambda X, _: X.astype("uint16").tocsc(), id="CSC of uint16"),
        pytest.param(_lazy_zarr, id="zarr"),
        pytest.param(_dask, id="dask"),
    ],
)
def test_container_and_dtype_of_the_counts_do_not_matter(cells, expected, tiny_model, tmp_path, monkeypatch, change):
    monkeypatch.setattr(module, "BLOCK_ROWS", 8)
    adata = ad.AnnData(change(cells.X, tmp_path), obs=cells.obs, var=cells.var, uns=cells.uns)
    assert uc.tl.uce_embed(adata, model=tiny_model) is None
    np.testing.assert_allclose(adata.obsm["X_uce"], expected, **CLOSE)


@pytest.mark.parametrize("convert", [sp.csr_matrix, sp.csc_matrix], ids=["CSR", "CSC"])
def test_a_backed_file_and_its_view(cells, expected, tiny_model, tmp_path, monkeypatch, convert):
    monkeypatch.setattr(module, "BLOCK_ROWS", 8)
    cells.X = convert(cells.X)
    backed = _backed(cells, tmp_path)
    view = backed[[4, 20, 5]]
    with pytest.raises(ValueError, match=r"view of a backed AnnData.*to_memory\(\)"):
        uc.tl.uce_embed(view, model=tiny_model)
    uc.tl.uce_embed(view, model=tiny_model, store=tmp_path / "s.zarr")
    np.testing.assert_allclose(ad.read_zarr(tmp_path / "s.zarr").obsm["X_uce"], expected[[4, 20, 5]], **CLOSE)
    uc.tl.uce_embed(backed, model=tiny_model)
    np.testing.assert_allclose(backed.obsm["X_uce"], expected, **CLOSE)
    backed.file.close()


def test_a_view_becomes_a_copy_as_in_anndata(cells, expected, tiny_model):
    view = cells[5:12]
    with pytest.warns(ad.ImplicitModificationWarning):
        uc.tl.uce_embed(view, model=tiny_model)
    np.testing.assert_allclose(view.obsm["X_uce"], expected[5:12], **CLOSE)
    assert not cells.obsm


def test_a_modality_of_a_mudata(cells, expected, tiny_model):
    del cells.uns["organism"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from mudata
        data = MuData({"rna": cells, "protein": cells[:, :3].copy()})
        data.uns["organism"] = "Homo sapiens"  # for all modalities
        assert uc.tl.uce_embed(data, model=tiny_model, mod="rna") is None
        copied = uc.tl.uce_embed(data, model=tiny_model, mod="rna", key_added="again", copy=True)
        uc.pp.map_genes(data, model=tiny_model, mod="rna")
    np.testing.assert_array_equal(data["rna"].obsm["X_uce"], expected)
    np.testing.assert_array_equal(copied["rna"].obsm["again"], expected)
    assert "again" not in data["rna"].obsm
    assert not data["protein"].obsm
    assert list(data["rna"].uns["uce_gene"]) == ["human"]


# --- randomness


def test_the_seed_and_the_name_of_a_cell_decide_its_draws(cells, expected, tiny_model):
    np.testing.assert_array_equal(embed(cells, tiny_model, rng=0), expected)
    assert np.linalg.norm(embed(cells, tiny_model, rng=1) - expected, axis=1).min() > 1e-4
    renamed = cells.copy()
    renamed.obs_names = [f"{name}'" for name in cells.obs_names]
    assert np.linalg.norm(embed(renamed, tiny_model) - expected, axis=1).min() > 1e-4
    drawn = uc.tl.uce_embed(cells, model=tiny_model, rng=np.random.default_rng(5), copy=True)
    seed = drawn.uns["univerce"]["X_uce"]["seed"]
    assert seed not in (0, 5)
    np.testing.assert_array_equal(embed(cells, tiny_model, rng=seed), drawn.obsm["X_uce"])


def test_global_random_state_is_neither_read_nor_changed(cells, expected, tiny_model):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    np.testing.assert_array_equal(embed(cells, tiny_model), expected)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


# --- genes and species


def test_cells_of_several_species_are_embedded_as_each_species_alone(tiny_model, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 5)
    parts = [tiny_cells("human", 12), tiny_cells("mouse", 9)]
    adata = ad.concat(parts, join="outer", fill_value=0, label="organism", keys=["Homo sapiens", "NCBITaxon:10090"])
    adata = adata[np.random.default_rng(2).permutation(21)].copy()
    uc.tl.uce_embed(adata, model=tiny_model)
    for part in parts:
        np.testing.assert_allclose(adata[part.obs_names].obsm["X_uce"], embed(part, tiny_model), **CLOSE)
    params = adata.uns["univerce"]["X_uce"]
    assert params["species"] == ["human", "mouse"]
    assert sorted(params["table_digest"]) == sorted(params["fraction_counts_mapped"]) == ["human", "mouse"]


def test_the_species_is_stated_in_uns_in_obs_or_by_the_caller(cells, expected, tiny_model):
    del cells.uns["organism"]
    with pytest.raises(ValueError, match=r'species is not stated. Pass species=.*adata\.uns\["organism"\]'):
        uc.tl.uce_embed(cells, model=tiny_model)
    np.testing.assert_array_equal(embed(cells, tiny_model, species="Homo sapiens"), expected)
    cells.uns["organism"] = "NCBITaxon:9606"
    np.testing.assert_array_equal(embed(cells, tiny_model), expected)
    del cells.uns["organism"]
    cells.obs["organism"] = pd.Categorical(["human"] * N)
    np.testing.assert_array_equal(embed(cells, tiny_model), expected)
    cells.obs = cells.obs.rename(columns={"organism": "from"})
    np.testing.assert_array_equal(embed(cells, tiny_model, species="from"), expected)


def test_a_genome_of_a_thousand_scaffolds_is_embedded_and_pooling_is_logged(tmp_path, caplog):
    fish = tiny_table("zebrafish")
    model = write_tiny_model(tmp_path / "m", tables=[fish], n_sample=1024, max_length=1536, n_layers=1)
    X = np.ones((3, N_GENES["zebrafish"]), dtype=np.float32)
    X[0, 5:] = 0
    X[0, 0] = 900
    adata = ad.AnnData(X, var=pd.DataFrame(index=fish.obs["symbol"].to_numpy()))
    with caplog.at_level(logging.WARNING, logger="univerce"):
        uc.tl.uce_embed(adata, species="Danio rerio", model=model.path)
    assert N_CHROMOSOMES["zebrafish"] > 255
    assert np.isfinite(adata.obsm["X_uce"]).all()
    assert [m for m in caplog.messages if m.startswith("2 cells have genes on more chromosomes")]


# --- what is written


def test_what_decides_the_embedding_is_recorded(cells, tiny_model):
    uc.tl.uce_embed(cells, model=tiny_model, rng=3, sampling="systematic", n_draws=2, padding="official")
    params = cells.uns["univerce"]["X_uce"]
    share = cells.X[:, :-1].sum() / cells.X.sum()
    assert params.pop("fraction_counts_mapped")["human"] == pytest.approx(share)
    assert params == {
        "model": "tiny", "model_digest": find_model(tiny_model).digest, "species": ["human"],
        "table_digest": {"human": tiny_table("human").uns["gene_table"]["digest"]}, "layer": "X",
        "gene_key": {"human": "var_names"}, "seed": 3, "sampling": "systematic", "n_sample": CONFIG.n_sample,
        "n_draws": 2, "univerce_version": uc.__version__, "padding": "official", "precision": "float32",
    }  # fmt: skip


def test_the_result_survives_a_file(cells, expected, tiny_model, tmp_path, caplog):
    uc.pp.uce_tokenize(cells, model=tiny_model)
    uc.tl.uce_embed(cells, model=tiny_model)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    _write_zarr(cells, tmp_path / "cells.zarr")
    for back in (ad.read_h5ad(tmp_path / "cells.h5ad"), ad.read_zarr(tmp_path / "cells.zarr")):
        np.testing.assert_array_equal(back.obsm["X_uce"], expected)
        params = back.uns["univerce"]["X_uce"]
        assert {**params, "species": list(params["species"])} == cells.uns["univerce"]["X_uce"]
        assert list(back.obs) == list(cells.obs)
        uc.tl.check_same_space(cells, back)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="univerce"):
            uc.tl.uce_embed(back, model=tiny_model)
        assert "Using the sentences in obsm['uce_sentences']." in caplog.messages
        np.testing.assert_array_equal(back.obsm["X_uce"], expected)


def test_only_the_keys_of_the_result_are_new(cells, expected, tiny_model):
    before = cells.copy()
    copied = uc.tl.uce_embed(cells, model=tiny_model, key_added="here", copy=True)
    assert (list(cells.obsm), list(cells.obs), list(cells.uns)) == ([], [], ["organism"])
    assert uc.tl.uce_embed(cells, model=tiny_model, key_added="here") is None
    for adata in (copied, cells):
        np.testing.assert_array_equal(adata.obsm["here"], expected)
        assert (list(adata.obsm), list(adata.obs)) == (["here"], ["here_space"])
        assert list(adata.uns) == ["organism", "univerce"]
        assert (adata.X != before.X).nnz == 0
        assert adata.var.equals(before.var)
        assert list(adata.obs_names) == list(before.obs_names)


def test_one_line_says_what_happened(with_empty, tiny_model, caplog):
    with_empty.var_names = [*with_empty.var_names[:-1], "no gene"]
    with caplog.at_level(logging.INFO, logger="univerce"), pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(with_empty, model=tiny_model)
    (line,) = caplog.messages
    n, share = with_empty.n_vars, with_empty.uns["univerce"]["X_uce"]["fraction_counts_mapped"]["human"]
    assert line.startswith("30 cells embedded with ")
    assert f"2 without an embedding; {n - 1} of {n} variables are genes of human, with {share:.1%} of the" in line
    filled = with_empty[FILLED].copy()
    uc.tl.uce_embed(filled, model=tiny_model)
    assert not filled.obs["X_uce_missing"].any(), "left from the call before"


def test_cells_without_a_count_in_any_gene_keep_their_row(with_empty, tiny_model):
    full = embed(with_empty[FILLED].copy(), tiny_model)
    counts = with_empty.X.toarray()
    counts[list(EMPTY), -1] = [5, 0]  # counts, but of no gene, and none
    with_empty.X = sp.csr_matrix(counts)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        uc.tl.uce_embed(with_empty, model=tiny_model, key_added="e")
    assert len(caught) == 1
    assert str(caught[0].message).startswith(
        "2 of 30 cells have no embedding, 1 without a count in any gene and 1 with counts in no gene of the model: "
    )
    assert "obs['e_missing']" in str(caught[0].message)
    assert caught[0].filename == __file__
    out = with_empty.obsm["e"]
    assert np.isnan(out[list(EMPTY)]).all()
    np.testing.assert_allclose(out[FILLED], full, **CLOSE)
    assert np.flatnonzero(with_empty.obs["e_missing"]).tolist() == list(EMPTY)


def test_official_padding_depends_on_the_25_rows_of_a_batch_alone(cells, tiny_model, monkeypatch):
    whole = embed(cells, tiny_model, padding="official")
    np.testing.assert_allclose(embed(cells[:25].copy(), tiny_model, padding="official"), whole[:25], **CLOSE)
    np.testing.assert_allclose(embed(cells[25:].copy(), tiny_model, padding="official"), whole[25:], **CLOSE)
    assert np.abs(embed(cells, tiny_model) - whole).max() > 1e-4
    monkeypatch.setattr(module, "BLOCK_ROWS", 25)
    with uc.settings.override(batch_size=4):
        np.testing.assert_allclose(embed(cells, tiny_model, padding="official"), whole, **CLOSE)


def test_official_windows_count_empty_cells_and_are_made_per_species(tiny_model):
    human, mouse = tiny_cells(n=40, empty=(3,)), tiny_cells("mouse", 35)
    with pytest.warns(UserWarning, match="1 of 40 cells"):
        whole = embed(human, tiny_model, padding="official")
    with pytest.warns(UserWarning, match="1 of 25 cells"):
        first = embed(human[:25].copy(), tiny_model, padding="official")
    np.testing.assert_allclose(first, whole[:25], **CLOSE)
    data = ad.concat([human, mouse], join="outer", fill_value=0, label="organism", keys=["human", "mouse"])
    order = np.argsort(np.concatenate([np.arange(40), np.arange(35)]), kind="stable")  # one of each in turn
    mixed = data[order].copy()
    with pytest.warns(UserWarning, match="1 of 75 cells"):
        uc.tl.uce_embed(mixed, model=tiny_model, padding="official")
    np.testing.assert_allclose(mixed[human.obs_names].obsm["X_uce"], whole, **CLOSE)
    np.testing.assert_allclose(
        mixed[mouse.obs_names].obsm["X_uce"], embed(mouse, tiny_model, padding="official"), **CLOSE
    )


def test_bfloat16_is_near_and_recorded(cells, expected, tiny_model):
    with uc.settings.override(precision="bfloat16"):
        low = uc.tl.uce_embed(cells, model=tiny_model, copy=True)
    assert low.uns["univerce"]["X_uce"]["precision"] == "bfloat16"
    assert low.obsm["X_uce"].dtype == np.float32
    cosine = (low.obsm["X_uce"] * expected).sum(axis=1)
    assert cosine.min() > 0.99
    assert cosine.min() < 1 - 1e-7


@pytest.mark.parametrize("options", [{"n_draws": 3}, {"padding": "official"}], ids=["draws", "official"])
def test_a_bar_counts_every_cell_whatever_it_takes_and_empty_ones(with_empty, tiny_model, monkeypatch, capsys, options):
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    with pytest.warns(UserWarning, match="2 of 30 cells"), uc.settings.override(progress=True):
        uc.tl.uce_embed(with_empty, model=tiny_model, **options)
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"{N}/{N}" in last
    assert "cell/s" in last
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(with_empty, model=tiny_model, **options)
    assert capsys.readouterr().err == ""


def test_the_bundled_model_is_the_default():
    adata = uc.datasets.pbmc68k_reduced()[:30].copy()
    before = list(adata.obs_names)
    uc.tl.uce_embed(adata)
    params = adata.uns["univerce"]["X_uce"]
    out = adata.obsm["X_uce"]
    assert (params["model"], params["species"]) == ("uce-mini", ["human"])
    assert params["fraction_counts_mapped"]["human"] > 0.9
    assert (out.shape[0], out.dtype) == (30, np.float32)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)
    order = np.random.default_rng(0).permutation(30)
    shuffled = adata[order].copy()
    uc.tl.uce_embed(shuffled, key_added="again")
    np.testing.assert_allclose(shuffled.obsm["again"], out[order], atol=1e-5)
    assert list(adata.obs_names) == before


# --- sentences drawn before


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """Number of cells in every call of the tokenizer."""
    tokenize, seen = sentences.tokenize, []

    def counting(counts: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(counts.shape[0])
        return tokenize(counts, *args, **kwargs)

    monkeypatch.setattr(sentences, "tokenize", counting)
    return seen


def test_recorded_sentences_are_used_also_in_another_container(cells, expected, tiny_model, drawn, caplog):
    uc.pp.uce_tokenize(cells, model=tiny_model)
    assert sum(drawn) == N
    for convert in (sp.csr_matrix, lambda X: sp.csc_matrix(X).astype(np.float64)):
        cells.X = convert(cells.X)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="univerce"):
            uc.tl.uce_embed(cells, model=tiny_model)
        assert sum(drawn) == N, "sentences were drawn again"
        assert "Using the sentences in obsm['uce_sentences']." in caplog.messages
        np.testing.assert_array_equal(cells.obsm["X_uce"], expected)


def test_stale_sentences_are_not_used(cells, tiny_model, tmp_path, caplog):
    uc.pp.uce_tokenize(cells, model=tiny_model)
    changed, renamed = cells.copy(), cells.copy()
    changed.X.data[0] += 1
    renamed.obs_names = [f"other {i}" for i in range(N)]
    other = write_tiny_model(tmp_path / "other", seed=1, tables=[tiny_table("human")]).path
    for adata, options, said in (
        (changed, {}, "counts, cells or genes"),
        (cells[:, :40].copy(), {}, "counts, cells or genes"),
        (renamed, {}, "counts, cells or genes"),
        (cells, {"rng": 1}, "seed"),
        (cells, {"sampling": "systematic"}, "sampling"),
        (cells, {"n_draws": 2}, "n_draws"),
        (cells, {"model": other}, "model_digest"),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="univerce"):
            got = embed(adata, **({"model": tiny_model} | options))
        (message,) = [m for m in caplog.messages if "uce_sentences" in m]
        assert "Ignoring obsm" in message
        assert said in message
        fresh = adata.copy()
        del fresh.obsm["uce_sentences"], fresh.uns["uce_sentences"]
        np.testing.assert_array_equal(got, embed(fresh, **({"model": tiny_model} | options)))


def test_a_change_of_any_single_cell_of_many_is_noticed(tiny_model, caplog):
    many = tiny_cells(n=1500)
    uc.pp.uce_tokenize(many, model=tiny_model)
    many.X.data[many.X.indptr[1234]] += 1
    with caplog.at_level(logging.INFO, logger="univerce"):
        uc.tl.uce_embed(many, model=tiny_model)
    assert [m for m in caplog.messages if "Ignoring obsm" in m]


# --- bad input


@pytest.mark.parametrize(
    "change, said",
    [
        pytest.param(np.log1p, r"not whole, such as \d.*log-transformed.*No layer holds counts", id="logarithms"),
        pytest.param(np.negative, r"negative values \(lowest -\d", id="negative values"),
        pytest.param(lambda X: X / X, "missing or infinite.*remove those cells or genes", id="NaN"),
    ],
)
def test_values_that_are_not_counts_are_refused(cells, tiny_model, tmp_path, change, said):
    with np.errstate(invalid="ignore"):
        cells.X = change(cells.X.toarray())
    for options in ({}, {"store": tmp_path / "s.zarr"}):
        with pytest.raises(ValueError, match=rf"adata\.X holds .*{said}"):
            uc.tl.uce_embed(cells, model=tiny_model, **options)
    assert not cells.obsm
    assert not (tmp_path / "s.zarr").exists()
    cells.layers["c"] = cells.X
    cells.X = None
    with pytest.raises(ValueError, match=r"adata\.layers\['c'\]"):
        uc.tl.uce_embed(cells, model=tiny_model, layer="c")
    with pytest.raises(ValueError, match=r"adata\.X is empty; pass layer=.*'c'"):
        uc.tl.uce_embed(cells, model=tiny_model)


def test_a_bad_option_is_refused_and_nothing_is_written(cells, tiny_model):
    for options, error, said in (
        ({"layer": "raw"}, KeyError, "layer='raw': adata.raw is empty"),
        ({"gene_key": "id"}, KeyError, "gene_key='id' is not a column of var"),
        ({"mod": "rna"}, ValueError, "mod='rna'.*AnnData; leave mod out"),
        ({"species": "klingon"}, ValueError, "species='klingon' is not known.*human"),
        ({"species": "rat"}, ValueError, "no gene table of 'rat'.*human, mouse, zebrafish"),
        ({"species": "mouse"}, ValueError, "none of the 61 names.*species='human'"),
        ({"model": "uce-5l"}, ValueError, "no model 'uce-5l'; use uce-mini, uce-tiny, uce-4l"),
        ({"sampling": "all"}, ValueError, "sampling='all'.*multinomial, systematic"),
        ({"padding": "none"}, ValueError, "padding='none'.*masked, official"),
        ({"n_draws": 0}, ValueError, "n_draws=0 must be an integer >= 1"),
        ({"rng": None}, TypeError, "rng=None must be an integer or"),
        ({"rng": -1}, ValueError, "rng=-1 must lie between"),
        ({"copy": True, "store": "s.zarr"}, ValueError, "copy=True .* store='s.zarr'.*drop one"),
    ):
        with pytest.raises(error, match=said):
            uc.tl.uce_embed(cells, **({"model": tiny_model} | options))
    with uc.settings.override(device="cuda:99"), pytest.raises(ValueError, match="device='cuda:99' is not available"):
        uc.tl.uce_embed(cells, model=tiny_model)
    assert not cells.obsm
    assert list(cells.uns) == ["organism"]


def test_cheap_checks_come_before_anything_is_fetched_or_read(cells, monkeypatch):
    fetched: list[str] = []
    for name in ("univerce.genes.release.tables", "univerce.genes.release.source"):
        monkeypatch.setattr(
            importlib.import_module(name), "fetch", lambda name, **kwargs: fetched.append(name) or 1 / 0
        )
    for options in ({"layer": "raw"}, {"sampling": "all"}, {"padding": "none"}, {"species": "klingon"}, {"n_draws": 0}):
        with pytest.raises((KeyError, ValueError)):
            uc.tl.uce_embed(cells, model="uce-4l", **options)
    cells.X = np.log1p(cells.X)
    with pytest.raises(ValueError, match="not whole"):
        uc.tl.uce_embed(cells, model="uce-4l")
    assert fetched == []
    cells.X = np.rint(np.expm1(cells.X))
    with pytest.raises(ZeroDivisionError):
        uc.tl.uce_embed(cells, model="uce-4l")
    assert fetched


def test_other_objects_empty_data_and_repeated_names_are_refused(cells, tiny_model):
    with pytest.raises(TypeError, match=r"AnnData or a MuData is needed, not scipy"):
        uc.tl.uce_embed(cells.X, model=tiny_model)
    with pytest.raises(ValueError, match="empty: 0 cells and 61 variables"):
        uc.tl.uce_embed(cells[:0].copy(), model=tiny_model)
    cells.obs.index = [*cells.obs_names[:-1], cells.obs_names[0]]
    with pytest.raises(ValueError, match=r"1 obs_names occur more than once, such as .*obs_names_make_unique\(\)"):
        uc.tl.uce_embed(cells, model=tiny_model)


def test_a_gene_table_of_another_encoder_is_refused(cells, tmp_path):
    for name, changes, holds in (
        ("encoder", {"encoder": "another"}, "'another' features of width 12"),
        ("width", {"token_dim": 7}, "'generated' features of width 7"),
    ):
        model = write_tiny_model(tmp_path / name, tables=[tiny_table("human", **changes)])
        said = f"table of 'human' holds {holds}; the model 'tiny' reads 'generated' of width 12"
        with pytest.raises(ValueError, match=said):
            uc.tl.uce_embed(cells, model=model.path)
