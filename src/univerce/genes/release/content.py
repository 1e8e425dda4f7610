"""Whether the bytes that came are the file that was asked for."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from pathlib import Path

from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.registry import MAGIC, Asset

_POINTER = b"version https://git-lfs.github.com/spec"
_BLOCK = 2**20


def find_problem(asset: Asset, path: Path) -> str:
    """Describe why a file cannot be the asset; ``""`` if nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(512)
    if wrong := wrong_size(asset, path.stat().st_size):
        return f"it has {wrong}: {describe(head)}"
    if _is_web_page(head, asset.kind) or not head.startswith(MAGIC[asset.kind]):
        return f"it is not a {asset.kind} file but {describe(head)}"
    if asset.sha256 and (found := file_sha256(path)) != asset.sha256:
        return f"its SHA-256 is {found} instead of {asset.sha256}"
    return ""


def is_cut_off(asset: Asset, path: Path) -> bool:
    """Whether the end of a file is missing, as far as its format tells; the only hint where no checksum is known."""
    import h5py

    try:
        if asset.kind in ("torch-zip", "zip"):
            with path.open("rb") as file:
                return file.read(2) == b"PK" and not zipfile.is_zipfile(path)
        if asset.kind == "tar.gz":
            with gzip.open(path) as content:
                while content.read(_BLOCK):
                    pass
        elif asset.kind == "h5ad":
            h5py.File(path, "r").close()
        elif asset.kind == "json":
            json.loads(path.read_bytes())
        elif asset.kind == "pickle":
            return not path.read_bytes().endswith(b".")
    except (OSError, EOFError, ValueError, zlib.error):
        return True
    return False


def describe(head: bytes) -> str:
    """Describe an answer by its first bytes."""
    if head.startswith(_POINTER):
        return "a Git LFS pointer instead of the file it points to"
    kind = "a web page or error message" if _is_web_page(head) else "a file"
    return f"{kind} that begins with {head[:80]!r}" if head else "nothing"


def wrong_size(asset: Asset, size: int) -> str:
    """Describe a size that the asset cannot have; ``""`` otherwise."""
    low, high = asset.min_bytes, asset.max_bytes
    return "" if low <= size <= high else f"{size} bytes instead of {low if low == high else f'{low} to {high}'}"


def _is_web_page(head: bytes, kind: str = "") -> bool:
    return head.lstrip()[:1] in ((b"<",) if kind == "json" else (b"<", b"{", b"["))
