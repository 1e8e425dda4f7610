"""One download from one address: resumed where it broke off, and checked before it gets its name."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from univerce._settings import logger, progress_bar
from univerce.genes.release import retry
from univerce.genes.release.content import describe, find_problem, is_cut_off, wrong_size
from univerce.genes.release.registry import Asset
from univerce.io.atomic import put

if TYPE_CHECKING:
    from requests import Response

_TIMEOUT = 30.0  # seconds without a byte, or without a chunk; headers have twice as long
_CHUNK = 2**16  # bytes; less is no progress
_SEEN = 512  # bytes of an answer that is not the file
_SHORT = 5.0  # seconds to wait without a word


class FetchError(OSError):
    """A file could not be fetched, or the answer was not the file."""


class _Busy(FetchError):
    """The server may answer otherwise in a moment."""

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class _Enough(Exception):
    """Nothing more is read: the file is complete, or longer than it can be."""


class Part:
    """The partial file of one address; its tag tells a changed file on the server.

    ``known_hash`` is the checksum of the file, such as ``"md5:..."``.
    """

    def __init__(self, asset: Asset, url: str, path: Path, known_hash: str | None = None) -> None:
        self.asset, self.url, self._known_hash = asset, url, known_hash
        self.path = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        self._tag = self.path.with_suffix(".etag")
        self._end = 0
        """Bytes of the file by the last answer, 0 if it does not tell."""

    def download(self) -> None:
        """Download the file and check it.

        ``FetchError`` if the address does not serve it. What arrived before the connection broke, or the server refused
        to continue, is kept for the next call; what is not the file is removed.
        """
        import requests
        import urllib3.exceptions

        broke = failed = 0  # breaks in all, and failures since the last progress
        while True:
            had = self._have()
            try:
                self._transfer()
                break
            except _Enough:
                break  # the checks decide
            except _Busy as error:
                failed += 1
                pause = retry.pause_before(failed, error.headers)
                if pause > retry.LONGEST:
                    raise FetchError(f"{error}, and asked to wait {pause:,.0f} seconds") from error
                if failed == retry.ATTEMPTS:
                    raise FetchError(f"{error}, {failed} times") from error
            except (
                requests.ConnectionError, requests.Timeout, TimeoutError, urllib3.exceptions.ProtocolError,
                urllib3.exceptions.ReadTimeoutError,
            ) as error:  # fmt: skip
                broke, failed = broke + 1, 1 if self._have() >= had + _CHUNK else failed + 1
                pause = retry.pause_before(failed)
                if failed == retry.ATTEMPTS:
                    have = self._have()
                    raise FetchError(
                        f"the connection broke {broke} times, the last time after {have} bytes: {_reason(error)}"
                    ) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise FetchError(str(error)) from error
            if pause > _SHORT:
                logger.warning("%s asks to wait %.0f seconds.", self.url, pause)
            time.sleep(pause)
        if problem := self._find_problem():
            self.discard()
            raise FetchError(problem)

    def put(self, path: Path) -> None:
        """Give the file its name."""
        put(self.path, path)
        self.discard()

    def discard(self) -> None:
        """Remove the partial file and its tag."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def _transfer(self) -> None:
        """Request the whole file, or what is missing of the file that had this tag."""
        import requests

        headers = {"Accept-Encoding": "identity"}
        if have := self._have():
            headers |= {"Range": f"bytes={have}-", "If-Range": self._note()}
        get = partial(requests.get, self.url, headers=headers, stream=True, timeout=_TIMEOUT)
        with retry.within(2 * _TIMEOUT, get) as response:
            self._accept(response)
            size = self._end or self.asset.size
            with progress_bar(desc=self.asset.name, total=size, initial=self._have(), unit="B", unit_scale=True) as bar:
                for part in _parts(response):
                    self._write(part)
                    bar.update(len(part))
        if (size := self.path.stat().st_size) < self._end:  # a range may be answered in part
            raise requests.ConnectionError(f"the response ended after {size} of {self._end} bytes")

    def _write(self, part: bytes) -> None:
        """Append to the file, up to one part more than it can have."""
        try:
            with self.path.open("ab") as file:
                file.write(part)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error  # a full disk does not say where
        if self.path.stat().st_size > self.asset.max_bytes:
            raise _Enough

    def _accept(self, response: Response) -> None:
        """Look at the status and the headers before anything is written."""
        import requests

        status, have, answer = response.status_code, self._have(), response.headers
        tag = "" if "Content-Encoding" in answer else answer.get("ETag", "")  # ranges count compressed bytes
        continues = answer.get("Content-Range", "").startswith(f"bytes {have}-") and tag == self._note()
        if have and (status == 416 or (status == 206 and not continues)):
            response.close()
            if answer.get("Content-Range") == f"bytes */{have}":
                raise _Enough
            self.discard()
            raise requests.ConnectionError("the file changed on the server")  # the next attempt starts from zero
        start = have if status == 206 else 0
        problem, self._end = self._refusal(response, start)
        if problem:
            message = f"{problem} {describe(_beginning(response))}"
            response.close()
            raise _Busy(message, answer) if retry.is_passing(status, answer) else FetchError(message)
        if not start:
            self.path.write_bytes(b"")
            self._tag.write_text(tag)

    def _refusal(self, response: Response, start: int) -> tuple[str, int]:
        """Why an answer that goes on from ``start`` cannot be of the file, and the size of the file by its headers."""
        status, answer = response.status_code, response.headers
        if status not in ((200, 206) if self._have() else (200,)):
            return f"it answered {status} {response.reason} with", 0
        length, total = answer.get("Content-Length", ""), answer.get("Content-Range", "").rpartition("/")[2]
        if "Content-Encoding" in answer or not length.isdecimal():
            framed = length or "chunked" in answer.get("Transfer-Encoding", "").lower()
            if not framed and self._known_hash is None and not self.asset.sha256:
                return "it states neither the length of the file nor a checksum, so that a part would pass for it:", 0
            return "", 0
        end = int(total) if status == 206 and total.isdecimal() else start + int(length)
        if wrong := wrong_size(self.asset, end):
            return f"it has {wrong}:", end
        free = shutil.disk_usage(self.path.parent).free
        if end - start > free:
            raise OSError(
                f"{self.asset.name} needs {end - start:,} more bytes, and {self.path.parent} has {free:,} left. Free "
                "some, or set UNIVERCE_CACHE or uc.settings.cache_dir to another disk."
            )
        return "", end

    def _find_problem(self) -> str:
        """Why what was downloaded is not the file; ``""`` if it is."""
        if problem := find_problem(self.asset, self.path):
            return problem
        if self._known_hash is None:
            return "" if self.asset.sha256 or not is_cut_off(self.asset, self.path) else "its end is missing"
        algorithm, _, expected = self._known_hash.partition(":")
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        return "" if found == expected else f"its {algorithm} is {found} instead of {expected}"

    def _note(self) -> str:
        """Tag of the version that the bytes here are of."""
        return self._tag.read_text() if self._tag.exists() else ""

    def _have(self) -> int:
        """Bytes that can be continued: the server must have named their version."""
        return self.path.stat().st_size if self._note() and self.path.exists() else 0


def _beginning(response: Response) -> bytes:
    """First bytes of an answer, as far as they come in time."""
    import requests
    import urllib3.exceptions

    seen = b""
    with suppress(requests.RequestException, urllib3.exceptions.HTTPError):
        for part in _parts(response):
            seen += part
            if len(seen) >= _SEEN:
                break
    return seen[:_SEEN]


def _parts(response: Response) -> Iterator[bytes]:
    """What arrives, as it arrives; ``requests.Timeout`` if less than a chunk does in the time for a byte."""
    import requests

    began, n_bytes = time.monotonic(), 0
    while part := response.raw.read1(_CHUNK, decode_content=True):
        yield part
        n_bytes += len(part)
        if n_bytes >= _CHUNK:
            began, n_bytes = time.monotonic(), 0
        elif time.monotonic() - began > _TIMEOUT:
            raise requests.Timeout(f"{n_bytes:,} bytes came in {_TIMEOUT:g} seconds")


def _reason(error: Exception) -> object:
    """What broke a connection, without the layers around it."""
    return getattr(error.args[0] if error.args else None, "reason", error)
