"""Overlap the stages of work on a stream of blocks, and time them.

Every stage has one thread and holds one block: a stream takes the time of its slowest stage and the memory of a few
blocks. The threads have the settings of the caller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def n_threads() -> int:
    """Threads to compute with: ``OMP_NUM_THREADS``, as products use, else all processors."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(stated) if stated.isdecimal() and int(stated) else os.cpu_count() or 1


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, computing the next in a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        here = copy_context()
        pending = pool.submit(here.run, _next, items)
        while (item := pending.result()) is not None:
            pending = pool.submit(here.run, _next, items)
            yield item


def _next(items: Iterator[T]) -> T | None:
    return next(items, None)


@contextmanager
def in_background(work: Callable[..., Any], *args: Any) -> Iterator[None]:
    """Run ``work(*args)`` in a thread during a ``with`` block. Its errors are ignored: the block must raise them."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, work, *args)
        yield


def behind(items: Iterable[T], work: Callable[[T], Any]) -> Iterator[T]:
    """Yield the items, passing each to ``work`` in a thread while the next is computed; all are done at the end."""
    with ThreadPoolExecutor(1) as pool:
        here, pending = copy_context(), None
        for item in items:
            if pending is not None:
                pending.result()
            pending = pool.submit(here.run, work, item)
            yield item
        if pending is not None:
            pending.result()


class Stages:
    """Seconds of each stage, overlapping or not."""

    def __init__(self, *names: str) -> None:
        self.seconds = dict.fromkeys(names, 0.0)
        self._begin = time.perf_counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin

    def timed(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the items and add the time to compute them to a stage."""
        while True:
            with self.measure(stage):
                item = next(items, None)
            if item is None:
                return
            yield item

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    def __str__(self) -> str:
        total = self.total()
        parts = [f"{stage} {seconds:.2f} s ({seconds / total:.0%})" for stage, seconds in self.seconds.items()]
        return f"{', '.join(parts)}; {total:.2f} s in all"
