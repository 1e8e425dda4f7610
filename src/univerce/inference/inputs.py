"""Everything that decides a sentence or an embedding, resolved and checked once."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import UCE_SENTENCES
from univerce._validate import as_seed, check_adata, check_whole, get_layer, get_modality, layer_name
from univerce._version import __version__
from univerce.genes.given import Tables, species_and_tables
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.resolve import resolve_genes
from univerce.genes.table import gene_table_info
from univerce.inference.runtime import Drawing, Genes, prepare
from univerce.inference.tokens import Sentences
from univerce.io.blocks import iter_blocks, n_blocks
from univerce.io.cluster import map_blocks, open_rows
from univerce.io.pipeline import ahead
from univerce.io.source import Source, find_source
from univerce.model.checkpoint import Model, find_model
from univerce.model.config import SAMPLINGS

logger = logging.getLogger("univerce")
_DIGEST_ROWS = 1000
_DIGEST_SPAN = 16  # blocks that a worker hashes at a time


@dataclass(frozen=True)
class Inputs:
    """Counts with their genes, model and random draws."""

    adata: ad.AnnData
    X: Any
    """The count matrix; a backed view stands for its own X."""
    where: str
    model: Model
    names: np.ndarray
    """``[n_obs]`` names of the cells."""
    species_names: list[str]
    species: np.ndarray
    """``[n_obs]`` index into ``species_names``."""
    genes: list[Genes]
    drawing: Drawing
    params: dict[str, Any]
    """What ``uns[key]["params"]`` records of the above."""

    def prepare(self, block_rows: int, **options: Any) -> Any:
        """Blocks of sentences, see :func:`univerce.inference.runtime.prepare`."""
        return prepare(
            self.X, block_rows, names=self.names, species=self.species, genes=self.genes, drawing=self.drawing,
            where=self.where, **options,
        )  # fmt: skip

    def digest(self, client: Any = None) -> str:
        """SHA-256 of names, species, mapped genes and counts; the container and the dtype of the counts do not matter.

        It reads all counts once, at some 0.1 ms a cell. Counts are hashed by blocks, so that the workers of ``client``
        can do it when they find the counts in a file.
        """
        sha = hashlib.sha256()
        for name in self.names:
            sha.update(f"{name}\0".encode())
        sha.update(np.ascontiguousarray(self.species, dtype=np.int64).tobytes())
        for g in self.genes:
            sha.update(np.ascontiguousarray(g.rows, dtype=np.int64).tobytes())
        for block in self._block_digests(client):
            sha.update(block)
        return sha.hexdigest()

    def _block_digests(self, client: Any) -> list[bytes]:
        source = None if client is None else find_source(self.X)
        if source is None:
            return [_digest(counts) for _, counts in ahead(iter_blocks(self.X, _DIGEST_ROWS))]
        n = n_blocks(len(self.names), _DIGEST_ROWS)
        spans = ((first, min(first + _DIGEST_SPAN, n)) for first in range(0, n, _DIGEST_SPAN))
        work = partial(_digest_span, source, _DIGEST_ROWS, len(self.names))
        found = dict(map_blocks(client, work, spans, name="digest"))
        return [digest for first in sorted(found) for digest in found[first]]


def _digest_span(source: Source, block_rows: int, n: int, first: int, last: int) -> tuple[int, list[bytes]]:
    read = open_rows(source, block_rows)
    return first, [_digest(read(k * block_rows, min((k + 1) * block_rows, n))) for k in range(first, last)]


def _digest(counts: Any) -> bytes:
    sha = hashlib.sha256()
    for part, dtype in ((counts.indptr, np.int64), (counts.indices, np.int64), (counts.data, np.float64)):
        sha.update(part.astype(dtype).tobytes())
    return sha.digest()


def resolve_inputs(
    data: Any,
    *,
    species: str | None,
    model: str | Path | None,
    mod: str | None,
    layer: str | None,
    gene_key: str | None,
    rng: int | np.random.Generator,
    sampling: str | None,
    n_draws: int = 1,
    table: Tables | None = None,
) -> Inputs:
    """Check the arguments that tokenizing and embedding share, and find what they stand for."""
    adata = get_modality(data, mod)
    check_adata(adata)
    seed = as_seed(rng)
    check_whole("n_draws", n_draws, 1)
    if sampling is not None and sampling not in SAMPLINGS:
        raise ValueError(f"sampling={sampling!r} is not known; use one of {', '.join(SAMPLINGS)}.")
    X = adata if layer in (None, "X") and adata.isbacked and adata.is_view else get_layer(adata, layer)

    name = BUNDLED_MODEL if model is None else model
    keys, tables = species_and_tables(adata, species, name, table, data)
    cells = pd.Categorical([keys] * adata.n_obs if isinstance(keys, str) else keys).remove_unused_categories()
    # Tables and models may have to be fetched: only when the data are known to be counts.
    resolved = resolve_genes(adata, keys, name, layer=layer, gene_key=gene_key, tables=tables)
    found = find_model(model)
    method = found.config.sampling if sampling is None else sampling
    for key, r in resolved.items():
        check_table(r.table, key, found)
    species_names = list(cells.categories)
    params = {
        "model": found.config.model_id,
        "model_digest": found.digest,
        "species": species_names,
        "table_digest": {k: str(gene_table_info(resolved[k].table)["digest"]) for k in species_names},
        "fraction_counts_mapped": {k: float(resolved[k].coverage.fraction_counts) for k in species_names},
        "layer": layer or "X",
        "gene_key": {k: str(resolved[k].coverage.gene_key) for k in species_names},
        "seed": seed,
        "sampling": method,
        "n_sample": found.config.n_sample,
        "n_draws": int(n_draws),
        "univerce_version": __version__,
    }
    return Inputs(
        adata=adata, X=X, where=layer_name(layer), model=found, names=adata.obs_names.to_numpy(dtype=object),
        species_names=species_names, species=np.asarray(cells.codes, dtype=np.int64),
        genes=[Genes(resolved[k].table, resolved[k].rows) for k in species_names],
        drawing=Drawing(seed, cast("Any", method), found.config.n_sample, found.config.max_length, int(n_draws)),
        params=params,
    )  # fmt: skip


def check_table(table: ad.AnnData, species: str, model: Model) -> None:
    """Raise ``ValueError`` when the features of a gene table are not those that the model reads."""
    encoder = gene_table_info(table)["encoder"]
    if encoder != model.config.token_encoder or table.n_vars != model.config.token_dim:
        raise ValueError(
            f"The gene table of {species!r} holds {encoder!r} features of width {table.n_vars}; the model "
            f"{model.config.model_id!r} reads {model.config.token_encoder!r} of width {model.config.token_dim}."
        )


def valid_sentences(inputs: Inputs, key: str = UCE_SENTENCES) -> Sentences | None:
    """The sentences that ``adata`` holds, if drawing them again would give the same."""
    adata = inputs.adata
    if key not in adata.obsm or f"{key}_length" not in adata.obs or key not in adata.uns:
        return None
    old = dict(adata.uns[key].get("params", {}))
    deciding = ("model_digest", "table_digest", "seed", "sampling", "n_sample", "n_draws")
    differ = [k for k in deciding if old.get(k) != inputs.params[k]]
    if not differ and old.get("inputs_digest") != inputs.digest():
        differ = ["the counts, cells or genes"]
    if differ:
        logger.info("obsm[%r] is not used: it was drawn with another %s.", key, ", ".join(differ))
        return None
    logger.info("Using the sentences in obsm[%r].", key)
    lengths = adata.obs[f"{key}_length"].to_numpy(dtype=np.int32)
    return Sentences(np.asarray(adata.obsm[key], dtype=np.int32), lengths, np.zeros(len(lengths), dtype=bool))
