"""The training objective of a trained network, cell by cell (Rosen et al., Methods, "Training objective")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import logit

from univerce._validate import check_counts
from univerce.genes.table import iter_token_features
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Inputs
from univerce.inference.sentences import GenomeOrder, Sentences, cell_keys
from univerce.io.blocks import read_ahead
from univerce.io.text import read_json
from univerce.model.directory import CONFIG, Model
from univerce.training.masking import mask_cells
from univerce.training.survey import columns_added, expressed_genes

CHANCE = float(np.log(2))
"""Loss of a model that knows nothing: half of the queries are expressed."""
_BLOCK_ROWS = 250
_DRAW = -8
_QUERY_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """Cells of one species, each with the genes that were asked for."""

    species: int
    cells: np.ndarray
    """``[n]`` rows of the data."""
    embedding: np.ndarray
    """``[n, output_dim]`` of the sentences without the hidden genes."""
    tokens: np.ndarray
    """``[n, n_queries]`` genes: the first half are hidden expressed ones, the others have no count."""
    logits: np.ndarray
    """``[n, n_queries]`` that the gene is expressed."""
    by_frequency: np.ndarray
    """The same from the share of the other cells with a count of the gene."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """Genes of one species in the data, by rank."""

    order: GenomeOrder
    var_rank: np.ndarray
    genes: np.ndarray  # ranks of the genes that are measured
    to_rank: sparse.csr_matrix
    n_expressing: np.ndarray
    n_cells: int

    def by_frequency(self, queries: np.ndarray, n_expressed: np.ndarray) -> np.ndarray:
        """Log-odds of each query against the mean measured gene, without the cell itself."""
        n_others = self.n_expressing[queries]
        n_others[:, : queries.shape[1] // 2] -= 1
        n_measured = len(self.genes)
        mean = (self.n_expressing.sum() - n_expressed + 0.5 * n_measured) / (self.n_cells * n_measured)
        return (logit((n_others + 0.5) / self.n_cells) - logit(mean)[:, None]).astype(np.float32)


def reconstruct(
    inputs: Inputs,
    embedders: Sequence[Embedder],
    *,
    mask_fraction: float,
    n_queries: int,
    done: Callable[[int], Any] | None = None,
) -> Iterator[Reconstructed]:
    """Hide genes of each cell, embed the rest, and ask for hidden and for unexpressed genes.

    What is hidden and asked for follows from the seed and the name of the cell. Cells with fewer than two expressed
    genes, or with a count in every measured gene, are left out. ``done`` is called with the number of cells.
    """
    uses_frequency = learned_from_frequency(inputs.model)
    measured = _measure(inputs)
    for rows, k, counts in _by_species(inputs):
        mine = measured[k]
        n_expressed = np.diff(expressed_genes(counts, mine.to_rank).indptr)
        good = np.flatnonzero((n_expressed >= 2) & (n_expressed < len(mine.genes)))
        if done is not None:
            done(len(rows) - len(good))
        if len(good) == 0:
            continue
        cells = rows[good]
        keys = cell_keys(inputs.names[cells], inputs.sentences().seed, draw=_DRAW)
        masked = mask_cells(
            counts[good], keys, mine.var_rank, mine.genes, mine.order, inputs.model.config, n_queries=n_queries,
            mask_fraction=mask_fraction,
        )  # fmt: skip
        sentences = Sentences(masked.ids, masked.lengths, np.zeros(len(good), dtype=bool))
        embedding = embedders[k].embed(sentences, done=done)
        if not np.isfinite(embedding).all():
            raise ValueError(
                f"The embeddings of the model {inputs.space.model!r} are not finite: its weights are damaged. Fetch or "
                "convert it again."
            )
        tokens = mine.order.gene_token[masked.queries]
        by_frequency = mine.by_frequency(masked.queries, n_expressed[good])
        logits = query_logits(embedders[k], embedding, tokens)
        yield Reconstructed(
            k, cells, embedding, tokens, logits + by_frequency if uses_frequency else logits, by_frequency
        )


def learned_from_frequency(model: Model) -> bool:
    """Whether the head was trained to add to the frequency of a gene, see ``PretrainConfig.frequency_offset``."""
    pretraining = read_json(model.path / CONFIG).get("pretraining")
    return isinstance(pretraining, dict) and bool(pretraining.get("frequency_offset"))


@torch.inference_mode()
def query_logits(embedder: Embedder, cells: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """``[n, n_queries]`` float32 logits of the genes ``tokens`` ``[n, n_queries]`` in ``cells`` ``[n, output_dim]``."""
    used, where = np.unique(tokens, return_inverse=True)
    where = where.reshape(tokens.shape)
    features = np.concatenate([block for _, block in iter_token_features(embedder.table, used)])
    step = max(1, _QUERY_BYTES // (4 * tokens.shape[1] * features.shape[1]))
    out = np.empty(tokens.shape, dtype=np.float32)
    for begin in range(0, len(tokens), step):
        some = slice(begin, begin + step)
        on_device = [torch.from_numpy(x).to(embedder.device) for x in (cells[some], features[where[some]])]
        out[some] = embedder.network.predict(*on_device).float().cpu().numpy()
    return out


def cell_loss(logits: np.ndarray) -> np.ndarray:
    """``[n]`` mean binary cross-entropy of each cell; the first half of its queries is expressed."""
    x = logits.astype(np.float64)
    half = x.shape[1] // 2
    return (np.logaddexp(0, -x[:, :half]).mean(axis=1) + np.logaddexp(0, x[:, half:]).mean(axis=1)) / 2


def cell_auroc(logits: np.ndarray) -> np.ndarray:
    """``[n]`` probability that an expressed gene of a cell has a higher logit than one that is not expressed."""
    from scipy.stats import rankdata

    half = logits.shape[1] // 2
    ranks = rankdata(logits, axis=1)[:, :half].sum(axis=1)
    return np.asarray((ranks - half * (half + 1) / 2) / half**2)


def _by_species(inputs: Inputs) -> Iterator[tuple[np.ndarray, int, sparse.csr_matrix]]:
    """Blocks of cells of one species: their rows, their species and their counts."""
    for block, counts in read_ahead(inputs.X, _BLOCK_ROWS):
        check_counts(counts, where=inputs.where)
        species = inputs.species[block]
        for k in np.unique(species):
            cells = np.flatnonzero(species == k)
            yield cells + block.start, int(k), counts if len(cells) == len(species) else counts[cells]


def _measure(inputs: Inputs) -> list[_Measured]:
    """Measured genes of each species, and the number of cells that express each."""
    found: list[_Measured] = []
    for genes in inputs.genes:
        order = genes.order()
        var_rank = order.var_rank(genes.rows)
        to_rank = columns_added(var_rank, len(order.rank))
        n_expressing = np.zeros(len(order.rank), dtype=np.int64)
        k, measured = len(found), np.unique(var_rank[var_rank >= 0])
        found.append(_Measured(order, var_rank, measured, to_rank, n_expressing, int((inputs.species == k).sum())))
    for _, k, counts in _by_species(inputs):
        found[k].n_expressing[:] += np.bincount(
            expressed_genes(counts, found[k].to_rank).indices, minlength=len(found[k].n_expressing)
        )
    return found
