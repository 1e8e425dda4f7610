"""A released file from figshare as it answers today, or from a copy on the hub."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle

import pytest

from tests.helpers.hub import CHALLENGE, FORBIDDEN, Hub
from univerce._settings import settings
from univerce.genes.release import download, registry, retry
from univerce.genes.release.download import FetchError
from univerce.genes.release.fetch import fetch, is_cached, list_assets
from univerce.genes.release.registry import Asset, HubFile

fetch_module = importlib.import_module("univerce.genes.release.fetch")
hub_module = importlib.import_module("univerce.genes.release.hub")

BODY = pickle.dumps(list(range(50_000)))
NAME, FILE_ID, REPOSITORY = "toy.pkl", 7, "mirror/files"
API, HOST, WEBSITE = f"/v2/file/download/{FILE_ID}", f"/files/{FILE_ID}", f"/ndownloader/files/{FILE_ID}"
STORED = f"/figshare/{FILE_ID}"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "PAUSE", 0.0)
    monkeypatch.setattr(download, "_CHUNK", 1000)
    with Hub({REPOSITORY: {"data/toy.pkl": BODY}}) as hub, settings.override(cache_dir=tmp_path / "c", progress=False):
        hub.figshare[FILE_ID] = BODY
        hub.use(monkeypatch)
        urls = tuple(f"{hub.url}{path}" for path in (API, HOST, WEBSITE))
        asset = Asset(
            NAME, "pickle", len(BODY), len(BODY), urls, len(BODY), (HubFile(REPOSITORY, "data/toy.pkl"),), FILE_ID
        )
        for module in (registry, fetch_module):
            monkeypatch.setattr(module, "ASSETS", {NAME: asset})
        monkeypatch.setattr(fetch_module, "FIGSHARE_FILES", f"{hub.url}/v2/articles/1/files")
        fetch_module._figshare_files.cache_clear()
        yield hub
    fetch_module._figshare_files.cache_clear()
    hub_module._listing.cache_clear()


def tell_checksums(hub, md5):
    files = [{"id": FILE_ID, "name": NAME, "size": len(BODY), "computed_md5": md5}]
    hub.answers["/v2/articles/1/files"] = (200, [], json.dumps(files).encode())


def asked(hub):
    return [path for method, path, _ in hub.requests if method == "GET" and path in (API, HOST, WEBSITE)]


def test_the_api_of_figshare_is_enough(hub):
    tell_checksums(hub, hashlib.md5(BODY).hexdigest())
    assert fetch(NAME) == settings.cache_dir / NAME
    assert fetch(NAME).read_bytes() == BODY
    assert asked(hub) == [API]


def test_the_sources_are_tried_in_turn_up_to_the_hub(hub, caplog):
    hub.answers |= {API: FORBIDDEN, HOST: CHALLENGE, WEBSITE: CHALLENGE}
    path = fetch(NAME)
    assert path.read_bytes() == BODY
    assert asked(hub) == [API, HOST, WEBSITE]
    assert path.is_relative_to(settings.cache_dir / "hub")
    assert "answered 403 Forbidden with a web page" in caplog.text
    assert "answered 202 Accepted with nothing" in caplog.text
    hub.requests.clear()
    with settings.override(offline=True):
        assert fetch(NAME) == path
        assert is_cached(NAME)
        assert list_assets()["cached"].tolist() == [True]
    assert hub.requests == []


def test_if_nobody_serves_the_file_the_error_quotes_everyone(hub):
    hub.answers |= {API: FORBIDDEN, HOST: CHALLENGE, WEBSITE: (200, [], b"<html>try again</html>")}
    hub.repositories.clear()
    with pytest.raises(FetchError) as error:
        fetch(NAME)
    lines = [line for line in str(error.value).splitlines() if line.startswith("- ")]
    assert [line.split(": ")[0] for line in lines] == [
        *(f"- {hub.url}{path}" for path in (API, HOST, WEBSITE)), f"- hf://{REPOSITORY}"
    ]  # fmt: skip
    for line, said in zip(lines, ("403 Forbidden", "202 Accepted with nothing", "try again", "404"), strict=True):
        assert said in line


def test_a_file_that_differs_from_the_checksum_of_figshare_is_refused(hub):
    tell_checksums(hub, hashlib.md5(b"other").hexdigest())
    hub.repositories.clear()
    with pytest.raises(FetchError, match=f"its md5 is {hashlib.md5(BODY).hexdigest()} instead of"):
        fetch(NAME)
    assert not (settings.cache_dir / NAME).exists()


def test_the_storage_of_figshare_is_continued_where_it_broke(hub):
    hub.faults[STORED] = "cut"
    assert fetch(NAME).read_bytes() == BODY
    ranges = [asked for method, path, asked in hub.requests if path == STORED]
    assert ranges[0] is None
    assert ranges[1] is not None
