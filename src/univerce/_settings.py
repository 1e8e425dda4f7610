"""Process-wide settings with environment overrides."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    from tqdm.auto import tqdm

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
# "warning" leaves the level to Python's logging, which shows warnings by default.
HINT = (logging.INFO + logging.DEBUG) // 2  # that of scanpy
VERBOSITIES = {
    "error": logging.ERROR, "warning": logging.NOTSET, "info": logging.INFO, "hint": HINT, "debug": logging.DEBUG,
}  # fmt: skip
_KNOWN: dict[str, Any] = {
    "device": DEVICES, "precision": PRECISIONS, "verbosity": VERBOSITIES, "offline": (True, False),
    "progress": (True, False),
}  # fmt: skip

_block: ContextVar[dict[str, Any] | None] = ContextVar("univerce_settings", default=None)
"""Values of the ``with settings.override(...)`` blocks around this code."""
_running: list[dict[str, Any]] = []
"""Values of all blocks that run, in any thread."""
_lock = threading.Lock()

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


logger = logging.getLogger("univerce")
_shown = _Shown()


def _is_wanted(record: logging.LogRecord) -> bool:
    """Whether the code that logs shows such messages; the level of the logger is that of the most verbose thread."""
    lowest = VERBOSITIES[settings.verbosity]
    if not lowest and _shown in logger.handlers:
        lowest = logging.getLogger().level
    return record.levelno >= lowest


logger.addFilter(_is_wanted)


def _set_level(verbosity: str) -> None:
    """Let the logger pass what this process or a block in any thread shows."""
    wanted = {verbosity, *(block["verbosity"] for block in _running if "verbosity" in block)}
    most = max(wanted, key=list(VERBOSITIES).index)
    logger.setLevel(VERBOSITIES[most])
    if most in ("info", "hint", "debug"):
        logger.addHandler(_shown)
    else:
        logger.removeHandler(_shown)


@dataclass
class Settings:
    """Settings of the package.

    Each setting has an environment variable, read once at import. An assignment holds for the process, :meth:`override`
    for a block in one thread or asyncio task. Nothing is created on disk before the first download.

    Parameters
    ----------
    cache_dir
        Directory of fetched and converted assets (``UNIVERCE_CACHE``).
    offline
        Never connect to a network; a missing file raises an error that names its path (``UNIVERCE_OFFLINE``).
    device
        ``"auto"`` (CUDA, then MPS, then CPU), or a torch device such as ``"cpu"`` or ``"cuda:1"``
        (``UNIVERCE_DEVICE``).
    precision
        ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware is faster with it
        (``UNIVERCE_PRECISION``).
    batch_size
        Sentences in a batch, halved when memory runs out; ``"auto"`` fits the model and the device
        (``UNIVERCE_BATCH_SIZE``). It does not change an embedding beyond rounding.
    progress
        Show progress bars (``UNIVERCE_PROGRESS``).
    verbosity
        ``"error"``, ``"warning"``, ``"info"`` (adds what was done and left out), ``"hint"`` (adds details, such as the
        coverage of the genes) or ``"debug"``, or 0 to 4 as in scanpy: the level of ``logging.getLogger("univerce")``
        (``UNIVERCE_VERBOSITY``). Messages go to the logging of the program, or to stderr if it configures none.

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

    if not TYPE_CHECKING:

        def __getattribute__(self, name: str) -> Any:
            values = _block.get()
            return object.__getattribute__(self, name) if values is None or name not in values else values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        value = _checked(name, value)
        values = _block.get()
        if values is not None and name in values:
            values[name] = value  # until the block ends
        else:
            object.__setattr__(self, name, value)
        if name == "verbosity":
            with _lock:
                _set_level(object.__getattribute__(self, name))

    def __reduce__(self) -> str:
        return "settings"  # those of the process that reads the pickle

    @contextmanager
    def override(self, **values: Any) -> Iterator[Settings]:
        """Change settings inside a ``with`` block.

        The values hold in this thread or asyncio task and in tasks that it starts. Threads started inside the block use
        the values of the process, unless they run in ``contextvars.copy_context()``.
        """
        block = (_block.get() or {}) | {name: _checked(name, value) for name, value in values.items()}
        token = _block.set(block)
        with _lock:
            _running.append(block)
            _set_level(object.__getattribute__(self, "verbosity"))
        try:
            yield self
        finally:
            with suppress(ValueError):  # a generator that was closed in another context
                _block.reset(token)
            with _lock:
                _running[:] = [other for other in _running if other is not block]
                _set_level(object.__getattribute__(self, "verbosity"))


def _checked(name: str, value: Any) -> Any:
    """Check the value of a setting; ``AttributeError`` or ``ValueError``."""
    if name not in _FIELDS:
        raise AttributeError(f"There is no setting {name!r}; the settings are {', '.join(sorted(_FIELDS))}.")
    if name == "cache_dir":
        return Path(value).expanduser()
    if name == "batch_size" and value != "auto":
        from univerce._validate import check_whole  # loads pandas

        check_whole(name, value, 1, allow=("auto",))
    if name == "device":
        value = str(value)  # of a torch.device
    if name == "verbosity" and str(value) in (names := dict(zip("01234", VERBOSITIES, strict=True))):
        value = names[str(value)]
    known = _KNOWN.get(name)
    if known is not None and (value.split(":")[0] if name == "device" else value) not in known:
        raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(map(str, known))}.")
    return value


_FIELDS = {f.name for f in fields(Settings)}

settings = Settings()


def progress_bar(items: Any = None, **options: Any) -> tqdm[Any]:
    """Create a bar of tqdm, which ``settings.progress`` hides."""
    from tqdm.auto import tqdm

    bar: tqdm[Any] = tqdm(items, disable=not settings.progress, **options)
    return bar
