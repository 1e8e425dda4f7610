"""One download from one source: resumed where it broke off, and checked before it gets its name."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import pooch

from univerce._settings import settings
from univerce.genes.release.registry import MAGIC, Asset

if TYPE_CHECKING:
    from pathlib import Path

    from requests import Response

_ATTEMPTS = 3
_PAUSE = 1.0  # seconds before the second attempt, doubled before the third
_TIMEOUT = 30.0
_CHUNK = 2**20


class FetchError(OSError):
    """A file could not be fetched, or the answer was not the file."""


class _TooLong(Exception):
    """More bytes than the file can have; the answer may never end."""


class Part:
    """The partial file of one source, to which pooch writes, and a note of what identifies the file on the server."""

    def __init__(self, asset: Asset, url: str, path: Path) -> None:
        self.asset, self.url = asset, url
        self.path = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self._note = self.path.with_suffix(".json")
        self._have, self._validator = 0, ""

    def download(self) -> None:
        """Download the file and check it; ``FetchError`` if the source does not serve it.

        What arrived before the connection broke, or the server refused to continue, is kept for the next call; what is
        not the file is removed.
        """
        import requests

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._transfer()
                break
            except _TooLong:
                break  # reported by the check of the file
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if attempt == _ATTEMPTS:
                    raise FetchError(
                        f"the connection broke {attempt} times, the last time after {self._size()} bytes: {error}"
                    ) from error
                time.sleep(_PAUSE * 2 ** (attempt - 1))
            except requests.RequestException as error:
                raise FetchError(str(error)) from error
        if problem := find_problem(self.asset, self.path):
            self.discard()
            raise FetchError(problem)

    def discard(self) -> None:
        """Remove the partial file and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append a chunk, up to one chunk more than the file can have."""
        with self.path.open("ab") as file:
            file.write(chunk)
            if file.tell() > self.asset.max_bytes:
                raise _TooLong

    def flush(self) -> None:
        """Do nothing: chunks are not buffered."""

    def _transfer(self) -> None:
        """Request the whole file, or what is missing of it."""
        from tqdm.auto import tqdm

        total = self._read_note()
        if self._have and self._have == total:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={self._have}-"} if self._have else {})
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
        status, have = response.status_code, self._have
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        continues = status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and (status == 416 or (status == 206 and not (continues and validator == self._validator))):
            self.discard()
            response.close()
            raise requests.ConnectionError("the file changed on the server")  # the next attempt starts from zero
        start = have if status == 206 else 0
        length = None if "Content-Encoding" in response.headers else response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        problem = ""
        if status not in ((200, 206) if have else (200,)):
            problem = f"it answered {status} {response.reason} with"
        elif total is not None and (wrong := _wrong_size(self.asset, total)):
            problem = f"it has {wrong}:"
        if problem:
            seen = _describe(next(response.iter_content(512), b""))
            response.close()
            raise FetchError(f"{problem} {seen}")
        if not start:
            self.path.write_bytes(b"")
        self._note.write_text(json.dumps({"validator": validator, "total": total}))

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _read_note(self) -> int | None:
        """Find out what can be resumed safely; return the length of the whole file, if it is known."""
        try:
            note = json.loads(self._note.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            note = {"validator": "", "total": None}
        self._validator = note["validator"]
        self._have = self._size() if self._validator else 0
        return note["total"]


def find_problem(asset: Asset, path: Path) -> str:
    """Describe why a file cannot be the asset; ``""`` if nothing speaks against it."""
    with path.open("rb") as file:
        head = file.read(512)
    if wrong := _wrong_size(asset, path.stat().st_size):
        return f"it has {wrong}: {_describe(head)}"
    if _is_web_page(head) or not head.startswith(MAGIC[asset.kind]):
        return f"it is not a {asset.kind} file but {_describe(head)}"
    return ""


def _wrong_size(asset: Asset, size: int) -> str:
    low, high = asset.min_bytes, asset.max_bytes
    return "" if low <= size <= high else f"{size} bytes instead of {low if low == high else f'{low} to {high}'}"


def _is_web_page(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"<", b"{", b"[")


def _describe(head: bytes) -> str:
    kind = "a web page or error message" if _is_web_page(head) else "a file"
    return f"{kind} that begins with {head[:80]!r}" if head else "nothing"
