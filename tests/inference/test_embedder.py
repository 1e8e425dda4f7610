"""Blocks of counts to blocks of embeddings, against the plain network on one cell or one padded batch at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.helpers.drawn import EMPTY, N, counts, drawn, names, prepared
from tests.helpers.reference import ReferenceUCE
from tests.helpers.tiny import CONFIG, tiny_network, tiny_table
from univerce._settings import settings
from univerce.genes.table import n_tokens
from univerce.inference.embedder import OFFICIAL_BATCH, Embedder, embed_blocks
from univerce.inference.inputs import Drawing, Genes
from univerce.inference.sentences import Sentences, cell_keys, tokenize
from univerce.model import UCE


@pytest.fixture(scope="module")
def table() -> ad.AnnData:
    return tiny_table("human")


@pytest.fixture(scope="module")
def genes(table: ad.AnnData) -> Genes:
    """Two variables for the first gene, one without a gene."""
    return Genes(table, np.array([*range(table.n_obs), 0, -1], dtype=np.int32))


@pytest.fixture
def network() -> UCE:
    return tiny_network()


def features(table: ad.AnnData) -> torch.Tensor:
    parts = (table.uns["special_features"], table.X, table.uns["chromosome_features"])
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


@torch.no_grad()
def reference(network: UCE, table: ad.AnnData, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The plain network on one padded batch."""
    plain = ReferenceUCE(network.config)
    plain.load_state_dict(network.state_dict())
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.float32)
    return plain.eval()(features(table)[torch.from_numpy(ids).long()].transpose(0, 1), torch.from_numpy(mask)).numpy()


def embedder(network: UCE, table: ad.AnnData, *, official: bool = False, batch_size: int = 8) -> Embedder:
    with settings.override(batch_size=batch_size):
        return Embedder(network, table, official=official)


# --- one cell, one batch


def test_masked_equals_every_cell_alone_through_the_plain_network(network, table, genes):
    s = drawn(genes)
    assert len(np.unique(s.lengths)) > 3
    alone = [
        reference(network, table, s.ids[i : i + 1, :n], s.lengths[i : i + 1])[0] for i, n in enumerate(s.lengths) if n
    ]
    filled = np.flatnonzero(s.lengths)
    assert np.linalg.norm(np.diff(alone, axis=0), axis=1).min() > 1e-3, "the embeddings must differ"
    for batch_size in (1, 7, 1000):
        out = embedder(network, table, batch_size=batch_size).embed(s)
        assert (out.dtype, out.shape) == (np.float32, (N, CONFIG.output_dim))
        np.testing.assert_allclose(out[filled], alone, atol=1e-5)
        assert np.isnan(out[list(EMPTY)]).all()
    assert np.isnan(embedder(network, table).embed(drawn(genes, empty=tuple(range(N))))).all()


@pytest.mark.parametrize("batch_size, empty", [(1, EMPTY), (10, ()), (25, EMPTY), (1000, EMPTY)])
def test_official_equals_the_plain_network_on_padded_batches_of_25_rows(network, table, genes, batch_size, empty):
    s = drawn(genes, empty=empty)
    out = embedder(network, table, official=True, batch_size=batch_size).embed(s)
    for begin in range(0, N, OFFICIAL_BATCH):
        rows = np.arange(begin, min(begin + OFFICIAL_BATCH, N))
        rows = rows[s.lengths[rows] > 0]
        longest = s.lengths[rows].max()
        assert s.lengths[rows].min() < longest, "some sentences must be padded"
        expected = reference(network, table, s.ids[rows, :longest], s.lengths[rows])
        np.testing.assert_allclose(out[rows], expected, atol=1e-5)
    assert np.isnan(out[list(empty)]).all()
    assert np.nanmax(np.abs(embedder(network, table).embed(s) - out)) > 1e-3


# --- memory


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that fail one after the other, whatever the number of threads."""
    monkeypatch.setattr("univerce.inference.embedder.threads_of_one_core", lambda device: nullcontext(map))


def limited(network: UCE, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Let the network raise for batches of more than ``most`` sentences; returns the sizes it was asked for."""
    embed, asked = network.embed, []

    def stand_in(tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked.append(len(tokens))
        if len(tokens) > most:
            raise error
        return embed(tokens, *args, **kwargs)

    monkeypatch.setattr(network, "embed", stand_in)
    return asked


def asynchronous(e: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let an embedder do as on CUDA, without one; returns what it asks of the device, in order."""
    asked: list[str] = []
    forward = e._forward

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.is_contiguous(), "only then it is copied without waiting"
        asked.append("pin")
        return tensor.clone()

    def recording(*arguments: Any) -> torch.Tensor:
        asked.append("forward")
        return forward(*arguments)

    def record_event() -> SimpleNamespace:
        block = sum(what.startswith("copy") for what in asked)
        asked.append(f"copy {block}")
        return SimpleNamespace(synchronize=lambda: asked.append(f"wait {block}"))

    def refused(tensor: torch.Tensor) -> torch.Tensor:
        raise AssertionError("waits for all that is queued")

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "cpu", refused)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(record_event=record_event))
    monkeypatch.setattr(e, "_forward", recording)
    e.asynchronous = True
    return asked


@pytest.mark.parametrize(
    "error, official, behind",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False, True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True, False),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
            False,
            False,
        ),
    ],
    ids=["CUDA", "CUDA official", "MPS official", "CPU"],
)
def test_out_of_memory_halves_the_batch_and_keeps_the_result(
    network, table, genes, monkeypatch, caplog, official, error, behind
):
    s = drawn(genes)
    expected = embedder(network, table, official=official).embed(s)
    asked = limited(network, monkeypatch, 3, error)
    done: list[int] = []
    narrow = embedder(network, table, official=official, batch_size=24)
    if behind:
        asynchronous(narrow, monkeypatch)
    with caplog.at_level(logging.WARNING, logger="univerce"):
        out = narrow.embed(s, done=done.append)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert sum(done) == N, "every sentence is reported once, also empty ones"
    assert 1 <= narrow.batch_size <= 3
    assert sum(size > 3 for size in asked) == len(caplog.records) <= 4, "a batch that did not fit was tried again"
    assert f"batch_size={narrow.batch_size}" in caplog.messages[-1]


@pytest.mark.parametrize("official", [False, True], ids=["masked", "official"])
def test_out_of_memory_may_come_late(network, table, genes, monkeypatch, official):
    """An asynchronous device raises when results are fetched; all work since the last fetch is repeated."""
    s, done = drawn(genes), []
    expected = embedder(network, table, official=official).embed(s)
    e = embedder(network, table, official=official, batch_size=24)
    asynchronous(e, monkeypatch)
    fetch, sizes = e._fetch, []

    def late(parts: list[torch.Tensor]) -> Callable[[], np.ndarray]:
        sizes.append(max(map(len, parts)))
        wait = fetch(parts)

        def raising() -> np.ndarray:
            raise RuntimeError("CUDA error: out of memory")

        return raising if sizes[-1] > 3 else wait

    monkeypatch.setattr(e, "_fetch", late)
    out = e.embed(s, done=done.append)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert sum(done) == N
    assert len(sizes) > 1
    assert sizes == sorted(sizes, reverse=True), "each try takes smaller batches"


def test_out_of_memory_while_results_are_joined(network, table, genes, monkeypatch):
    s, done, sizes = drawn(genes), [], []
    e = embedder(network, table, batch_size=24)
    expected = e.embed(s)
    asynchronous(e, monkeypatch)
    join = torch.cat

    def full(parts: list[torch.Tensor]) -> torch.Tensor:
        sizes.append(max(map(len, parts)))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return join(parts)

    monkeypatch.setattr(torch, "cat", full)
    np.testing.assert_allclose(e.embed(s, done=done.append), expected, atol=1e-6)
    assert sum(done) == N
    assert sizes[0] > 3
    assert sizes == sorted(sizes, reverse=True), "each try takes smaller batches"


def test_an_asynchronous_device_gets_a_block_in_one_copy_and_is_waited_for_once(network, table, genes, monkeypatch):
    s = drawn(genes)
    expected = embedder(network, table).embed(s)
    e = embedder(network, table)
    e._encode(s)
    asked = asynchronous(e, monkeypatch)
    assert e.embed(s).tobytes() == expected.tobytes()
    n_batches = sum(-(-n // e.batch_size) for n in np.unique(s.lengths[s.lengths > 0], return_counts=True)[1])
    assert n_batches > 3
    assert asked == ["pin", *["forward"] * n_batches, "pin", "copy 0", "wait 0"]


def test_an_asynchronous_device_has_the_next_block_before_the_last_is_waited_for(network, table, genes, monkeypatch):
    blocks = prepared([genes], counts(genes))
    expected = list(embed_blocks(iter(blocks), [embedder(network, table)]))
    e = embedder(network, table)
    asked = asynchronous(e, monkeypatch)
    for block, plain in zip(embed_blocks(iter(blocks), [e]), expected, strict=True):
        assert block.rows == plain.rows
        assert block.values.tobytes() == plain.values.tobytes()
        assert (block.missing == plain.missing).all()
    order = [what for what in asked if what.startswith(("copy", "wait"))]
    assert order == ["copy 0", "copy 1", "wait 0", "copy 2", "wait 1", "copy 3", "wait 2", "wait 3"]


def test_other_devices_give_a_block_before_they_read_the_next_but_one(network, table, genes):
    """A call that is killed has lost no more than the block it was at."""
    read = []

    def blocks():
        for block in prepared([genes], counts(genes)):
            read.append(block)
            yield block

    for n, _ in enumerate(embed_blocks(blocks(), [embedder(network, table)]), start=1):
        assert len(read) <= n + 1


def test_out_of_memory_with_one_sentence_says_what_to_do(network, table, genes, monkeypatch, one_at_a_time):
    asked = limited(network, monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError, match=r"memory of cpu .* one sentence of \d+ tokens.*bfloat16.*smaller"):
        embedder(network, table, batch_size=5).embed(drawn(genes))
    assert asked[-1] == 1


def test_another_runtime_error_is_raised(network, table, genes, monkeypatch, one_at_a_time):
    asked = limited(network, monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        embedder(network, table).embed(drawn(genes))
    assert len(asked) == 1


# --- tokens


def test_every_token_is_encoded_once_and_only_when_it_occurs(network, table, genes, monkeypatch):
    encode, seen = network.encode_tokens, []

    def recording(features: torch.Tensor) -> torch.Tensor:
        seen.append(features.numpy())
        return encode(features)

    def tokens() -> np.ndarray:
        """Features of the tokens encoded so far; PAD and the rest of a block are zero."""
        rows = np.concatenate(seen)
        return rows[rows.any(axis=1)]

    monkeypatch.setattr(network, "encode_tokens", recording)
    few, all_of_them = drawn(genes, n=3, empty=()), drawn(genes)
    e = embedder(network, table)
    e.embed(few)
    np.testing.assert_array_equal(tokens(), features(table)[np.unique(few.ids[few.ids > 0])])
    again = e.embed(all_of_them)
    used = np.union1d(few.ids[few.ids > 0], all_of_them.ids[all_of_them.ids > 0])
    assert len(used) > len(np.unique(few.ids))
    np.testing.assert_array_equal(np.sort(tokens(), axis=0), np.sort(features(table)[used].numpy(), axis=0))
    np.testing.assert_array_equal(again, embedder(network, table).embed(all_of_them))


@pytest.mark.parametrize("width, d_model", [(12, 16), (5120, 1280)], ids=["tiny", "as released"])
def test_a_token_does_not_depend_on_those_it_is_encoded_with(width, d_model):
    """To the last bit: an earlier run may have encoded it with other tokens."""
    network = tiny_network(token_dim=width, d_model=d_model)
    table = tiny_table("human", token_dim=width)
    ids = np.arange(1, n_tokens(table), dtype=np.int32)
    together, apart = embedder(network, table), embedder(network, table)
    for e, parts in ((together, [ids]), (apart, [ids[:1], ids[40:43], ids[::2], ids])):
        for part in parts:
            e._encode(Sentences(part[None], np.array([len(part)]), np.array([False])))
    assert torch.equal(together._encoded[1:], apart._encoded[1:])


# --- blocks of embeddings


def test_draws_are_averaged_and_brought_back_to_unit_length(network, table, genes):
    drawing = Drawing(3, "multinomial", CONFIG.n_sample, CONFIG.max_length, n_draws=3)
    X = counts(genes)
    done: list[int] = []
    e = [embedder(network, table)]
    blocks = list(embed_blocks(iter(prepared([genes], X, drawing=drawing)), e, done.append))
    out = np.concatenate([b.values for b in blocks])
    assert [b.rows for b in blocks] == [slice(0, 16), slice(16, 32), slice(32, 48), slice(48, 60)]
    single = []
    for draw in range(3):
        keys = cell_keys(names(), 3, draw=draw)
        s = tokenize(X, genes.rows, genes.order(), keys, n_sample=CONFIG.n_sample, max_length=CONFIG.max_length)
        single.append(embedder(network, table).embed(s))
    assert np.nanmax(np.abs(single[0] - single[1])) > 1e-3
    mean = np.mean(single, axis=0)
    np.testing.assert_allclose(out, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)
    assert np.isnan(out[list(EMPTY)]).all()
    assert sum(done) == 3 * N


def test_an_error_while_reading_surfaces_after_the_blocks_before_it(network, table, genes):
    def broken():
        yield from prepared([genes], counts(genes))[:2]
        raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(embed_blocks(broken(), [embedder(network, table)]))
    blocks = embed_blocks(broken(), [embedder(network, table)])
    assert [next(blocks).rows.start, next(blocks).rows.start] == [0, 16]


def test_a_generator_closed_early_does_not_hang(network, table, genes):
    def endless():
        block = prepared([genes], counts(genes, 4, empty=()))[0]
        while True:
            yield block

    def work():
        blocks = embed_blocks(endless(), [embedder(network, table)])
        next(blocks)
        blocks.close()

    worker = threading.Thread(target=work, daemon=True)
    before = threading.active_count()
    worker.start()
    worker.join(timeout=60)
    assert not worker.is_alive()
    assert threading.active_count() == before


def test_an_error_while_embedding_ends_the_reading(network, table, genes, monkeypatch):
    monkeypatch.setattr(network, "embed", lambda *a, **k: 1 / 0)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(embed_blocks(iter(prepared([genes], counts(genes))), [embedder(network, table)]))
    assert threading.active_count() == before


# --- attention


def test_attention_of_all_positions_has_no_mask_and_is_what_flash_kernels_take(table, genes, monkeypatch):
    """They take no mask, half precision, heads of a multiple of 8 and neighboring values."""
    attend, seen = F.scaled_dot_product_attention, []

    def recording(q, k, v, attn_mask=None, **options):
        seen.append((q, k, v, attn_mask))
        return attend(q, k, v, attn_mask=attn_mask, **options)

    network = tiny_network()
    for layer in network.transformer_encoder.layers:
        for part in (layer.self_attn, layer.linear1, layer.linear2):
            part.bfloat16()
    monkeypatch.setattr(F, "scaled_dot_product_attention", recording)
    embedder(network, table).embed(drawn(genes))
    masks = [mask for *_, mask in seen]
    assert masks == [None] * len(masks)
    everywhere = [(q, k, v) for q, k, v, _ in seen if q.shape[-2] == k.shape[-2] > 1]
    assert len(everywhere) == len(seen) / 2, "the last layer attends from the first position only"
    for part in (x for qkv in everywhere for x in qkv):
        assert part.dtype == torch.bfloat16
        assert part.shape[-1] % 8 == 0
        assert part.stride(-1) == 1
    seen.clear()
    embedder(network, table, official=True).embed(drawn(genes))
    assert all(mask is not None for *_, mask in seen), "pads of the reference need one"
