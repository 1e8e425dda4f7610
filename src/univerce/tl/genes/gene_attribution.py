"""Which genes take a cell in a direction?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._device import choose_device
from univerce._settings import settings
from univerce._validate import check_whole, get_modality
from univerce.embeddings.labels import get_labels
from univerce.genes.table import N_SPECIAL, n_tokens
from univerce.inference.attribution import Attributor, Average
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.sentences import draw_sentences
from univerce.model.bag import bag_weights
from univerce.model.checkpoint import read_network
from univerce.tl.genes._deletions import embed_whole

if TYPE_CHECKING:
    from mudata import MuData

_BLOCK_ROWS = 100
ALL = "all"


def gene_attribution(
    adata: ad.AnnData | MuData,
    direction: str | np.ndarray,
    *,
    groupby: str | None = None,
    species: str | None = None,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    sampling: Literal["multinomial", "systematic"] | None = None,
    n_steps: int = 8,
    tolerance: float = 0.01,
    device: str = "auto",
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Attribute to each gene how far it takes each cell in a direction, by integrated gradients.

    The direction may be "from the other cells toward the T cells", and what is attributed is the cosine of a cell's
    embedding with it. The gradients of the network are averaged on the straight way from a baseline, the average cell
    of ``adata``, to the cell (Sundararajan et al. 2017): in the baseline every gene of the sentence is replaced by the
    mean of all drawn genes, where it stands, and the bag, in models with one, is the mean bag. What a gene is
    attributed is the part of both that is its own. A gene that a cell lacks, and the average cell has, is attributed
    something too.

    By construction the attributions of a cell add up to its cosine less that of its baseline, but for the error of the
    average, which is checked. They say what this network does with this cell, not what a gene does.

    This can take ``3 * n_steps`` times as long as embedding the cells: choose some tens or hundreds.

    Parameters
    ----------
    adata
        AnnData with raw counts of cells of one species. It is not changed.
    direction
        A label of ``groupby``, for the centroid of its cells less that of the others, or a vector ``[output_dim]``.
    groupby
        Column of ``obs`` to average over; ``None`` averages over all cells.
    species, model, mod, layer, gene_key, sampling, rng
        As in :func:`univerce.tl.uce_embed`.
    n_steps
        Places on the way at which gradients are taken (Gauss-Legendre).
    tolerance
        Largest difference between the sum of a cell's attributions and what they should add up to, in units of the
        cosine, before there is a warning.
    device
        ``"auto"`` takes what ``settings.device`` says, and CUDA, MPS, CPU in this order when that is ``"auto"`` too.

    Returns
    -------
    AnnData ``[n_obs, n_genes]`` of the genes that occur in any cell:

    ``X``
        Attributions, float32; NaN for cells without counts.
    ``obs``
        That of ``adata``, and ``cosine``, ``cosine_baseline`` and ``residual``, the cosine less baseline and sum.
    ``var``
        ``symbol`` and ``ensembl_id``; the names are those of ``adata``, of the first of several that are one gene.
    ``uns["means"]``
        ``group``, ``gene``, mean ``attribution`` and ``n_cells``, within each group the highest first.
    ``uns["params"]``
        What was asked for, and ``max_residual``.

    Raises
    ------
    ValueError
        When the cells are of several species, the direction is no label, zero or does not fit, no other cell is left
        for a label, the values are not counts, or an option is out of range.
    KeyError
        When there is no such column or layer.

    Warns
    -----
    UserWarning
        When a residual exceeds the tolerance; more steps lower it.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:16].copy()
    >>> result = uc.tl.gene_attribution(adata, "CD19+ B", groupby="cell_type")
    >>> means = result.uns["means"]
    >>> bool("CD79A" in means.loc[means["group"] == "CD19+ B", "gene"].head(10).tolist())
    True
    """
    data, adata = adata, get_modality(adata, mod)
    check_whole("n_steps", n_steps, 1)
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance!r} must lie above 0.")
    labels: Any = pd.Categorical([ALL] * adata.n_obs) if groupby is None else get_labels(adata.obs, groupby)
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling
    )
    if len(inputs.genes) > 1:
        raise ValueError(
            f"The cells are of several species ({', '.join(inputs.species_names)}), whose genes cannot be compared; "
            "attribute one species at a time."
        )
    _check_direction(direction, labels, groupby, inputs.model.config.output_dim)
    attributor = Attributor(read_network(inputs.model, choose_device(device)), inputs.genes[0].table)
    average = _average(inputs)
    used = np.flatnonzero((average.draws > 0) | (average.weights > 0))
    rows = used[(used >= N_SPECIAL) & (used < N_SPECIAL + inputs.genes[0].table.n_obs)] - N_SPECIAL
    values = np.full((adata.n_obs, len(rows)), np.nan, dtype=np.float32)
    ends, sums = np.full((2, adata.n_obs), np.nan), np.full(adata.n_obs, np.nan)
    show = settings.progress
    with tqdm(total=adata.n_obs, unit="cell", desc="attribute", disable=not show) as bar:
        unit = _unit(direction, labels, inputs, attributor)
        for block, groups in draw_sentences(inputs, _BLOCK_ROWS, with_bag=True):
            for group in groups:
                cells = block.start + group.cells
                found, output, start = attributor.attribute(
                    group.draws[0], group.bag, unit, average, n_steps=int(n_steps)
                )
                values[cells], ends[:, cells], sums[cells] = found[:, rows], (output, start), found.sum(axis=1)
                bar.update(len(cells))
    out = _result(adata, inputs, rows, values, labels)
    out.obs["cosine"], out.obs["cosine_baseline"], out.obs["residual"] = *ends, ends[0] - ends[1] - sums
    residual = np.abs(out.obs["residual"].to_numpy())
    worst = float(np.nanmax(residual)) if np.isfinite(residual).any() else 0.0
    if worst > tolerance:
        warnings.warn(
            f"The attributions of {int((residual > tolerance).sum())} of {adata.n_obs} cells do not add up to within "
            f"{tolerance}; the largest error is {worst:.3g}. Raise n_steps={n_steps}.",
            stacklevel=2,
        )
    out.uns["params"] = inputs.params | {
        "groupby": groupby or "", "direction": direction if isinstance(direction, str) else "vector",
        "n_steps": int(n_steps), "max_residual": worst,
    }  # fmt: skip
    return out


def _check_direction(direction: Any, labels: Any, groupby: str | None, n_dims: int) -> None:
    if isinstance(direction, str):
        if groupby is None:
            raise ValueError(f"direction={direction!r} is a label; say of which column with groupby=.")
        if direction not in labels.categories:
            raise ValueError(
                f"direction={direction!r} is no label of obs[{groupby!r}]; there is "
                f"{', '.join(map(repr, labels.categories[:20]))}."
            )
        return
    vector = np.asarray(direction, dtype=np.float64)
    if vector.shape != (n_dims,) or not np.isfinite(vector).all() or not vector.any():
        raise ValueError(
            f"direction must be a label or a finite vector of {n_dims} numbers, not all zero; its shape is "
            f"{vector.shape}."
        )


def _average(inputs: Inputs) -> Average:
    """The average cell of those that have counts."""
    size = n_tokens(inputs.genes[0].table)
    last_gene = N_SPECIAL + inputs.genes[0].table.n_obs
    draws, weights, n = np.zeros(size), np.zeros(size), 0
    for _, groups in draw_sentences(inputs, _BLOCK_ROWS, with_bag=True):
        for group in groups:
            draws += np.bincount(group.draws[0].ids.ravel(), minlength=size)
            n += int((group.draws[0].lengths > 0).sum())
            if inputs.model.config.bag and group.bag is not None:
                weights += np.asarray(bag_weights(group.bag, inputs.model.config.bag_scale).sum(axis=0)).ravel()
    if n == 0:
        raise ValueError("No cell has a count in any gene of the model.")
    draws[:N_SPECIAL] = draws[last_gene:] = 0
    return Average(draws, weights / n)


def _unit(direction: Any, labels: Any, inputs: Inputs, attributor: Attributor) -> np.ndarray:
    if isinstance(direction, str):
        cells = embed_whole(inputs, [attributor], lambda _: None).astype(np.float64)
        mine = np.asarray(labels == direction)
        known = ~np.isnan(cells[:, 0])
        if not (mine & known).any() or not (~mine & known).any():
            raise ValueError(
                f"{int((mine & known).sum())} cells with counts are labeled {direction!r} and "
                f"{int((~mine & known).sum())} are not; a direction needs both."
            )
        direction = cells[mine & known].mean(axis=0) - cells[~mine & known].mean(axis=0)
    vector = np.asarray(direction, dtype=np.float64)
    return np.asarray(vector / np.linalg.norm(vector))


def _result(adata: ad.AnnData, inputs: Inputs, rows: np.ndarray, values: np.ndarray, labels: Any) -> ad.AnnData:
    genes = inputs.genes[0]
    first = {int(row): name for row, name in zip(genes.rows[::-1], adata.var_names[::-1], strict=True)}
    var = genes.table.obs.iloc[rows][["symbol", "ensembl_id"]].astype(str)
    var.index = pd.Index([str(first[int(row)]) for row in rows])
    out = ad.AnnData(values, obs=adata.obs.copy(), var=var)
    known = ~np.isnan(values).any(axis=1)
    parts = []
    for code, group in enumerate(labels.categories):
        mine = known & (labels.codes == code)
        mean = values[mine].mean(axis=0, dtype=np.float64) if mine.any() else np.full(len(rows), np.nan)
        part = pd.DataFrame({"group": str(group), "gene": var.index, "attribution": mean, "n_cells": int(mine.sum())})
        parts.append(part.sort_values("attribution", ascending=False, kind="stable"))
    means = pd.concat(parts)
    out.uns["means"] = means.set_axis([str(i) for i in range(len(means))])
    return out
