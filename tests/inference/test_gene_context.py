"""Sums of contextual gene vectors over sentences, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.helpers.tiny import tiny_cells, tiny_network, tiny_table
from univerce._settings import settings
from univerce.genes.lookup import map_names
from univerce.genes.table import N_SPECIAL
from univerce.inference.gene_context import ContextReader
from univerce.inference.inputs import Genes
from univerce.inference.sentences import Sentences, cell_keys, tokenize
from univerce.io.blocks import iter_blocks


@pytest.fixture(scope="module")
def sentences() -> Sentences:
    cells, table = tiny_cells(n=12, empty=(4,)), tiny_table("human")
    rows = map_names(cells.var_names, table).rows
    ((_, counts),) = iter_blocks(cells.X, 12)
    keys = cell_keys(cells.obs_names.to_numpy(object), 0)
    return tokenize(counts, rows, Genes(table, rows).order(), keys, n_sample=40, sampling="multinomial", max_length=80)


def reader(batch_size: int) -> ContextReader:
    with settings.override(batch_size=batch_size):
        return ContextReader(tiny_network(), tiny_table("human"))


def test_sums_do_not_depend_on_batches_or_calls_and_every_place_counts(sentences):
    one, many = reader(1), reader(64)
    done = []
    one.add(sentences, done.append)
    for rows in (np.arange(5), np.arange(5, 12)):
        many.add(sentences.take(rows))
    assert sum(done) == 11
    np.testing.assert_array_equal(one.n_places, many.n_places)
    np.testing.assert_allclose(one.sums, many.sums, atol=1e-4)
    ids = sentences.ids[(sentences.ids >= N_SPECIAL) & (sentences.ids < N_SPECIAL + 60)]
    np.testing.assert_array_equal(one.n_places, np.bincount(ids - N_SPECIAL, minlength=60))
    assert one.n_places.sum() == 11 * 40
    assert not one.sums[one.n_places == 0].any()


def test_the_first_position_gives_the_embedding():
    network = tiny_network()
    tokens = network.encode_tokens(torch.randn(7, 12, generator=torch.Generator().manual_seed(0)))[None]
    read = network.read_tokens(tokens)
    assert read.shape == (1, 7, 16)
    cell = F.normalize(network.decoder(read[:, 0]), dim=-1)
    np.testing.assert_allclose(cell.numpy(), network.embed(tokens).numpy(), atol=1e-5)
