"""Files of repositories on the Hugging Face hub, verified and kept in the cache of this package."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from univerce._settings import logger, settings
from univerce.genes.release import retry
from univerce.genes.release.checksums import file_sha256, read_checksums, record_checksum
from univerce.genes.release.content import describe
from univerce.genes.release.download import FetchError
from univerce.io.atomic import full_disk, locked

T = TypeVar("T")
_PREFIX = "hf://"
_COMMIT = re.compile("[0-9a-f]{40}")
_BLOCK = 2**20
_LISTING = 60.0  # seconds for all of a list of files


@dataclass(frozen=True)
class HubEntry:
    """What the hub says of one file."""

    size: int
    sha256: str
    """``""`` for a small file, which git names by ``blob`` instead."""
    blob: str


def parse_hub(model: str) -> tuple[str, str | None] | None:
    """Split ``hf://owner/name`` or ``hf://owner/name@revision``; ``None`` for other strings."""
    if not model.startswith(_PREFIX):
        return None
    repository, _, revision = model.removeprefix(_PREFIX).partition("@")
    if len([part for part in repository.split("/") if part]) != 2 or repository.count("/") != 1:
        raise ValueError(f"{model!r} does not name a repository; write hf://owner/name or hf://owner/name@revision.")
    return repository, revision or None


def is_offline() -> bool:
    """Whether nothing may be fetched: ``settings.offline``, or ``HF_HUB_OFFLINE`` in the environment."""
    return settings.offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def hub_commit(repository: str, revision: str | None) -> str:
    """Find the commit of a revision; without one, that of the first fetch, so that a model stays the same.

    ``FileNotFoundError`` offline if it is not on record, ``FetchError`` if the hub does not tell it.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    name = f"{_PREFIX}{repository}" + (f"@{revision}" if revision else "")
    recorded = read_checksums().get(name)
    if recorded is not None and (revision is None or is_offline()):
        return recorded
    if is_offline():
        raise _offline(name)
    commit, _ = _listing(repository, revision, _endpoint())
    record_checksum(name, commit)
    return commit


def hub_files(repository: str, commit: str) -> Mapping[str, HubEntry]:
    """List the files of a repository at a commit; ``FileNotFoundError`` offline."""
    if is_offline():
        raise _offline(f"{_PREFIX}{repository}@{commit[:12]}")
    return _listing(repository, commit, _endpoint())[1]


def find_hub_file(repository: str, path: str, commit: str) -> Path | None:
    """Find a file that was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, path, cache_dir=_cache(), revision=commit)
    return Path(found) if isinstance(found, str) else None


def snapshot(repository: str, commit: str) -> list[str]:
    """List the files of a repository at a commit that were fetched before."""
    root = _folder(repository) / "snapshots" / commit
    return [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]


def fetch_hub_file(repository: str, path: str, revision: str | None = None) -> Path:
    """Return the local path of a file; fetch it if it is not in the cache, and compare it with the hub's checksum.

    ``FileNotFoundError`` if it is missing and nothing may be fetched; ``FetchError`` if the hub does not serve it, or
    what it serves is not the file; ``PermissionError`` if the cache cannot be written.
    """
    commit = hub_commit(repository, revision)
    if (found := find_hub_file(repository, path, commit)) is not None:
        return found
    where = f"{_PREFIX}{repository}@{commit[:12]}/{path}"
    if is_offline():
        raise _offline(where)
    entry = hub_files(repository, commit).get(path)
    if entry is None:
        raise FetchError(f"{_PREFIX}{repository}@{commit[:12]} has no {path}.")
    folder = _folder(repository)
    with locked(folder):
        for part in folder.glob("blobs/*.*.incomplete"):  # of a process that was killed: nobody continues it
            part.unlink()
        return _repeated(lambda: _download(repository, path, commit, entry, where), where)


def _download(repository: str, path: str, commit: str, entry: HubEntry, where: str) -> Path:
    from huggingface_hub import hf_hub_download

    with _progress():
        file = Path(hf_hub_download(repository, path, revision=commit, cache_dir=_cache(), endpoint=_endpoint()))
    if problem := _problem(file, entry):
        for copy in {file.resolve(), file}:  # the file and the link to it, so that it is fetched again
            copy.unlink(missing_ok=True)
        raise FetchError(f"{where}: {problem}")
    return file


def _offline(what: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{what} is not in {settings.cache_dir}, and offline mode (uc.settings.offline or HF_HUB_OFFLINE) forbids "
        "fetching it."
    )


def _problem(file: Path, entry: HubEntry) -> str:
    """Describe why a file is not what the hub lists; ``""`` if it is."""
    size = file.stat().st_size
    if entry.sha256:
        found, expected = file_sha256(file), entry.sha256
    else:
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
        found, expected = digest.hexdigest(), entry.blob
    if found == expected:
        return ""
    with file.open("rb") as content:
        seen = describe(content.read(512))
    return f"its checksum is {found[:12]} instead of {expected[:12]} ({size} of {entry.size} bytes): {seen}"


@lru_cache(maxsize=64)
def _listing(repository: str, revision: str | None, endpoint: str | None) -> tuple[str, Mapping[str, HubEntry]]:
    from huggingface_hub import HfApi

    where = f"{_PREFIX}{repository}" + (f"@{revision[:12]}" if revision else "")
    api = HfApi(endpoint=endpoint)
    ask = partial(api.model_info, repository, revision=revision, files_metadata=True)
    info = _repeated(lambda: retry.within(_LISTING, ask), where)
    files = {
        each.rfilename: HubEntry(each.size or 0, each.lfs.sha256 if each.lfs else "", each.blob_id or "")
        for each in info.siblings or ()
    }
    commit = info.sha or ""
    if not _COMMIT.fullmatch(commit):  # it becomes part of paths
        raise FetchError(f"{where}: the hub does not state its commit, but {commit!r}.")
    return commit, files


def _repeated(work: Callable[[], T], where: str) -> T:
    """Do what may fail in passing, again if it does; every failure is a ``FetchError``."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - of the client, whose classes depend on its version
            answer = getattr(error, "response", None)
            headers = {} if answer is None else answer.headers
            pause = retry.pause_before(attempt, headers)
            full = full_disk(error) is not None
            stays = full or (answer is not None and not retry.is_passing(answer.status_code, headers))
            reason = (" ".join(str(error).split()) or type(error).__name__) + f" in {_cache()}" * full
            failure = error if isinstance(error, FetchError) else FetchError(f"{where}: {reason}")
            if stays or pause > retry.LONGEST or attempt == retry.ATTEMPTS:
                raise failure from error.__cause__ if failure is error else error
            logger.warning("%s\nTrying again in %.0f seconds.", failure, pause)
        time.sleep(pause)


@contextmanager
def _progress() -> Iterator[None]:
    from huggingface_hub import utils as hub_utils

    utils: Any = hub_utils  # does not declare what it exports
    if settings.progress or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _endpoint() -> Any:
    return os.environ.get("HF_ENDPOINT") or None


def _cache() -> Path:
    return settings.cache_dir / "hub"


def _folder(repository: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return _cache() / repo_folder_name(repo_id=repository, repo_type="model")
