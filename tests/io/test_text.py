"""Text files from elsewhere: every packing, and sizes that no text has."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import univerce as uc
from univerce.io import text
from univerce.io.text import open_text, read_json, read_toml, text_lines, whole_numbers


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gz", "bz2", "xz"])
def test_a_text_is_read_whatever_packs_it_and_whatever_its_name(tmp_path, pack):
    content = "é\tb\nc\n" * 50_000
    path = tmp_path / "x"
    path.write_bytes(pack(content.encode()))
    with open_text(path) as file:
        assert file.read() == content
    assert list(text_lines(path)) == content.splitlines(keepends=True)


def test_a_small_file_that_unpacks_to_no_end_is_refused_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_SMALL", 2**20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"A" * 60 + b"\n") + gzip.compress((b"A" * 63 + b"\n") * 2**14) * 40)
    tracemalloc.start()
    with pytest.raises(uc.FileError, match=r"bomb\.gz unpacks to more than 200 times its size"):
        for _ in text_lines(path):
            pass
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_a_line_that_no_text_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONGEST_LINE", 100)
    (tmp_path / "x").write_text("short\n" + "a" * 98 + "\n" + "a" * 200)
    with pytest.raises(uc.FileError, match="x, line 3: more than 100 characters"):
        list(text_lines(tmp_path / "x"))


@pytest.mark.parametrize(
    "read, content", [(read_json, "[" * 10**5), (read_json, "3"), (read_toml, "a = " + "[" * 10**5)]
)
def test_deep_or_other_structures_are_refused(tmp_path, read, content):
    path = Path(tmp_path / "x")
    path.write_text(content)
    with pytest.raises(uc.FileError, match=f"^{path}"):
        read(path)


def test_whole_numbers_are_those_that_are_exact():
    given = ["7", " 8", "1e3", "-1", "2.5", "", "NA", "inf", "1e300", "9" * 25, "1" + "0" * 15]
    values, bad = whole_numbers(pd.Series(given))
    assert values[~bad].tolist() == [7, 8, 1000, -1]
    assert np.flatnonzero(bad).tolist() == list(range(4, len(given)))
