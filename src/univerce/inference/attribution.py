"""Integrated gradients: how far each gene of a cell's sentence moves the cell in a direction.

The gradient of an output, averaged on the straight path from a baseline to the input, times their difference, adds up
to the difference of the outputs (Sundararajan et al. 2017). The output is the cosine of the embedding with a direction.
The input is the encoded tokens of the genes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from univerce.genes.table import N_SPECIAL, n_tokens
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences
from univerce.model.network import UCE

BLOCK_ROWS = 100


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of cells whose sentences have one length."""

    tokens: np.ndarray
    """``[cells, length]`` float64 attribution of every position; zero where the baseline is the same."""
    output: np.ndarray
    """``[cells]`` cosine of the cells."""
    baseline: np.ndarray
    """``[cells]`` cosine of their baselines."""


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights of a quadrature that is exact for polynomials of degree ``2 n_steps - 1``."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return (points + 1) / 2, weights / 2


def integrated_gradients(
    network: UCE, tokens: Tensor, baseline: Tensor, direction: Tensor, *, n_steps: int = 8
) -> Attribution:
    """Attribute the cosine of cells with a unit vector ``direction`` ``[output_dim]`` to their tokens.

    ``tokens`` and ``baseline`` ``[cells, length, d_model]`` are the encoded tokens of the cells and of their baselines,
    position by position; the gradient is evaluated at ``n_steps`` points between them.
    """
    step = tokens - baseline
    total = torch.zeros(tokens.shape[:2], dtype=torch.float64, device=tokens.device)
    for place, weight in zip(*gauss_legendre(n_steps), strict=True):
        x = (baseline + float(place) * step).requires_grad_(True)
        (gradient,) = torch.autograd.grad((network.embed(x) @ direction).sum(), [x])
        total += float(weight) * (gradient * step).sum(-1, dtype=torch.float64)
    with torch.no_grad():
        ends = (network.embed(x) @ direction for x in (tokens, baseline))
        return Attribution(total.cpu().numpy(), *(x.double().cpu().numpy() for x in ends))


def count_draws(inputs: Inputs) -> np.ndarray:
    """``[n_tokens]`` draws of each gene in all sentences of one species: the average cell, at which the path starts."""
    table = inputs.genes[0].table
    size = n_tokens(table)
    draws, n = np.zeros(size), 0
    for _, groups in draw_sentences(inputs, BLOCK_ROWS):
        for group in groups:
            draws += np.bincount(group.draws[0].ids.ravel(), minlength=size)
            n += int((group.draws[0].lengths > 0).sum())
    if n == 0:
        raise ValueError("No cell has a count in any gene of the model.")
    draws[:N_SPECIAL] = draws[N_SPECIAL + table.n_obs :] = 0
    return draws


class Attributor(Embedder):
    """Attribute embeddings to the genes of one species; see :class:`Embedder`."""

    def attribute(
        self, sentences: Sentences, direction: np.ndarray, draws: np.ndarray, *, n_steps: int = 8
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attribute the cosine of cells with a unit vector ``direction`` to genes.

        In the baseline every drawn gene is replaced in place by the mean of all drawn genes. Returns ``[n_cells,
        n_genes]`` float64 attributions by row of the gene table, and ``[n_cells]`` cosines of the cells and of their
        baselines; NaN for cells without a sentence. ``draws`` are those of :func:`count_draws`.
        """
        n_cells, n_genes = len(sentences.lengths), self.table.n_obs
        out = np.full((n_cells, n_genes), np.nan)
        ends = np.full((2, n_cells), np.nan)
        unit = torch.from_numpy(direction).float().to(self.device)
        self._encode(sentences)
        mean = self._mean_token(draws)
        for rows in self._batches(sentences.lengths):
            length = int(sentences.lengths[rows[0]])
            for begin in range(0, len(rows), self.batch_size):
                some = rows[begin : begin + self.batch_size]
                ids = sentences.ids[some, :length]
                is_gene = (ids >= N_SPECIAL) & (ids < N_SPECIAL + n_genes)
                tokens = self._encoded[torch.from_numpy(ids.astype(np.int64)).to(self.device)]
                baseline = torch.where(torch.from_numpy(is_gene).to(self.device)[..., None], mean, tokens)
                result = integrated_gradients(self.network, tokens, baseline, unit, n_steps=n_steps)
                values = np.zeros((len(some), n_genes))
                cell, place = np.nonzero(is_gene)
                np.add.at(values, (cell, ids[cell, place] - N_SPECIAL), result.tokens[cell, place])
                out[some] = values
                ends[:, some] = result.output, result.baseline
        return out, ends[0], ends[1]

    @torch.inference_mode()
    def _mean_token(self, draws: np.ndarray) -> Tensor:
        """``[d_model]`` mean of the encoded genes of all sentences."""
        ids = np.flatnonzero(draws)
        total = torch.zeros(self.network.config.d_model, dtype=torch.float64, device=self.device)
        for part, features in self._features(ids):
            weights = torch.from_numpy(draws[part] / draws.sum()).to(self.device)
            total += weights @ self.network.encode_tokens(features)[: len(part)].double()
        return total.float().clone()
