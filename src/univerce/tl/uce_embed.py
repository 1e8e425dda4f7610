"""Put every cell into the universal embedding space."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._device import choose_device, choose_precision
from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import check_writable, get_modality
from univerce.genes.given import Tables
from univerce.inference.cluster import worker_precision
from univerce.inference.inputs import Inputs, resolve_inputs, valid_sentences
from univerce.inference.runtime import Block, Embedder, embed_blocks
from univerce.inference.store import EmbeddingStore
from univerce.inference.workers import embed_on_workers, n_cells
from univerce.io.blocks import n_blocks
from univerce.io.cluster import find_client
from univerce.io.pipeline import Stages, behind
from univerce.model.checkpoint import load_network

logger = logging.getLogger("univerce")
BLOCK_ROWS = 500  # a multiple of the reference's batch of 25
PADDINGS = ("masked", "official")


def uce_embed(
    adata: Any,
    species: str | None = None,
    *,
    model: str | Path | None = None,
    table: Tables | None = None,
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
) -> Any:
    """Embed every cell with a Universal Cell Embedding model (Rosen et al. 2024).

    Each cell becomes a sentence of its expressed genes, which a transformer reads; see
    :func:`univerce.pp.uce_tokenize`. A cell's embedding depends on the cell, its name and ``rng``, never on the other
    cells, their order or the batch.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData. ``X`` may be in memory, backed, zarr or dask; it is read in blocks of rows
        and never made dense. Every cell keeps its row.
    species
        Species of the cells (``"human"``, ``"Mus musculus"``, ``"NCBITaxon:7955"``, ...), or the column of ``obs`` that
        holds it per cell. ``None`` reads ``organism`` or ``species`` from ``uns`` and ``obs``, and then from ``uns`` of
        a MuData.
    model
        ``None`` is the bundled ``"uce-mini"``, for learning, tests and quick looks; ``"uce-4l"`` and ``"uce-33l"`` are
        the released models, fetched and converted at first use; anything else is the directory of a model.
    table
        Gene table to use instead of the model's own, for example of :func:`univerce.genes.build_species`: an AnnData or
        a path, or several for data of several species. Without ``species`` a single one says of which the cells are.
        The model refuses a table of another encoder than it was trained with.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts; ``None`` is ``X``.
    gene_key
        Column of ``var`` with the gene names; ``None`` is ``var_names``, see :func:`univerce.pp.map_genes`.
    rng
        Seed, or a generator that is drawn from once.
    sampling
        ``"multinomial"`` (the paper) or ``"systematic"`` (same expected counts, far less variance); ``None`` is the
        model's.
    n_draws
        Sentences per cell; their embeddings are averaged and brought back to unit length.
    key_added
        Key of what is written.
    padding
        ``"masked"``: pads are ignored. ``"official"``: as the reference implementation, which pads 25 consecutive rows
        to the longest and attends to the pads, so that a cell's embedding depends on its neighbors in the file. A cell
        without counts takes up one of the 25 rows. The windows are made per species, and with several species anew
        every 500 rows of the file. To repeat the reference, embed one species at a time, and first drop what it drops:
        genes in fewer than 10 cells, then cells with fewer than 25 genes.
    store
        Directory of a zarr store. Blocks are written there as they are done and nothing into ``obsm``; when the call is
        interrupted, the same call goes on where it stopped. ``anndata.read_zarr(store)`` opens the result.
    client
        A ``dask.distributed.Client``: its workers read and embed the blocks, and with ``store`` write them too, in
        files that all of them see. They need univerce and the model at the same paths. ``None`` computes here, or, when
        the counts are a dask array, with the client that is active, as dask itself does. The bytes are those of a call
        without workers that has as many threads as torch has in a worker. Gene tables of ``table`` are sent to them.
    copy
        Return a changed copy and leave ``adata`` as it is. Not together with ``store``, which leaves it so anyway.

    Returns
    -------
    ``None``, or the copy. Written are, into the AnnData or into ``store``:

    ``obsm[key_added]``
        ``[n_obs, output_dim]`` float32 of unit length; NaN for a cell without a count in any gene.
    ``obs[f"{key_added}_missing"]``
        Which cells have no embedding; there is one warning when there are any.
    ``uns[key_added]["params"]``
        Model and its digest, species, digests of the gene tables, share of the counts that are mapped, seed, sampling,
        draws, padding, precision, version.

    Raises
    ------
    ValueError
        When the values are not counts, no variable is a gene, the species is not stated or unknown, cell names repeat,
        the AnnData is empty or a view of a file (which ``store`` allows), an option is unknown, ``copy`` and
        ``store`` are both given, or ``store`` holds an embedding of other inputs.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:20].copy()
    >>> uc.tl.uce_embed(adata, species="human")
    >>> adata.obsm["X_uce"].shape
    (20, 256)
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is not known; use one of {', '.join(PADDINGS)}.")
    if copy and store is not None:
        raise ValueError(
            f"copy=True asks for a changed copy, but with store={str(store)!r} nothing is written into the data: leave "
            "one of them out. anndata.read_zarr(store) opens the result."
        )
    if client is None:
        choose_device()
    data = adata.copy() if copy else adata
    if store is None:
        check_writable(get_modality(data, mod))
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling,
        n_draws=n_draws, table=table,
    )  # fmt: skip
    client = find_client(client, inputs.X)
    official, d_model = padding == "official", inputs.model.config.d_model
    chosen = choose_precision(choose_device(), d_model) if client is None else worker_precision(client, d_model)
    inputs.params.update(padding=padding, precision=chosen)
    target = _open_store(store, key_added, inputs, client)
    blocks = list(range(n_blocks(len(inputs.names), BLOCK_ROWS))) if target is None else target.missing()
    show = settings.progress
    stages = Stages("read", "tokenize", "forward", "write")
    if client is None:
        embedded = _embed(inputs, chosen, official, blocks, stages, show=show)
        if target is not None:
            embedded = behind(embedded, partial(_write, target, stages))
    else:
        embedded = embed_on_workers(
            client, inputs, blocks, block_rows=BLOCK_ROWS, tables=model, send_tables=table is not None,
            precision=chosen, official=official, store=None if target is None else target.path, show=show,
        )  # fmt: skip

    missing = np.zeros(len(inputs.names), dtype=bool)
    n_pooled = 0
    out = np.empty((len(inputs.names), inputs.model.config.output_dim), np.float32) if target is None else None
    if target is not None:
        for k in set(range(target.n_blocks)).difference(blocks):  # done before
            missing[target.rows(k)] = np.isnan(target.read(k)[:, 0])
    for block in embedded:
        if out is not None:
            out[block.rows] = block.values
        missing[block.rows] = block.missing
        n_pooled += block.n_pooled

    if out is not None:
        inputs.adata.obsm[key_added] = out
        inputs.adata.obs[f"{key_added}_missing"] = missing
        inputs.adata.uns[key_added] = {"params": inputs.params}
    elif target is not None:
        if not target.is_complete:
            target.finish(inputs.params, pd.DataFrame({f"{key_added}_missing": missing}, index=inputs.adata.obs_names))
        logger.info("The embedding is in %s; anndata.read_zarr opens it.", target.path)
    if client is None:
        logger.info("Stages, which overlap: %s.", stages, extra={"stages": stages.seconds | {"all": stages.total()}})
    _report(missing, n_pooled, key_added)
    return data if copy else None


def _open_store(store: Path | str | None, key: str, inputs: Inputs, client: Any) -> EmbeddingStore | None:
    if store is None:
        return None
    # What merely describes the run may differ between the call that was interrupted and the one that goes on.
    describing = ("fraction_counts_mapped", "layer", "gene_key", "univerce_version")
    fingerprint = {k: v for k, v in inputs.params.items() if k not in describing}
    return EmbeddingStore.open(
        store, key=key, obs_names=inputs.adata.obs_names, dim=inputs.model.config.output_dim, block_rows=BLOCK_ROWS,
        fingerprint=fingerprint | {"inputs_digest": inputs.digest(client)},
    )  # fmt: skip


def _write(target: EmbeddingStore, stages: Stages, block: Block) -> None:
    with stages.measure("write"):
        target.write(block.rows.start // target.block_rows, block.values)


def _embed(
    inputs: Inputs,
    precision: str,
    official: bool,
    blocks: list[int],
    stages: Stages,
    *,
    show: bool,
) -> Iterator[Block]:
    """The given blocks of embeddings, under a progress bar over the sentences."""
    if not blocks:
        return
    config, drawing = inputs.model.config, inputs.drawing
    network = load_network(inputs.model, device=choose_device(), precision=precision)
    embedders = [Embedder(network, g.table, official=official) for g in inputs.genes]
    prepared = inputs.prepare(
        BLOCK_ROWS, with_bag=config.bag, sentences=valid_sentences(inputs), blocks=blocks, stages=stages
    )
    cells = n_cells(inputs, blocks, BLOCK_ROWS)
    with tqdm(total=cells * drawing.n_draws, unit="sentence", desc="embed", disable=not show) as bar:
        yield from embed_blocks(prepared, embedders, bar.update, stages)


def _report(missing: np.ndarray, n_pooled: int, key: str) -> None:
    if n_pooled:
        logger.warning(
            "In %d cells the genes lie on more chromosomes or scaffolds than a sentence has room for; the smallest "
            "were pooled into one group.", n_pooled,
        )  # fmt: skip
    if missing.any():
        warnings.warn(
            f"{int(missing.sum())} of {len(missing)} cells have no count in any gene of the model and therefore no "
            f"embedding: their rows are NaN and marked in obs['{key}_missing']. Leave them out of what follows: "
            f"adata[~adata.obs['{key}_missing']].",
            stacklevel=3,
        )
