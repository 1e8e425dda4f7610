"""Models on disk: ``config.json`` and ``model.safetensors`` in a directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from univerce._errors import FileError, reading
from univerce.io.atomic import locked, recover, replacing
from univerce.io.text import read_json
from univerce.model.families import Family, find_family, read_config

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_HASHED_BYTES = 2**24  # at a time
_HASHING = Lock()  # a thread that needs a digest waits for the one that computes it
_FREE = ("model_id", "sampling")  # entries of the config that do not decide an embedding


@dataclass(frozen=True)
class Model:
    """A model on disk.

    Parameters
    ----------
    config
        The architecture, such as a :class:`UCEConfig`; its ``family`` names the kind of model.
    digest
        SHA-256 of the weights and the config: the identity of the embedding space.
    path
        The directory.

    Examples
    --------
    >>> import univerce as uc
    >>> model = uc.model.find_model("uce-mini")
    >>> (model.path.name, len(model.digest))
    ('uce-mini', 64)
    """

    config: Any
    digest: str
    path: Path

    def __repr__(self) -> str:
        return f"Model {self.config.model_id!r}: {self.config}, digest {self.digest[:12]}, in {self.path}"

    @property
    def reads_sentences(self) -> bool:
        """Whether cells become sentences; otherwise they are read as counts."""
        return find_family(self.config.family).sentences

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.path / WEIGHTS


def is_model(path: Path) -> bool:
    """Whether a directory holds a model that this package wrote; the checkpoints of others have the same names."""
    recover(path)
    if not ((path / CONFIG).is_file() and (path / WEIGHTS).is_file()):
        return False
    return not {"config", "digest"}.isdisjoint(read_json(path / CONFIG))


def read_model(path: Path) -> Model:
    """Read the config of a model directory and check its digest; ``FileError`` if its files were changed."""
    written = _read_config(path)
    with reading(path / CONFIG, "the configuration of a model"):
        config = read_config(written["family"], written["config"])
    digest = _digest(path / WEIGHTS, config)
    if digest != written["digest"]:
        raise FileError(
            f"{path / WEIGHTS} or its {CONFIG} was changed after it was written; convert or fetch it again."
        )
    return Model(config, digest, path)


def read_family(path: Path) -> Family:
    """The family of a model directory."""
    written = _read_config(path)
    with reading(path / CONFIG, "the configuration of a model"):
        return find_family(written["family"])


def write_model(config: Any, path: Path, save: Callable[[Path], Any], extra: Mapping[str, Any] | None = None) -> Model:
    """Write a model into ``path``: ``save`` writes the weights; the config, which makes it a model, comes last.

    ``extra`` are more entries of ``config.json``, for the record. ``ValueError`` if ``path`` holds a model.
    """
    with locked(path):
        if (path / CONFIG).exists():
            raise ValueError(f"{path} already holds a model; choose another directory or remove it.")
        with replacing(path / WEIGHTS) as part:
            save(part)
            digest = _digest(part, config)
        entries = {"family": config.family, "config": config.to_dict(), "digest": digest, **(extra or {})}
        with replacing(path / CONFIG) as part:
            part.write_text(json.dumps(entries, indent=2) + "\n")
            (path / WEIGHTS).chmod(part.stat().st_mode)  # safetensors lets nobody else read it
    return Model(config, digest, path)


def _read_config(path: Path) -> dict[str, Any]:
    written = read_json(path / CONFIG)
    if not {"family", "config", "digest"} <= set(written):
        raise FileError(
            f"{path / CONFIG} has no family, config and digest: it was not written by save_model() or "
            "convert_checkpoint() of this version."
        )
    return written


def _digest(weights: Path, config: Any) -> str:
    """SHA-256 of what decides an embedding; the model's name and its default sampling do not."""
    stat = weights.stat()
    with _HASHING:
        sha = _hash_weights(weights.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ino).copy()
    values = config.to_dict()
    neutral = values | {name: "" for name in _FREE if name in values}
    sha.update(json.dumps(neutral, sort_keys=True).encode())
    return str(sha.hexdigest())


@lru_cache(maxsize=64)
def _hash_weights(path: Path, size: int, mtime_ns: int, inode: int) -> Any:
    """Hash a version of a file, once in a process.

    In large parts, because this thread waits for the GIL after each.
    """
    sha, part = hashlib.sha256(), memoryview(bytearray(min(size, _HASHED_BYTES) or 1))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(part):
            sha.update(part[:n])
    return sha
