from __future__ import annotations

import contextlib
import os
import pickle
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
import torch

import univerce as uc
from univerce.genes.release.unpickle import _Dtype, check_torch, load_pickle_plain, load_torch


class Evil:
    """Creates the file ``pwned`` when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def _store(path, obj, protocol=4):
    path.write_bytes(pickle.dumps(obj, protocol=protocol))
    return path


def test_plain_objects_are_read(tmp_path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for obj in ({"human": 13466}, [1, 2.5, True, None, "é"], ({"a": (1, [2])}, -(2**70)), {}):
            assert load_pickle_plain(_store(tmp_path / "x.pkl", obj, protocol)) == obj


def test_the_released_offsets_are_plain(test_data):
    assert load_pickle_plain(test_data / "uce" / "species_offsets.pkl") == {
        "frog": 4, "human": 13466, "macaca_fascicularis": 33256, "macaca_mulatta": 48431, "mouse": 65206,
        "mouse_lemur": 87530, "pig": 102072, "zebrafish": 117844,
    }  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_before_it_runs(tmp_path, protocol):
    path = _store(tmp_path / "x.pkl", {"human": Evil(tmp_path / "pwned"), "x": 1.5}, protocol)
    for numpy_numbers in (False, True):
        with pytest.raises(ValueError, match=r"x\.pkl was refused: it asks for posix\.mkdir"):
            load_pickle_plain(path, numpy_numbers=numpy_numbers)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(path.read_bytes())  # the trap is real
    assert (tmp_path / "pwned").exists()


def test_even_a_harmless_class_is_refused(tmp_path):
    for obj in (np.int64(3), OrderedDict(a=1), set):
        with pytest.raises(ValueError, match="it asks for"):
            load_pickle_plain(_store(tmp_path / "x.pkl", obj))


NUMBERS = [
    np.int8(-3), np.int16(-300), np.int64(2**62), np.uint16(7), np.float16(2), np.float32(0.5), np.float64(np.pi),
]  # fmt: skip


def test_numpy_scalars_are_read_as_python_numbers_on_request(tmp_path):
    numbers = [*NUMBERS, np.array([5], dtype=">i4")[0]]
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        path = _store(tmp_path / "x.pkl", {"a": numbers, "b": 1}, protocol)
        got = load_pickle_plain(path, numpy_numbers=True)
        assert got == {"a": [n.item() for n in numbers], "b": 1}
        assert {type(n) for n in got["a"]} == {int, float}


@pytest.mark.parametrize("core", ["core", "_core"], ids=["numpy 1", "numpy 2"])
def test_scalars_of_numpy_1_and_2_are_read(tmp_path, core):
    content = pickle.dumps(np.float64(2.5), protocol=3)
    for name in (b"numpy._core", b"numpy.core"):
        content = content.replace(b"c" + name + b".", b"cnumpy." + core.encode() + b".")
    (tmp_path / "x.pkl").write_bytes(content)
    assert load_pickle_plain(tmp_path / "x.pkl", numpy_numbers=True) == 2.5


@pytest.mark.parametrize(
    "obj, asked",
    [
        (np.zeros(2), "numpy._core"),
        (np.dtype("O"), "a numpy.dtype 'O8'"),
        (np.dtype([("a", "f8")]), "a numpy.dtype 'V8'"),
        (np.str_("a"), "a numpy.dtype 'U1'"),
        (OrderedDict(a=1), "collections.OrderedDict"),
    ],
    ids=["array", "objects", "records", "text", "another class"],
)
def test_only_numbers_of_numpy_are_read(tmp_path, obj, asked):
    with pytest.raises(ValueError, match=f"it asks for {asked}"):
        load_pickle_plain(_store(tmp_path / "x.pkl", obj), numpy_numbers=True)


def test_a_damaged_pickle_is_a_value_error_that_names_the_file(tmp_path):
    path = tmp_path / "x.pkl"
    for content in (b"", b"<html>403</html>", pickle.dumps({"a": 1})[:-3], b"\x80\x04\xff\xff."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.pkl was refused"):
            load_pickle_plain(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", id="bytes"),
        pytest.param(b"\x80\x05\x96" + (2**36).to_bytes(8, "little") + b"x.", id="bytearray"),
        pytest.param(b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.", id="frame"),
        pytest.param(b"\x80\x04]r\xff\xff\xff\x7f", id="memo"),
    ],
)
def test_memory_is_taken_for_what_a_pickle_holds_not_for_what_it_states(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    tracemalloc.start()
    with contextlib.suppress(uc.FileError):
        load_pickle_plain(tmp_path / "x.pkl")
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_a_pickle_does_not_change_the_classes_that_read_it(tmp_path):
    before = vars(_Dtype).copy()
    (tmp_path / "x.pkl").write_bytes(b"cnumpy\ndtype\n(N}Vcode\nVf8\nstb.")
    with pytest.raises(uc.FileError, match="it changes the state of an object"):
        load_pickle_plain(tmp_path / "x.pkl", numpy_numbers=True)
    assert vars(_Dtype) == before


def test_a_flipped_bit_of_a_torch_file_is_found_by_its_checksums(tmp_path):
    path = tmp_path / "x.torch"
    torch.save(torch.zeros(1000), path)
    check_torch(path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(2000)) + 900] ^= 1
    path.write_bytes(content)
    assert load_torch(path).count_nonzero() == 1, "torch does not look"
    with pytest.raises(uc.FileError, match=r"x\.torch .* the checksum of .* differs"):
        check_torch(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_tensors_are_read(tmp_path, zipped):
    state = OrderedDict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.ones(2, dtype=torch.float16))
    torch.save(state, tmp_path / "x.torch", _use_new_zipfile_serialization=zipped)
    for mmap in (True, False):
        loaded = load_torch(tmp_path / "x.torch", mmap=mmap)
        assert list(loaded) == ["weight", "bias"]
        assert all(torch.equal(loaded[key], state[key]) and loaded[key].dtype == state[key].dtype for key in state)


def test_a_mapped_file_is_not_changed_by_changing_the_tensor(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "x.torch")
    load_torch(tmp_path / "x.torch").fill_(1)
    assert torch.equal(load_torch(tmp_path / "x.torch"), torch.zeros(3))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_torch_file_that_runs_code_is_refused_before_it_runs(tmp_path, zipped):
    path = tmp_path / "x.torch"
    torch.save({"weight": torch.ones(1), "x": Evil(tmp_path / "pwned")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"x\.torch was refused: it asks for posix\.mkdir") as error:
        load_torch(path)
    assert "weights_only=False" not in str(error.value)
    path = _store(tmp_path / "x.torch", Evil(tmp_path / "pwned"), protocol=2)
    with pytest.raises(ValueError, match=r"x\.torch"):
        load_torch(path)
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_or_other_torch_file_is_a_value_error_that_names_the_file(tmp_path):
    torch.save(torch.ones(1000), tmp_path / "x.torch")
    whole = (tmp_path / "x.torch").read_bytes()
    for content in (b"", whole[:3], whole[:30], whole[:500], whole[:-10], b"<html>403 Forbidden</html>"):
        (tmp_path / "y.torch").write_bytes(content)
        with pytest.raises(ValueError, match=r"y\.torch"):
            load_torch(tmp_path / "y.torch")
    for read in (load_torch, load_pickle_plain):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "missing")
