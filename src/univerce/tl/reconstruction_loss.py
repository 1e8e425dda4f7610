"""The training objective of a model on each cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._settings import logger, progress_bar
from univerce._validate import check_whole, check_writable, get_modality
from univerce.genes.species_of import SpeciesLike
from univerce.inference.inputs import resolve_inputs

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@document
def reconstruction_loss(
    adata: AnnData | MuData,
    species: SpeciesLike = None,
    *,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    mask_fraction: float = 0.2,
    n_queries: int = 200,
    rng: int | np.random.Generator = 0,
    key_added: str = "reconstruction_loss",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Compute the training loss of the model for each cell (Rosen et al. 2026, Methods).

    Some expressed genes of a cell are hidden, the rest is embedded, and the expression head predicts which genes the
    cell expresses, among the hidden genes and as many without a count. The loss is the mean binary cross-entropy. The
    choice of genes depends on ``rng`` and the name of the cell, so the loss of a cell does not depend on other cells,
    except for models trained with gene frequencies, which are computed from these cells.

    A loss near ln 2 = 0.693 is no better than chance: weights, vocabulary and tokens do not belong together, or the
    model does not know the species; see :func:`univerce.model.verify`. The second baseline is the fraction of other
    cells that express each gene, which is hard to beat in data of one cell type.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData.
    species, model, mod, layer, gene_key
        As in :func:`univerce.tl.uce_embed`. The model must be a network that reads sentences.
    mask_fraction
        Share of the expressed genes to hide.
    n_queries
        Genes to predict in each cell, half of them hidden and half without a count; with replacement if there are
        fewer.
    %(rng)s
    key_added
        Column of ``obs`` with the losses, and key of the table in ``uns``.
    %(copy, sets)s

    ``obs[key_added]``
        Loss of each cell; NaN for cells with fewer than two expressed genes or a count in every gene.
    ``obs[f"{key_added}_frequency"]``
        Loss of the frequencies of the genes.
    ``uns[key_added]["table"]``
        A row for the ``model``, the ``gene frequency`` and ``chance``: mean ``loss`` of the cells, its ``sd``, mean
        ``auroc`` within a cell, and ``n_cells``.
    ``uns[key_added]["params"]``
        Parameters, as of :func:`univerce.tl.uce_embed`.

    Raises
    ------
    ValueError
        As :func:`univerce.tl.uce_embed`; if the model does not read sentences, ``n_queries`` is not even,
        ``mask_fraction`` is not between 0 and 1, or no cell can be scored.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:20].copy()
    >>> uc.tl.reconstruction_loss(adata, model="uce-tiny")
    >>> uc.get.table(adata, "reconstruction_loss").index.tolist()
    ['model', 'gene frequency', 'chance']
    """
    from univerce.inference.embedder import load_embedders  # torch
    from univerce.training.reconstruction import CHANCE, cell_auroc, cell_loss, reconstruct

    check_whole("n_queries", n_queries, 2)
    if n_queries % 2:
        raise ValueError(f"n_queries={n_queries} must be even: half of the queries are expressed genes.")
    if not 0 < mask_fraction < 1:
        raise ValueError(f"mask_fraction={mask_fraction} must be between 0 and 1.")
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    check_writable(adata, key_added)
    inputs = resolve_inputs(data, species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=None)
    embedders = load_embedders(inputs)

    loss, frequency, auroc, auroc_frequency = (np.full(adata.n_obs, np.nan) for _ in range(4))
    with progress_bar(total=adata.n_obs, unit="cell", desc="reconstruct") as bar:
        for part in reconstruct(inputs, embedders, mask_fraction=mask_fraction, n_queries=n_queries, done=bar.update):
            loss[part.cells], auroc[part.cells] = cell_loss(part.logits), cell_auroc(part.logits)
            frequency[part.cells] = cell_loss(part.by_frequency)
            auroc_frequency[part.cells] = cell_auroc(part.by_frequency)
    scored = ~np.isnan(loss)
    if not scored.any():
        raise ValueError("No cell can be scored: a cell needs counts in at least two genes and not in all.")

    adata.obs[key_added] = loss.astype(np.float32)
    adata.obs[f"{key_added}_frequency"] = frequency.astype(np.float32)
    table = pd.DataFrame(
        {
            "loss": [loss[scored].mean(), frequency[scored].mean(), CHANCE],
            "sd": [loss[scored].std(), frequency[scored].std(), 0.0],
            "auroc": [auroc[scored].mean(), auroc_frequency[scored].mean(), 0.5],
            "n_cells": int(scored.sum()),
        },
        index=["model", "gene frequency", "chance"],
    )
    params = inputs.params | {"mask_fraction": float(mask_fraction), "n_queries": int(n_queries)}
    adata.uns[key_added] = {"params": params, "table": table}
    logger.info(
        "Loss of %s on %s cells: %.3f; frequency of the genes: %.3f; chance: %.3f.", inputs.space.model,
        f"{scored.sum():,}", *table["loss"],
    )  # fmt: skip
    return data if copy else None
