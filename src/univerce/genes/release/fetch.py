"""The released files in the cache."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from univerce._settings import settings
from univerce.genes.release.checksums import check_digest, read_checksums
from univerce.genes.release.download import FetchError, Part, find_problem
from univerce.genes.release.registry import ASSETS, Asset, asset_urls, get_asset

logger = logging.getLogger(__name__)


def fetch(name: str) -> Path:
    """Return the local path of a released file; download it if it is not in the cache.

    A download resumes where an earlier one broke off. Status, length and first bytes are checked; the SHA-256 is
    recorded in ``<cache_dir>/checksums.json`` the first time and compared every later time.

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
        If the file is not in the cache and ``settings.offline`` is set.
    PermissionError
        If the cache directory is not writable.
    FetchError
        An ``OSError``, if no source served the file. The message quotes the answer of each.
    ValueError
        If ``name`` is not in the registry, a cached file is not what it should be, or its SHA-256 changed.

    Examples
    --------
    >>> import univerce as uc
    >>> with uc.settings.override(offline=True, cache_dir="nowhere"):
    ...     uc.genes.fetch("species_chrom.csv")
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
            if not path.is_file():  # another process may have fetched it in the meantime
                _download(asset, path)
                return path
    if problem := find_problem(asset, path):
        raise ValueError(f"{path} is not {name}: {problem}. Delete it and fetch it again from {asset.urls[0]}.")
    check_digest(asset.name, path)
    return path


def require(names: Iterable[str]) -> None:
    """Raise ``FileNotFoundError`` that lists every missing file with its size, if nothing may be fetched."""
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
    """List the released files and which of them are in the cache.

    Returns
    -------
    One row per file: ``name``; ``size`` in bytes (as published, or on disk once fetched; missing if unknown);
    ``cached``; ``sha256`` as recorded at the first verified download (``""`` before); ``url``.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.list_assets()["name"].tolist()[:2]
    ['species_chrom.csv', 'species_offsets.pkl']
    """
    recorded = read_checksums()
    rows = []
    for asset in ASSETS.values():
        path = settings.cache_dir / asset.name
        cached = path.is_file()
        size = path.stat().st_size if cached else asset.size
        rows.append((asset.name, size, cached, recorded.get(asset.name, ""), asset_urls(asset)[0]))
    frame = pd.DataFrame(rows, columns=["name", "size", "cached", "sha256", "url"])
    return frame.astype({"size": "Int64", "cached": bool})


def _download(asset: Asset, path: Path) -> None:
    """Try the sources in turn; the first file that passes all checks becomes ``path``."""
    reasons = []
    for url in asset_urls(asset):
        part = Part(asset, url, path)
        try:
            part.download()
        except FetchError as error:
            logger.warning("Could not fetch %s from %s: %s", asset.name, url, error)
            reasons.append(f"\n- {url}: {error}")
            continue
        try:
            check_digest(asset.name, part.path)
        except ValueError:
            part.discard()
            raise
        os.replace(part.path, path)
        part.discard()
        return
    raise FetchError(
        f"{asset.name} could not be fetched.{''.join(reasons)}\nTry again later (a broken download is resumed), set "
        f"UNIVERCE_MIRROR to the base URL of a mirror, or download {asset.urls[0]} to {path} by hand."
    )


def _human_size(size: int | None) -> str:
    if size is None:
        return "of unknown size"
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= u), (1, "bytes"))
    return f"{size / unit:.3g} {name}"


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
