"""Threads that compute batches on the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

A = TypeVar("A")
T = TypeVar("T")


@contextmanager
def threads_of_one_core(device: torch.device) -> Iterator[Callable[..., Iterator[Any]]]:
    """A map over as many threads as torch has, each of which computes with one core; the built-in one on other devices.

    Batches side by side are faster than one batch whose operations are split: no thread waits for another, and one does
    its products while another is at its norms. Results also do not depend on the number of threads.
    """
    n = torch.get_num_threads()
    if device.type != "cpu" or n == 1:
        yield map
        return
    with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield lambda work, items: _few_at_a_time(pool, work, items, n + 1)
        finally:
            torch.set_num_threads(n)  # what threads of others start with


def _few_at_a_time(pool: ThreadPoolExecutor, work: Callable[[A], T], items: Iterable[A], most: int) -> Iterator[T]:
    """As ``pool.map``, which would hold all items at once."""
    pending: deque[Future[T]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) == most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
