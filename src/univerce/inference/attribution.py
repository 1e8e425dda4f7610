"""Integrated gradients: how far each gene of a cell's sentence and bag moves the cell in a direction.

The gradient of an output, averaged on the straight path from a baseline to the input, times their difference, adds up
to the difference of the outputs (Sundararajan et al. 2017). The output is the cosine of the embedding with a direction.
The input is the encoded tokens of the genes and the bag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from univerce.genes.table import N_SPECIAL, n_tokens
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences
from univerce.model.bag import bag_weights
from univerce.model.network import UCE

_BLOCK_ROWS = 100


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attributions of cells whose sentences have one length."""

    tokens: np.ndarray
    """``[cells, length]`` float64 attribution of every position; zero where the baseline is the same."""
    bag_gradient: np.ndarray | None
    """``[cells, token_dim]`` float64 mean gradient of the bag; times a part of the bag it is the part's attribution."""
    output: np.ndarray
    """``[cells]`` cosine of the cells."""
    baseline: np.ndarray
    """``[cells]`` cosine of their baselines."""


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights of a quadrature that is exact for polynomials of degree ``2 n_steps - 1``."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return (points + 1) / 2, weights / 2


def integrated_gradients(
    network: UCE,
    tokens: Tensor,
    baseline: Tensor,
    direction: Tensor,
    *,
    bag: Tensor | None = None,
    bag_baseline: Tensor | None = None,
    n_steps: int = 8,
) -> Attribution:
    """Attribute the cosine of cells with a unit vector ``direction`` to their tokens and their bag.

    Parameters
    ----------
    network
        In evaluation mode.
    tokens, baseline
        ``[cells, length, d_model]`` encoded tokens of the cells and of their baselines, position by position.
    direction
        ``[output_dim]`` of unit length.
    bag, bag_baseline
        ``[cells, token_dim]``, for networks with a bag.
    n_steps
        Points on the path at which the gradient is evaluated.
    """
    step = tokens - baseline
    bag_step = None if bag is None or bag_baseline is None else bag - bag_baseline
    token_sum = torch.zeros(tokens.shape[:2], dtype=torch.float64, device=tokens.device)
    bag_sum = None if bag is None else torch.zeros(bag.shape, dtype=torch.float64, device=bag.device)
    silent = bag is not None and _is_silent(network)
    for place, weight in zip(*gauss_legendre(n_steps), strict=True):
        x = None if silent else (baseline + float(place) * step).requires_grad_(True)
        y = None
        if bag_step is not None and bag_baseline is not None:
            y = (bag_baseline + float(place) * bag_step).requires_grad_(True)
        inputs = [z for z in (x, y) if z is not None]
        gradients = torch.autograd.grad((network.embed(x, bag=y) @ direction).sum(), inputs)
        if x is not None:
            token_sum += float(weight) * (gradients[0] * step).sum(-1, dtype=torch.float64)
        if bag_sum is not None:
            bag_sum += float(weight) * gradients[-1].double()
    with torch.no_grad():
        output = network.embed(None if silent else tokens, bag=bag) @ direction
        start = network.embed(None if silent else baseline, bag=bag_baseline) @ direction
    bag_gradient = None if bag_sum is None else bag_sum.cpu().numpy()
    return Attribution(token_sum.cpu().numpy(), bag_gradient, *(x.double().cpu().numpy() for x in (output, start)))


def _is_silent(network: UCE) -> bool:
    """Whether sentences contribute nothing, as in an untrained model that starts from its bag."""
    return not any(bool(parameter.any()) for parameter in network.decoder[-1].parameters())


@dataclass(frozen=True, eq=False)
class Average:
    """The average cell, at which the path starts."""

    draws: np.ndarray
    """``[n_tokens]`` number of draws of each gene in all sentences."""
    weights: np.ndarray
    """``[n_tokens]`` mean weight of each gene in the bag, see :func:`~univerce.model.bag.bag_weights`."""

    @classmethod
    def of(cls, inputs: Inputs) -> Self:
        """Average the cells of one species that have counts; ``ValueError`` if there are none."""
        table, config = inputs.genes[0].table, inputs.model.config
        size = n_tokens(table)
        draws, weights, n = np.zeros(size), np.zeros(size), 0
        for _, groups in draw_sentences(inputs, _BLOCK_ROWS, with_bag=True):
            for group in groups:
                draws += np.bincount(group.draws[0].ids.ravel(), minlength=size)
                n += int((group.draws[0].lengths > 0).sum())
                if config.bag and group.bag is not None:
                    weights += np.asarray(bag_weights(group.bag, config.bag_scale).sum(axis=0)).ravel()
        if n == 0:
            raise ValueError("No cell has a count in any gene of the model.")
        draws[:N_SPECIAL] = draws[N_SPECIAL + table.n_obs :] = 0
        return cls(draws, weights / n)

    def rows(self, n_genes: int) -> np.ndarray:
        """Rows of the gene table of the genes that occur in any cell."""
        used = np.flatnonzero((self.draws > 0) | (self.weights > 0)) - N_SPECIAL
        return used[(used >= 0) & (used < n_genes)]


class Attributor(Embedder):
    """Attribute embeddings to the genes of one species; see :class:`Embedder`."""

    def attribute(
        self,
        sentences: Sentences,
        bag: sparse.csr_matrix,
        direction: np.ndarray,
        average: Average,
        *,
        n_steps: int = 8,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attribute the cosine of cells with a unit vector ``direction`` to genes.

        In the baseline every drawn gene is replaced in place by the mean of all drawn genes, and the bag is that of the
        average cell. Genes that a cell expresses less than the average cell have an attribution too.

        Returns
        -------
        ``[n_cells, n_genes]`` float64 attributions by row of the gene table, and ``[n_cells]`` cosines of the cells and
        of their baselines; NaN for cells without a sentence.
        """
        n_cells, n_genes = len(sentences.lengths), self.table.n_obs
        out = np.full((n_cells, n_genes), np.nan)
        ends = np.full((2, n_cells), np.nan)
        unit = torch.from_numpy(direction).float().to(self.device)
        self._encode(sentences)
        mean = self._mean_token(average)
        parts = self._bag_parts(bag, average)
        for rows in self._batches(sentences.lengths):
            length = int(sentences.lengths[rows[0]])
            for begin in range(0, len(rows), self.batch_size):
                some = rows[begin : begin + self.batch_size]
                ids = sentences.ids[some, :length]
                is_gene = (ids >= N_SPECIAL) & (ids < N_SPECIAL + n_genes)
                tokens = self._encoded[torch.from_numpy(ids.astype(np.int64)).to(self.device)]
                baseline = torch.where(torch.from_numpy(is_gene).to(self.device)[..., None], mean, tokens)
                bags: dict[str, Tensor] = {}
                if parts is not None:
                    sums = parts.weights[some] @ parts.features
                    bags["bag"] = torch.from_numpy(sums).float().to(self.device)
                    bags["bag_baseline"] = torch.from_numpy(parts.mean).float().to(self.device).expand(len(some), -1)
                result = integrated_gradients(self.network, tokens, baseline, unit, n_steps=n_steps, **bags)
                values = np.zeros((len(some), n_genes))
                cell, place = np.nonzero(is_gene)
                np.add.at(values, (cell, ids[cell, place] - N_SPECIAL), result.tokens[cell, place])
                if parts is not None and result.bag_gradient is not None:
                    less = parts.weights[some].toarray() - parts.average
                    values[:, parts.genes] += less * (result.bag_gradient @ parts.features.T)
                out[some] = values
                ends[:, some] = result.output, result.baseline
        return out, ends[0], ends[1]

    @torch.inference_mode()
    def _mean_token(self, average: Average) -> Tensor:
        """``[d_model]`` mean of the encoded genes of all sentences."""
        ids = np.flatnonzero(average.draws)
        total = torch.zeros(self.network.config.d_model, dtype=torch.float64, device=self.device)
        for part, features in self._features(ids):
            weights = torch.from_numpy(average.draws[part] / average.draws.sum()).to(self.device)
            total += weights @ self.network.encode_tokens(features)[: len(part)].double()
        return total.float().clone()

    def _bag_parts(self, bag: sparse.csr_matrix, average: Average) -> _BagParts | None:
        if self._bag is None:
            return None
        tokens = np.union1d(np.flatnonzero(average.weights), np.unique(bag.indices))
        features = np.zeros((len(tokens), self.network.config.token_dim), dtype=np.float32)
        row = 0
        with torch.inference_mode():
            for part, values in self._features(tokens):
                features[row : row + len(part)] = self.network.bag(values)[: len(part)].cpu().numpy()
                row += len(part)
        weights = bag_weights(bag, self.network.config.bag_scale)[:, tokens]
        mine = average.weights[tokens]
        return _BagParts(tokens - N_SPECIAL, features, sparse.csr_matrix(weights), mine, mine @ features)


@dataclass(frozen=True, eq=False)
class _BagParts:
    genes: np.ndarray
    """``[n_used]`` rows of the gene table."""
    features: np.ndarray
    """``[n_used, token_dim]`` contribution of each to the bag per weight."""
    weights: sparse.csr_matrix
    """``[n_cells, n_used]``."""
    average: np.ndarray
    """``[n_used]`` mean weights."""
    mean: np.ndarray
    """``[token_dim]`` bag of the average cell."""
