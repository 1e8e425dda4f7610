"""Genes as the transformer reads them in the sentences of cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse

from univerce._device import choose_device
from univerce._settings import progress_bar
from univerce.genes.table import N_SPECIAL
from univerce.inference.block import BLOCK_ROWS
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences
from univerce.model.checkpoint import read_network


class ContextReader(Embedder):
    """Sum the outputs of the last layer at the places of each gene; see :class:`Embedder`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sums = np.zeros((self.table.n_obs, self.network.config.d_model))
        """``[n_genes, d_model]`` by row of the gene table."""
        self.n_places = np.zeros(self.table.n_obs, dtype=np.int64)
        """``[n_genes]`` number of outputs in each sum."""

    @torch.inference_mode()
    def add(self, sentences: Sentences, done: Callable[[int], Any] | None = None) -> None:
        """Read sentences of local token ids; ``done`` is called with their number after every batch."""
        self._encode(sentences)
        for rows in self._batches(sentences.lengths):
            length = int(sentences.lengths[rows].max(initial=0))
            for begin in range(0, len(rows), self.batch_size):
                ids = sentences.ids[rows[begin : begin + self.batch_size], :length]
                index = torch.from_numpy(ids.astype(np.int64)).to(self.device)
                outputs = self.network.read_tokens(self._encoded[index]).double().cpu().numpy()
                genes = ids - N_SPECIAL
                cell, place = np.nonzero((genes >= 0) & (genes < self.table.n_obs))
                used, where, n = np.unique(genes[cell, place], return_inverse=True, return_counts=True)
                collect = sparse.csr_matrix((np.ones(len(where)), (where, np.arange(len(where)))))
                self.sums[used] += collect @ outputs[cell, place]
                self.n_places[used] += n
                if done is not None:
                    done(len(ids))


def mean_context(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Average the outputs at the places of each gene, over cells of one species.

    Returns ``[n_genes, d_model]`` mean of each gene, minus the mean over all drawn genes, and ``[n_genes]`` number of
    places; ``ValueError`` if no cell has a count in a gene of the model.
    """
    inputs.sentences()  # raises if the model reads none
    reader = ContextReader(read_network(inputs.model, choose_device()), inputs.genes[0].table)
    with progress_bar(total=len(inputs.names), unit="sentence", desc="read") as bar:
        for _, groups in draw_sentences(inputs, BLOCK_ROWS):
            for group in groups:
                reader.add(group.draws[0], bar.update)
    drawn = reader.n_places > 0
    if not drawn.any():
        raise ValueError("No cell has a count in any gene of the model.")
    means = np.divide(reader.sums, reader.n_places[:, None], out=np.zeros_like(reader.sums), where=drawn[:, None])
    means[drawn] -= means[drawn].mean(axis=0)
    return means, reader.n_places
