"""Files and directories appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from univerce.io.atomic import recover, replacing, write_whole


def write(part: Path, *, directory: bool, text: str) -> None:
    if directory:
        part.mkdir()
        part = part / "content"
    part.write_text(text)
    if text == "half":
        raise ZeroDivisionError


@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_new_content_replaces_the_old_unless_there_is_an_error(tmp_path, directory):
    path = tmp_path / "new" / "a.h5ad"
    for text in ("one", "two"):
        with replacing(path) as part:
            assert part.name == path.name
            write(part, directory=directory, text=text)
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        write(part, directory=directory, text="half")
    assert (path / "content" if directory else path).read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_keep_refuses_a_directory_that_is_not_empty(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    with replacing(path, keep=True) as part:
        write(part, directory=True, text="one")
    with pytest.raises(OSError, match="not empty"), replacing(path, keep=True) as part:
        write(part, directory=True, text="two")
    assert (path / "content").read_text() == "one"


def test_recover_puts_back_an_interrupted_replacement_and_removes_leftovers(tmp_path):
    path, other = tmp_path / "a", tmp_path / f".a.b.{'0' * 32}.part"
    write(tmp_path / ".a.old", directory=True, text="one")
    for leftover in (tmp_path / f".a.{'0' * 32}.part", other):
        leftover.mkdir()
    recover(path)
    assert (path / "content").read_text() == "one"
    assert sorted(tmp_path.iterdir()) == sorted([path, other])
    write_whole(tmp_path / "b", b"bytes")
    assert (tmp_path / "b").read_bytes() == b"bytes"
