"""The walk over the counts before a training, against the dense matrix."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

from tests.helpers.toy import toy_counts
from univerce.training import survey as module
from univerce.training.survey import survey

VAR_RANK = np.array([4, -1, 0, 2, 2, 5, 1, -1])  # two variables of one gene, two of none; rank 3 is not measured
MEASURED = [0, 1, 2, 4, 5]
DENSE = toy_counts(200, 8, seed=1, rate=0.7).toarray()


def by_rank(dense: np.ndarray) -> np.ndarray:
    out = np.zeros((len(dense), 6))
    for column, rank in zip(dense.T, VAR_RANK, strict=True):
        if rank >= 0:
            out[:, rank] += column
    return out


@pytest.mark.parametrize(
    "container",
    [
        pytest.param(sp.csr_matrix, id="in memory"),
        pytest.param(lambda X: da.from_array(X, chunks=(30, 8)), id="dask, as an example of what is read in blocks"),
    ],
)
@pytest.mark.parametrize("held_out", [0.0, 0.3])
def test_a_survey_says_what_the_dense_matrix_says(monkeypatch, container, held_out):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 33)
    found = survey(container(DENSE), VAR_RANK, 6, held_out=held_out, rng=np.random.default_rng(0), where="the data")
    expressed = by_rank(DENSE) > 0
    n = expressed.sum(axis=1)
    usable = np.flatnonzero((n >= 2) & (n < len(MEASURED)))
    assert 0 < len(usable) < len(DENSE)
    assert sorted([*found.training, *found.validation]) == usable.tolist()
    assert len(found.validation) == round(held_out * len(usable))
    assert found.measured.tolist() == MEASURED
    np.testing.assert_allclose(found.frequency, expressed[found.training].mean(axis=0), atol=1e-15)
    assert found.total == DENSE.sum()
    half = 0.5 / len(found.training)
    np.testing.assert_array_equal(found.smooth, np.clip(found.frequency, half, 1 - half))


def test_no_more_cells_are_held_out_than_an_evaluation_can_use(monkeypatch):
    monkeypatch.setattr(module, "MAX_HELD_OUT", 7)
    found = survey(sp.csr_matrix(DENSE), VAR_RANK, 6, held_out=0.5, rng=np.random.default_rng(0), where="the data")
    assert len(found.validation) == 7


def test_one_cell_is_always_left_to_train_on():
    two = DENSE[np.isin((by_rank(DENSE) > 0).sum(axis=1), (2, 3, 4))][:2]
    found = survey(sp.csr_matrix(two), VAR_RANK, 6, held_out=0.99, rng=np.random.default_rng(0), where="the data")
    assert (len(found.training), len(found.validation)) == (1, 1)
