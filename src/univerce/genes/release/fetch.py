"""The released files in the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd

from univerce._settings import logger, settings
from univerce.genes.release.checksums import check_digest, read_checksums
from univerce.genes.release.content import find_problem
from univerce.genes.release.download import FetchError, Part
from univerce.genes.release.hub import fetch_hub_file, find_hub_file, is_offline
from univerce.genes.release.registry import ASSETS, FIGSHARE_FILES, Asset, HubFile, asset_urls, get_asset
from univerce.genes.release.retry import within
from univerce.io.atomic import locked


def fetch(name: str) -> Path:
    """Return the local path of a released file; download it if it is not in the cache.

    The sources are tried in turn: ``UNIVERCE_MIRROR`` if it is set; figshare by its API, its file host and its website;
    the copies on the Hugging Face hub. Broken downloads resume. Status, length, first bytes and the checksums that
    figshare and the hub state are checked; the SHA-256 is recorded in ``<cache_dir>/checksums.json`` the first time and
    compared every later time.

    Parameters
    ----------
    name
        A file name that :func:`list_assets` lists.

    Returns
    -------
    The path ``<cache_dir>/<name>``, or that of the copy of the hub in ``<cache_dir>/hub``.

    Raises
    ------
    FileNotFoundError
        If the file is not in the cache and ``settings.offline`` (or ``HF_HUB_OFFLINE``) is set.
    PermissionError
        If the cache directory is not writable.
    FetchError
        An ``OSError``, if no source served the file. The message quotes the answer of each.
    ValueError
        If ``name`` is not in the registry, or a cached file fails a check or has changed.

    Examples
    --------
    >>> import univerce as uc
    >>> with uc.settings.override(offline=True, cache_dir="nowhere"):
    ...     uc.genes.fetch("species_chrom.csv")
    Traceback (most recent call last):
    FileNotFoundError: 1 file is missing in nowhere, and uc.settings.offline forbids fetching it:
    - species_chrom.csv (4.1 MB), https://api.figshare.com/v2/file/download/42706558
    ...
    """
    asset = get_asset(name)
    require([name])
    return fetch_asset(asset, settings.cache_dir)


def fetch_asset(asset: Asset, directory: Path) -> Path:
    """Return the path of a file in a directory of the cache, or that of a copy of the hub; download it if it is new."""
    path = directory / asset.name
    if not path.is_file():
        if (copy := _hub_copy(asset)) is not None:
            return copy
        _require_writable(directory)
        with locked(path):
            if not path.is_file():  # another process may have fetched it in the meantime
                return _hub_copy(asset) or _download(asset, path)
    if problem := find_problem(asset, path):
        raise ValueError(f"{path} is not {asset.name}: {problem}. Delete it and fetch it again from {_first(asset)}.")
    check_digest(_name_in_cache(path), path)
    return path


def _name_in_cache(path: Path) -> str:
    return path.relative_to(settings.cache_dir).as_posix()


def is_cached(name: str) -> bool:
    """Whether a released file is in the cache."""
    asset = get_asset(name)
    return (settings.cache_dir / asset.name).is_file() or _hub_copy(asset) is not None


def require(names: Iterable[str]) -> None:
    """Raise ``FileNotFoundError`` that lists every missing file with its size, if nothing may be fetched."""
    if not is_offline() or not (missing := [get_asset(name) for name in names if not is_cached(name)]):
        return
    files, them = ("1 file is", "it") if len(missing) == 1 else (f"{len(missing)} files are", "them")
    lines = "".join(f"\n- {asset.name} ({human_size(asset.size)}), {_first(asset)}" for asset in missing)
    raise FileNotFoundError(
        f"{files} missing in {settings.cache_dir}, and uc.settings.offline forbids fetching {them}:{lines}\n"
        f"Fetch {them} with `univerce assets fetch {' '.join(asset.name for asset in missing)}` (UNIVERCE_OFFLINE=0, "
        f"UNIVERCE_CACHE={settings.cache_dir}), or download {them} to that directory by hand."
    )


def list_assets() -> pd.DataFrame:
    """List the released files and which of them are in the cache.

    Returns
    -------
    One row per file: ``name``; ``size`` in bytes (as published, or on disk once fetched; missing if unknown);
    ``cached``; ``sha256`` as recorded at the first verified download (``""`` before, and for copies of the hub);
    ``url`` of the first source.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.list_assets()["name"].tolist()[:2]
    ['species_chrom.csv', 'species_offsets.pkl']
    """
    recorded = read_checksums()
    rows = []
    for asset in ASSETS.values():
        own = settings.cache_dir / asset.name
        path = own if own.is_file() else _hub_copy(asset)
        size = asset.size if path is None else path.stat().st_size
        rows.append((asset.name, size, path is not None, recorded.get(asset.name, ""), _first(asset)))
    frame = pd.DataFrame(rows, columns=["name", "size", "cached", "sha256", "url"])
    return frame.astype({"size": "Int64", "cached": bool})


def human_size(size: int | None) -> str:
    """Write a number of bytes with its unit."""
    if size is None:
        return "of unknown size"
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= u), (1, "bytes"))
    return f"{size / unit:.3g} {name}"


def _download(asset: Asset, path: Path) -> Path:
    """Try the sources in turn; the first file that passes all checks is the asset."""
    reasons = []
    for url in asset_urls(asset):
        part = Part(asset, url, path, _known_hash(asset, url))
        try:
            part.download()
        except FetchError as error:
            logger.warning("Could not fetch %s from %s: %s", asset.name, url, error)
            reasons.append(f"\n- {url}: {error}")
            continue
        try:
            check_digest(_name_in_cache(path), part.path)
        except ValueError:
            part.discard()
            raise
        part.put(path)
        return path
    for copy in asset.hub:
        try:
            file = fetch_hub_file(copy.repository, copy.path, copy.revision)
        except FetchError as error:
            logger.warning("Could not fetch %s from %s: %s", asset.name, copy, error)
            reasons.append(f"\n- {error}")
            continue
        if problem := find_problem(asset, file):
            reasons.append(f"\n- {copy}: {problem}")
            continue
        return file
    raise FetchError(
        f"{asset.name} could not be fetched.{''.join(reasons)}\nTry again later (a broken download is resumed), set "
        f"UNIVERCE_MIRROR to the base URL of a mirror, or download {_first(asset)} to {path} by hand."
    )


def _known_hash(asset: Asset, url: str) -> str | None:
    return _figshare_files().get(asset.figshare_id) if asset.figshare_id and url in asset.urls else None


@lru_cache(maxsize=1)
def _figshare_files() -> Mapping[int, str]:
    """Checksums of the files at figshare by their number, if its REST API answers."""
    import requests

    try:
        get = partial(requests.get, FIGSHARE_FILES, params={"page_size": 100}, timeout=10)
        answer = within(30, get)
        answer.raise_for_status()
        return {int(file["id"]): f"md5:{file['computed_md5']}" for file in answer.json() if file.get("computed_md5")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("figshare did not state its checksums: %s", error)
        return {}


def _hub_copy(asset: Asset) -> Path | None:
    """Find a copy of the hub that was fetched before."""
    return next((path for copy in asset.hub if (path := _find_copy(copy)) is not None), None)


def _find_copy(copy: HubFile) -> Path | None:
    if not (settings.cache_dir / "hub").is_dir():  # nothing was fetched from the hub
        return None
    commit = copy.revision or read_checksums().get(f"hf://{copy.repository}")
    return None if commit is None else find_hub_file(copy.repository, copy.path, commit)


def _first(asset: Asset) -> str:
    return next(iter((*asset_urls(asset), *map(str, asset.hub))))


def _require_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise PermissionError(
            f"The cache directory {directory} is not writable ({error}). Set UNIVERCE_CACHE or uc.settings.cache_dir "
            "to one that is."
        ) from error
