"""The training objective per cell, against a slow implementation and what must not change it."""

from __future__ import annotations

import math

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

import univerce as uc
from tests.helpers.trained import typed_counts, write_trained
from univerce.inference.embedder import load_embedders
from univerce.inference.inputs import resolve_inputs
from univerce.training.reconstruction import cell_auroc, cell_loss, reconstruct

OPTIONS = {"mask_fraction": 0.2, "n_queries": 60}


@pytest.fixture(scope="module", params=["uce", "uce-brain"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    return write_trained(tmp_path_factory.mktemp(request.param) / "model", request.param)


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = typed_counts(60, seed=2)
    X = adata.X.toarray()
    X[5] = 0
    adata.X = sp.csr_matrix(X)
    return adata


def scored(adata: ad.AnnData, model, **options) -> ad.AnnData:
    out = uc.tl.reconstruction_loss(adata, model=model, copy=True, **(OPTIONS | options))
    assert out is not None
    return out


def test_loss_and_auroc_are_those_of_scikit_learn():
    logits = np.random.default_rng(0).normal(size=(5, 8))
    logits[:, 3] = logits[:, 6]  # ties
    target = [1] * 4 + [0] * 4
    expected = [[log_loss(target, expit(row)), roc_auc_score(target, row)] for row in logits]
    np.testing.assert_allclose(np.transpose([cell_loss(logits), cell_auroc(logits)]), expected)


def test_half_of_the_queries_are_expressed_and_hidden_and_half_have_no_count(model, cells):
    inputs = resolve_inputs(cells, model=model, mod=None, layer=None, gene_key=None, rng=0, sampling=None)
    (part,) = reconstruct(inputs, load_embedders(inputs), **OPTIONS)
    genes = part.tokens - 4
    counts = cells.X.toarray()[part.cells[:, None], genes]
    assert (counts[:, :30] > 0).all()
    assert (counts[:, 30:] == 0).all()
    assert 5 not in part.cells
    for row in genes[:, 30:]:
        assert len(set(row)) == 30  # there are enough to need no repetition
    hidden = np.array([len(set(row)) for row in genes[:, :30]])
    expressed = np.diff(cells.X[part.cells].indptr)
    assert (hidden <= np.maximum(1, np.round(0.2 * expressed))).all()
    assert min(hidden) > 1


def test_frequencies_are_those_of_the_other_cells(model, cells):
    inputs = resolve_inputs(cells, model=model, mod=None, layer=None, gene_key=None, rng=0, sampling=None)
    (part,) = reconstruct(inputs, load_embedders(inputs), **OPTIONS)
    expressed = cells.X.toarray() > 0
    for i, cell in enumerate(part.cells.tolist()):
        others = np.delete(expressed, cell, axis=0)
        share = (others.sum(axis=0) + 0.5) / len(expressed)
        odds = share / (1 - share) / (share.mean() / (1 - share.mean()))
        np.testing.assert_allclose(part.by_frequency[i], np.log(odds[part.tokens[i] - 4]), rtol=1e-4, atol=1e-4)


def test_a_trained_network_beats_chance_and_frequency_on_new_cells(model, cells):
    table = uc.get.table(scored(cells, model), "reconstruction_loss")
    assert table.loc["chance", "loss"] == pytest.approx(math.log(2))
    assert table.loc["model", "loss"] < table.loc["gene frequency", "loss"] < table.loc["chance", "loss"]
    assert table.loc["model", "auroc"] > table.loc["gene frequency", "auroc"] > 0.5
    assert (table["n_cells"] == 59).all()


def test_results_are_written_per_cell(model, cells):
    out = scored(cells, model)
    loss, table = out.obs["reconstruction_loss"], uc.get.table(out, "reconstruction_loss")
    assert loss.isna().tolist() == [i == 5 for i in range(60)]
    assert table.loc["model", ["loss", "sd"]].tolist() == pytest.approx([loss.mean(), loss.std(ddof=0)], rel=1e-5)
    frequency = out.obs["reconstruction_loss_frequency"]
    assert table.loc["gene frequency", "loss"] == pytest.approx(frequency.mean(), rel=1e-5)
    params = out.uns["reconstruction_loss"]["params"]
    assert (params["seed"], params["n_queries"], params["mask_fraction"]) == (0, 60, 0.2)
    assert "reconstruction_loss" not in cells.obs


def test_the_loss_of_a_cell_depends_on_the_seed_and_its_name_alone(model, cells):
    loss = scored(cells, model).obs["reconstruction_loss"]
    some = np.random.default_rng(0).permutation(60)[:31]
    with uc.settings.override(batch_size=3):
        other = scored(cells[some], model).obs["reconstruction_loss"]
    np.testing.assert_allclose(other, loss.iloc[some], rtol=1e-4, equal_nan=True)
    again = scored(cells, model, rng=1).obs["reconstruction_loss"]
    assert (again.dropna() != loss.dropna()).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_queries": 7}, "n_queries=7 must be even"),
        ({"n_queries": 0}, "n_queries=0 must be an integer >= 2"),
        ({"mask_fraction": 1}, "mask_fraction=1 must be between 0 and 1"),
    ],
)
def test_impossible_options_raise(model, cells, options, message):
    with pytest.raises(ValueError, match=message):
        scored(cells, model, **options)


def test_cells_without_two_genes_cannot_be_scored(model, cells):
    empty = cells[:2].copy()
    empty.X = empty.X.multiply(empty.X.toarray().argmax(axis=1)[:, None] == np.arange(240)).tocsr()
    with pytest.raises(ValueError, match="No cell can be scored"):
        scored(empty, model)
