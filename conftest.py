"""Fixtures of all tests and docstring examples: default settings, an empty cache, no network, no open figures."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import anndata as ad
import pytest
import scipy.sparse as sp
from hypothesis import settings as hypothesis_settings

import univerce as uc
from univerce._settings import Settings, settings

DATA = "UNIVERCE_TEST_DATA"

hypothesis_settings.register_profile("univerce", deadline=None)  # time depends on what else runs
hypothesis_settings.load_profile("univerce")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Defaults in ``uc.settings`` and in the environment of subprocesses, and an empty cache."""
    for name in (n for n in os.environ if n.startswith("UNIVERCE_") and n != DATA):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UNIVERCE_CACHE", str(tmp_path_factory.mktemp("cache") / "univerce"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    fresh = Settings()
    for f in fields(Settings):  # for all threads
        monkeypatch.setattr(settings, f.name, getattr(fresh, f.name))
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(autouse=True)
def _examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Run docstring examples in an empty directory, and embed the bundled cells once for all of them."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
        if not request.node.name.endswith(".uce_embed"):
            monkeypatch.setattr(uc.tl, "uce_embed", partial(_embed_once, uc.tl.uce_embed))


@cache
def _bundled_cells(embed: Callable) -> ad.AnnData:
    adata = uc.datasets.pbmc68k_reduced()
    embed(adata)
    return adata


def _embed_once(embed: Callable, adata: Any, **options: Any) -> Any:
    if options not in ({}, {"species": "human"}) or adata.shape != (700, 765) or not sp.issparse(adata.X):
        return embed(adata, **options)
    known = _bundled_cells(embed).copy()
    if not known.obs_names.equals(adata.obs_names) or (known.X != adata.X).nnz:
        return embed(adata, **options)
    for field in ("obs", "obsm", "uns"):
        mine, theirs = getattr(adata, field), getattr(known, field)
        for key in set(theirs) - set(mine):
            mine[key] = theirs[key]
    return None


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch):
    """Fail tests that connect to another machine; servers on the loopback interface are allowed."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address):
        _check_host(self.family, address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address):
        _check_host(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):
        _check_host(socket.AF_INET, (host,))
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def _check_host(family: int, address) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6) or _is_loopback(address[0]):
        return
    # Not an Exception, so code that catches connection errors does not catch it.
    pytest.fail(f"A test opened a connection to {address[0]!r}; tests run offline.")


def _is_loopback(host: str | bytes | None) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Directory with the real data sets, or a skip."""
    path = os.environ.get(DATA)
    if not path:
        pytest.skip(f"needs real data: set {DATA} to the directory that holds it")
    if not Path(path).is_dir():
        pytest.fail(f"{DATA}={path!r} is not a directory")
    return Path(path)


@pytest.fixture(scope="session")
def parity(test_data: Path) -> Path:
    """Directory with recorded outputs of the reference implementation, next to the real data sets."""
    path = test_data.parent / "parity"
    if not path.is_dir():
        pytest.skip(f"needs recorded outputs of the reference implementation in {path}")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a model with random weights and small gene tables, see ``tests/helpers/tiny.py``."""
    from tests.helpers.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture(scope="module")
def client():
    """A client of two worker processes of two threads."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
