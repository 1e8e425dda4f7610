from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.obo import write_obo


@pytest.fixture
def obo(tmp_path) -> Path:
    pytest.importorskip("obonet")
    return write_obo(tmp_path / "small.obo")
