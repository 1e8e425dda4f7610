"""Which errors of a reader become the documented one."""

from __future__ import annotations

import errno

import pytest

import univerce as uc
from univerce._errors import reading


@pytest.mark.parametrize(
    "error, told",
    [
        (KeyError("shape"), "x is damaged or is not a table: KeyError shape"),
        (ValueError("bad\nmore"), "x is damaged or is not a table: bad"),
        (ValueError("x has no genes"), "x has no genes"),
        (OSError("truncated"), "x is damaged or is not a table: truncated"),
        (OSError(errno.EINVAL, "cannot map"), "x is damaged or is not a table: "),
        (RecursionError(), "nested too deeply"),
        (MemoryError(), "more than fits into memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "x is damaged or is not a table: 'utf-8'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_reader_raises_names_the_file(error, told):
    with pytest.raises(uc.FileError) as caught, reading("x", "a table"):
        raise error
    assert str(caught.value).startswith("x ")
    assert told in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "no"),
        FileNotFoundError("x"),
        ImportError("obonet"),
        UserWarning("w"),
        uc.FileError("y"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_system_and_of_packages_stay(error):
    with pytest.raises(type(error)) as caught, reading("x", "a table"):
        raise error
    assert caught.value is error


def test_a_matrix_in_memory_has_no_file_to_name():
    with pytest.raises(KeyError), reading(None, "a table"):
        raise KeyError("a")


def test_a_missing_part_of_a_directory_is_damage():
    with pytest.raises(uc.FileError, match=r"^x\.zarr is damaged"), reading("x.zarr", "a .zarr", parts=True):
        raise FileNotFoundError("no .zarray")
