"""Blocks of cell sentences: drawn from the counts, or recorded by :func:`univerce.pp.uce_tokenize`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from univerce._keys import UCE_SENTENCES
from univerce._settings import logger
from univerce.inference.block import read_groups
from univerce.inference.inputs import Inputs
from univerce.inference.sentences import Sentences, cell_keys, tokenize
from univerce.io.pipeline import Stages


@dataclass(frozen=True)
class Drawn:
    """Sentences of the cells of one species in a block of rows."""

    species: int
    cells: np.ndarray
    """Positions in the block."""
    draws: list[Sentences]
    counts: Any
    """``[cells, n_tokens]`` counts as CSR, or ``None``."""


def draw_sentences(
    inputs: Inputs,
    block_rows: int,
    *,
    with_counts: bool = False,
    sentences: Sentences | None = None,
    blocks: Sequence[int] | None = None,
    stages: Stages | None = None,
) -> Iterator[tuple[slice, list[Drawn]]]:
    """Draw the sentences of blocks of rows, while the next block is read.

    Yields the rows of each block and its cells by species, ``with_counts`` of each token. ``sentences`` of all cells
    may have been drawn before. ``blocks`` are those to read, by default all. ``stages`` records the seconds of
    ``"read"`` and ``"tokenize"``.
    """
    stages = Stages() if stages is None else stages
    drawing = inputs.sentences()
    orders = [g.order() for g in inputs.genes]
    to_tokens = [g.tokens() for g in inputs.genes]
    for rows, groups in read_groups(inputs, block_rows, blocks=blocks, stages=stages):
        with stages.measure("tokenize"):
            drawn = []
            for group in groups:
                k, cells = group.species, group.cells + rows.start
                if sentences is not None:
                    draws = [sentences.take(cells)]
                else:
                    keys = (cell_keys(inputs.names[cells], drawing.seed, draw=n) for n in range(drawing.n_draws))
                    draws = [
                        tokenize(
                            group.counts, inputs.genes[k].rows, orders[k], key, n_sample=drawing.n_sample,
                            sampling=drawing.sampling, max_length=drawing.max_length,
                        )
                        for key in keys
                    ]  # fmt: skip
                counts = _token_counts(group.counts, to_tokens[k]) if with_counts else None
                drawn.append(Drawn(k, group.cells, draws, counts))
        yield rows, drawn


def _token_counts(counts: sparse.csr_matrix, to_tokens: sparse.csr_matrix) -> sparse.csr_matrix:
    tokens = sparse.csr_matrix(counts.astype(np.float32) @ to_tokens)
    tokens.sort_indices()
    return tokens


def recorded_sentences(inputs: Inputs, key: str = UCE_SENTENCES) -> Sentences | None:
    """The sentences in ``obsm[key]``, if drawing them again would give the same."""
    adata = inputs.adata
    if key not in adata.obsm or f"{key}_length" not in adata.obs or key not in adata.uns:
        return None
    old, new = dict(adata.uns[key].get("params", {})), inputs.params
    deciding = ("model_digest", "table_digest", "seed", "sampling", "n_sample", "n_draws")
    differ = [k for k in deciding if old.get(k) != new[k]]
    if not differ and old.get("inputs_digest") != inputs.digest:
        differ = ["counts, cells or genes"]
    if differ:
        logger.info("Ignoring obsm[%r]: it was drawn for different %s.", key, ", ".join(differ))
        return None
    logger.info("Using the sentences in obsm[%r].", key)
    lengths = adata.obs[f"{key}_length"].to_numpy(dtype=np.int32)
    return Sentences(np.asarray(adata.obsm[key], dtype=np.int32), lengths, np.zeros(len(lengths), dtype=bool))
