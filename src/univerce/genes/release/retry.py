"""When a server is asked again, and when it is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 3
"""Failures in a row, without progress between them, that end a download."""
PAUSE = 1.0
"""Seconds before the second attempt, doubled before the third."""
LONGEST = 60.0
"""Seconds that a server may ask to wait."""
_BUSY = frozenset({202, 408, 425, 429, 500, 502, 503, 504})


def is_passing(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer may be another in a moment; a challenge that only a browser solves stays."""
    return status in _BUSY and headers.get("x-amzn-waf-action") != "challenge"


def pause_before(attempt: int, headers: Mapping[str, str] | None = None) -> float:
    """Seconds to wait after a failed attempt, counted from 1: those of ``Retry-After``, else longer each time."""
    asked = (headers or {}).get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        date = parsedate_to_datetime(asked)
    except (ValueError, TypeError):  # none, or neither a number nor a date
        return PAUSE * 2 ** (attempt - 1)
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do ``work`` that other timeouts do not bound, such as headers that arrive byte by byte.

    After ``TimeoutError`` it goes on in a thread that nobody waits for, until the server closes the connection.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # an error of the work
            raise
        raise TimeoutError(f"no whole answer within {seconds:g} seconds") from None
