"""The fit of linear models on toy cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata

import univerce as uc
from tests.helpers.toy import toy_table
from tests.helpers.training_cells import TABLE, on_disk, two_types
from univerce.model import LinearFit, fit_linear
from univerce.model.linear import Linear
from univerce.training.measured_cells import GeneStatistics, MeasuredCells

FIT = LinearFit(model_id="toy", output_dim=4, n_landmarks=10, least_sets=2, cells_per_set=80)
SETS = [two_types(name, TABLE, seed=k) for k, name in enumerate(("one", "other", "third"))]


def sampled(k: int, n_cells: int = 80) -> MeasuredCells:
    return MeasuredCells.sample(SETS[k], frozenset(), n_cells, 100.0, np.random.default_rng(k))


def test_the_fit_separates_types_in_a_data_set_it_has_not_seen(tmp_path):
    model = fit_linear(SETS, tmp_path, fit=FIT)
    assert uc.model.find_model(tmp_path) == model
    unseen = two_types("unseen", TABLE, seed=9)
    first = np.asarray(unseen.counts[:, ::2].sum(axis=1) > unseen.counts[:, 1::2].sum(axis=1)).ravel()
    linear = Linear.read(model)
    c = MeasuredCells.sample(unseen, frozenset(), 120, 100.0, np.random.default_rng(0))
    cells = linear.cells(c.weights, linear.vectors(c.table, c.rows))
    order = np.sort(np.random.default_rng(0).permutation(120))
    assert (order == np.arange(120)).all()
    cosine = cells @ cells.T
    assert cosine[first][:, first].mean() > 0.8
    assert cosine[first][:, ~first].mean() < 0


def test_the_decoder_ranks_the_cells_of_a_gene(tmp_path):
    linear = Linear.read(fit_linear(SETS, tmp_path, fit=FIT))
    c = MeasuredCells.sample(two_types("unseen", TABLE, seed=9), frozenset(), 120, 100.0, np.random.default_rng(0))
    vectors = linear.vectors(c.table, c.rows)
    rows = c.rows[linear.decodes(c.table, c.rows)]
    assert len(rows) == TABLE.n_obs
    logits = linear.decode(linear.cells(c.weights, vectors), c.table, rows)
    expressed = c.counts.toarray() > 0
    aurocs = []
    for gene in range(TABLE.n_obs):
        yes, ranks = expressed[:, gene], rankdata(logits[:, gene])
        aurocs.append((ranks[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))
    assert np.mean(aurocs) > 0.85


def test_counts_on_disk_give_the_same_model_and_the_seed_chooses_the_cells(tmp_path):
    digests = []
    for k, (sets, seed) in enumerate(((SETS, 0), (on_disk(SETS, tmp_path), 0), (SETS, 1))):
        digests.append(fit_linear(sets, tmp_path / str(k), fit=replace(FIT, seed=seed)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_statistics_are_means_over_data_sets():
    cells = [sampled(k) for k in range(3)]
    found = GeneStatistics.of(cells, frozenset({"NOBODY"}))
    frequency = np.mean([(c.counts.toarray() > 0).mean(axis=0) for c in cells], axis=0)
    variance = np.sum([c.weights.toarray().var(axis=0) for c in cells], axis=0) / 4
    rarity = np.sqrt(np.log(1 / np.clip(frequency, 1e-3, 1)))
    rarity /= rarity.mean()
    for gene, key in enumerate(cells[0].keys):
        at = found.index[key]
        assert found.n_sets[at] == 3
        assert found.rarity[at] == pytest.approx(rarity[gene], rel=1e-5)
        assert found.landmark_score[at] == pytest.approx(variance[gene] * rarity[gene] ** 2, rel=1e-3)
    unseen = found.index["NOBODY"]
    assert found.n_sets[unseen] == 0
    assert found.rarity[unseen] == found.rarity.max()
    best = np.argsort(-found.landmark_score, kind="stable")[:5]
    np.testing.assert_array_equal(found.landmarks(5, 3), best)
    assert len(found.landmarks(5, 4)) == 0


def test_bad_input_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="n_landmarks=-1 must be at least 0"):
        LinearFit(n_landmarks=-1)
    other = toy_table(30, 3, token_dim=6, seed=1, species="other")
    with pytest.raises(ValueError, match="are of 2 encoders"):
        fit_linear([*SETS, two_types("wide", other)], tmp_path, fit=FIT)
    empty = replace(SETS[0], rows=np.full(TABLE.n_obs, -1, np.int32))
    with pytest.raises(ValueError, match="'one' has no cell with a count in any gene"):
        fit_linear([empty], tmp_path, fit=FIT)
    fit_linear(SETS, tmp_path / "taken", fit=FIT)
    with pytest.raises(ValueError, match="already holds a model"):
        fit_linear(SETS, tmp_path / "taken", fit=FIT)
