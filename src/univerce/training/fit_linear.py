"""Fit a linear model in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from univerce._settings import logger, progress_bar
from univerce._validate import as_path
from univerce.genes.table import gene_table_info
from univerce.model.directory import Model
from univerce.model.linear import Decoder, Linear, LinearConfig
from univerce.training.axes import noise_adjusted_axes, scatter
from univerce.training.measured_cells import GeneStatistics, MeasuredCells, bags, named_genes
from univerce.training.training_set import TrainingSet

_DECODER_RIDGE = 1.0
_DECODER_SETS = 3
_DECODER_LEVELS = 127


@dataclass(frozen=True)
class LinearFit:
    """Configuration of the fit of a linear model; the defaults are those of the bundled ``uce-mini``.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.LinearFit(n_landmarks=500).landmark_weight
    2.0
    """

    model_id: str = "linear"
    """Name of the model."""
    output_dim: int = 128
    """Width of the cell embedding."""
    scale: float = 100.0
    """A gene has the weight log(1 + ``scale`` * its share of the cell's counts)."""
    cells_per_set: int = 500
    """Cells of every data set, at most."""
    n_landmarks: int = 1200
    """Genes with a coordinate of their own."""
    landmark_weight: float = 2.0
    """Weight of these coordinates; the features of a gene have length 1."""
    least_sets: int = 10
    """Data sets that measure a landmark, at least."""
    ridge: float = 0.8
    """Ridge of the noise, relative to its mean variance along a feature."""
    power: float = 0.75
    """An axis with the ratio ``r`` of signal to noise is scaled to ``r^power / (1 + r)``."""
    names_of: tuple[str, ...] = ("human", "mouse")
    """Species whose symbols are looked for in the names of other species (``sox9a`` is ``SOX9``)."""
    seed: int = 0
    """Seed of the choice of cells."""

    def __post_init__(self) -> None:
        """Validate the fields."""
        for name in ("output_dim", "cells_per_set", "least_sets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("n_landmarks", "ridge", "landmark_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0.")


def fit_linear(sets: Sequence[TrainingSet], out_dir: Path | str, *, fit: LinearFit | None = None) -> Model:
    """Fit a linear model to raw counts in closed form, without labels.

    A cell is the sum of one vector per gene. The axes separate the cells within a data set: the difference between a
    cell and the mean of its ten nearest neighbors is noise, the difference between neighborhoods signal, and the axes
    solve the generalized eigenproblem of both. The fit takes some minutes on one core for 20,000 cells.

    Parameters
    ----------
    sets
        The data sets with their gene tables, which must be of one encoder; see :func:`univerce.pp.training_set`.
    out_dir
        Directory of the model; it must not hold one. Gene tables go into its ``tables`` folder, see
        :func:`univerce.genes.write_table`.
    fit
        The recipe; that of the bundled model by default.

    Returns
    -------
    The model written.

    Raises
    ------
    ValueError
        If the gene tables are of several encoders, a data set does not hold counts or no cell with one, no data set has
        two cells, or ``out_dir`` holds a model.

    Examples
    --------
    >>> import tempfile
    >>> import univerce as uc
    >>> cells = uc.pp.training_set(uc.datasets.pbmc68k_reduced(), name="blood", species="human")
    >>> recipe = uc.model.LinearFit(model_id="blood", output_dim=8, n_landmarks=50, least_sets=1, cells_per_set=100)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     uc.model.fit_linear([cells], directory, fit=recipe).config.output_dim
    8
    """
    fit = LinearFit() if fit is None else fit
    encoders = {(str(gene_table_info(s.table)["encoder"]), s.table.n_vars) for s in sets}
    if len(encoders) != 1:
        raise ValueError(f"The gene tables are of {len(encoders)} encoders ({sorted(encoders)}); one is needed.")
    ((encoder, token_dim),) = encoders
    config = LinearConfig(fit.model_id, token_dim, encoder, fit.output_dim, fit.scale)
    cells, known = sample_cells(sets, fit)
    return fit_cells(cells, known, config, fit).save(as_path(out_dir), {"fit": dataclasses.asdict(fit)})


def sample_cells(sets: Sequence[TrainingSet], fit: LinearFit) -> tuple[list[MeasuredCells], frozenset[str]]:
    """Cells of every data set, and the symbols that genes of other species are looked for under."""
    known = named_genes(s.table for s in sets if gene_table_info(s.table)["species"] in fit.names_of)
    found = [
        MeasuredCells.sample(s, known, fit.cells_per_set, fit.scale, np.random.default_rng([fit.seed, i]))
        for i, s in enumerate(progress_bar(sets, unit="set", desc="read"))
    ]
    return found, known


def fit_cells(cells: Sequence[MeasuredCells], known: frozenset[str], config: LinearConfig, fit: LinearFit) -> Linear:
    """Fit a model to cells of :func:`sample_cells`."""
    statistics = GeneStatistics.of(cells, known)
    landmarks = statistics.landmarks(fit.n_landmarks, fit.least_sets)
    dim = config.token_dim + len(landmarks)
    noise, total = np.zeros((dim, dim)), np.zeros((dim, dim))
    means = []
    for c in progress_bar(cells, unit="set", desc="fit"):
        values = bags(c, statistics, landmarks, fit.landmark_weight)
        means.append(values.mean(axis=0))
        if len(values) > 1:
            of_noise, of_all = scatter(values, c.neighbors)
            noise += of_noise
            total += of_all
    if not total.any():
        raise ValueError("No data set has two different cells; there is nothing to separate.")
    ridge = fit.ridge * np.trace(noise) / config.token_dim
    axes = noise_adjusted_axes(noise, total, config.output_dim, ridge=ridge, power=fit.power)
    logger.info("%d of %d axes carry signal.", int(axes.any(axis=0).sum()), config.output_dim)
    model = Linear(
        config=config, keys=statistics.keys, rarity=statistics.rarity, weight=axes[: config.token_dim],
        landmarks=landmarks, landmark_vectors=axes[config.token_dim :] * np.float32(fit.landmark_weight),
        center=np.mean(means, axis=0) @ axes, decoder=Decoder.empty(config.output_dim),
    )  # fmt: skip
    return dataclasses.replace(model, decoder=fit_decoder(model, cells))


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
    genes = np.flatnonzero((n_sets >= _DECODER_SETS) & (variance > 0))
    ridge = _DECODER_RIDGE * np.trace(gram) / dim
    slopes = np.linalg.solve(gram + ridge * np.eye(dim), moment[genes].T).T
    slopes /= (variance[genes] / n_cells[genes])[:, None]
    intercept = -slopes @ np.mean(means, axis=0)
    scale = np.abs(slopes).max(axis=1) / _DECODER_LEVELS
    scale[scale == 0] = 1
    return Decoder(
        genes, np.rint(slopes / scale[:, None]).astype(np.int8), scale.astype(np.float32), intercept.astype(np.float32)
    )
