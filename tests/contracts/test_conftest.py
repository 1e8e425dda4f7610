"""Fixtures used by all tests."""

from __future__ import annotations

import http.server
import socket
import threading
import urllib.request
from pathlib import Path

import pytest

import univerce as uc


def test_a_connection_to_another_machine_fails_the_test():
    elsewhere = ("192.0.2.1", 80)  # reserved for documentation
    with socket.socket() as client:
        client.settimeout(0.1)
        for attempt in (
            lambda: client.connect(elsewhere),
            lambda: client.connect_ex(elsewhere),
            lambda: urllib.request.urlopen("http://example.invalid/", timeout=0.1),
        ):
            with pytest.raises(pytest.fail.Exception, match="tests run offline"):
                attempt()


def test_a_server_on_the_loopback_interface_is_reached():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for host in ("127.0.0.1", "localhost"):
                with urllib.request.urlopen(f"http://{host}:{server.server_port}/", timeout=10) as answer:
                    assert answer.status == 200
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("run", ["first", "second"])
def test_settings_are_restored_after_each_test(run):
    assert (uc.settings.device, uc.settings.progress) == ("auto", True)
    assert not uc.settings.cache_dir.exists()
    uc.settings.device = "cpu"
    uc.settings.progress = False
    uc.settings.cache_dir.mkdir()


def test_the_cache_is_not_the_cache_of_the_user():
    assert uc.settings.cache_dir.name == "univerce"
    assert Path.home() / ".cache" not in uc.settings.cache_dir.parents
