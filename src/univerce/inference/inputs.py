"""Everything that decides a sentence or an embedding, resolved and checked once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from univerce._validate import as_path, as_seed, check_adata, check_whole, get_counts, get_modality, layer_name
from univerce._version import __version__
from univerce.embeddings.space import Space
from univerce.genes.load import BUNDLED_MODEL, BUNDLED_SENTENCES, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import SpeciesLike, species_of
from univerce.genes.table import N_SPECIAL, chromosome_index, gene_table_info, n_tokens
from univerce.inference.sentences import GenomeOrder
from univerce.io.blocks import n_blocks, read_ahead
from univerce.io.ondisk import OnDisk
from univerce.io.workers import find_client, map_blocks, open_rows
from univerce.model.config import SAMPLINGS, Sampling
from univerce.model.directory import Model
from univerce.model.find import find_model, reads_sentences

_DIGEST_ROWS = 1000
_DIGEST_SPAN = 16  # blocks that a worker hashes at a time


@dataclass(frozen=True)
class Drawing:
    """How sentences are drawn."""

    seed: int
    sampling: Sampling
    n_sample: int
    max_length: int
    n_draws: int = 1

    def describe(self) -> dict[str, Any]:
        """Entries of ``uns[key]["params"]``."""
        return {"seed": self.seed, "sampling": self.sampling, "n_sample": self.n_sample, "n_draws": self.n_draws}


@dataclass(frozen=True, eq=False)
class Genes:
    """Genes of one species in a matrix."""

    table: ad.AnnData
    rows: np.ndarray
    """``[n_vars]`` int32 row of the table, -1 for a variable without a gene."""
    given: bool = False
    """Whether the table was passed by the caller instead of found with the model."""

    def order(self) -> GenomeOrder:
        """The table in genome order."""
        return GenomeOrder.build(chromosome_index(self.table), self.table.obs["start"].to_numpy())

    def tokens(self) -> sparse.csr_matrix:
        """``[n_vars, n_tokens]`` matrix that adds the counts of variables to their gene's token."""
        var = np.flatnonzero(self.rows >= 0)
        ones = np.ones(len(var), dtype=np.float32)
        shape = (len(self.rows), n_tokens(self.table))
        return sparse.csr_matrix((ones, (var, self.rows[var] + N_SPECIAL)), shape=shape)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Counts of cells with their genes, model and random draws."""

    X: Any
    """Counts ``[n_obs, n_vars]``; a backed view represents its own X."""
    where: str
    """Name of the counts in error messages."""
    names: np.ndarray
    """``[n_obs]`` names of the cells, the keys of their random streams."""
    species: np.ndarray
    """``[n_obs]`` index into ``genes``."""
    genes: list[Genes]
    drawing: Drawing | None
    """``None`` for a model that reads counts; see :meth:`sentences`."""
    model: Model
    space: Space
    model_name: str
    """Name or directory of the model, by which gene tables are found."""
    client: Any = None
    """Dask client to compute with."""
    adata: Any = None
    var_names: Any = None
    """``[n_vars]`` names of the columns of the counts."""

    @property
    def species_names(self) -> list[str]:
        """Species of each of ``genes``."""
        return list(self.space.species)

    @property
    def params(self) -> dict[str, Any]:
        """The record of the embedding, and parameters of what is computed from it."""
        return self.space.record

    def sentences(self) -> Drawing:
        """How sentences are drawn; ``ValueError`` if the model reads none."""
        if self.drawing is None:
            raise ValueError(
                f"The model {self.model.config.model_id!r} sums all genes of a cell and reads no sentences. Use "
                f"model={BUNDLED_SENTENCES!r} or a released model."
            )
        return self.drawing

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, species, mapped genes and counts; container and dtype of the counts do not matter.

        All counts are read once, at about 0.1 ms a cell, by the workers if there is a client and the counts are in a
        file.
        """
        sha = hashlib.sha256()
        for name in self.names:
            sha.update(f"{name}\0".encode())
        sha.update(np.ascontiguousarray(self.species, dtype=np.int64).tobytes())
        for g in self.genes:
            sha.update(np.ascontiguousarray(g.rows, dtype=np.int64).tobytes())
        for block in self._block_digests():
            sha.update(block)
        return sha.hexdigest()

    def _block_digests(self) -> list[bytes]:
        matrix = None if self.client is None else OnDisk.find(self.X)
        if matrix is None:
            return [_digest(counts) for _, counts in read_ahead(self.X, _DIGEST_ROWS)]
        n = n_blocks(len(self.names), _DIGEST_ROWS)
        spans = ((first, min(first + _DIGEST_SPAN, n)) for first in range(0, n, _DIGEST_SPAN))
        work = partial(_digest_span, matrix, _DIGEST_ROWS, len(self.names))
        found = dict(map_blocks(self.client, work, spans, name="digest"))
        return [digest for first in sorted(found) for digest in found[first]]


def _digest_span(matrix: OnDisk, block_rows: int, n: int, first: int, last: int) -> tuple[int, list[bytes]]:
    read = open_rows(matrix, block_rows)
    return first, [_digest(read(k * block_rows, min((k + 1) * block_rows, n))) for k in range(first, last)]


def _digest(counts: sparse.csr_matrix) -> bytes:
    sha = hashlib.sha256()
    values = counts.data.astype(np.float32, copy=False)
    if values is not counts.data and not (values == counts.data).all():
        values = counts.data.astype(np.float64)
    for part in (counts.indptr.astype(np.int64), counts.indices.astype(np.int32, copy=False), values):
        sha.update(np.ascontiguousarray(part).data)
    return sha.digest()


def resolve_inputs(
    data: Any,
    species: SpeciesLike = None,
    *,
    model: str | Path | None,
    mod: str | None,
    layer: str | None,
    gene_key: str | None,
    rng: int | np.random.Generator,
    sampling: str | None,
    n_draws: int = 1,
    client: Any = None,
) -> Inputs:
    """Check the arguments that tokenizing and embedding share, and resolve them."""
    adata = get_modality(data, mod)
    check_adata(adata)
    seed = as_seed(rng)
    check_whole("n_draws", n_draws, 1)
    if sampling is not None and sampling not in SAMPLINGS:
        raise ValueError(f"sampling={sampling!r} is not known; use one of {', '.join(SAMPLINGS)}.")
    check_drawing(model, sampling=(sampling, None), n_draws=(n_draws, 1))
    X, var = get_counts(adata, layer)
    client = find_client(client, X)

    name = BUNDLED_MODEL if model is None else model
    directory = as_path(name).resolve()
    keys, tables = species_of(adata, species, known=available_species(name), within=data)
    cells = pd.Categorical([keys] * adata.n_obs if isinstance(keys, str) else keys).remove_unused_categories()
    # Tables and models may have to be fetched: only if the data are known to be counts.
    resolved = resolve_genes(adata, keys, name, layer=layer, gene_key=gene_key, tables=tables)
    found = find_model(model)
    for key, r in resolved.items():
        check_table(r.table, key, found)
    species_names = list(cells.categories)
    drawing = _drawing(found, seed, sampling, n_draws)
    space = Space(
        model=found.config.model_id,
        model_digest=found.digest,
        species=tuple(species_names),
        table_digest={k: str(gene_table_info(resolved[k].table)["digest"]) for k in species_names},
        details={
            "fraction_counts_mapped": {k: float(resolved[k].coverage.fraction_counts) for k in species_names},
            "layer": layer or "X", "gene_key": {k: str(resolved[k].coverage.gene_key) for k in species_names},
            "univerce_version": __version__, **({} if drawing is None else drawing.describe()),
        },
    )  # fmt: skip
    return Inputs(
        X=X, where=layer_name(layer), names=adata.obs_names.to_numpy(dtype=object),
        species=np.asarray(cells.codes, dtype=np.int64),
        genes=[Genes(resolved[k].table, resolved[k].rows, k in tables) for k in species_names],
        drawing=drawing,
        model=found, space=space, model_name=str(directory if directory.is_dir() else name), client=client, adata=adata,
        var_names=var.index,
    )  # fmt: skip


def check_drawing(model: str | Path | None, **options: Any) -> None:
    """Raise ``ValueError`` for options of sentences that a model without sentences has no use for."""
    given = [f"{name}={value!r}" for name, (value, default) in options.items() if value != default]
    if given and not reads_sentences(model):
        raise ValueError(
            f"{', '.join(given)}: the model {str(model or BUNDLED_MODEL)!r} sums all genes of a cell and draws no "
            f"sentences. Leave it out, or use model={BUNDLED_SENTENCES!r} or a released model."
        )


def _drawing(model: Model, seed: int, sampling: str | None, n_draws: int) -> Drawing | None:
    if not model.reads_sentences:
        return None
    method = cast("Sampling", model.config.sampling if sampling is None else sampling)
    return Drawing(seed, method, model.config.n_sample, model.config.max_length, int(n_draws))


def check_table(table: ad.AnnData, species: str, model: Model) -> None:
    """Raise ``ValueError`` if the model does not read the features of a gene table."""
    encoder = gene_table_info(table)["encoder"]
    if encoder != model.config.token_encoder or table.n_vars != model.config.token_dim:
        raise ValueError(
            f"The gene table of {species!r} holds {encoder!r} features of width {table.n_vars}; the model "
            f"{model.config.model_id!r} reads {model.config.token_encoder!r} of width {model.config.token_dim}."
        )
