from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from univerce._settings import settings
from univerce.genes.release import download
from univerce.genes.release import registry as assets
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.download import FetchError
from univerce.genes.release.fetch import fetch, list_assets
from univerce.genes.release.registry import Asset

module = importlib.import_module("univerce.genes.release.fetch")

BODY = pickle.dumps(list(range(100_000)))
OTHER = pickle.dumps(list(range(1, 100_001)))
NAME = "toy.pkl"
PAGE = b"<!DOCTYPE html><html><body>403 Forbidden: request blocked</body></html>"


class Server:
    """Answers ``GET /<path>`` with the function registered for the path, and records requests."""

    def __init__(self):
        self.answers: dict[str, Callable] = {}
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.answers[self.path](self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def answer(body=BODY, status=200, *, length=None, declare=True, headers=()):
    """Send ``body``, saying that it has ``length`` bytes."""

    def send(handler):
        handler.send_response(status)
        if declare:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers:
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def ranged(body=BODY, *, etag="one", cuts=()):
    """Honor Range; the n-th answer breaks off after ``cuts[n]`` bytes."""
    breaks = list(cuts)

    def send(handler):
        asked = handler.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(body):
            return answer(b"", 416, headers=[("Content-Range", f"bytes */{len(body)}")])(handler)
        sent = body[start:]
        headers = [("ETag", etag)] if etag else []
        if asked:
            headers.append(("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"))
        cut = breaks.pop(0) if breaks else None
        return answer(sent[:cut], 206 if asked else 200, length=len(sent), headers=headers)(handler)

    return send


def broken(body=BODY, cut=1000, *, headers=()):
    return answer(body[:cut], length=len(body), headers=headers)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    monkeypatch.setattr(download, "_CHUNK", 500)  # what of a chunk came before a break is lost
    monkeypatch.setattr(settings, "cache_dir", tmp_path / "cache")  # for all threads
    monkeypatch.setattr(settings, "progress", False)
    return tmp_path / "cache"


@pytest.fixture
def register(monkeypatch):
    """Register ``toy.pkl`` with these sources."""

    def put(*urls):
        registry = {NAME: Asset(NAME, "pickle", len(BODY) - 100, len(BODY) + 100, urls, len(BODY))}
        monkeypatch.setattr(assets, "ASSETS", registry)
        monkeypatch.setattr(module, "ASSETS", registry)

    return put


@pytest.fixture
def toy(server, register, cache):
    """``toy.pkl`` served at /a and, second, at /b."""
    register(f"{server.url}/a", f"{server.url}/b")
    return server


def left(cache):
    """The files in the cache, without locks."""
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_fetched_once_and_its_checksum_recorded(toy, cache):
    toy.answers["/a"] = answer()
    path = fetch(NAME)
    assert path == cache / NAME
    assert path.read_bytes() == BODY
    assert json.loads((cache / "checksums.json").read_text()) == {NAME: hashlib.sha256(BODY).hexdigest()}
    assert fetch(NAME) == path
    assert toy.requests == [("/a", None)]
    assert left(cache) == ["checksums.json", NAME]


BAD = {
    "a 403 page": (answer(PAGE, 403), "403 Forbidden with a web page.*request blocked"),
    "accepted but not ready": (answer(b"", 202), "202 Accepted with nothing"),
    "a page with status 200": (answer(PAGE), rf"{len(PAGE)} bytes instead of .* web page .*blocked"),
    "a page of no length": (answer(PAGE, declare=False), rf"{len(PAGE)} bytes instead of .* web page"),
    "a long page": (answer(PAGE + b" " * (len(BODY) - len(PAGE))), "not a pickle file but a web page"),
    "another format": (answer(b"PK" + BODY[2:]), "not a pickle file but a file that begins with b'PK"),
    "a short file of no length": (answer(BODY[:500], declare=False), "500 bytes instead of"),
    "far too much, cut off early": (answer(BODY * 2, declare=False), "it has 369500 bytes instead of"),
    "a part without a request for it": (answer(BODY, 206), "answered 206"),
}


@pytest.mark.parametrize("bad, said", BAD.values(), ids=BAD)
def test_an_answer_that_is_not_the_file_is_refused_removed_and_described(toy, cache, bad, said):
    toy.answers |= {"/a": bad, "/b": bad}
    with pytest.raises(FetchError, match=said) as error:
        fetch(NAME)
    assert f"{toy.url}/a" in str(error.value)
    assert f"{toy.url}/b" in str(error.value)
    assert str(cache / NAME) in str(error.value)
    assert [path for path, _ in toy.requests] == ["/a", "/b"]
    assert left(cache) == []


def test_the_second_source_is_tried_if_the_first_fails(toy, cache, caplog):
    toy.answers |= {"/a": answer(PAGE, 403), "/b": answer()}
    with caplog.at_level(logging.WARNING, "univerce"):
        assert fetch(NAME).read_bytes() == BODY
    assert "answered 403" in caplog.text
    assert left(cache) == ["checksums.json", NAME]


def test_the_mirror_in_the_environment_is_tried_first(toy, cache, monkeypatch):
    monkeypatch.setenv("UNIVERCE_MIRROR", f"{toy.url}/mirror/")
    toy.answers |= {f"/mirror/{NAME}": answer(b"", 404), "/a": answer()}
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests == [(f"/mirror/{NAME}", None), ("/a", None)]


def test_a_source_that_cannot_be_reached_is_named(register, cache):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    register(f"http://127.0.0.1:{port}/a")
    with pytest.raises(FetchError, match=rf"127\.0\.0\.1:{port}/a: the connection broke 3 times, .* after 0 bytes"):
        fetch(NAME)


def test_a_broken_connection_is_resumed_where_it_broke(toy, cache):
    toy.answers["/a"] = ranged(cuts=[1000, 5000])
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests == [("/a", None), ("/a", "bytes=1000-"), ("/a", "bytes=6000-")]
    assert left(cache) == ["checksums.json", NAME]


def test_a_later_fetch_resumes_what_an_earlier_one_left(toy, cache):
    toy.answers |= {"/a": ranged(cuts=[1000, 0, 0]), "/b": answer(b"", 404)}
    with pytest.raises(FetchError, match="after 1000 bytes"):
        fetch(NAME)
    assert not (cache / NAME).exists()
    toy.requests.clear()
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests == [("/a", "bytes=1000-")]


@pytest.mark.parametrize(
    "refusal", [answer(b"", 503), answer(PAGE, 403), answer(PAGE)], ids=["busy", "a 403 page", "a page with status 200"]
)
def test_a_refusal_to_go_on_leaves_the_part_for_later(toy, cache, refusal):
    serve = ranged(cuts=[1000])
    answers = [serve, refusal, serve]
    toy.answers |= {"/a": lambda handler: answers.pop(0)(handler), "/b": answer(b"", 404)}
    with pytest.raises(FetchError):
        fetch(NAME)
    toy.requests.clear()
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests == [("/a", "bytes=1000-")]


def test_a_file_that_was_complete_but_not_named_is_not_fetched_again(toy, cache, monkeypatch):
    toy.answers["/a"] = ranged()

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "check_digest", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(NAME)
    toy.requests.clear()
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests == [("/a", f"bytes={len(BODY)}-")], "the server is asked for the nothing that is missing"


ETAG = [("ETag", "one")]
RESTARTS = {
    "the server ignores Range": ([broken(headers=ETAG), answer(headers=ETAG)], ["bytes=1000-"]),
    "nothing identifies the file": ([broken(), answer()], [None]),
    "the file changed": (
        [broken(OTHER, headers=[("ETag", "old")]), ranged(etag="new"), ranged(etag="new")],
        ["bytes=1000-", None],
    ),
    "the part is refused": ([broken(OTHER, headers=ETAG), answer(b"", 416), answer()], ["bytes=1000-", None]),
}


@pytest.mark.parametrize("answers, ranges", RESTARTS.values(), ids=RESTARTS)
def test_a_part_that_cannot_be_continued_is_fetched_from_the_start(toy, cache, answers, ranges):
    rest = iter(answers)
    toy.answers["/a"] = lambda handler: next(rest)(handler)
    assert fetch(NAME).read_bytes() == BODY
    assert [asked for _, asked in toy.requests] == [None, *ranges]


def test_the_part_of_one_source_is_never_continued_by_another(toy, cache):
    toy.answers |= {"/a": ranged(OTHER, cuts=[1000, 0, 0]), "/b": ranged()}
    assert fetch(NAME).read_bytes() == BODY
    assert toy.requests[-1] == ("/b", None)


def test_a_changed_file_is_refused_at_the_second_fetch_with_both_digests(toy, cache):
    toy.answers["/a"] = answer()
    fetch(NAME).unlink()
    toy.answers["/a"] = answer(OTHER)
    with pytest.raises(ValueError, match="delete its entry in") as error:
        fetch(NAME)
    for body in (BODY, OTHER):
        assert hashlib.sha256(body).hexdigest() in str(error.value)
    assert left(cache) == ["checksums.json"]
    (cache / "checksums.json").unlink()
    assert fetch(NAME).read_bytes() == OTHER


def test_a_changed_cached_file_is_refused_but_not_removed(toy, cache):
    toy.answers["/a"] = answer()
    fetch(NAME).write_bytes(OTHER)
    with pytest.raises(ValueError, match="was recorded at its first verified download"):
        fetch(NAME)
    assert (cache / NAME).read_bytes() == OTHER


def test_a_file_copied_into_the_cache_is_checked_and_its_checksum_recorded(toy, cache):
    cache.mkdir()
    (cache / NAME).write_bytes(BODY)
    with settings.override(offline=True):
        fetch(NAME)
    assert list_assets()["sha256"].tolist() == [hashlib.sha256(BODY).hexdigest()]
    (cache / "checksums.json").write_text("{")
    with pytest.raises(ValueError, match=r"checksums\.json is damaged"):
        list_assets()
    (cache / "checksums.json").unlink()
    (cache / NAME).write_bytes(PAGE)
    with pytest.raises(ValueError, match=rf"toy\.pkl is not toy\.pkl: it has {len(PAGE)} bytes.*web page.*Delete it"):
        fetch(NAME)


def test_offline_says_where_it_looked_and_what_to_download(toy, cache):
    with settings.override(offline=True), pytest.raises(FileNotFoundError) as error:
        fetch(NAME)
    assert f"1 file is missing in {cache}" in str(error.value)
    assert f"`univerce assets fetch {NAME}`" in str(error.value)
    assert f"{toy.url}/a" in str(error.value)
    assert toy.requests == []
    assert not cache.exists()


def test_a_cache_that_is_not_writable_is_a_permission_error_with_the_fix(toy, tmp_path):
    (tmp_path / "file").touch()
    with (
        settings.override(cache_dir=tmp_path / "file" / "cache"),
        pytest.raises(PermissionError, match=r"is not writable.*UNIVERCE_CACHE.*uc\.settings\.cache_dir"),
    ):
        fetch(NAME)
    assert toy.requests == []


def test_a_read_only_cache_still_serves_its_files(toy, cache, monkeypatch, caplog):
    cache.mkdir()
    (cache / NAME).write_bytes(BODY)
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith("checksums.json"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.WARNING, "univerce"):
        assert fetch(NAME).read_bytes() == BODY
    assert "Could not record" in caplog.text


def test_many_fetches_at_once_download_one_file_once(toy, cache):
    toy.answers["/a"] = answer()
    with ThreadPoolExecutor(6) as pool:
        assert all(path.read_bytes() == BODY for path in pool.map(fetch, [NAME] * 6))
    assert toy.requests == [("/a", None)]


def test_a_progress_bar_is_shown_on_request_only(toy, cache, capsys):
    toy.answers["/a"] = answer()
    for progress in (True, False):
        with settings.override(progress=progress):
            fetch(NAME).unlink()
        assert (NAME in capsys.readouterr().err) == progress


def test_assets_are_listed_with_their_state(toy, cache):
    columns = ["name", "size", "cached", "sha256"]
    assert list_assets()[columns].to_numpy().tolist() == [[NAME, len(BODY), False, ""]]
    assert not cache.exists()
    toy.answers["/a"] = answer(BODY + b" ")
    fetch(NAME)
    digest = hashlib.sha256(BODY + b" ").hexdigest()
    assert list_assets()[columns].to_numpy().tolist() == [[NAME, len(BODY) + 1, True, digest]]


def test_an_unknown_name_is_refused_before_anything_is_asked(cache):
    with pytest.raises(ValueError, match=r"Unknown asset '\.\./etc/passwd'; use one of .*all_tokens\.torch"):
        fetch("../etc/passwd")
    assert not cache.exists()


def test_a_digest_follows_a_file_that_changes(tmp_path):
    path = tmp_path / "x"
    for body in (b"one", b"three"):
        path.write_bytes(body)
        assert file_sha256(path) == hashlib.sha256(body).hexdigest()
