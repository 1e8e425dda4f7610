"""Contextual embeddings of genes: outputs of the transformer at the positions of each gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse

from univerce.genes.table import N_SPECIAL
from univerce.inference.runtime import Embedder
from univerce.inference.tokens import Sentences


class ContextReader(Embedder):
    """Sum the outputs of the last layer at the positions of each gene; see :class:`Embedder`."""

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
                read = self.network.read_tokens(self._encoded[index]).double().cpu().numpy()
                genes = ids - N_SPECIAL
                cell, place = np.nonzero((genes >= 0) & (genes < self.table.n_obs))
                used, where, n = np.unique(genes[cell, place], return_inverse=True, return_counts=True)
                collect = sparse.csr_matrix((np.ones(len(where)), (where, np.arange(len(where)))))
                self.sums[used] += collect @ read[cell, place]
                self.n_places[used] += n
                if done is not None:
                    done(len(ids))
