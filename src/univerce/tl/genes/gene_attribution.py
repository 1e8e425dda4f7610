"""Attribute the direction of cells to genes, by integrated gradients."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd

from univerce._settings import progress_bar
from univerce._validate import check_whole, get_modality
from univerce.inference.embed import embed_inputs, encoder_of
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.tl.genes._direction import as_direction, check_direction, labels_or_all, unit_vector
from univerce.tl.genes._genes import describe_genes

if TYPE_CHECKING:
    from mudata import MuData


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
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Attribute the position of each cell along a direction to its genes, by integrated gradients.

    A direction points, for example, from all other cells toward T cells. The cosine of a cell's embedding with this
    direction is attributed to its genes. The gradients of the model are averaged on the straight path from a baseline,
    the average cell of ``adata``, to the cell (Sundararajan et al. 2017). For models that read sentences every gene of
    the sentence is replaced in the baseline by the mean of all drawn genes. For linear models such as ``"uce-mini"``
    the baseline has the mean weight of every gene, and the integral has a closed form; a gene that the average cell
    expresses and a cell does not has an attribution too.

    The attributions of a cell add up to its cosine minus that of its baseline, up to a quadrature error that is
    checked. They explain what this network computes for this cell, not the function of a gene.

    This can take ``3 * n_steps`` times as long as embedding the cells, so use tens or hundreds of cells.

    Parameters
    ----------
    adata
        AnnData with raw counts of cells of one species.
    direction
        A label of ``groupby``, for the centroid of its cells minus that of the others, or a vector ``[output_dim]``.
    groupby
        Column of ``obs`` to average over; ``None`` averages over all cells.
    species, model, mod, layer, gene_key, sampling, rng
        As in :func:`univerce.tl.uce_embed`.
    n_steps
        Points on the path at which gradients are evaluated (Gauss-Legendre); linear models need none.
    tolerance
        Warn if the sum of the attributions of a cell is off by more than this, in units of the cosine.

    Returns
    -------
    A new AnnData ``[n_obs, n_genes]`` of the genes that occur in any cell; ``adata`` is not changed.

    ``X``
        Attributions, float32; NaN for cells without counts.
    ``obs``
        That of ``adata``, and ``cosine``, ``cosine_baseline`` and ``residual``, the cosine minus baseline and sum.
    ``var``
        ``symbol`` and ``ensembl_id``, indexed by the names in ``adata``; of several names of one gene, by the first.
    ``uns["gene_attribution"]["table"]``
        ``group``, ``gene``, mean ``attribution`` and ``n_cells``; the highest first within each group.
    ``uns["gene_attribution"]["params"]``
        Parameters and ``max_residual``.

    Raises
    ------
    ValueError
        If the cells are of several species, the direction is not a label, zero or does not fit, no other cell is left
        for a label, the values are not counts, or an option is out of range.
    KeyError
        If the column or layer does not exist.

    Warns
    -----
    UserWarning
        If a residual exceeds the tolerance; more steps lower it.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:16].copy()
    >>> result = uc.tl.gene_attribution(adata, "CD19+ B", groupby="cell_type")
    >>> table = uc.get.table(result, "gene_attribution")
    >>> "CD79A" in table.loc[table["group"] == "CD19+ B", "gene"].head(10).tolist()
    True
    """
    data, adata = adata, get_modality(adata, mod)
    check_whole("n_steps", n_steps, 1)
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance!r} must be above 0.")
    labels = labels_or_all(adata, groupby)
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling
    )
    if len(inputs.genes) > 1:
        raise ValueError(
            f"The cells are of several species ({', '.join(inputs.species_names)}), whose genes are not comparable. "
            "Attribute one species at a time."
        )
    direction = as_direction(direction)
    check_direction("direction", direction, labels, groupby, inputs.model.config.output_dim)
    table = inputs.genes[0].table
    encoder = encoder_of(inputs, precision="float32")
    values = np.empty((0, 0), dtype=np.float32)
    ends, sums = np.full((2, adata.n_obs), np.nan), np.full(adata.n_obs, np.nan)
    with progress_bar(total=adata.n_obs, unit="cell", desc="attribute") as bar:
        cells = embed_inputs(inputs, encoder).astype(np.float64) if isinstance(direction, str) else values
        unit = unit_vector(direction, labels, cells, contrast=True)
        for found in encoder.attribute(inputs, unit, int(n_steps)):
            if not values.size:
                rows = found.rows
                values = np.full((adata.n_obs, len(rows)), np.nan, dtype=np.float32)
            at = found.cells
            values[at], ends[:, at], sums[at] = found.values, (found.output, found.baseline), found.values.sum(axis=1)
            bar.update(len(at))

    out = ad.AnnData(values, obs=adata.obs.copy(), var=describe_genes(table, rows, _names(inputs, rows)))
    out.obs["cosine"], out.obs["cosine_baseline"], out.obs["residual"] = *ends, ends[0] - ends[1] - sums
    residual = np.nan_to_num(np.abs(out.obs["residual"].to_numpy()))
    if (worst := float(residual.max(initial=0))) > tolerance:
        warnings.warn(
            f"The attributions of {int((residual > tolerance).sum())} of {adata.n_obs} cells do not add up to within "
            f"{tolerance}; the largest error is {worst:.3g}. Raise n_steps={n_steps}.",
            stacklevel=2,
        )
    out.uns["gene_attribution"] = {
        "table": _means(out, labels),
        "params": inputs.params | {
            "groupby": groupby or "", "direction": direction if isinstance(direction, str) else "vector",
            "n_steps": int(n_steps), "max_residual": worst,
        },
    }  # fmt: skip
    return out


def _names(inputs: Inputs, rows: np.ndarray) -> list[str]:
    """Names of genes in the data, the first of several."""
    pairs = zip(inputs.genes[0].rows[::-1], inputs.var_names[::-1], strict=True)
    first = {int(row): str(name) for row, name in pairs}
    return [first[int(row)] for row in rows]


def _means(result: ad.AnnData, labels: pd.Categorical) -> pd.DataFrame:
    """Mean attributions per group, the highest first."""
    values = np.asarray(result.X, dtype=np.float64)
    known = ~np.isnan(values).any(axis=1)
    parts = []
    for code, group in enumerate(labels.categories):
        mine = known & (labels.codes == code)
        mean = values[mine].mean(axis=0) if mine.any() else np.full(result.n_vars, np.nan)
        part = {"group": str(group), "gene": result.var_names, "attribution": mean, "n_cells": int(mine.sum())}
        parts.append(pd.DataFrame(part).sort_values("attribution", ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True).rename(index=str)
