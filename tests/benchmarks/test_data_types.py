"""Counts of every type in every container, and odd but legal AnnData, are embedded right or refused with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data_types import EMBEDDED, NONE, REFUSED, TYPES, containers, odd, typed
from benchmarks.odd_data import CASES


@pytest.mark.slow
@pytest.mark.parametrize("container", list(containers(Path())))
def test_types_in_a_container(container, tmp_path):
    found = {dtype: typed(containers(tmp_path)[container], dtype) for dtype in TYPES}
    assert all(found[dtype] == EMBEDDED for dtype in TYPES if dtype not in ("float16", "complex64", "object")), found
    assert found["float16"] in (EMBEDDED, NONE)
    assert {found["complex64"], found["object"]} <= {REFUSED, NONE}


@pytest.mark.parametrize("name", list(CASES))
def test_odd_data(name, tmp_path):
    expected, tried = odd(tmp_path)[name]
    if (found := tried()) == NONE and "arrow" in name:
        pytest.skip("needs pyarrow")
    assert found == expected
