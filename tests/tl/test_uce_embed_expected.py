"""uc.tl.uce_embed with sampling="expected"."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells

module = importlib.import_module("univerce.tl.uce_embed")


def embedded(model, cells=None, **options) -> np.ndarray:
    options = {"sampling": "expected"} | options
    return uc.tl.uce_embed(tiny_cells() if cells is None else cells, model=model, copy=True, **options).obsm["X_uce"]


def test_two_seeds_agree_better_than_with_drawn_sentences(tiny_model):
    def agreement(sampling):
        a, b = (embedded(tiny_model, sampling=sampling, rng=seed) for seed in (0, 1))
        return np.sum(a * b, axis=1).mean()

    assert agreement("expected") > agreement("systematic") > agreement("multinomial")


def test_a_cell_does_not_depend_on_the_others_or_on_blocks(tiny_model, monkeypatch):
    whole = embedded(tiny_model)
    np.testing.assert_allclose(embedded(tiny_model, tiny_cells()[[20, 3]].copy()), whole[[20, 3]], atol=1e-5)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    np.testing.assert_allclose(embedded(tiny_model, batch_size=2), whole, atol=1e-5)


def test_a_cell_may_express_more_genes_than_a_sentence_has_places(tiny_model):
    """The 1,300 genes of this species are read at the 80 positions of the table."""
    cells = tiny_cells("zebrafish", n=3)
    assert (np.diff(cells.X.indptr) > 300).all()
    found = embedded(tiny_model, cells)
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_it_is_recorded_and_a_cell_without_counts_is_still_missing(tiny_model):
    cells = tiny_cells(empty=(4,))
    with pytest.warns(UserWarning, match="1 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, sampling="expected")
    assert cells.uns["X_uce"]["params"]["sampling"] == "expected"
    assert np.flatnonzero(cells.obs["X_uce_missing"]).tolist() == [4]


def test_bfloat16_stays_near_float32(tiny_model):
    low, high = (embedded(tiny_model, precision=p) for p in ("bfloat16", "float32"))
    assert np.sum(low * high, axis=1).min() > 0.99


@pytest.mark.parametrize(
    "call, said",
    [
        pytest.param(lambda a, m: uc.tl.uce_embed(a, model=m, sampling="expected", padding="official"),
                     "padding='official' repeats the reference", id="official padding"),
        pytest.param(lambda a, m: uc.pp.uce_tokenize(a, model=m, sampling="expected"),
                     "sampling='expected' is not known", id="sentences are token ids"),
        pytest.param(lambda a, m: uc.tl.delete_genes(a, ["CD3D"], model=m, sampling="expected"),
                     "sampling='expected' is not known", id="deletion of drawn copies"),
    ],
)  # fmt: skip
def test_what_needs_drawn_sentences_refuses_it(tiny_model, call, said):
    with pytest.raises(ValueError, match=said):
        call(tiny_cells(), tiny_model)
