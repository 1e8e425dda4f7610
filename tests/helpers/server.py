"""A server on this machine that misbehaves in every known way, and what a download has to make of each."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from univerce._settings import settings
from univerce.genes.release import download, fetch, registry, retry
from univerce.genes.release.registry import Asset

Answer = Callable[[Any], None]
BODY = pickle.dumps(list(range(100_000)))
OTHER = pickle.dumps(list(range(1, 100_001)))
NAME = "toy.pkl"
PAGE = b"<!DOCTYPE html><html><body>403 Forbidden: request blocked</body></html>"


class Server:
    """Answers ``GET /<path>`` with the function registered for the path, and records path and range."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.answers[self.path](self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def answer(
    body: bytes = BODY, status: int = 200, *, length: int | None = None, declare: bool = True, hang: float = 0,
    headers: Sequence[tuple[str, str]] = (),
) -> Answer:  # fmt: skip
    """Send ``body``, saying that it has ``length`` bytes, and do nothing for ``hang`` seconds."""

    def send(handler: Any) -> None:
        handler.send_response(status)
        if declare:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers:
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)
        if hang:
            threading.Event().wait(hang)

    return send


def ranged(body: bytes = BODY, *, etag: str = "one", cuts: Sequence[int] = (), honest: bool = False) -> Answer:
    """Honor Range; the n-th answer breaks off after ``cuts[n]`` bytes, of which a range is ``honest``."""
    breaks = list(cuts)

    def send(handler: Any) -> None:
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(body):
            return answer(b"", 416, headers=[("Content-Range", f"bytes */{len(body)}")])(handler)
        cut = breaks.pop(0) if breaks else None
        sent = body[start:][:cut]
        headers = [("ETag", etag)] if etag else []
        if asked:
            last = start + len(sent) - 1 if honest else len(body) - 1
            headers.append(("Content-Range", f"bytes {start}-{last}/{len(body)}"))
        stated = len(sent) if honest and asked else len(body) - start
        return answer(sent, 206 if asked else 200, length=stated, headers=headers)(handler)

    return send


def broken(body: bytes = BODY, cut: int = 1000, *, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """State the length of ``body`` and break off after ``cut`` bytes."""
    return answer(body[:cut], length=len(body), headers=headers)


def dripping(body: bytes = BODY, status: int = 200, pause: float = 0.1) -> Answer:
    """State the length of ``body`` and send a byte now and then."""

    def send(handler: Any) -> None:
        answer(b"", status, length=len(body))(handler)
        with suppress(OSError):  # the other side closes
            for byte in body[: int(SLOW / pause)]:
                handler.wfile.write(bytes([byte]))
                time.sleep(pause)

    return send


def slow_headers(handler: Any, pause: float = 0.1) -> None:
    """Send the headers a byte now and then."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nServer: ")
        for _ in range(int(SLOW / pause)):
            handler.wfile.write(b"x")
            time.sleep(pause)


def chunked(body: bytes = BODY, cut: int | None = None) -> Answer:
    """Send ``body`` in chunks of no stated length, without the last if there is a ``cut``."""

    def send(handler: Any) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body[:cut]), 50_000):
            part = body[:cut][start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n" if cut is None else b"")
        handler.close_connection = True

    return send


def in_turn(answers: Sequence[Answer]) -> Answer:
    """Each answer once, and then the last."""
    rest = list(answers)
    return lambda handler: (rest.pop(0) if len(rest) > 1 else rest[0])(handler)


@dataclass(frozen=True)
class Behavior:
    """What a server does at one address, and what has to become of it."""

    answers: Callable[[], Sequence[Answer]]
    refused: str = ""
    """What the error says; ``""`` if the file has to arrive."""
    ranges: Sequence[str | None] = (None,)
    """Of each request."""
    waits: Sequence[float] = ()
    """Seconds before each further request, those of ``Retry-After``; the others are 0 here."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the asset."""
    patience: float = 30.0
    """Seconds that a download waits for the server."""


TAG = [("ETag", "one")]
SHORT, SLOW = 0.4, 3.0  # seconds: the patience with a slow server, and what it takes


def _after(seconds: float) -> list[tuple[str, str]]:
    return [("Retry-After", format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True))]


def _busy(status: int, headers: Sequence[tuple[str, str]] = ()) -> list[Answer]:
    return [answer(b"", status, headers=headers), answer()]


BEHAVIORS: dict[str, Behavior] = {
    "the file, with its length": Behavior(lambda: [answer()]),
    "the file, in chunks of no stated length": Behavior(lambda: [chunked()]),
    "the file, compressed although that was not asked for": Behavior(
        lambda: [answer(gzip.compress(BODY), headers=[("Content-Encoding", "gzip")])]
    ),
    "compressed, breaks off": Behavior(
        lambda: [broken(gzip.compress(BODY), 100_000, headers=[*TAG, ("Content-Encoding", "gzip")]), ranged()],
        ranges=(None, None), waits=(0,),
    ),
    "breaks off twice, and continues": Behavior(
        lambda: [ranged(cuts=[1000, 5000])], ranges=(None, "bytes=1000-", "bytes=6000-"), waits=(0, 0)
    ),
    "breaks off more often than is tried without progress": Behavior(
        lambda: [ranged(cuts=[1000] * 5)], ranges=(None, *(f"bytes={n}000-" for n in range(1, 6))), waits=(0,) * 5
    ),
    "answers a range in part": Behavior(
        lambda: [ranged(cuts=[1000, 5000], honest=True)], ranges=(None, "bytes=1000-", "bytes=6000-"), waits=(0, 0)
    ),
    "breaks off, and names no version": Behavior(lambda: [broken(), answer()], ranges=(None, None), waits=(0,)),
    "breaks off, and does not know ranges": Behavior(
        lambda: [broken(headers=TAG), answer(headers=TAG)], ranges=(None, "bytes=1000-"), waits=(0,)
    ),
    "breaks off, and then has another version": Behavior(
        lambda: [broken(OTHER, headers=[("ETag", "old")]), answer(headers=TAG)],
        ranges=(None, "bytes=1000-"), waits=(0,),
    ),
    "breaks off, and continues another version": Behavior(
        lambda: [broken(OTHER, headers=[("ETag", "old")]), ranged(etag="new")],
        ranges=(None, "bytes=1000-", None), waits=(0, 0),
    ),
    "breaks off, and refuses the range": Behavior(
        lambda: [broken(OTHER, headers=TAG), answer(b"", 416), answer()],
        ranges=(None, "bytes=1000-", None), waits=(0, 0),
    ),
    "redirects to the file": Behavior(
        lambda: [answer(b"", 302, headers=[("Location", "/a")]), answer()], ranges=(None, None)
    ),
    "429, Retry-After in seconds": Behavior(
        lambda: _busy(429, [("Retry-After", "7")]), ranges=(None, None), waits=(7,)
    ),
    "503, Retry-After as a date": Behavior(lambda: _busy(503, _after(20)), ranges=(None, None), waits=(20,)),
    "503, Retry-After that is neither": Behavior(
        lambda: _busy(503, [("Retry-After", "soon")]), ranges=(None, None), waits=(0,)
    ),
    "500 once": Behavior(lambda: _busy(500), ranges=(None, None), waits=(0,)),
    "202 once": Behavior(lambda: _busy(202), ranges=(None, None), waits=(0,)),
    "503 for ever": Behavior(
        lambda: [answer(b"", 503)], "answered 503 .* with nothing, 3 times", ranges=(None,) * 3, waits=(0, 0)
    ),
    "429, Retry-After of an hour": Behavior(
        lambda: _busy(429, [("Retry-After", "3600")]), "answered 429 .* asked to wait 3,600 seconds"
    ),
    "202 with a challenge for browsers": Behavior(
        lambda: [answer(b"", 202, headers=[("x-amzn-waf-action", "challenge")])], "answered 202 Accepted with nothing"
    ),
    "403 with a page": Behavior(lambda: [answer(PAGE, 403)], "403 Forbidden with a web page.*request blocked"),
    "403 with a page, a byte now and then": Behavior(
        lambda: [dripping(PAGE, 403)], "403 Forbidden with a .*that begins with b'<!D"
    ),
    "404": Behavior(lambda: [answer(b"", 404)], "answered 404 Not Found with nothing"),
    "a page with status 200": Behavior(lambda: [answer(PAGE)], rf"{len(PAGE)} bytes instead of .* web page .*blocked"),
    "a page of the right length": Behavior(
        lambda: [answer(PAGE.ljust(len(BODY)))], "not a pickle file but a web page"
    ),
    "a page in chunks": Behavior(lambda: [chunked(PAGE)], rf"{len(PAGE)} bytes instead of .* web page"),
    "a Git LFS pointer": Behavior(
        lambda: [answer(b"version https://git-lfs.github.com/spec/v1\n")], "a Git LFS pointer instead of the file"
    ),
    "another format": Behavior(lambda: [answer(b"PK" + BODY[2:])], "not a pickle file but a file that begins with"),
    "far too much": Behavior(lambda: [chunked(BODY * 4)], "it has [0-9]+ bytes instead of"),
    "a part without a request for it": Behavior(lambda: [answer(BODY, 206)], "answered 206"),
    "no length and no checksum, cut off": Behavior(
        lambda: [answer(BODY[:-50], declare=False)], "states neither the length of the file nor a checksum"
    ),
    "no length, cut off, checksum known": Behavior(
        lambda: [answer(BODY[:-50], declare=False)], "its SHA-256 is",
        options={"sha256": hashlib.sha256(BODY).hexdigest()},
    ),
    "a length too small": Behavior(lambda: [answer(BODY[:-50])], "its end is missing"),
    "a length too large": Behavior(
        lambda: [answer(length=len(BODY) + 50)], "the connection broke 3 times", ranges=(None,) * 3, waits=(0, 0)
    ),
    "chunks, cut off": Behavior(
        lambda: [chunked(cut=-50)], "the connection broke 3 times", ranges=(None,) * 3, waits=(0, 0)
    ),
    "redirects in circles": Behavior(
        lambda: [answer(b"", 302, headers=[("Location", "/a")])], "Exceeded 30 redirects", ranges=(None,) * 31
    ),
    "redirects to a file of this machine": Behavior(
        lambda: [answer(b"", 302, headers=[("Location", "file:///etc/passwd")])], "No connection adapters"
    ),
    "stops in the middle": Behavior(
        lambda: [answer(BODY[:1000], length=len(BODY), hang=SLOW)], "the connection broke 3 times, .*timed out",
        ranges=(None,) * 3, waits=(0, 0), patience=SHORT,
    ),
    "stops in the middle once, and continues": Behavior(
        lambda: [answer(BODY[:1000], length=len(BODY), hang=SLOW, headers=TAG), ranged()],
        ranges=(None, "bytes=1000-"), waits=(0,), patience=SHORT,
    ),
    "sends a byte now and then": Behavior(
        lambda: [dripping()], "the connection broke 3 times, .*bytes came in", ranges=(None,) * 3, waits=(0, 0),
        patience=SHORT,
    ),
    "sends a byte now and then once": Behavior(
        lambda: [dripping(), answer()], ranges=(None, None), waits=(0,), patience=SHORT
    ),
    "sends its headers a byte now and then": Behavior(
        lambda: [slow_headers], "the connection broke 3 times, .*no whole answer within", ranges=(None,) * 3,
        waits=(0, 0), patience=SHORT,
    ),
    "sends its headers a byte now and then once": Behavior(
        lambda: [slow_headers, answer()], ranges=(None, None), waits=(0,), patience=SHORT
    ),
    "does not answer": Behavior(
        lambda: [lambda _: threading.Event().wait(SLOW)], "the connection broke 3 times, .*timed out",
        ranges=(None,) * 3, waits=(0, 0), patience=SHORT,
    ),
}  # fmt: skip


@contextmanager
def patience(timeout: float = 30.0) -> Iterator[list[float]]:
    """Do not wait, but list the seconds that would have been waited; a server that is slower is given up."""
    waits: list[float] = []
    with (
        patch.object(retry, "PAUSE", 0.0),
        patch.object(download, "time", SimpleNamespace(sleep=waits.append, monotonic=time.monotonic)),
        patch.object(download, "_TIMEOUT", timeout),
        patch.object(download, "_CHUNK", 500),  # less is no progress
    ):
        yield waits


@contextmanager
def registered(cache: Path, *urls: str, **options: Any) -> Iterator[None]:
    """Register ``toy.pkl`` with these sources and a cache of its own."""
    assets = {NAME: Asset(NAME, "pickle", len(BODY) - 100, len(BODY) + 100, urls, len(BODY), **options)}
    with (
        patch.object(registry, "ASSETS", assets), patch.object(fetch, "ASSETS", assets),
        patch.object(settings, "cache_dir", cache), patch.object(settings, "progress", False),
    ):  # fmt: skip
        yield
