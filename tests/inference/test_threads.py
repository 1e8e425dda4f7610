"""Batches in threads: the bytes of one thread, in order, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.helpers.drawn import drawn
from tests.helpers.tiny import tiny_network, tiny_table
from univerce._settings import settings
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Genes
from univerce.inference.threads import threads_of_one_core

CPU = torch.device("cpu")


@pytest.fixture
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def embed(n_threads: int) -> np.ndarray:
    """Sentences through a network whose products torch shares among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    table = tiny_table("human")
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    with settings.override(batch_size=3):
        out = Embedder(tiny_network(d_model=256, d_hidden=1024), table).embed(drawn(genes))
    torch.set_num_threads(before)
    return out


def test_the_number_of_threads_changes_no_byte():
    expected = embed(1)
    for n in (2, 3):
        np.testing.assert_array_equal(embed(n), expected)


@pytest.mark.parametrize("n_threads", [1, 3], indirect=True)
def test_results_are_in_order_and_threads_have_one_core(n_threads):
    seen, both = set(), threading.Barrier(n_threads, timeout=60)

    def work(item: int) -> int:
        both.wait()  # passes only if so many run at once
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return item**2

    with threads_of_one_core(CPU) as each:
        assert list(each(work, range(12))) == [n**2 for n in range(12)]
    assert len(seen) == n_threads
    assert {cores for _, cores in seen} == {1}
    assert torch.get_num_threads() == n_threads
    other = []
    thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert other == [n_threads], "threads of others are as before"


@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_few_items_are_held_and_an_error_stops_the_rest(n_threads):
    taken, done = [], []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    def work(item: int) -> int:
        if item == 10:
            raise ValueError("the tenth")
        done.append(item)
        return item

    with pytest.raises(ValueError, match="the tenth"), threads_of_one_core(CPU) as each:  # noqa: PT012
        for n in each(work, items()):
            assert len(taken) <= n + 2 * n_threads
    assert max(done) < 10 + 2 * n_threads
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize("n_threads", [2], indirect=True)
def test_other_devices_get_one_batch_after_the_other(n_threads):
    with threads_of_one_core(torch.device("meta")) as each:
        here = list(each(lambda _: threading.get_ident(), range(3)))
    assert set(here) == {threading.get_ident()}
