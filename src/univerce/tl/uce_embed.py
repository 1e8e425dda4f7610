"""Embed every cell with a Universal Cell Embedding model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from univerce._device import choose_device
from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import HINT, logger
from univerce._validate import check_key, check_writable, get_modality
from univerce.embeddings.space import space_column
from univerce.genes.species_of import SpeciesLike
from univerce.inference.block import BLOCK_ROWS, Block
from univerce.inference.embed import embed_here
from univerce.inference.inputs import Inputs, check_drawing, resolve_inputs
from univerce.inference.store import EmbeddingStore
from univerce.inference.workers import embed_on_workers, embedding_precision
from univerce.io.blocks import iter_blocks, n_blocks
from univerce.io.pipeline import Stages, behind, in_background
from univerce.model.find import hash_weights, reads_sentences

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

PADDINGS = ("masked", "official")


@document
def uce_embed(
    adata: AnnData | MuData,
    species: SpeciesLike = None,
    *,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator = 0,
    sampling: Literal["multinomial", "systematic"] | None = None,
    n_draws: int = 1,
    key_added: str = X_UCE,
    padding: Literal["masked", "official"] = "masked",
    store: Path | str | None = None,
    client: Any = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Embed every cell with a Universal Cell Embedding model (Rosen et al. 2026).

    A cell is represented by a sentence of its expressed genes, which a transformer reads; see
    :func:`univerce.pp.uce_tokenize`. The bundled ``"uce-mini"`` is linear instead: it sums one vector per gene over all
    genes of a cell, without sampling. The embedding of a cell depends on its counts, its name and ``rng``, never on the
    other cells, their order or the batch. ``univerce.settings`` chooses device, precision and batch size.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData. ``X`` may be in memory, backed, zarr or dask; it is read in blocks of rows
        and never made dense. Every cell keeps its row.
    %(species, model, mod, layer, gene_key)s
    rng
        Seed or :class:`numpy.random.Generator`; without effect on linear models.
    sampling
        ``"multinomial"`` (the paper) or ``"systematic"`` (same expected counts, far less variance); ``None`` is the
        default of the model. Linear models raise an error for ``sampling``, ``n_draws`` and ``padding``.
    n_draws
        Sentences per cell; their embeddings are averaged and scaled to unit length.
    key_added
        Key of the embedding in ``obsm``, and prefix of the columns in ``obs``.
    padding
        ``"masked"`` ignores pads. ``"official"`` reproduces the reference implementation, which pads 25 consecutive
        rows to the longest and attends to the pads, so that an embedding depends on the neighboring rows. Rows without
        counts are included. Batches are formed per species and, with several species, restart every 500 rows. To
        reproduce the reference, embed one species at a time and first filter as it does: genes in fewer than 10 cells,
        then cells with fewer than 25 genes.
    store
        Directory of a zarr store to write the embedding to, instead of ``obsm``. Blocks are written as they finish, so
        that repeating the call resumes an interrupted one. ``anndata.read_zarr(store)`` opens the result.
    client
        A ``dask.distributed.Client``, whose workers read and embed the blocks and write them to ``store``; all of them
        must see the files. They need univerce and the model at the same paths; gene tables in ``species`` are sent to
        them. ``None`` computes in this process, or with the active client if the counts are a dask array. The result is
        identical to that of a call without workers.
    copy
        Return a copy instead of writing to ``adata``. Not available with ``store``, which never writes to ``adata``.

    Returns
    -------
    ``None``, or a copy of ``adata`` with ``copy=True``. Sets the following fields of ``adata``, or of
    ``store``:

    ``obsm[key_added]``
        ``[n_obs, output_dim]`` float32 of unit length; NaN for cells without counts in genes of the model.
    ``obs[f"{key_added}_missing"]``
        Whether a cell lacks an embedding; written only if a cell does. A warning reports how many cells have no counts,
        or none in genes of the model.
    ``obs[f"{key_added}_space"]``
        Model and gene tables of each cell. The column survives :func:`anndata.concat`.
    ``uns["univerce"][key_added]``
        Model and its digest, species, digests of the gene tables, share of the counts that are mapped, precision,
        version; for sentences seed, sampling, draws and padding.

    Raises
    ------
    ValueError
        If the values are not counts, no variable is a gene, the species is not stated or unknown, cell names repeat,
        the AnnData is empty or a view of a file (which ``store`` allows), an option is unknown, ``copy`` and
        ``store`` are both given, or ``store`` holds an embedding of other inputs.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:20].copy()
    >>> uc.tl.uce_embed(adata, "human")
    >>> adata.obsm["X_uce"].shape
    (20, 128)

    A plot, as with any embedding of scanpy:

    >>> import scanpy as sc
    >>> sc.pp.neighbors(adata, use_rep="X_uce")  # doctest: +SKIP
    >>> sc.tl.umap(adata)  # doctest: +SKIP
    >>> sc.pl.umap(adata, color="cell_type")  # doctest: +SKIP
    """
    began = time.perf_counter()
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is not known; use one of {', '.join(PADDINGS)}.")
    check_key(key_added)
    if copy and store is not None:
        raise ValueError(
            f"copy=True returns a changed copy, but store={str(store)!r} leaves the data as they are: drop one of "
            "them. anndata.read_zarr(store) opens the result."
        )
    check_drawing(model, padding=(padding, "masked"))
    with in_background(hash_weights, model):  # find_model waits for it, after torch is imported and genes are mapped
        if client is None and reads_sentences(model):
            choose_device()  # raises before anything is read
        data = adata.copy() if copy else adata
        if store is None:
            check_writable(get_modality(data, mod))
        inputs = resolve_inputs(
            data, species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling,
            n_draws=n_draws, client=client,
        )  # fmt: skip
    if padding == "official" and inputs.model.config.family != "uce":
        raise ValueError(
            f"padding='official' repeats the reference of UCE, which attends to pads; {inputs.model.config.model_id!r} "
            f"is of the family {inputs.model.config.family!r}, which does not. Use padding='masked'."
        )
    precision = embedding_precision(inputs)
    details = {**inputs.space.details, "precision": precision}
    if inputs.model.reads_sentences:
        details["padding"] = padding
    inputs = replace(inputs, space=replace(inputs.space, details=details))

    target = None if store is None else _open_store(store, key_added, inputs)
    blocks = list(range(n_blocks(len(inputs.names), BLOCK_ROWS))) if target is None else target.missing()
    stages = Stages()
    options: dict[str, Any] = {"block_rows": BLOCK_ROWS, "official": padding == "official", "precision": precision}
    if inputs.client is None:
        embedded = embed_here(inputs, blocks, stages=stages, **options)
        if target is not None:
            embedded = behind(embedded, partial(_write, target, stages))
    else:
        embedded = embed_on_workers(inputs, blocks, store=None if target is None else target.path, **options)
    values, missing, n_pooled = _collect(inputs, embedded, target, blocks)

    if values is not None:
        inputs.adata.obsm[key_added] = values
        if missing.any() or f"{key_added}_missing" in inputs.adata.obs:  # not that of an earlier call
            inputs.adata.obs[f"{key_added}_missing"] = missing
        inputs.space.write(inputs.adata, key_added)
    elif target is not None:
        if not target.is_complete:
            obs: dict[str, Any] = {f"{key_added}_missing": missing} if missing.any() else {}
            obs |= {space_column(key_added): inputs.space.column(len(missing))}
            target.finish(inputs.params, pd.DataFrame(obs, index=inputs.adata.obs_names))
        logger.info("The embedding is in %s; anndata.read_zarr opens it.", target.path)
    if inputs.client is None:
        logger.log(
            HINT, "Stages, which overlap: %s.", stages, extra={"stages": stages.seconds | {"all": stages.total()}}
        )
    _report(inputs, missing, n_pooled, key_added, seconds=time.perf_counter() - began)
    return data if copy else None


def _open_store(store: Path | str, key: str, inputs: Inputs) -> EmbeddingStore:
    # Entries that only describe the run may differ between an interrupted call and the one that resumes it.
    describing = ("fraction_counts_mapped", "layer", "gene_key", "univerce_version")
    fingerprint = {k: v for k, v in inputs.params.items() if k not in describing}
    return EmbeddingStore.open(
        store, key=key, obs_names=inputs.adata.obs_names, dim=inputs.model.config.output_dim, block_rows=BLOCK_ROWS,
        fingerprint=fingerprint | {"inputs_digest": inputs.digest},
    )  # fmt: skip


def _write(target: EmbeddingStore, stages: Stages, block: Block) -> None:
    with stages.measure("write"):
        target.write(block.rows.start // target.block_rows, block.values)


def _collect(
    inputs: Inputs, embedded: Iterator[Block], target: EmbeddingStore | None, blocks: list[int]
) -> tuple[np.ndarray | None, np.ndarray, int]:
    """The embedding unless it is in a store, the cells without one, and the number of cells with pooled chromosomes."""
    missing = np.zeros(len(inputs.names), dtype=bool)
    values = np.empty((len(missing), inputs.model.config.output_dim), np.float32) if target is None else None
    if target is not None:
        for k in set(range(target.n_blocks)).difference(blocks):  # done before
            missing[target.rows(k)] = np.isnan(target.read(k)[:, 0])
    n_pooled = 0
    for block in embedded:
        if values is not None:
            values[block.rows] = block.values
        missing[block.rows] = block.missing
        n_pooled += block.n_pooled
    return values, missing, n_pooled


def _report(inputs: Inputs, missing: np.ndarray, n_pooled: int, key: str, *, seconds: float) -> None:
    shares = inputs.params["fraction_counts_mapped"]
    found = (
        f"{(genes.rows >= 0).sum():,} of {len(genes.rows):,} variables are genes of {species}, with {share:.1%} of the "
        "counts"
        for genes, (species, share) in zip(inputs.genes, shares.items(), strict=True)
    )
    logger.info(
        "%s cells embedded with %s in %.1f s, %s without an embedding; %s.", f"{len(missing):,}",
        inputs.model.config.model_id, seconds, f"{missing.sum():,}", "; ".join(found),
    )  # fmt: skip
    if n_pooled:
        logger.warning(
            "%d cells have genes on more chromosomes or scaffolds than fit a sentence; the smallest were pooled.",
            n_pooled,
        )
    if missing.any():
        n_missing, n_counted = int(missing.sum()), _n_with_counts(inputs, missing)
        kinds = {"without a count in any gene": n_missing - n_counted, "with counts in no gene of the model": n_counted}
        why = " and ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        warnings.warn(
            f"{n_missing} of {len(missing)} cells have no embedding, {why}: their rows are NaN and marked in "
            f"obs['{key}_missing']. Leave them out: adata[~adata.obs['{key}_missing']].",
            stacklevel=3,
        )


def _n_with_counts(inputs: Inputs, cells: np.ndarray) -> int:
    """How many of some cells have counts."""
    blocks = np.unique(np.flatnonzero(cells) // BLOCK_ROWS).tolist()
    counts = iter_blocks(inputs.X, BLOCK_ROWS, blocks=blocks)
    return sum(int((np.diff(block.indptr) > 0)[cells[rows]].sum()) for rows, block in counts)
