"""Embed blocks of cell sentences with a network."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anndata as ad
import numpy as np
import torch
from torch import Tensor

from univerce._device import choose_batch_size, choose_device, choose_precision
from univerce.genes.table import iter_token_features, n_tokens
from univerce.inference.block import Block
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import Drawn
from univerce.inference.sentences import Sentences, max_sentence_length
from univerce.io.pipeline import Stages, ahead
from univerce.model.checkpoint import read_network
from univerce.model.network import UCE

logger = logging.getLogger("univerce")

OFFICIAL_BATCH = 25
"""Rows that the reference pads and embeds together; empty ones, which it never sees, count too."""
_ENCODE_ROWS = 512
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

    ``official`` pads as the reference does.
    """

    def __init__(self, network: UCE, table: ad.AnnData, *, official: bool = False) -> None:
        self.network, self.table, self.official = network, table, official
        self.device = next(network.parameters()).device
        self.batch_size = _batch_size(network, self.device)
        """Sentences in a batch; halved when memory runs out."""
        self._asynchronous = self.device.type == "cuda"  # results and errors arrive when they are waited for
        size = n_tokens(table)
        self._known = np.zeros(size, dtype=bool)
        # Empty, not zero: memory is used as rows are filled, and no other row is read.
        self._encoded = torch.empty(size, network.config.d_model, device=self.device)

    def embed(self, sentences: Sentences, done: Callable[[int], Any] | None = None) -> np.ndarray:
        """Embed sentences of local token ids, ``[n_cells, output_dim]`` float32; NaN for empty sentences.

        ``done`` is called with the number of finished sentences, first with that of the empty ones.
        """
        if done is not None:
            done(int(np.sum(sentences.lengths == 0)))
        out = np.full((len(sentences.lengths), self.network.config.output_dim), np.nan, dtype=np.float32)
        self._encode(sentences)
        groups = self._batches(sentences.lengths)
        # The longest of a whole group: pads are part of the official result.
        todo = deque((rows, int(sentences.lengths[rows].max())) for rows in groups if len(rows))
        self._embed_groups(sentences, todo, out, done)
        return out

    def _embed_groups(
        self,
        sentences: Sentences,
        todo: deque[tuple[np.ndarray, int]],
        out: np.ndarray,
        done: Callable[[int], Any] | None,
    ) -> None:
        under_way: list[tuple[np.ndarray, int, Tensor]] = []
        while todo or under_way:
            try:
                if todo:
                    rows, longest = todo[0]
                    part = rows[: self.batch_size]
                    width = longest if self.official else int(sentences.lengths[part].max())
                    cells = self._forward(sentences.take(part), width)
                    under_way.append((part, longest, cells))
                    todo.popleft()
                    if len(part) < len(rows):
                        todo.appendleft((rows[len(part) :], longest))
                if self._asynchronous and todo:
                    continue  # queue everything before waiting for the device
                values = self._fetch([cells for *_, cells in under_way])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve(error, max([len(part), *(len(p) for p, *_ in under_way)]), longest)
                # The error may belong to any of these, so all are repeated.
                todo.extendleft((part, longest) for part, longest, _ in reversed(under_way))
                under_way.clear()
                continue
            out[np.concatenate([part for part, *_ in under_way])] = values
            if done is not None:
                for part, *_ in under_way:
                    done(len(part))
            under_way.clear()

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
        """Make batches smaller than ``size``, which did not fit; raise if that is impossible."""
        if self.batch_size == 1:
            raise torch.OutOfMemoryError(
                f"The memory of {self.device} does not hold even one sentence of {longest} tokens; free some, "
                "set uc.settings.precision = 'bfloat16' or uc.settings.device = 'cpu', or use a smaller model."
            ) from error
        self.batch_size = max(1, min(self.batch_size, size) // 2)
        logger.warning("Out of memory on %s; going on with batch_size=%d.", self.device, self.batch_size)

    @torch.inference_mode()
    def _forward(self, s: Sentences, width: int) -> Tensor:
        index = self._move(s.ids[:, :width]).long()
        lengths = self._move(s.lengths) if self.official else None
        return self.network.embed(self._encoded[index], lengths, official=self.official).float()

    def _move(self, values: np.ndarray | Tensor) -> Tensor:
        """Copy to the device, from pinned memory if it is asynchronous, so that neither waits for the other."""
        host = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        if self._asynchronous:
            return host.contiguous().pin_memory().to(self.device, non_blocking=True)
        return host.to(self.device)

    @torch.inference_mode()
    def _fetch(self, parts: list[Tensor]) -> np.ndarray:
        """Copy from the device, all at once."""
        return np.asarray(torch.cat(parts).cpu().numpy())

    @torch.inference_mode()
    def _encode(self, sentences: Sentences) -> None:
        """Encode new tokens, each once per data set."""
        used = np.zeros(len(self._known), dtype=bool)
        used[np.unique(sentences.ids)] = True
        ids = np.flatnonzero(used & ~self._known)
        for part, features in self._features(ids):
            encoded = self.network.encode_tokens(features)[: len(part)]
            self._encoded[self._move(part)] = encoded.float()
        self._known[ids] = True

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
    for rows, groups in ahead(drawn):
        n = rows.stop - rows.start
        values: np.ndarray | None = None
        missing = np.zeros(n, dtype=bool)
        n_pooled = 0
        for group in groups:
            total: Any = 0
            with stages.measure("forward"):
                for sentences in group.draws:
                    total = total + embedders[group.species].embed(sentences, done)
            if values is None:
                values = np.empty((n, total.shape[1]), dtype=np.float32)
            if len(group.draws) > 1:
                total /= np.linalg.norm(total, axis=1, keepdims=True)
            values[group.cells] = total
            missing[group.cells] = group.draws[0].lengths == 0
            n_pooled += int(np.any([s.pooled for s in group.draws], axis=0).sum())
        if values is not None:
            yield Block(rows, values, missing, n_pooled)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)
