from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells
from univerce.bench.methods.uce import METHOD


@pytest.fixture(autouse=True)
def _quiet():
    with uc.settings.override(progress=False):
        yield


def test_uce_is_uce_embed_and_says_which_model_it_was(tiny_model):
    cells = tiny_cells(n=8)
    expected = uc.tl.uce_embed(cells, model=tiny_model, rng=3, copy=True)
    got = METHOD.embed(cells, batch_key=None, groupby=None, rng=3, model=tiny_model)
    np.testing.assert_array_equal(got, expected.obsm["X_uce"])
    digest = expected.uns["univerce"]["X_uce"]["model_digest"]
    assert digest in str(cells.uns["details"])


def test_the_options_of_uce_embed_are_passed_on(tiny_model):
    one, four = (
        METHOD.embed(tiny_cells(n=8), batch_key=None, groupby=None, rng=0, model=tiny_model, n_draws=n) for n in (1, 4)
    )
    assert np.abs(one - four).max() > 1e-3
