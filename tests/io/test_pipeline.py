"""Stages of work overlap, keep their order, and hand on what goes wrong."""

from __future__ import annotations

import threading
import time

import pytest

from univerce.io.pipeline import Stages, ahead, behind, in_background

STEP, N = 0.04, 8


def slow(items):
    for item in items:
        time.sleep(STEP)
        yield item


def test_four_stages_take_little_longer_than_the_slowest():
    begin, out = time.perf_counter(), []
    read = ahead(slow(range(1, N + 1)))
    tokenized = ahead(slow(read))
    for item in behind(slow(tokenized), lambda _: time.sleep(STEP)):
        out.append(item)
    seconds = time.perf_counter() - begin
    assert out == list(range(1, N + 1))
    assert seconds < 0.6 * 4 * N * STEP, "one after the other they take four times as long as one"


def test_the_next_block_is_made_in_a_thread_while_one_is_used():
    makers, made = [], []

    def items():
        for i in range(4):
            makers.append(threading.current_thread())
            made.append(i)
            yield i

    for i in ahead(items()):
        assert len(made) <= i + 2, "one block ahead, no more"
    assert made == [0, 1, 2, 3]
    assert threading.current_thread() not in makers


def test_all_that_is_behind_is_done_in_order_by_one_thread_when_the_items_end():
    done, threads = [], set()

    def work(item):
        time.sleep(0.005)
        done.append(item)
        threads.add(threading.get_ident())

    assert list(behind(range(5), work)) == done == list(range(5))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_block_waits_for_what_is_done_in_the_background_even_if_it_fails():
    done = []

    def work(item):
        time.sleep(STEP)
        done.append((item, threading.get_ident()))

    with in_background(work, 1):
        assert not done
    with pytest.raises(KeyError), in_background(work, 5):
        raise KeyError
    with in_background(broken, 1):  # the block does the same and raises
        pass
    assert [item for item, _ in done] == [1, 5]
    assert threading.get_ident() not in {thread for _, thread in done}


def broken(_):
    raise OSError("the disk is full")


@pytest.mark.parametrize("n", [1, 4])
def test_an_error_behind_is_raised_and_ends_the_stream(n):
    seen = []
    with pytest.raises(OSError, match="the disk is full"):
        seen.extend(behind(iter(range(n)), broken))
    assert len(seen) <= 1


def test_stopping_early_waits_for_what_is_being_written():
    done = []
    stream = behind(iter(range(9)), lambda item: (time.sleep(0.02), done.append(item)))
    next(stream)
    stream.close()
    assert done == [0]


def test_stages_say_what_each_took():
    stages = Stages("read", "write")
    assert list(stages.timed("read", slow(iter([1, 2])))) == [1, 2]
    with pytest.raises(ValueError, match="wrong"), stages.measure("write"):
        raise ValueError("wrong")
    assert 2 * STEP <= stages.seconds["read"] <= stages.total()
    assert 0 < stages.seconds["write"] < STEP
    assert str(stages).startswith("read 0.")
    assert " s in all" in str(stages)
