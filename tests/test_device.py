"""Device, precision and batch size chosen from the settings."""

from __future__ import annotations

import pytest
import torch

from univerce._device import choose_batch_size, choose_device, choose_precision
from univerce._settings import settings


def test_the_setting_decides():
    with settings.override(device="cpu", precision="bfloat16", batch_size=13):
        assert choose_device() == torch.device("cpu")
        assert choose_precision(torch.device("cpu"), 8) == "bfloat16"
        assert choose_batch_size(torch.device("cpu"), 1280, 1536) == 13


def test_a_cuda_device_that_is_not_available_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f"device='{device}' is not available: torch finds no CUDA.*'cpu'"):
            choose_device(device)


def test_the_index_of_a_device_must_exist(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="device='cuda:2' is not available; the last CUDA device is 'cuda:1'"):
        choose_device("cuda:2")


def test_an_unknown_device_is_an_error():
    for device in ("tpu", "cpu:x", "cuda:", ""):
        with pytest.raises(ValueError, match="is not known; use one of auto, cpu, cuda, mps"):
            choose_device(device)


def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch):
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda cuda=cuda: int(cuda))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device() == torch.device(expected)


def test_auto_is_bfloat16_where_the_hardware_is_faster_with_it(monkeypatch):
    for device, d_model, native, expected in (
        ("cpu", 1280, True, "bfloat16"),
        ("cpu", 1280, False, "float32"),
        ("cpu", 128, True, "float32"),
        ("cuda", 128, True, "bfloat16"),
        ("cuda", 1280, False, "float32"),  # emulated
        ("mps", 1280, True, "float32"),
    ):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, n=native: n or including_emulation
        )
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda native=native: native)
        assert choose_precision(torch.device(device), d_model) == expected


def test_batches_on_the_cpu_shrink_for_wider_models_and_longer_sentences():
    cpu = torch.device("cpu")
    small, wide, long = (choose_batch_size(cpu, d, n) for d, n in ((128, 300), (1280, 300), (128, 1200)))
    assert small > wide >= 1
    assert small > long >= 1
    assert choose_batch_size(cpu, 10**6, 1536) == 1


def test_batches_on_cuda_fill_the_device_and_fit_its_memory(monkeypatch):
    gib = 2**30

    def size(free: int, *args) -> int:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * gib))
        return choose_batch_size(torch.device("cuda"), *args)

    large = size(70 * gib, 1280, 1075, "bfloat16")
    assert 50_000 < large * 1075 < 200_000
    assert size(70 * gib, 128, 1075, "bfloat16") == pytest.approx(10 * large, rel=0.02)
    assert size(70 * gib, 1280, 1075, "float32") == large
    for precision, n_bytes in (("bfloat16", 2), ("float32", 4)):
        # The widest at a time: the hidden values of the feed-forward layers with input, sum and output.
        needed = size(2 * gib, 1280, 1075, precision) * 1075 * 1280 * (4 * n_bytes + 2 * 4 + 2 * n_bytes)
        assert 0.1 * gib < needed < gib
    assert size(2**20, 1280, 1075, "float32") == 1
