"""Embed blocks of cell sentences with a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import anndata as ad
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from univerce._device import choose_batch_size, choose_device, choose_precision
from univerce._settings import logger
from univerce.genes.table import iter_token_features, n_tokens
from univerce.inference.block import Block
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import Drawn
from univerce.inference.sentences import Sentences, max_sentence_length
from univerce.inference.threads import threads_of_one_core
from univerce.io.pipeline import Stages, ahead
from univerce.model.checkpoint import read_network
from univerce.model.layers import pack
from univerce.model.network import UCE

OFFICIAL_BATCH = 25
"""Rows that the reference pads and embeds together; empty ones, which it never sees, count too."""
_ENCODE_ROWS = 128
_N_CHROMOSOMES = 25  # of most cells; the length of their sentences sets the batch size
# Messages of torch when memory runs out without an OutOfMemoryError: MPS, the CPU, a cuBLAS workspace.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def load_embedders(inputs: Inputs) -> list[Embedder]:
    """Load the network of some inputs, in the precision of the settings, with the table of each species.

    ``ValueError`` if the model reads no sentences.
    """
    inputs.sentences()
    device = choose_device()
    network = read_network(inputs.model, device, choose_precision(device, inputs.model.config.d_model))
    return [Embedder(network, genes.table) for genes in inputs.genes]


class Embedder:
    """A network with the tokens of one gene table; batches have the size of the settings.

    ``official`` pads as the reference does. On the CPU, bfloat16 weights of the network are packed.
    """

    def __init__(self, network: UCE, table: ad.AnnData, *, official: bool = False) -> None:
        pack(network)
        self.network, self.table, self.official = network, table, official
        self.device = next(network.parameters()).device
        self.batch_size = _batch_size(network, self.device)
        """Sentences in a batch; halved when memory runs out."""
        self.asynchronous = self.device.type == "cuda"
        """Whether results and errors arrive when they are waited for."""
        size = n_tokens(table)
        self._known = np.zeros(size, dtype=bool)
        # Empty, not zero: memory is used as rows are filled, and no other row is read.
        self._encoded = torch.empty(size, network.config.d_model, device=self.device)

    def embed(self, sentences: Sentences, done: Callable[[int], Any] | None = None) -> np.ndarray:
        """Embed sentences of local token ids, ``[n_cells, output_dim]`` float32; NaN for empty sentences.

        ``done`` is called with the number of finished sentences, first with that of the empty ones.
        """
        return self.start(sentences, done)()

    def start(self, sentences: Sentences, done: Callable[[int], Any] | None = None) -> Callable[[], np.ndarray]:
        """As :meth:`embed`, but an asynchronous device has only been given the work: what is returned waits for it."""
        if done is not None:
            done(int(np.sum(sentences.lengths == 0)))
        out = np.full((len(sentences.lengths), self.network.config.output_dim), np.nan, dtype=np.float32)
        groups = [rows for rows in self._batches(sentences.lengths) if len(rows)]
        if not groups:
            return lambda: out
        self._encode(sentences)
        order = np.concatenate(groups)  # batches are slices of what is copied at once
        # The longest of a whole group: pads are part of the official result.
        shapes = [(len(rows), int(sentences.lengths[rows].max())) for rows in groups]
        ids = self._move(sentences.ids[order, : max(width for _, width in shapes)])
        lengths = self._move(sentences.lengths[order]) if self.official else None

        def run() -> Callable[[], np.ndarray]:
            while True:
                parts = self._embed_groups(ids, lengths, shapes, done)
                try:
                    return self._fetch(parts)
                except RuntimeError as error:  # no memory to join them
                    parts.clear()
                    self._halve(error, *max(shapes))

        fetched = run()

        def wait() -> np.ndarray:
            nonlocal fetched
            try:
                out[order] = fetched()
            except RuntimeError as error:  # of any batch: all are repeated
                self._halve(error, *max(shapes))
                fetched = run()
                return wait()
            if done is not None and self.asynchronous:
                done(len(order))
            return out

        return wait

    def _embed_groups(
        self, ids: Tensor, lengths: Tensor | None, shapes: list[tuple[int, int]], done: Callable[[int], Any] | None
    ) -> list[Tensor]:
        """Embed sentences that lie one group after the other; ``shapes`` are the rows and the width of each group."""
        batches, start = [], 0
        for n_rows, width in shapes:
            end = start + n_rows
            batches += [(slice(i, min(i + self.batch_size, end)), width) for i in range(start, end, self.batch_size)]
            start = end
        parts = []
        with threads_of_one_core(self.device) as each:
            for cells in each(lambda batch: self._embed_batch(ids, lengths, *batch), batches):
                parts.append(cells)
                if done is not None and not self.asynchronous:
                    done(len(cells))
        return parts

    def _embed_batch(self, ids: Tensor, lengths: Tensor | None, rows: slice, width: int) -> Tensor:
        """Embed sentences of one group, in smaller batches if memory runs out."""
        parts, begin = [], rows.start
        while begin < rows.stop:
            some = slice(begin, min(begin + self.batch_size, rows.stop))
            try:
                cells = self._forward(ids[some, :width], None if lengths is None else lengths[some])
                parts.append(cells if self.asynchronous else cells.cpu())
            except RuntimeError as error:
                self._halve(error, some.stop - begin, width)
                continue
            begin = some.stop
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _batches(self, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Rows to embed together: of one length, so that there are no pads; officially 25 in file order."""
        if self.official:
            for begin in range(0, len(lengths), OFFICIAL_BATCH):
                rows = np.arange(begin, min(begin + OFFICIAL_BATCH, len(lengths)))
                yield rows[lengths[rows] > 0]
        else:
            for length in np.unique(lengths[lengths > 0]):
                yield np.flatnonzero(lengths == length)

    def _halve(self, error: RuntimeError, size: int, longest: int) -> None:
        """Make batches smaller than ``size``, which did not fit; raise if that is impossible, or another error."""
        if not _out_of_memory(error):
            raise error
        if self.batch_size == 1:
            raise torch.OutOfMemoryError(
                f"The memory of {self.device} does not hold even one sentence of {longest} tokens; free some, "
                "set uc.settings.precision = 'bfloat16' or uc.settings.device = 'cpu', or use a smaller model."
            ) from error
        self.batch_size = max(1, min(self.batch_size, size) // 2)
        logger.warning("Out of memory on %s; continuing with batch_size=%d.", self.device, self.batch_size)

    @torch.inference_mode()
    def _forward(self, ids: Tensor, lengths: Tensor | None) -> Tensor:
        return self.network.embed(F.embedding(ids, self._encoded), lengths, official=self.official).float()

    def _move(self, values: np.ndarray | Tensor) -> Tensor:
        """Copy to the device, from pinned memory if it is asynchronous, so that neither waits for the other."""
        host = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        if self.asynchronous:
            return host.contiguous().pin_memory().to(self.device, non_blocking=True)
        return host.to(self.device)

    @torch.inference_mode()
    def _fetch(self, parts: list[Tensor]) -> Callable[[], np.ndarray]:
        """Copy from the device, all at once; what is returned waits for the copy, not for work that is queued later."""
        cells = torch.cat(parts)
        if not self.asynchronous:
            return cells.numpy
        host = torch.empty(cells.shape).pin_memory().copy_(cells, non_blocking=True)
        copied = torch.cuda.current_stream(self.device).record_event()

        def wait() -> np.ndarray:
            copied.synchronize()
            return np.asarray(host.numpy())

        return wait

    @torch.inference_mode()
    def _encode(self, sentences: Sentences) -> None:
        """Encode new tokens, each once per data set."""
        used = np.zeros(len(self._known), dtype=bool)
        used[sentences.ids] = True
        ids = np.flatnonzero(used & ~self._known)
        with threads_of_one_core(self.device) as each:
            for _ in each(self._encode_some, self._features(ids)):
                pass
        self._known[ids] = True

    @torch.inference_mode()
    def _encode_some(self, tokens: tuple[np.ndarray, Tensor]) -> None:
        ids, features = tokens
        self._encoded[self._move(ids)] = self.network.encode_tokens(features)[: len(ids)].float()

    def _features(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Tokens and their features, padded with zeros to a fixed number of rows.

        A product rounds by its number of rows, and a token must not depend on those it is encoded with: a resumed run
        gives the bytes of an uninterrupted one.
        """
        for part, features in iter_token_features(self.table, ids, block=_ENCODE_ROWS):
            rows = torch.zeros(_ENCODE_ROWS, features.shape[1])
            rows[: len(features)] = torch.from_numpy(features)
            yield ids[part], self._move(rows)


def _batch_size(network: UCE, device: torch.device) -> int:
    config = network.config
    length = max_sentence_length(config.n_sample, _N_CHROMOSOMES, config.max_length)
    low = any(parameter.dtype == torch.bfloat16 for parameter in network.parameters())
    return choose_batch_size(device, config.d_model, length, "bfloat16" if low else "float32")


def embed_blocks(
    drawn: Iterator[tuple[slice, list[Drawn]]],
    embedders: Sequence[Embedder],
    done: Callable[[int], Any] | None = None,
    stages: Stages | None = None,
) -> Iterator[Block]:
    """Embed blocks from :func:`~univerce.inference.sentence_blocks.draw_sentences`, while the next block is drawn.

    ``embedders`` has one per species; ``done`` is called with the number of sentences after every batch.
    """
    stages = Stages() if stages is None else stages
    # An asynchronous device has the next block before the last is waited for; others would only be late by a block.
    n_ahead = int(any(embedder.asynchronous for embedder in embedders))
    started: deque[_Started] = deque()
    for rows, groups in ahead(drawn):
        with stages.measure("forward"):
            waits = [[embedders[group.species].start(draw, done) for draw in group.draws] for group in groups]
        started.append((rows, groups, waits))
        if len(started) > n_ahead:
            yield _finish(*started.popleft(), stages)
    while started:
        yield _finish(*started.popleft(), stages)


_Started: TypeAlias = tuple[slice, list[Drawn], list[list[Callable[[], np.ndarray]]]]


def _finish(rows: slice, groups: list[Drawn], waits: list[list[Callable[[], np.ndarray]]], stages: Stages) -> Block:
    n = rows.stop - rows.start
    parts = []
    missing = np.zeros(n, dtype=bool)
    n_pooled = 0
    for group, draws in zip(groups, waits, strict=True):
        with stages.measure("forward"):
            total: Any = sum(wait() for wait in draws)
        if len(draws) > 1:
            total /= np.linalg.norm(total, axis=1, keepdims=True)
        parts.append(total)
        missing[group.cells] = group.draws[0].lengths == 0
        n_pooled += int(np.any([s.pooled for s in group.draws], axis=0).sum())
    values = np.empty((n, parts[0].shape[1]), dtype=np.float32)
    for group, part in zip(groups, parts, strict=True):
        values[group.cells] = part
    return Block(rows, values, missing, n_pooled)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)
