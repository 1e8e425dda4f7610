"""Process-wide settings with environment overrides."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from univerce._validate import check_whole

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
# "warning" leaves the level to Python's logging, which shows warnings by default.
VERBOSITIES = {"error": logging.ERROR, "warning": logging.NOTSET, "info": logging.INFO, "debug": logging.DEBUG}

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def _flag(name: str, default: bool) -> bool:
    text = os.environ.get(name)
    if text is None:
        return default
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(f"The environment variable {name} is {text!r}; set it to 1 or 0.")


def _default_cache() -> Path:
    return Path(os.environ.get("UNIVERCE_CACHE") or platformdirs.user_cache_dir("univerce"))


def _batch_size() -> int | str:
    text = os.environ.get("UNIVERCE_BATCH_SIZE", "auto")
    return int(text) if text.isdecimal() else text


class _Shown(logging.Handler):
    """Show messages on stderr unless the program configures logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


_shown = _Shown()


def _set_verbosity(value: str) -> None:
    logger = logging.getLogger("univerce")
    logger.setLevel(VERBOSITIES[value])
    if value in ("info", "debug"):
        logger.addHandler(_shown)
    else:
        logger.removeHandler(_shown)


@dataclass
class Settings:
    """Settings of the package.

    Each has an environment variable, read once at import. Nothing is created on disk before the first fetch.

    Parameters
    ----------
    cache_dir
        Directory of fetched and converted assets (``UNIVERCE_CACHE``).
    offline
        Never open a connection; a missing asset is an error with the path it belongs to (``UNIVERCE_OFFLINE``).
    device
        ``"auto"`` (CUDA, then MPS, then CPU), or a torch device such as ``"cpu"`` or ``"cuda:1"``
        (``UNIVERCE_DEVICE``).
    precision
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware gains from it
        (``UNIVERCE_PRECISION``).
    batch_size
        Sentences in a batch, halved when memory runs out; ``"auto"`` fits the model and the device
        (``UNIVERCE_BATCH_SIZE``). It does not change an embedding beyond rounding.
    progress
        Whether long work shows a progress bar (``UNIVERCE_PROGRESS``).
    verbosity
        ``"error"``, ``"warning"``, ``"info"`` (adds choices, such as the coverage of the genes) or ``"debug"``: the
        level of ``logging.getLogger("univerce")`` (``UNIVERCE_VERBOSITY``). Messages go to the logging of the program,
        or to stderr if it configures none.

    Examples
    --------
    >>> import univerce as uc
    >>> with uc.settings.override(progress=False):
    ...     uc.settings.progress
    False
    """

    cache_dir: Path = field(default_factory=_default_cache)
    offline: bool = field(default_factory=lambda: _flag("UNIVERCE_OFFLINE", default=False))
    device: str = field(default_factory=lambda: os.environ.get("UNIVERCE_DEVICE", "auto"))
    precision: str = field(default_factory=lambda: os.environ.get("UNIVERCE_PRECISION", "auto"))
    batch_size: int | str = field(default_factory=_batch_size)
    progress: bool = field(default_factory=lambda: _flag("UNIVERCE_PROGRESS", default=True))
    verbosity: str = field(default_factory=lambda: os.environ.get("UNIVERCE_VERBOSITY", "warning"))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _FIELDS:
            raise AttributeError(f"There is no setting {name!r}; the settings are {', '.join(sorted(_FIELDS))}.")
        if name == "cache_dir":
            value = Path(value).expanduser()
        if name == "device" and value.split(":")[0] not in DEVICES:
            raise ValueError(f"device={value!r} is not known; use one of {', '.join(DEVICES)}.")
        if name == "precision" and value not in PRECISIONS:
            raise ValueError(f"precision={value!r} is not known; use one of {', '.join(PRECISIONS)}.")
        if name == "batch_size":
            check_whole(name, value, 1, allow=("auto",))
        if name == "verbosity":
            if value not in VERBOSITIES:
                raise ValueError(f"verbosity={value!r} is not known; use one of {', '.join(VERBOSITIES)}.")
            _set_verbosity(value)
        object.__setattr__(self, name, value)

    @contextmanager
    def override(self, **values: Any) -> Iterator[Settings]:
        """Change settings inside a ``with`` block."""
        old = {name: getattr(self, name) for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in old.items():
                setattr(self, name, value)


_FIELDS = {f.name for f in fields(Settings)}

settings = Settings()
