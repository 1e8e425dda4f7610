"""Embed cells as they are, and as they would be without some genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from univerce.genes.lookup import map_names
from univerce.genes.table import N_SPECIAL
from univerce.inference.deletion import delete_from_sentences
from univerce.inference.inputs import Inputs
from univerce.inference.runtime import Embedder, embed_blocks
from univerce.inference.sentences import draw_sentences
from univerce.inference.tokens import cell_keys
from univerce.model.checkpoint import read_network

BLOCK_ROWS = 500
_DRAW = -6


def as_deletions(genes: str | Sequence[str] | Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """What is deleted together, by name.

    Raises
    ------
    ValueError
        When there is nothing, a name repeats, or holds a slash, which no file could.
    """
    if isinstance(genes, str):
        genes = [genes]
    if isinstance(genes, Mapping):
        found = {str(name): [some] if isinstance(some, str) else list(map(str, some)) for name, some in genes.items()}
    else:
        found = {str(name): [str(name)] for name in genes}
        if len(found) < len(genes):
            raise ValueError("genes names a gene more than once; name each once.")
    if not found or not all(found.values()):
        raise ValueError("genes is empty, or one of its sets; name at least one gene.")
    if slashed := [name for name in found if "/" in name]:
        raise ValueError(f"{slashed[0]!r} cannot name a deletion, as h5ad files take no '/' in names; rename it.")
    return found


def deleted_tokens(inputs: Inputs, deletions: Mapping[str, Sequence[str]]) -> list[dict[str, np.ndarray]]:
    """For every species the tokens of each deletion.

    Raises
    ------
    ValueError
        When a gene is in the gene table of no species of the cells.
    """
    names = list(dict.fromkeys(name for some in deletions.values() for name in some))
    rows = [dict(zip(names, map_names(names, genes.table).rows, strict=True)) for genes in inputs.genes]
    if unknown := [name for name in names if all(found[name] < 0 for found in rows)]:
        raise ValueError(
            f"{len(unknown)} of {len(names)} genes are in no gene table of {', '.join(inputs.species_names)}: "
            f"{', '.join(map(repr, unknown[:10]))}. Leave them out, or check their spelling."
        )
    return [
        {
            key: np.array([found[name] + N_SPECIAL for name in some if found[name] >= 0])
            for key, some in deletions.items()
        }
        for found in rows
    ]


def make_embedders(inputs: Inputs, device: Any, precision: str) -> list[Embedder]:
    """One for each species."""
    network = read_network(inputs.model, device, precision)
    return [Embedder(network, genes.table) for genes in inputs.genes]


def embed_whole(inputs: Inputs, embedders: Sequence[Embedder], done: Callable[[int], Any]) -> np.ndarray:
    """``[n_obs, output_dim]`` embeddings, NaN for cells without counts."""
    out = np.empty((len(inputs.names), inputs.model.config.output_dim), dtype=np.float32)
    for block in embed_blocks(draw_sentences(inputs, BLOCK_ROWS, with_bag=True), embedders, done):
        out[block.rows] = block.values
    return out


def embed_deleted(
    inputs: Inputs,
    embedders: Sequence[Embedder],
    tokens: Sequence[Mapping[str, np.ndarray]],
    done: Callable[[int], Any],
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each deletion and block of cells: its name, the cells that express the genes, those whose input changes, and
    the embeddings ``[n_changed, output_dim]`` of these.
    """
    drawing, has_bag = inputs.drawing, inputs.model.config.bag
    orders = [genes.order() for genes in inputs.genes]
    for rows, groups in draw_sentences(inputs, BLOCK_ROWS, with_bag=True):
        for group in groups:
            cells = rows.start + group.cells
            for name, some in tokens[group.species].items():
                expressing = np.flatnonzero(np.asarray(group.bag[:, some].sum(axis=1)).ravel() > 0)
                counts = group.bag[expressing]
                draws, changed = [], np.full(len(expressing), has_bag)
                for draw, sentences in enumerate(group.draws):
                    keys = cell_keys(inputs.names[cells[expressing]], drawing.seed, draw=_DRAW - draw)
                    without, differs = delete_from_sentences(
                        sentences.take(expressing), counts, some, orders[group.species], keys,
                        sampling=drawing.sampling, n_sample=drawing.n_sample, max_length=drawing.max_length,
                    )  # fmt: skip
                    draws.append(without)
                    changed |= differs
                bag = _without_columns(counts, some)[changed]
                total: Any = 0
                for without in draws:
                    total = total + embedders[group.species].embed(without.take(np.flatnonzero(changed)), bag)
                if len(draws) > 1:
                    total /= np.linalg.norm(total, axis=1, keepdims=True)
                done(len(group.cells) * len(draws))
                yield name, cells[expressing], cells[expressing[changed]], total


def _without_columns(counts: sp.csr_matrix, columns: np.ndarray) -> sp.csr_matrix:
    out = counts.copy()
    out.data[np.isin(out.indices, columns)] = 0
    out.eliminate_zeros()
    return out
