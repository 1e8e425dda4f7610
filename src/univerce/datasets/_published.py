"""Files of published data sets: where they are, and what is known of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pooch

from univerce._settings import settings


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published data set."""

    urls: tuple[str, ...]
    """Sources, in the order they are tried."""
    size: int
    """Bytes, approximately if ``sha256`` is not known."""
    sha256: str | None = None


FILES: Mapping[str, PublishedFile] = MappingProxyType(
    {
        "kang_2018.h5ad": PublishedFile(
            (
                "https://exampledata.scverse.org/pertpy/kang_2018.h5ad",
                "https://api.figshare.com/v2/file/download/34464122",
            ),
            size=38_356_412,
            sha256="e6a5adac64dcdeb36eaba27db49b63e0c64bb0ed4a64c6705971506b41c39830",
        ),
        "GSE84133_RAW.tar": PublishedFile(
            ("https://ftp.ncbi.nlm.nih.gov/geo/series/GSE84nnn/GSE84133/suppl/GSE84133_RAW.tar",),
            size=33_000_000,
            sha256="aed2d208d47a36658aa0e63629afe5d4144ef465a8e3d9a0f377422b1f1073dc",
        ),
        "tabula_muris_droplet.zip": PublishedFile(
            (
                "https://api.figshare.com/v2/file/download/10700167",
                "https://ndownloader.figshare.com/files/10700167",
            ),
            size=393_000_000,
        ),
        "tabula_muris_annotations_droplet.csv": PublishedFile(
            (
                "https://api.figshare.com/v2/file/download/13088039",
                "https://ndownloader.figshare.com/files/13088039",
            ),
            size=8_000_000,
        ),
    }
)  # fmt: skip


def retrieve(name: str) -> Path:
    """Return the path of a file in ``<cache_dir>/datasets``; download it if it is not there.

    Raises
    ------
    FileNotFoundError
        If the file is not there and ``settings.offline`` is set.
    OSError
        If no source serves it. The message quotes the answer of each.
    """
    import requests

    file = FILES[name]
    directory = settings.cache_dir / "datasets"
    path = directory / name
    known_hash = None if file.sha256 is None else f"sha256:{file.sha256}"
    if path.is_file() and (file.sha256 is None or pooch.file_hash(str(path)) == file.sha256):
        return path
    by_hand = f"Download {file.urls[0]} to {path} by hand."
    if settings.offline:
        raise FileNotFoundError(
            f"{path} ({file.size / 1e6:.0f} MB) is missing, and uc.settings.offline forbids fetching it. {by_hand}"
        )
    mirror = os.environ.get("UNIVERCE_MIRROR")
    reasons = []
    for url in ((f"{mirror.rstrip('/')}/{name}",) if mirror else ()) + file.urls:
        loader = pooch.HTTPDownloader(progressbar=settings.progress, timeout=60)
        try:
            pooch.retrieve(url, known_hash, fname=name, path=directory, downloader=loader)
        except (requests.RequestException, ValueError) as error:  # ValueError: another SHA-256
            reasons.append(f"\n- {url}: {error}")
            continue
        if file.sha256 is not None or path.stat().st_size > file.size / 2:
            return path
        reasons.append(f"\n- {url}: {path.stat().st_size} bytes instead of about {file.size}")
        path.unlink()  # a page that asks to prove not to be a program
    raise OSError(f"{name} could not be downloaded.{''.join(reasons)}\n{by_hand}")
