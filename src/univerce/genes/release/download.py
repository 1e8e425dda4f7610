"""One download from one address: resumed where it broke off, and checked before it gets its name."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pooch

from univerce._settings import settings
from univerce.genes.release.registry import MAGIC, Asset

if TYPE_CHECKING:
    from requests import Response

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt, doubled before the third
_TIMEOUT = 30.0
_CHUNK = 2**20
_POINTER = b"version https://git-lfs.github.com/spec"


class FetchError(OSError):
    """A file could not be fetched, or the answer was not the file."""


class _Enough(Exception):
    """Nothing more is read: the file is complete, or longer than it can be."""


class Part:
    """The partial file of one address, to which pooch writes; its tag tells a changed file on the server."""

    def __init__(self, asset: Asset, url: str, path: Path) -> None:
        self.asset, self.url = asset, url
        self.path = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self._tag = self.path.with_suffix(".etag")

    def download(self, *, known_hash: str | None = None) -> None:
        """Download the file and check it, also against ``known_hash`` such as ``"md5:..."``.

        ``FetchError`` if the address does not serve it. What arrived before the connection broke, or the server refused
        to continue, is kept for the next call; what is not the file is removed.
        """
        import requests

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._transfer()
                break
            except _Enough:
                break  # the checks decide
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if attempt == _ATTEMPTS:
                    have = self._have()
                    raise FetchError(
                        f"the connection broke {attempt} times, the last time after {have} bytes: {error}"
                    ) from error
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            except requests.RequestException as error:
                raise FetchError(str(error)) from error
        problem = find_problem(self.asset, self.path)
        if not problem and known_hash is not None:
            algorithm, _, expected = known_hash.partition(":")
            if (found := pooch.file_hash(str(self.path), alg=algorithm)) != expected:
                problem = f"its {algorithm} is {found} instead of {expected}"
        if problem:
            self.discard()
            raise FetchError(problem)

    def discard(self) -> None:
        """Remove the partial file and its tag."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append a chunk, up to one chunk more than the file can have."""
        with self.path.open("ab") as file:
            file.write(chunk)
            if file.tell() > self.asset.max_bytes:
                raise _Enough

    def flush(self) -> None:
        """Do nothing: chunks are not buffered."""

    def _transfer(self) -> None:
        """Request the whole file, or what is missing of the file that had this tag."""
        from tqdm.auto import tqdm

        headers = {"Accept-Encoding": "identity"}
        if have := self._have():
            headers |= {"Range": f"bytes={have}-", "If-Range": self._note()}
        size = self.asset.size or self.asset.max_bytes  # until the answer states it
        with tqdm(total=size, desc=self.asset.name, unit="B", unit_scale=True, disable=not settings.progress) as bar:
            request = pooch.HTTPDownloader(
                bar, _CHUNK, headers=headers, hooks={"response": self._accept}, timeout=_TIMEOUT
            )
            request(self.url, self, None)

    def _accept(self, response: Response, **_: Any) -> None:
        """Look at the status and the headers before anything is written."""
        import requests

        if response.is_redirect:
            return
        status, have, answer = response.status_code, self._have(), response.headers
        continues = answer.get("Content-Range", "").startswith(f"bytes {have}-") and answer.get("ETag") == self._note()
        if have and (status == 416 or (status == 206 and not continues)):
            response.close()
            if answer.get("Content-Range") == f"bytes */{have}":
                raise _Enough
            self.discard()
            raise requests.ConnectionError("the file changed on the server")  # the next attempt starts from zero
        start = have if status == 206 else 0
        length = None if "Content-Encoding" in answer else answer.get("Content-Length")
        problem = ""
        if status not in ((200, 206) if have else (200,)):
            problem = f"it answered {status} {response.reason} with"
        elif length is not None and (wrong := _wrong_size(self.asset, start + int(length))):
            problem = f"it has {wrong}:"
        if problem:
            seen = describe(next(response.iter_content(512), b""))
            response.close()
            raise FetchError(f"{problem} {seen}")
        if not start:
            self.path.write_bytes(b"")
            self._tag.write_text(answer.get("ETag", ""))

    def _note(self) -> str:
        """Tag of the version that the bytes here are of."""
        return self._tag.read_text() if self._tag.exists() else ""

    def _have(self) -> int:
        """Bytes that can be continued: the server must have named their version."""
        return self.path.stat().st_size if self._note() and self.path.exists() else 0


def find_problem(asset: Asset, path: Path) -> str:
    """Describe why a file cannot be the asset; ``""`` if nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(512)
    if wrong := _wrong_size(asset, path.stat().st_size):
        return f"it has {wrong}: {describe(head)}"
    if _is_web_page(head, asset.kind) or not head.startswith(MAGIC[asset.kind]):
        return f"it is not a {asset.kind} file but {describe(head)}"
    return ""


def describe(head: bytes) -> str:
    """Describe an answer by its first bytes."""
    if head.startswith(_POINTER):
        return "a Git LFS pointer instead of the file it points to"
    kind = "a web page or error message" if _is_web_page(head) else "a file"
    return f"{kind} that begins with {head[:80]!r}" if head else "nothing"


def _wrong_size(asset: Asset, size: int) -> str:
    low, high = asset.min_bytes, asset.max_bytes
    return "" if low <= size <= high else f"{size} bytes instead of {low if low == high else f'{low} to {high}'}"


def _is_web_page(head: bytes, kind: str = "") -> bool:
    return head.lstrip()[:1] in ((b"<",) if kind == "json" else (b"<", b"{", b"["))
