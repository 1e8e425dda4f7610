"""Predict from a cell whether a gene is expressed in it, by ridge regression on the training cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from univerce.model.linear import Decoder, Linear
from univerce.training.measured_cells import MeasuredCells

_RIDGE = 1.0
_LEAST_SETS = 3
_LEVELS = 127


def fit_decoder(model: Linear, cells: Sequence[MeasuredCells]) -> Decoder:
    """Regress whether a cell expresses a gene on its embedding, within data sets.

    The target is 1 or 0 minus the share of the data set's cells that express the gene, the input the embedding minus
    its mean over the data set: what a data set measures deeply does not look like a property of its cells. The slopes
    of genes that at least three data sets express are divided by the variance of the target, which turns a probability
    into log-odds.
    """
    dim, index = model.config.output_dim, model.index
    n_keys = len(model.keys)
    gram, moment = np.zeros((dim, dim)), np.zeros((n_keys, dim))
    n_sets, variance, n_cells = np.zeros(n_keys), np.zeros(n_keys), np.zeros(n_keys)
    means = []
    for c in cells:
        embedded = model.cells(c.weights, model.vectors(c.table, c.rows)).astype(np.float64)
        means.append(embedded.mean(axis=0))
        centered = embedded - means[-1]
        gram += centered.T @ centered
        places, first = np.unique([index[key] for key in c.keys], return_index=True)
        expressed = c.weights[:, first]
        expressed.data = np.ones_like(expressed.data)
        share = np.asarray(expressed.mean(axis=0), dtype=np.float64).ravel()
        moment[places] += np.asarray(expressed.T @ centered)  # the rows of centered add up to zero
        n_sets[places] += share > 0
        variance[places] += len(embedded) * share * (1 - share)
        n_cells[places] += len(embedded)
    genes = np.flatnonzero((n_sets >= _LEAST_SETS) & (variance > 0))
    ridge = _RIDGE * np.trace(gram) / dim
    slopes = np.linalg.solve(gram + ridge * np.eye(dim), moment[genes].T).T
    slopes /= (variance[genes] / n_cells[genes])[:, None]
    intercept = -slopes @ np.mean(means, axis=0)
    scale = np.abs(slopes).max(axis=1) / _LEVELS
    scale[scale == 0] = 1
    return Decoder(
        genes, np.rint(slopes / scale[:, None]).astype(np.int8), scale.astype(np.float32), intercept.astype(np.float32)
    )
