"""Peak memory is that of the work, and time is its time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from univerce.bench import _memory
from univerce.bench._memory import measured


def test_the_peak_is_seen_although_the_memory_is_free_again():
    with measured() as cost:
        x = np.ones(25_000_000)  # 200 MB, every page touched
        del x
        time.sleep(0.02)
    if np.isnan(cost.peak_mb):
        pytest.skip("this kernel does not let a process reset its peak")
    assert 190 < cost.peak_mb < 260
    assert cost.seconds > 0.02
    with measured() as small:
        pass
    assert small.peak_mb < 20


def test_where_the_kernel_does_not_tell_the_peak_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(_memory, "_RESET", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(_memory, "_STATUS", tmp_path / "none" / "status")
    with measured() as cost:
        pass
    assert np.isnan(cost.peak_mb)
    assert cost.seconds >= 0
