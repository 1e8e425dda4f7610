"""The mean of what a model makes of each gene in the sentences of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from univerce._device import choose_device
from univerce._settings import settings
from univerce.inference.context import ContextReader
from univerce.inference.inputs import resolve_inputs
from univerce.inference.sentences import draw_sentences
from univerce.model.checkpoint import read_network

_BLOCK_ROWS = 500


def read_context(
    data: Any, *, species: str, model: str | Path | None, mod: str | None, layer: str | None, gene_key: str | None,
    sampling: str | None, device: str, rng: int | np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """``[n_genes, d_model]`` mean of each gene, less that of all genes, and ``[n_genes]`` the places it is the mean of.

    Every gene that was drawn counts the same in the mean of all.

    Raises
    ------
    ValueError
        When the values are not counts, or no cell has one in a gene.
    """
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling
    )
    reader = ContextReader(read_network(inputs.model, device=choose_device(device)), inputs.genes[0].table)
    show = settings.progress
    with tqdm(total=len(inputs.names), unit="sentence", desc="read", disable=not show) as bar:
        for _, groups in draw_sentences(inputs, _BLOCK_ROWS):
            for group in groups:
                reader.add(group.draws[0], bar.update)
    drawn = reader.n_places > 0
    if not drawn.any():
        raise ValueError("No cell has a count in any gene of the model.")
    means = np.divide(reader.sums, reader.n_places[:, None], out=np.zeros_like(reader.sums), where=drawn[:, None])
    means[drawn] -= means[drawn].mean(axis=0)
    return means, reader.n_places
