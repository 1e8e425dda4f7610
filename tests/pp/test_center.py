"""uc.pp.center: centered by hand, and a space of its own."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells, write_tiny_linear


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    model = write_tiny_linear(tmp_path_factory.mktemp("model") / "tiny").path
    cells = tiny_cells(n=20, empty=(4,))
    with pytest.warns(UserWarning, match="1 of 20 cells"):
        uc.tl.uce_embed(cells, model=model)
    cells.obs["batch"] = ["a"] * 8 + ["b"] * 11 + [None]
    return cells


def by_hand(x: np.ndarray) -> np.ndarray:
    apart = x - x.mean(axis=0)
    return apart / np.linalg.norm(apart, axis=1, keepdims=True)


def test_the_mean_of_known_cells_is_subtracted(embedded):
    centered = uc.pp.center(embedded, copy=True)
    assert "X_uce_centered" not in embedded.obsm
    kept = np.arange(20) != 4
    np.testing.assert_allclose(centered.obsm["X_uce_centered"][kept], by_hand(embedded.obsm["X_uce"][kept]), atol=1e-5)
    assert np.isnan(centered.obsm["X_uce_centered"][4]).all()


def test_batches_are_centered_one_by_one(embedded):
    adata = embedded.copy()
    assert uc.pp.center(adata, batch_key="batch", key_added="X") is None
    for rows in ([0, 1, 2, 3, 5, 6, 7], range(8, 19)):
        rows = list(rows)
        np.testing.assert_allclose(adata.obsm["X"][rows], by_hand(embedded.obsm["X_uce"][rows]), atol=1e-5)
    assert np.isnan(adata.obsm["X"][[4, 19]]).all()


def test_it_is_a_space_of_its_own(embedded):
    adata = uc.pp.center(embedded, copy=True)
    other = uc.pp.center(embedded, batch_key="batch", copy=True)
    assert uc.tl.check_same_space(adata, other, use_rep="X_uce_centered") is None
    mixed = embedded.copy()
    mixed.obsm["X_uce_centered"] = mixed.obsm["X_uce"]
    mixed.uns["univerce"]["X_uce_centered"] = mixed.uns["univerce"]["X_uce"]
    with pytest.raises(ValueError, match="come from two models, 'tiny, centered'"):
        uc.tl.check_same_space(adata, mixed, use_rep="X_uce_centered")


def test_bad_input_is_an_error(embedded):
    with pytest.raises(ValueError, match="would replace the embedding"):
        uc.pp.center(embedded, key_added="X_uce")
    with pytest.raises(KeyError, match="'plate'"):
        uc.pp.center(embedded, batch_key="plate")
    adata = embedded.copy()
    del adata.uns["univerce"], adata.obs["X_uce_space"]
    with pytest.raises(KeyError, match="says which model"):
        uc.pp.center(adata)
