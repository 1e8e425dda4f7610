"""Log-odds that cells express genes, from their embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anndata as ad
import numpy as np

from univerce._device import choose_device
from univerce.genes.table import N_SPECIAL, iter_token_features
from univerce.model.directory import Model
from univerce.model.linear import Linear


def gene_features(table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """``[n_genes, token_dim]`` features of rows in any order."""
    used, places = np.unique(rows, return_inverse=True)
    return np.concatenate([block for _, block in iter_token_features(table, used + N_SPECIAL)])[places]


def predict_logits(
    model: Model,
    cells: np.ndarray,
    table: ad.AnnData,
    rows: np.ndarray,
    *,
    names: Sequence[str],
    done: Callable[[int], Any],
) -> np.ndarray:
    """Compute the log-odds of every pair of a cell and a gene, ``[n_cells, n_genes]`` float32.

    Networks read the features of a gene. A linear model has slopes for genes that its training data measured, and
    raises ``ValueError`` with the ``names`` of others. ``done`` is called with the number of pairs after every block.
    """
    if model.reads_sentences:
        from univerce.model.checkpoint import read_network
        from univerce.model.expression import expression_logits

        return expression_logits(read_network(model, choose_device()), cells, gene_features(table, rows), done=done)
    linear = Linear.read(model)
    known = linear.decodes(table, rows)
    if not known.all():
        unknown = [name for name, is_known in zip(names, known, strict=True) if not is_known]
        raise ValueError(
            f"The model {model.config.model_id!r} cannot predict {len(unknown):,} of {len(names):,} genes, which too "
            f"few of its training data measured: {', '.join(map(repr, unknown[:10]))}. Leave them out, or use a model "
            "that reads sentences."
        )
    logits = linear.decode(cells, table, rows)
    done(logits.size)
    return logits
