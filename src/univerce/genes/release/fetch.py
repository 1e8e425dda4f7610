"""Fetching released files: resumed, checked, and never half there under their final name."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pooch

from univerce._settings import settings
from univerce.genes.release.registry import ASSETS, MAGIC, Asset, asset_urls, get_asset

if TYPE_CHECKING:
    from requests import Response

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt, doubled before the third
_TIMEOUT = 30.0
_CHUNK = 2**20
_CHECKSUMS = "checksums.json"


class FetchError(OSError):
    """A file could not be fetched, or what came was not the file."""


def fetch(name: str) -> Path:
    """The local path of a released file, downloading it when it is not in the cache.

    A download is resumed where an earlier one broke off, checked (status, length, first bytes) and only then gets its
    name. Its SHA-256 is recorded in ``<cache_dir>/checksums.json`` the first time and compared every later time.

    Parameters
    ----------
    name
        A file name that :func:`list_assets` lists.

    Returns
    -------
    The path ``<cache_dir>/<name>``.

    Raises
    ------
    FileNotFoundError
        When the file is not in the cache and ``settings.offline`` is set.
    PermissionError
        When the cache directory cannot be written.
    FetchError
        An ``OSError``: no source served the file. The message says what each of them answered.
    ValueError
        For a name that is not in the registry, a cached file that is not what it should be, and a changed SHA-256.

    Examples
    --------
    >>> import univerce as uc
    >>> from univerce.genes.release.fetch import fetch
    >>> with uc.settings.override(offline=True, cache_dir="nowhere"):
    ...     fetch("species_chrom.csv")
    Traceback (most recent call last):
    FileNotFoundError: 1 file is missing in nowhere, and uc.settings.offline forbids fetching it:
    - species_chrom.csv (4.1 MB), https://figshare.com/ndownloader/files/42706558
    ...
    """
    from filelock import FileLock

    asset = get_asset(name)
    path = settings.cache_dir / asset.name
    require([name])
    if not path.is_file():
        _require_writable(settings.cache_dir)
        with FileLock(settings.cache_dir / f".{name}.lock"):
            if not path.is_file():  # another process may have fetched it while this one waited
                _download(asset, path)
                return path
    if problem := _problem(asset, path):
        raise ValueError(f"{path} is not {name}: {problem}. Delete it and fetch it again from {asset.urls[0]}.")
    _check_digest(asset, path)
    return path


def require(names: Iterable[str]) -> None:
    """Say at once all that is missing, when nothing may be fetched.

    Parameters
    ----------
    names
        The files that are about to be fetched.

    Raises
    ------
    FileNotFoundError
        When some are not in the cache and ``settings.offline`` is set. The message names each with its size and URL,
        and the command that fetches them.
    """
    missing = [asset for asset in map(get_asset, names) if not (settings.cache_dir / asset.name).is_file()]
    if not missing or not settings.offline:
        return
    files, them = ("1 file is", "it") if len(missing) == 1 else (f"{len(missing)} files are", "them")
    lines = "".join(f"\n- {asset.name} ({_human_size(asset.size)}), {asset_urls(asset)[0]}" for asset in missing)
    raise FileNotFoundError(
        f"{files} missing in {settings.cache_dir}, and uc.settings.offline forbids fetching {them}:{lines}\n"
        f"Fetch {them} with `univerce assets fetch {' '.join(asset.name for asset in missing)}` (UNIVERCE_OFFLINE=0, "
        f"UNIVERCE_CACHE={settings.cache_dir}), or download {them} to that directory by hand."
    )


def list_assets() -> pd.DataFrame:
    """The released files and what of them is in the cache.

    Returns
    -------
    One row per file: ``name``; ``size`` in bytes (as published, or on disk once fetched; missing when unknown);
    ``cached``; ``sha256`` as recorded at the first verified download (``""`` before); ``url``.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.list_assets()["name"].tolist()[:2]
    ['species_chrom.csv', 'species_offsets.pkl']
    """
    recorded = _read_checksums()
    rows = []
    for asset in ASSETS.values():
        path = settings.cache_dir / asset.name
        cached = path.is_file()
        size = path.stat().st_size if cached else asset.size
        rows.append((asset.name, size, cached, recorded.get(asset.name, ""), asset_urls(asset)[0]))
    frame = pd.DataFrame(rows, columns=["name", "size", "cached", "sha256", "url"])
    return frame.astype({"size": "Int64", "cached": bool})


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, computed once per process for as long as size and modification time stay."""
    stat = Path(path).stat()
    return _sha256(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    return pooch.file_hash(path, alg="sha256")


def _download(asset: Asset, path: Path) -> None:
    """Try every source in turn; the first file that passes all checks becomes ``path``."""
    reasons = []
    for url in asset_urls(asset):
        # Named after the source, so that two sources never end up in one file.
        part = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        try:
            _download_from(asset, url, part)
        except FetchError as error:
            logger.warning("%s could not be fetched from %s: %s", asset.name, url, error)
            reasons.append(f"\n- {url}: {error}")
            continue
        try:
            _check_digest(asset, part)
        except ValueError:
            _discard(part)
            raise
        os.replace(part, path)
        _discard(part)
        return
    raise FetchError(
        f"{asset.name} could not be fetched.{''.join(reasons)}\nTry again later (a broken download is resumed), set "
        f"UNIVERCE_MIRROR to the base URL of a mirror, or download {asset.urls[0]} to {path} by hand."
    )


def _download_from(asset: Asset, url: str, part: Path) -> None:
    """Download one source into ``part`` and check it.

    What came before the connection broke, or the server refused to go on, is kept; what is not the file is discarded.
    """
    import requests

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _transfer(asset, url, part)
            break
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == _ATTEMPTS:
                got = part.stat().st_size if part.exists() else 0
                raise FetchError(
                    f"the connection broke {attempt} times, the last time after {got} bytes: {error}"
                ) from error
            time.sleep(_PAUSE * 2 ** (attempt - 1))
        except requests.RequestException as error:
            raise FetchError(str(error)) from error
    if problem := _problem(asset, part):
        _discard(part)
        raise FetchError(problem)


def _transfer(asset: Asset, url: str, part: Path) -> None:
    """Make one request, for the whole file or for what ``part`` lacks of it."""
    import requests
    from tqdm.auto import tqdm

    known = _read_note(part)
    have = part.stat().st_size if known else 0
    if have and have == known["total"]:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if have and (
            response.status_code == 416 or (response.status_code == 206 and not _continues(response, known, have))
        ):
            _discard(part)
            _transfer(asset, url, part)
            return
        if response.status_code not in ((200, 206) if have else (200,)):
            raise FetchError(f"it answered {response.status_code} {response.reason} with {_look(response)}")
        start = have if response.status_code == 206 else 0
        length = None if "Content-Encoding" in response.headers else response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total is not None and not asset.min_bytes <= total <= asset.max_bytes:
            raise FetchError(f"it has {_wrong_size(asset, total)}: {_look(response)}")
        if not start:
            _discard(part)
        _write_note(part, {"validator": _validator(response), "total": total})
        with (
            open(part, "ab" if start else "wb") as out,
            tqdm(
                total=total, initial=start, desc=asset.name, unit="B", unit_scale=True, disable=not settings.progress
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
                if out.tell() > asset.max_bytes:
                    return  # too large, and who knows when it ends: the check of the file says so
            if total is not None and out.tell() != total:
                raise requests.ConnectionError(f"{out.tell()} of {total} bytes came")


def _continues(response: Response, known: dict[str, Any], have: int) -> bool:
    """Whether a partial answer goes on where the file at hand ends, and is of the same file."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return begins and _validator(response) == known["validator"]


def _validator(response: Response) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _note(part: Path) -> Path:
    return part.with_suffix(".json")


def _read_note(part: Path) -> dict[str, Any]:
    """What is known of a partial file; empty when it cannot be resumed safely."""
    try:
        note = json.loads(_note(part).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return note if part.exists() and note["validator"] else {}


def _write_note(part: Path, note: dict[str, Any]) -> None:
    _note(part).write_text(json.dumps(note))


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _problem(asset: Asset, path: Path) -> str:
    """What shows that a file is not the asset; ``""`` when nothing does."""
    with open(path, "rb") as file:
        head = file.read(512)
    size = path.stat().st_size
    if not asset.min_bytes <= size <= asset.max_bytes:
        return f"it has {_wrong_size(asset, size)}: {_describe(head)}"
    if _is_web_page(head) or not head.startswith(MAGIC[asset.kind]):
        return f"it is no {asset.kind} file but {_describe(head)}"
    return ""


def _human_size(size: int | None) -> str:
    if size is None:
        return "of unknown size"
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= u), (1, "bytes"))
    return f"{size / unit:.3g} {name}"


def _wrong_size(asset: Asset, size: int) -> str:
    low, high = asset.min_bytes, asset.max_bytes
    return f"{size} bytes instead of {low if low == high else f'{low} to {high}'}"


def _is_web_page(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"<", b"{", b"[")


def _describe(head: bytes) -> str:
    kind = "a web page or error message" if _is_web_page(head) else "a file"
    return f"{kind} that begins with {head[:80]!r}" if head else "nothing at all"


def _look(response: Response) -> str:
    return _describe(next(response.iter_content(512), b""))


def _check_digest(asset: Asset, path: Path) -> None:
    """Compare with the recorded SHA-256, or record it when this is the first verified copy."""
    digest = file_sha256(path)
    recorded = _read_checksums().get(asset.name)
    if recorded is None:
        _record(asset.name, digest)
    elif digest != recorded:
        checksums = settings.cache_dir / _CHECKSUMS
        raise ValueError(
            f"{asset.name} has the SHA-256 {digest}, but {recorded} was recorded at its first verified download. If "
            f"the file was changed by mistake, delete {settings.cache_dir / asset.name} and fetch it again; if the new "
            f"one is to be trusted, delete its entry in {checksums}."
        )


def _read_checksums() -> dict[str, str]:
    path = settings.cache_dir / _CHECKSUMS
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to record the checksums anew.") from error


def _record(name: str, digest: str) -> None:
    from filelock import FileLock

    path = settings.cache_dir / _CHECKSUMS
    try:
        with FileLock(path.with_name(f".{_CHECKSUMS}.lock")):
            temporary = path.with_name(f".{_CHECKSUMS}.part")
            temporary.write_text(json.dumps(_read_checksums() | {name: digest}, indent=2, sort_keys=True) + "\n")
            os.replace(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # A shared cache that only its owner may write still serves its files.
        logger.warning("The SHA-256 of %s could not be recorded in %s: %s", name, path, error)


def _require_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise PermissionError(
            f"The cache directory {directory} cannot be written ({error}). Set UNIVERCE_CACHE, or "
            "uc.settings.cache_dir, to a directory that can."
        ) from error
