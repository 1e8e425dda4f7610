from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import pickle
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import univerce as uc
from tests.helpers.server import (
    BEHAVIORS,
    BODY,
    NAME,
    OTHER,
    PAGE,
    Server,
    answer,
    in_turn,
    patience,
    ranged,
    registered,
)  # fmt: skip
from univerce._settings import settings
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.download import FetchError
from univerce.genes.release.fetch import fetch, list_assets

module = importlib.import_module("univerce.genes.release.fetch")


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "cache_dir", tmp_path / "cache")  # for all threads
    monkeypatch.setattr(settings, "progress", False)
    with patience():
        yield tmp_path / "cache"


@pytest.fixture
def toy(server, cache):
    """``toy.pkl`` served at /a and, second, at /b."""
    with registered(cache, f"{server.url}/a", f"{server.url}/b"):
        yield server


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


@pytest.mark.parametrize("behavior", BEHAVIORS.values(), ids=BEHAVIORS)
def test_a_server_gives_the_file_or_an_error_that_says_why(server, tmp_path, behavior):
    server.answers["/a"] = in_turn(behavior.answers())
    with registered(tmp_path / "cache", f"{server.url}/a", **behavior.options), patience(behavior.patience) as waits:
        if behavior.refused:
            with pytest.raises(FetchError, match=behavior.refused) as error:
                fetch(NAME)
            assert f"{server.url}/a" in str(error.value)
            assert str(tmp_path / "cache" / NAME) in str(error.value)
            assert not (tmp_path / "cache" / NAME).exists()
        else:
            assert fetch(NAME).read_bytes() == BODY
            assert left(tmp_path / "cache") == ["checksums.json", NAME]
    assert [asked for _, asked in server.requests] == list(behavior.ranges)
    assert waits == pytest.approx(behavior.waits, abs=2)  # a date has whole seconds


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


def test_a_source_that_cannot_be_reached_is_named(cache):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        registered(cache, f"http://127.0.0.1:{port}/a"),
        pytest.raises(FetchError, match=rf"127\.0\.0\.1:{port}/a: the connection broke 3 times, .* after 0 bytes"),
    ):
        fetch(NAME)


def test_a_full_disk_is_an_error_that_names_it(toy, cache, monkeypatch):
    toy.answers["/a"] = answer()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=rf"toy\.pkl needs {len(BODY):,} more bytes, and .*cache has 1,000 left"):
        fetch(NAME)


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
    toy.answers |= {"/a": in_turn([serve, refusal]), "/b": answer(b"", 404)}
    with pytest.raises(FetchError):
        fetch(NAME)
    toy.requests.clear()
    toy.answers["/a"] = serve
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
    for damaged in (b"{", b"[]", b"\xff"):
        (cache / "checksums.json").write_bytes(damaged)
        with pytest.raises(uc.FileError, match=r"checksums\.json .* Delete it; the checksums are recorded again"):
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
    longer = pickle.dumps(list(range(100_001)))
    toy.answers["/a"] = answer(longer)
    fetch(NAME)
    digest = hashlib.sha256(longer).hexdigest()
    assert list_assets()[columns].to_numpy().tolist() == [[NAME, len(longer), True, digest]]


def test_an_unknown_name_is_refused_before_anything_is_asked(cache):
    with pytest.raises(ValueError, match=r"Unknown asset '\.\./etc/passwd'; use one of .*all_tokens\.torch"):
        fetch("../etc/passwd")
    assert not cache.exists()


def test_a_digest_follows_a_file_that_changes(tmp_path):
    path = tmp_path / "x"
    for body in (b"one", b"three"):
        path.write_bytes(body)
        assert file_sha256(path) == hashlib.sha256(body).hexdigest()
