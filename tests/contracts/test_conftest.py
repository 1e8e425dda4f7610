"""Fixtures used by all tests."""

from __future__ import annotations

import socket
import urllib.request

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


@pytest.mark.parametrize("run", ["first", "second"])
def test_settings_and_cache_are_fresh_in_each_test(run):
    assert (uc.settings.device, uc.settings.progress) == ("auto", True)
    assert not uc.settings.cache_dir.exists()
    uc.settings.device = "cpu"
    uc.settings.progress = False
    uc.settings.cache_dir.mkdir()
