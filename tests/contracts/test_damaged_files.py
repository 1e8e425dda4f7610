"""Every format that is read, cut, flipped and exchanged: read, or refused with the documented error and its path."""

from __future__ import annotations

import pytest

from benchmarks import damaged_files
from benchmarks.fuzz.targets import TARGETS

FEW = {"truncated": 4, "bit flip": 12}  # all of them: python -m benchmarks damaged_files
FILES = [name for name in TARGETS if name not in ("csr", "names")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_with_its_path(name, tmp_path):
    pytest.importorskip("obonet")
    formats = TARGETS[name](tmp_path).formats
    assert formats
    for form in formats:
        assert form.attempt(form.whole), f"{form.name}: a valid file is refused"
        refused = 0
        for kind in ("empty", "another file"):
            refused += sum(
                not form.attempt(content) for damage, content in damaged_files.damaged(form) if damage == kind
            )
        assert refused >= 8, f"{form.name}: another file is read"
        for damage, few in FEW.items():
            several = [content for kind, content in damaged_files.damaged(form) if kind == damage]
            for content in several[:: len(several) // few]:
                form.attempt(content)
        for bomb in form.bombs:
            if len(bomb) < 2**17:  # the larger ones take seconds
                form.attempt(bomb)
