"""Whether the weights, the vocabulary and the tokens of a model belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from univerce._validate import as_seed, check_adata, check_whole, get_modality
from univerce.genes.load import available_species
from univerce.genes.species_of import SpeciesLike, species_of
from univerce.inference.embedder import Embedder, load_embedders
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.sentences import cell_keys, shuffled_rows
from univerce.model.directory import Model
from univerce.training.monitor import MAX_COSINE, MIN_RANK, effective_rank, mean_cosine
from univerce.training.reconstruction import (
    CHANCE,
    Reconstructed,
    cell_loss,
    learned_from_frequency,
    query_logits,
    reconstruct,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_DRAW = -9
_N_QUERIES = 200
_FEW_COUNTS = 0.5
_STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Verification:
    """Result of checking a model on a few cells, from :func:`univerce.model.verify`.

    Examples
    --------
    >>> import univerce as uc
    >>> found = uc.model.verify("uce-tiny", uc.datasets.pbmc68k_reduced(), n_cells=50)
    >>> found.n_cells
    50
    """

    model: str
    """Name of the model."""
    species: str
    """Species of the cells."""
    n_cells: int
    """Cells that were scored."""
    n_genes: int
    """Genes of the model that the data have."""
    fraction_counts: float
    """Share of the counts that are mapped to genes of the model."""
    loss: float
    """Mean binary cross-entropy of hidden and unexpressed genes, see :func:`univerce.tl.reconstruction_loss`."""
    loss_error: float
    """Standard error of ``loss``."""
    chance: float
    """Loss of a guess: ln 2, or ``frequency_loss`` for a model trained to add to the frequencies of the genes."""
    other_loss: float
    """The same with the embedding of another cell."""
    frequency_loss: float
    """The same from the share of the cells with a count of each gene."""
    cosine: float
    """Mean cosine between two cells."""
    rank: float
    """Effective rank of the embeddings."""

    @property
    def below_chance(self) -> bool:
        """Whether the loss is below that of a guess by more than three standard errors."""
        return self.loss < self.chance - _STANDARD_ERRORS * self.loss_error

    @property
    def reads_cells(self) -> bool:
        """Whether the embedding of a cell predicts its genes better than that of another cell."""
        return self.loss < self.other_loss - _STANDARD_ERRORS * self.loss_error

    @property
    def collapsed(self) -> bool:
        """Whether all cells have nearly one embedding."""
        return self.cosine > MAX_COSINE or self.rank < MIN_RANK

    @property
    def ok(self) -> bool:
        """Whether weights, vocabulary and tokens belong together."""
        return self.below_chance and self.reads_cells

    @property
    def verdict(self) -> str:
        """The result in words.

        Returns
        -------
        One or more sentences.
        """
        said = []
        if self.ok:
            said.append("Weights, vocabulary and tokens belong together: the model knows the genes of these cells.")
        elif self.below_chance:
            said.append(
                "In doubt: the model knows which genes are common, but the embedding of a cell says no more about it "
                "than that of another cell. Try cells of several types; if it stays so, the sentences are not those "
                "that the model was trained with."
            )
        else:
            said.append(
                "It does not predict the genes of these cells better than a guess: weights, vocabulary and tokens do "
                f"not belong together, the model does not know the genes of {self.species}, or {self.n_genes:,} genes "
                "are a selection, as of variable genes, which are hard to predict. Do not use its embeddings unless "
                "cells with all genes pass."
            )
        if self.fraction_counts < _FEW_COUNTS:
            said.append(
                f"Only {self.fraction_counts:.0%} of the counts are mapped: check the species and the gene names with "
                "uc.pp.map_genes."
            )
        if self.collapsed:
            said.append(
                f"The embeddings collapse: two cells have a mean cosine of {self.cosine:.2f}, and the effective rank "
                f"is {self.rank:.1f}. This is expected of cells of one type only."
            )
        return " ".join(said)

    def __repr__(self) -> str:
        return (
            f"{self.model!r} on {self.n_cells:,} cells of {self.species}: loss {self.loss:.3f} ± {self.loss_error:.3f} "
            f"(chance {self.chance:.3f}, embedding of another cell {self.other_loss:.3f}, gene frequency "
            f"{self.frequency_loss:.3f}), {self.n_genes:,} genes with "
            f"{self.fraction_counts:.1%} of the counts, mean cosine "
            f"{self.cosine:.3f}, effective rank {self.rank:.1f}\n{self.verdict}"
        )


def verify(
    model: str | Path | Model,
    adata: AnnData | MuData,
    species: SpeciesLike = None,
    *,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    n_cells: int = 200,
    rng: int | np.random.Generator = 0,
) -> Verification:
    """Check on a few cells that the weights, the vocabulary and the tokens of a model belong together.

    A network returns well-formed embeddings even with other weights, gene features or special tokens than it was
    trained with. Its training loss reveals the mistake: a guess has a loss of ln 2 = 0.693. The same check shows
    whether a model knows a species.

    Parameters
    ----------
    model
        Name, directory, or result of :func:`find_model`. It must be a network that reads sentences.
    adata
        AnnData with raw counts of cells of several types, or MuData. It is not changed.
    species, mod, layer, gene_key
        As in :func:`univerce.tl.uce_embed`; all cells are of one species.
    n_cells
        Cells to use, chosen by the hash of ``rng`` and their names.
    rng
        Seed or :class:`numpy.random.Generator`.

    Returns
    -------
    The numbers and a verdict in words.

    Raises
    ------
    ValueError
        As :func:`univerce.tl.uce_embed`; if the cells are of several species, the model does not read sentences, or
        fewer than two cells can be scored.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> found = uc.model.verify("uce-tiny", uc.datasets.pbmc68k_reduced(), n_cells=50)
    >>> found.species, found.n_genes
    ('human', 740)
    """
    check_whole("n_cells", n_cells, 2)
    seed = as_seed(rng)
    data, adata = adata, get_modality(adata, mod)
    check_adata(adata)
    name = model.path if isinstance(model, Model) else model
    key, tables = species_of(adata, species, known=available_species(name), within=data)
    if not isinstance(key, str):
        raise ValueError(f"The cells are of {', '.join(sorted(set(key)))}; verify one species at a time.")
    names = adata.obs_names.to_numpy(dtype=object)
    rows = np.sort(shuffled_rows(names, np.arange(adata.n_obs), seed, draw=_DRAW)[:n_cells])
    cells = adata[rows].to_memory() if adata.isbacked else adata[rows].copy()
    inputs = resolve_inputs(
        cells, tables.get(key, key), model=name, mod=None, layer=layer, gene_key=gene_key, rng=seed, sampling=None
    )
    (embedder,) = load_embedders(inputs)
    parts = list(reconstruct(inputs, [embedder], mask_fraction=0.2, n_queries=_N_QUERIES))
    if sum(len(part.cells) for part in parts) < 2:
        raise ValueError("Fewer than two cells can be scored: a cell needs counts in at least two genes.")
    return _verification(inputs, embedder, parts)


def _verification(inputs: Inputs, embedder: Embedder, parts: list[Reconstructed]) -> Verification:
    embedding, tokens, logits, by_frequency = (
        np.concatenate([getattr(part, field) for part in parts])
        for field in ("embedding", "tokens", "logits", "by_frequency")
    )
    loss = cell_loss(logits)
    frequency_loss = float(cell_loss(by_frequency).mean())
    own = query_logits(embedder, embedding, tokens)
    others = query_logits(embedder, embedding[_other_cell(inputs, parts)], tokens)
    species = inputs.species_names[0]
    return Verification(
        model=inputs.space.model, species=species, n_cells=len(loss),
        n_genes=len(np.unique(inputs.genes[0].rows[inputs.genes[0].rows >= 0])),
        fraction_counts=float(inputs.space.details["fraction_counts_mapped"][species]),
        loss=float(loss.mean()), loss_error=float(loss.std(ddof=1) / np.sqrt(len(loss))),
        other_loss=float(cell_loss(logits + (others - own)).mean()),
        chance=frequency_loss if learned_from_frequency(inputs.model) else CHANCE, frequency_loss=frequency_loss,
        cosine=mean_cosine(embedding.astype(np.float64)),
        rank=effective_rank(embedding),
    )  # fmt: skip


def _other_cell(inputs: Inputs, parts: list[Reconstructed]) -> np.ndarray:
    """Another cell for each, at random: neighbors in a file are often of one type."""
    names = inputs.names[np.concatenate([part.cells for part in parts])]
    order = np.argsort(cell_keys(names, inputs.sentences().seed, draw=_DRAW), kind="stable")
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other
