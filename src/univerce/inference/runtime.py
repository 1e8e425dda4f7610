"""Embedding of count matrices: blocks of rows in, blocks of embeddings out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from univerce._device import choose_batch_size
from univerce._validate import check_counts
from univerce.genes.table import N_SPECIAL, chromosome_index, iter_token_features, n_tokens
from univerce.inference.tokens import GenomeOrder, Sentences, cell_keys, max_sentence_length, tokenize
from univerce.io.blocks import iter_blocks
from univerce.io.pipeline import Stages, ahead
from univerce.model.bag import bag_weights
from univerce.model.config import Sampling
from univerce.model.network import UCE

logger = logging.getLogger("univerce")

OFFICIAL_BATCH = 25
"""Rows that the reference embeds, and pads, together; empty ones, which it never meets, count too."""
_ENCODE_ROWS = 512
_N_CHROMOSOMES = 25  # of most cells; the length of their sentences sets the batch size
# What torch says when memory runs out without raising OutOfMemoryError: MPS, the CPU, a cuBLAS workspace.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Drawing:
    """How sentences are drawn."""

    seed: int
    sampling: Sampling
    n_sample: int
    max_length: int
    n_draws: int = 1


@dataclass(frozen=True)
class Genes:
    """The genes of one species in a matrix."""

    table: ad.AnnData
    rows: np.ndarray
    """``[n_vars]`` int32 row of the table, -1 when a variable is no gene."""

    def order(self) -> GenomeOrder:
        """The table in genome order."""
        return GenomeOrder.build(chromosome_index(self.table), self.table.obs["start"].to_numpy())

    def tokens(self) -> sparse.csr_matrix:
        """``[n_vars, n_tokens]`` matrix that adds the counts of variables to their gene's token."""
        var = np.flatnonzero(self.rows >= 0)
        ones = np.ones(len(var), dtype=np.float32)
        shape = (len(self.rows), n_tokens(self.table))
        return sparse.csr_matrix((ones, (var, self.rows[var] + N_SPECIAL)), shape=shape)


@dataclass(frozen=True)
class Group:
    """Cells of one species in a block of rows."""

    species: int
    cells: np.ndarray
    """Places in the block."""
    draws: list[Sentences]
    bag: sparse.csr_matrix | None
    """``[cells, n_tokens]`` counts, for models with a bag."""


@dataclass(frozen=True)
class Block:
    """Embeddings of consecutive rows."""

    rows: slice
    values: np.ndarray
    """``[rows, output_dim]`` float32; NaN where a cell has no count in any gene."""
    missing: np.ndarray
    """``[rows]`` bool: the cell has no count in any gene."""
    n_pooled: int
    """Number of cells whose chromosomes were pooled to fit the sentence."""


class Embedder:
    """A network with the tokens of one gene table; batches have the size of the settings.

    Parameters
    ----------
    network
        From :func:`~univerce.model.checkpoint.load_network`.
    table
        Gene table of one species.
    official
        Pad as the reference does.
    """

    def __init__(self, network: UCE, table: ad.AnnData, *, official: bool = False) -> None:
        self.network, self.table, self.official = network, table, official
        self.device = network.pos_encoder.pe.device
        self.batch_size = _batch_size(network, self.device)
        """Sentences in a batch; halved when memory runs out."""
        self._works_behind = self.device.type == "cuda"  # results, and errors, come when they are waited for
        size = n_tokens(table)
        self._known = np.zeros(size, dtype=bool)
        # Empty, not zero: memory is taken as rows are filled, and no other row is read.
        self._encoded = torch.empty(size, network.config.d_model, device=self.device)
        self._bag = np.zeros((size, network.config.token_dim), dtype=np.float32) if network.config.bag else None
        self._bag_known = np.zeros(size, dtype=bool)

    def embed(
        self, sentences: Sentences, bag: sparse.csr_matrix | None = None, done: Callable[[int], Any] | None = None
    ) -> np.ndarray:
        """Embed sentences.

        Parameters
        ----------
        sentences
            Sentences of local token ids.
        bag
            ``[n_cells, n_tokens]`` counts, for a network with a bag.
        done
            Told the numbers of sentences that are done; before the others that of the empty ones.

        Returns
        -------
        ``[n_cells, output_dim]`` float32, NaN for empty sentences.
        """
        if done is not None:
            done(int(np.sum(sentences.lengths == 0)))
        out = np.full((len(sentences.lengths), self.network.config.output_dim), np.nan, dtype=np.float32)
        self._encode(sentences)
        bags = self._sum_bag(bag) if self._bag is not None and bag is not None else None
        groups = self._batches(sentences.lengths)
        # The longest of a whole group: pads are part of the official result.
        todo = deque((rows, int(sentences.lengths[rows].max())) for rows in groups if len(rows))
        self._embed_groups(sentences, bags, todo, out, done)
        return out

    def _embed_groups(
        self,
        sentences: Sentences,
        bags: np.ndarray | None,
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
                    cells = self._forward(sentences.take(part), width, None if bags is None else bags[part])
                    under_way.append((part, longest, cells))
                    todo.popleft()
                    if len(part) < len(rows):
                        todo.appendleft((rows[len(part) :], longest))
                if self._works_behind and todo:
                    continue  # nothing waits for the device before all of it is under way
                values = self._fetch([cells for *_, cells in under_way])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve(error, max([len(part), *(len(p) for p, *_ in under_way)]), longest)
                # Whose error it is may not be known, so none of these can be relied on.
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
        """Make batches smaller than ``size``, in which there was too little memory; raise when that cannot be."""
        if self.batch_size == 1:
            raise torch.OutOfMemoryError(
                f"The memory of {self.device} does not hold even one sentence of {longest} tokens; free some, "
                "set uc.settings.precision = 'bfloat16' or uc.settings.device = 'cpu', or use a smaller model."
            ) from error
        self.batch_size = max(1, min(self.batch_size, size) // 2)
        logger.warning("Out of memory on %s; going on with batch_size=%d.", self.device, self.batch_size)

    @torch.inference_mode()
    def _forward(self, s: Sentences, width: int, bags: np.ndarray | None) -> Tensor:
        index = self._move(s.ids[:, :width]).long()
        lengths = self._move(s.lengths) if self.official else None
        bag = None if bags is None else self._move(bags)
        return self.network.embed(self._encoded[index], lengths, official=self.official, bag=bag).float()

    def _move(self, values: np.ndarray | Tensor) -> Tensor:
        """To the device; where it works behind, out of pinned memory, so that neither waits for the other."""
        host = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        if self._works_behind:
            return host.contiguous().pin_memory().to(self.device, non_blocking=True)
        return host.to(self.device)

    @torch.inference_mode()
    def _fetch(self, parts: list[Tensor]) -> np.ndarray:
        """From the device, all at once."""
        return np.asarray(torch.cat(parts).cpu().numpy())

    @torch.inference_mode()
    def _encode(self, sentences: Sentences) -> None:
        """Encode the tokens that have not occurred before, each once per data set."""
        used = np.zeros(len(self._known), dtype=bool)
        used[np.unique(sentences.ids)] = True
        ids = np.flatnonzero(used & ~self._known)
        for part, features in self._features(ids):
            encoded = self.network.encode_tokens(features)[: len(part)]
            self._encoded[self._move(part)] = encoded.float()
        self._known[ids] = True

    @torch.inference_mode()
    def _sum_bag(self, bag: sparse.csr_matrix) -> np.ndarray:
        if self._bag is None:
            raise ValueError("The model reads no bag of genes.")
        used = np.zeros(len(self._bag_known), dtype=bool)
        used[bag.indices] = True
        ids = np.flatnonzero(used & ~self._bag_known)
        if len(ids):
            self._bag[ids] = self._fetch([self.network.bag(x)[: len(part)] for part, x in self._features(ids)])
        self._bag_known[ids] = True
        return np.asarray(bag_weights(bag, self.network.config.bag_scale) @ self._bag, dtype=np.float32)

    def _features(self, ids: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Tokens and their features, always the same number of rows, beyond the tokens zero.

        How a product rounds depends on its number of rows, and a token shall not depend on those it is encoded with:
        a run that is resumed gives the bytes of one that was not interrupted.
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


def prepare(
    X: Any,
    block_rows: int,
    *,
    names: np.ndarray,
    species: np.ndarray,
    genes: Sequence[Genes],
    drawing: Drawing,
    where: str,
    with_bag: bool = False,
    sentences: Sentences | None = None,
    blocks: Sequence[int] | None = None,
    stages: Stages | None = None,
) -> Iterator[tuple[slice, list[Group]]]:
    """Read blocks of rows, check that they are counts and draw the sentences; the next is read meanwhile.

    Parameters
    ----------
    X
        Any matrix that :func:`~univerce.io.blocks.iter_blocks` reads.
    block_rows
        Rows in a block.
    names
        ``[n_cells]`` names of the cells, the keys of their random streams.
    species
        ``[n_cells]`` index into ``genes``.
    genes
        The genes of each species.
    drawing
        How sentences are drawn.
    where
        What ``X`` is called in error messages.
    with_bag
        Prepare the bag too.
    sentences
        Sentences of all cells, drawn before.
    blocks
        The blocks to read; all by default.
    stages
        Told what ``"read"`` and ``"tokenize"`` take.

    Yields
    ------
    The rows of each block and its cells by species.
    """
    stages = Stages() if stages is None else stages
    orders = [g.order() for g in genes]
    to_tokens = [g.tokens() for g in genes]
    for rows, counts in ahead(stages.timed("read", iter_blocks(X, block_rows, blocks=blocks))):
        with stages.measure("tokenize"):
            check_counts(counts, where=where)
            groups = []
            for k in np.unique(species[rows]):
                cells = np.flatnonzero(species[rows] == k)
                mine = counts if len(cells) == counts.shape[0] else counts[cells]
                if sentences is not None:
                    draws = [sentences.take(cells + rows.start)]
                else:
                    keys = [cell_keys(names[rows][cells], drawing.seed, draw=draw) for draw in range(drawing.n_draws)]
                    draws = [
                        tokenize(
                            mine, genes[k].rows, orders[k], key, n_sample=drawing.n_sample, sampling=drawing.sampling,
                            max_length=drawing.max_length,
                        )
                        for key in keys
                    ]  # fmt: skip
                groups.append(Group(int(k), cells, draws, _token_counts(mine, to_tokens[k]) if with_bag else None))
        yield rows, groups


def embed_blocks(
    prepared: Iterator[tuple[slice, list[Group]]],
    embedders: Sequence[Embedder],
    done: Callable[[int], Any] | None = None,
    stages: Stages | None = None,
) -> Iterator[Block]:
    """Embed prepared blocks; the next block is read and tokenized while one is embedded.

    Parameters
    ----------
    prepared
        From :func:`prepare`.
    embedders
        One per species.
    done
        Told the number of sentences after every batch.
    stages
        Told what ``"forward"`` takes.

    Yields
    ------
    The embeddings of each block.
    """
    stages = Stages() if stages is None else stages
    for rows, groups in ahead(prepared):
        n = rows.stop - rows.start
        values: np.ndarray | None = None
        n_pooled = 0
        for group in groups:
            total: Any = 0
            with stages.measure("forward"):
                for sentences in group.draws:
                    total = total + embedders[group.species].embed(sentences, group.bag, done)
            if values is None:
                values = np.empty((n, total.shape[1]), dtype=np.float32)
            if len(group.draws) > 1:
                total /= np.linalg.norm(total, axis=1, keepdims=True)
            values[group.cells] = total
            n_pooled += int(np.any([s.pooled for s in group.draws], axis=0).sum())
        if values is not None:
            yield Block(rows, values, np.isnan(values[:, 0]), n_pooled)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def _token_counts(counts: sparse.csr_matrix, to_tokens: sparse.csr_matrix) -> sparse.csr_matrix:
    tokens = sparse.csr_matrix(counts.astype(np.float32) @ to_tokens)
    tokens.sort_indices()
    return tokens
