"""Blocks of counts to blocks of sentences."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from tests.helpers.drawn import DRAWING, N, counts, drawn, names, prepared
from tests.helpers.tiny import tiny_table
from univerce.genes.table import N_SPECIAL, n_tokens
from univerce.inference.inputs import Genes
from univerce.inference.sentences import cell_keys, tokenize


@pytest.fixture(scope="module")
def table() -> ad.AnnData:
    return tiny_table("human")


@pytest.fixture(scope="module")
def genes(table: ad.AnnData) -> Genes:
    """Two variables for the first gene, one without a gene."""
    return Genes(table, np.array([*range(table.n_obs), 0, -1], dtype=np.int32))


def test_blocks_are_split_by_species(genes):
    other = Genes(tiny_table("mouse"), genes.rows[::-1].copy())
    X = counts(genes, empty=())
    species = np.random.default_rng(1).integers(0, 2, N)
    species[:16] = 1
    seen = np.zeros(N, int)
    for rows, groups in prepared([genes, other], X, species=species):
        assert [g.species for g in groups] == sorted({*species[rows]})
        for g in groups:
            cells = g.cells + rows.start
            seen[cells] += 1
            assert (species[cells] == g.species).all()
            own = (genes, other)[g.species]
            alone = tokenize(
                X[cells], own.rows, own.order(), cell_keys(names()[cells], DRAWING.seed),
                n_sample=DRAWING.n_sample, max_length=DRAWING.max_length,
            )  # fmt: skip
            np.testing.assert_array_equal(g.draws[0].ids, alone.ids)
            assert g.counts is None
    assert (seen == 1).all()


def test_only_chosen_blocks_are_read(genes):
    X = counts(genes)
    whole, some = prepared([genes], X), prepared([genes], X, blocks=[1, 3])
    assert [rows for rows, _ in some] == [slice(16, 32), slice(48, 60)]
    for (_, (group,)), k in zip(some, (1, 3), strict=True):
        np.testing.assert_array_equal(group.draws[0].ids, whole[k][1][0].draws[0].ids)


def test_given_sentences_are_used(genes):
    s = drawn(genes)
    for rows, (group,) in prepared([genes], counts(genes), sentences=s):
        np.testing.assert_array_equal(group.draws[0].ids, s.ids[rows])
        np.testing.assert_array_equal(group.draws[0].lengths, s.lengths[rows])


def test_counts_are_added_to_the_token_of_their_gene(table, genes):
    matrix = genes.tokens()
    assert matrix.shape == (table.n_obs + 2, n_tokens(table))
    added = np.arange(1, table.n_obs + 3) @ matrix.toarray()
    assert added[N_SPECIAL] == 1 + table.n_obs + 1
    np.testing.assert_array_equal(added[N_SPECIAL + 1 : N_SPECIAL + table.n_obs], np.arange(2, table.n_obs + 1))
    assert added[:N_SPECIAL].sum() == added[N_SPECIAL + table.n_obs :].sum() == 0
