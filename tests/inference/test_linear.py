"""Linear models on whole inputs: embedding, options that have no meaning, and the mean gradient."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.integrate import quad_vec

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_linear, tiny_table, write_tiny_linear
from univerce.inference.linear import mean_gradient


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_linear(tmp_path_factory.mktemp("model") / "tiny").path


def plain(adata: ad.AnnData, species: str) -> np.ndarray:
    """Every cell by itself, gene by gene."""
    linear, table = tiny_linear(), tiny_table(species)
    vectors = linear.vectors(table, np.arange(table.n_obs))
    rows = uc.genes.map_names(adata.var_names, table).rows
    out = []
    for counts in adata.X.toarray():
        by_gene = np.zeros(table.n_obs)
        np.add.at(by_gene, rows[rows >= 0], counts[rows >= 0])
        if not by_gene.any():
            out.append(np.full(10, np.nan))
            continue
        cell = np.log1p(100 * by_gene / by_gene.sum()) @ vectors - linear.center
        out.append(cell / np.linalg.norm(cell))
    return np.array(out)


def test_every_cell_is_the_normalized_sum_of_its_genes(model):
    cells = tiny_cells(n=30, empty=(3, 11))
    cells.var_names = [*cells.var_names[:-1], cells.var_names[0].lower()]  # two variables of one gene
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=model)
    np.testing.assert_allclose(cells.obsm["X_uce"], plain(cells, "human"), atol=1e-5)
    assert np.flatnonzero(cells.obs["X_uce_missing"]).tolist() == [3, 11]
    params = cells.uns["univerce"]["X_uce"]
    assert params["precision"] == "float32"
    assert not {"seed", "sampling", "n_sample", "n_draws", "padding"} & set(params)


def test_order_subset_blocks_and_seed_do_not_matter(model, monkeypatch):
    cells = tiny_cells(n=40)
    whole = uc.tl.uce_embed(cells, model=model, copy=True).obsm["X_uce"]
    some = uc.tl.uce_embed(cells[[30, 2, 17]].copy(), model=model, rng=5, copy=True).obsm["X_uce"]
    np.testing.assert_array_equal(some, whole[[30, 2, 17]])
    other = cells.copy()
    other.X = sp.csc_matrix(cells.X).astype(np.int64)
    np.testing.assert_array_equal(uc.tl.uce_embed(other, model=model, copy=True).obsm["X_uce"], whole)


def test_several_species_and_a_store(model, tmp_path):
    cells = ad.concat([tiny_cells("human", 7), tiny_cells("mouse", 5)], join="outer", fill_value=0)
    cells.obs["organism"] = ["human"] * 7 + ["mouse"] * 5
    cells = cells[np.random.default_rng(0).permutation(12)].copy()
    uc.tl.uce_embed(cells, model=model)
    for species in ("human", "mouse"):
        mine = (cells.obs["organism"] == species).to_numpy()
        np.testing.assert_allclose(cells.obsm["X_uce"][mine], plain(cells[mine], species), atol=1e-5)
    uc.tl.uce_embed(cells, model=model, store=tmp_path / "store.zarr")
    stored = ad.read_zarr(tmp_path / "store.zarr")
    np.testing.assert_array_equal(stored.obsm["X_uce"], cells.obsm["X_uce"])


@pytest.mark.parametrize("options", [{"sampling": "systematic"}, {"n_draws": 2}, {"padding": "official"}], ids=str)
def test_options_of_sentences_are_refused_with_the_reason(model, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}: the model .* sums all genes of a cell and draws no"):
        uc.tl.uce_embed(tiny_cells(n=3), model=model, **options)
    with pytest.raises(ValueError, match=r"the model 'uce-mini' .* use model='uce-tiny' or a released model"):
        uc.tl.uce_embed(tiny_cells(n=3), **options)


def test_sentences_are_refused_with_the_name_of_a_model(model):
    cells = tiny_cells(n=5)
    with pytest.raises(ValueError, match=r"'tiny' sums all genes of a cell and reads no .* Use model='uce-tiny'"):
        uc.pp.uce_tokenize(cells, model=model)
    with pytest.raises(ValueError, match="reads no sentences"):
        uc.tl.gene_network(cells, context=True, model=model)


def test_the_mean_gradient_is_that_of_numerical_integration():
    rng = np.random.default_rng(0)
    start, steps = rng.normal(size=6), rng.normal(size=(5, 6))
    steps[3] *= 1e-3
    direction = rng.normal(size=6)
    direction /= np.linalg.norm(direction)

    def gradient(t: float, step: np.ndarray) -> np.ndarray:
        z = start + t * step
        length = np.linalg.norm(z)
        return direction / length - (z @ direction) * z / length**3

    found = mean_gradient(start, steps, direction)
    for step, mine in zip(steps, found, strict=True):
        np.testing.assert_allclose(mine, quad_vec(gradient, 0, 1, args=(step,), epsabs=1e-12)[0], rtol=1e-6, atol=1e-8)
        end = start + step
        change = end @ direction / np.linalg.norm(end) - start @ direction / np.linalg.norm(start)
        assert mine @ step == pytest.approx(change, abs=1e-9)


def test_genes_without_a_decoder_are_refused_by_name(model):
    cells = tiny_cells(n=6)
    uc.tl.uce_embed(cells, model=model)
    table, linear = tiny_table("human"), tiny_linear()
    known = linear.decodes(table, np.arange(table.n_obs))
    names = table.obs["symbol"].tolist()
    decoded = [name for name, is_known in zip(names, known, strict=True) if is_known]
    found = uc.tl.predict_expression(cells, decoded, model=model)
    logits = linear.decode(cells.obsm["X_uce"], table, np.flatnonzero(known))
    np.testing.assert_allclose(found.X, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    with pytest.raises(ValueError, match=f"cannot predict 1 of 2 genes, .*: '{names[0]}'. Leave them out"):
        uc.tl.predict_expression(cells, [decoded[0], names[0]], model=model)
