"""Files of the hub: fetched once, verified, continued, and found again offline."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.helpers.hub import CHALLENGE, FORBIDDEN, POINTER, Hub
from tests.helpers.server import Server, dripping
from univerce._settings import settings
from univerce.genes.release.download import FetchError
from univerce.genes.release.hub import fetch_hub_file, hub_commit, parse_hub, snapshot

REPOSITORY = "maker/model"
WEIGHTS = bytes(range(256)) * 4000
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "vocab/genes.json": b"{}"}
STORED = f"/storage/{REPOSITORY}/model.safetensors"
module = importlib.import_module("univerce.genes.release.hub")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with Hub({REPOSITORY: dict(FILES)}) as hub, settings.override(cache_dir=tmp_path / "cache", progress=False):
        hub.use(monkeypatch)
        yield hub
    module._listing.cache_clear()


def test_a_repository_is_named_with_or_without_a_revision():
    assert parse_hub("hf://owner/name") == ("owner/name", None)
    assert parse_hub("hf://owner/name@v1") == ("owner/name", "v1")
    assert parse_hub("owner/name") is None
    for wrong in ("hf://name", "hf://owner/name/file", "hf:///name", "hf://@main"):
        with pytest.raises(ValueError, match="write hf://owner/name"):
            parse_hub(wrong)


def test_files_are_fetched_once_verified_and_found_offline(hub):
    for _ in range(2):
        for path, content in FILES.items():
            assert fetch_hub_file(REPOSITORY, path).read_bytes() == content
    assert hub.fetched()[STORED] == 1
    commit = hub.commit(REPOSITORY)
    assert sorted(snapshot(REPOSITORY, commit)) == sorted(FILES)
    hub.requests.clear()
    with settings.override(offline=True):
        assert fetch_hub_file(REPOSITORY, "model.safetensors", commit).read_bytes() == WEIGHTS
        assert fetch_hub_file(REPOSITORY, "config.json").read_bytes() == FILES["config.json"]
    assert hub.requests == []


def test_without_a_revision_the_commit_of_the_first_fetch_stays(hub):
    first = fetch_hub_file(REPOSITORY, "config.json")
    hub.repositories[REPOSITORY]["config.json"] = b'{"a": 2}'
    module._listing.cache_clear()
    assert fetch_hub_file(REPOSITORY, "config.json") == first
    assert json.loads((settings.cache_dir / "checksums.json").read_text()) == {f"hf://{REPOSITORY}": first.parent.name}
    assert fetch_hub_file(REPOSITORY, "config.json", "main").read_bytes() == b'{"a": 2}'


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "settings"])
def test_offline_asks_nobody_and_says_what_is_missing(hub, monkeypatch, name):
    if name == "HF_HUB_OFFLINE":
        monkeypatch.setenv(name, "1")
    with settings.override(offline=name == "settings"):
        for revision in (None, "main", "0" * 40):
            with pytest.raises(FileNotFoundError, match=rf"hf://{REPOSITORY}.* offline mode .*HF_HUB_OFFLINE"):
                fetch_hub_file(REPOSITORY, "config.json", revision)
    assert hub.requests == []
    assert not settings.cache_dir.exists()


def test_a_broken_connection_is_continued_where_it_broke(hub):
    hub.faults[STORED] = "cut"
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS
    ranges = [asked for method, path, asked in hub.requests if path == STORED and method == "GET"]
    assert ranges[0] is None
    assert ranges[1].startswith("bytes=")
    assert ranges[1] != "bytes=0-"


@pytest.mark.parametrize(
    "body", [POINTER.format(sha="0" * 64, size=9).encode(), WEIGHTS[:5000]], ids=["pointer", "short"]
)
def test_what_is_not_the_file_is_refused_and_fetched_again(hub, body):
    hub.answers[STORED] = (200, [], body)
    with pytest.raises(FetchError, match=r"model\.safetensors"):
        fetch_hub_file(REPOSITORY, "model.safetensors")
    hub.answers.clear()
    assert snapshot(REPOSITORY, hub.commit(REPOSITORY)) == []
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_of_the_right_length_and_other_content_is_refused(hub):
    hub.answers[STORED] = (200, [], bytes(len(WEIGHTS)))
    with pytest.raises(FetchError, match=r"model\.safetensors: its checksum is \w+ instead of"):
        fetch_hub_file(REPOSITORY, "model.safetensors")
    hub.answers[f"/{REPOSITORY}/resolve/{hub.commit(REPOSITORY)}/config.json"] = (
        200, [("X-Repo-Commit", hub.commit(REPOSITORY)), ("ETag", '"abc"')], b'{"b": 1}',
    )  # fmt: skip
    with pytest.raises(FetchError, match=r"config\.json: its checksum is"):
        fetch_hub_file(REPOSITORY, "config.json")
    hub.answers.clear()
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS
    assert fetch_hub_file(REPOSITORY, "config.json").read_bytes() == FILES["config.json"]


@pytest.mark.parametrize(
    "answer", [FORBIDDEN, CHALLENGE, (500, [], b""), (404, [("X-Error-Code", "RepoNotFound")], b"")],
    ids=["403", "challenge", "500", "404"],
)  # fmt: skip
def test_a_hub_that_does_not_answer_is_an_error_that_names_the_repository(hub, answer):
    hub.answers[f"/api/models/{REPOSITORY}"] = answer
    with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}: "):
        hub_commit(REPOSITORY, None)
    hub.answers.clear()
    assert hub_commit(REPOSITORY, None) == hub.commit(REPOSITORY)


def test_a_path_or_revision_that_does_not_exist_is_named(hub):
    with pytest.raises(FetchError, match=r"has no model\.bin"):
        fetch_hub_file(REPOSITORY, "model.bin")
    with pytest.raises(FetchError, match=f"hf://{REPOSITORY}@v9"):
        fetch_hub_file(REPOSITORY, "config.json", "v9")


def test_a_server_that_cannot_be_reached_is_a_fetch_error(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}: "):
        fetch_hub_file(REPOSITORY, "config.json")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_busy_once_is_asked_again(hub, status):
    busy = (status, [("Retry-After", "1")], b"")
    hub.once |= dict.fromkeys([f"/api/models/{REPOSITORY}", STORED], busy)
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS
    assert hub.once == {}


@pytest.mark.parametrize("fault", ["cut", "short"])
def test_what_goes_wrong_once_is_tried_again(hub, fault):
    hub.faults[STORED] = fault
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_half_written(hub):
    """What was finished before is kept, and the rest is fetched by the next process."""
    code = f"""
import os, threading
from univerce.genes.release.hub import fetch_hub_file
fetch_hub_file({REPOSITORY!r}, "config.json")
threading.Timer(0.2, os._exit, [9]).start()
fetch_hub_file({REPOSITORY!r}, "model.safetensors")
"""
    hub.faults[STORED] = "hang"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "UNIVERCE_CACHE": str(settings.cache_dir)},
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 9
    assert snapshot(REPOSITORY, hub.commit(REPOSITORY)) == ["config.json"]
    (parts,) = settings.cache_dir.glob("hub/*/blobs")
    assert any(part.name.endswith(".incomplete") for part in parts.iterdir())
    assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS
    assert hub.fetched()[f"/{REPOSITORY}/resolve/{hub.commit(REPOSITORY)}/config.json"] == 1
    assert len(list(parts.iterdir())) == 2
    assert [file.name for file in parts.parents[1].iterdir() if file.name.endswith(".writing")] == []


@pytest.mark.parametrize("commit", ["", "../../elsewhere"])
def test_a_hub_that_does_not_state_a_commit_is_refused(hub, commit):
    hub.commits[REPOSITORY] = commit
    with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}: the hub does not state its commit, but '{commit}'"):
        fetch_hub_file(REPOSITORY, "config.json")
    assert not settings.cache_dir.exists()


def test_a_full_disk_is_an_error_that_names_it_and_nothing_is_fetched_again(hub, monkeypatch):
    asked = []

    def full(*_, **__):
        asked.append(1)
        raise RuntimeError("Data processing error: No space left on device (os error 28)")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}@.*config\.json: .*No space left .* in .*cache"):
        fetch_hub_file(REPOSITORY, "config.json")
    assert asked == [1]


def test_any_other_error_of_the_client_is_a_fetch_error(hub, monkeypatch):
    class Unknown(Exception):
        pass

    def broken(*_, **__):
        raise Unknown("the storage")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}@.*config\.json: the storage"):
        fetch_hub_file(REPOSITORY, "config.json")


def test_a_list_that_comes_byte_by_byte_is_given_up(monkeypatch, tmp_path):
    with Server() as server, settings.override(cache_dir=tmp_path, progress=False):
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # it asks another server
        monkeypatch.setattr(module, "_LISTING", 0.3)
        monkeypatch.setattr("univerce.genes.release.retry.PAUSE", 0.0)
        server.answers = defaultdict(lambda: dripping(b"{}" * 1000))
        with pytest.raises(FetchError, match=rf"hf://{REPOSITORY}: no whole answer within 0.3 seconds"):
            hub_commit(REPOSITORY, None)


def test_a_cache_behind_a_link_is_used_as_it_is(hub, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with settings.override(cache_dir=tmp_path / "link"):
        hub.answers[STORED] = (200, [], bytes(len(WEIGHTS)))
        with pytest.raises(FetchError, match="its checksum is"):
            fetch_hub_file(REPOSITORY, "model.safetensors")
        hub.answers.clear()
        assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS
    with settings.override(cache_dir=tmp_path / "disk", offline=True):
        assert fetch_hub_file(REPOSITORY, "model.safetensors").read_bytes() == WEIGHTS


def test_a_read_only_cache_serves_its_files_and_refuses_others(hub, monkeypatch):
    fetch_hub_file(REPOSITORY, "config.json")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(settings.cache_dir))

    monkeypatch.setattr(Path, "mkdir", refused)  # root may write anywhere
    monkeypatch.setattr(os, "open", refused)
    assert fetch_hub_file(REPOSITORY, "config.json").read_bytes() == FILES["config.json"]
    with pytest.raises(PermissionError, match="cache"):
        fetch_hub_file(REPOSITORY, "model.safetensors")
