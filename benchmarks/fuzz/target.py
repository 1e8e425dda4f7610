"""What is fuzzed: how values are made, and how one is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from univerce import FileError


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    name: str
    whole: bytes
    """A valid file."""
    attempt: Callable[[bytes], bool]
    """Read a file with this content: whether it was read. Raises if the result is wrong or the error not documented."""
    bombs: tuple[bytes, ...] = ()
    """Contents that state or unpack to far more than they hold."""


@dataclass(frozen=True)
class Target:
    """One reader."""

    strategy: st.SearchStrategy[Any]
    attempt: Callable[[Any], bool]
    formats: tuple[Format, ...] = ()


def read_or_refuse(path: Path, content: bytes, read: Callable[[], Any], *further: type[Exception]) -> Any:
    """What is read from a file with this content; ``None`` if it is refused with the path, or by ``further``."""
    path.write_bytes(content)
    try:
        return read()
    except FileError as error:
        if str(path.parent) not in str(error):  # weights and configuration may be told apart by neither
            raise AssertionError(f"the path is not named: {error}") from error
    except further:
        pass
    return None
