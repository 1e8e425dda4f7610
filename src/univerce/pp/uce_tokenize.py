"""Write the cell sentences without embedding them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from univerce._keys import UCE_SENTENCES
from univerce._settings import settings
from univerce._validate import check_writable, get_modality
from univerce.genes.given import Tables
from univerce.genes.table import chromosome_index
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.tokens import Sentences, max_sentence_length

logger = logging.getLogger("univerce")
_BLOCK_ROWS = 1000


def uce_tokenize(
    adata: Any,
    *,
    species: str | None = None,
    model: str | Path | None = None,
    table: Tables | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator = 0,
    sampling: str | None = None,
    key_added: str = UCE_SENTENCES,
    copy: bool = False,
) -> Any:
    """Draw the sentence of every cell (Rosen et al. 2024, Methods, "Cell sentences").

    A sentence is ``[CLS]`` and then, chromosome by chromosome in random order, ``[CHROMOSOME]``, the drawn genes by
    genomic start, ``[RIGHT]``. :func:`univerce.tl.uce_embed` uses the sentences when they are what it would draw
    itself.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData. It is never reordered and no cell is dropped.
    species
        Species of the cells, or the column of ``obs`` that holds it per cell; ``None`` reads it from the data, see
        :func:`map_genes`.
    model
        ``None`` is the bundled ``"uce-mini"``; ``"uce-4l"``, ``"uce-33l"``, or the directory of a model.
    table
        Gene table to use instead of the model's own, see :func:`map_genes`.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts; ``None`` is ``X``.
    gene_key
        Column of ``var`` with the gene names; ``None`` is ``var_names``, see :func:`map_genes`.
    rng
        Seed or generator; with the cell's name it decides the cell's sentence.
    sampling
        ``"multinomial"`` (the paper), ``"systematic"`` (same expected counts, far less variance); ``None`` is the
        model's.
    key_added
        Key of what is written.
    copy
        Return a changed copy and leave ``adata`` as it is.

    Returns
    -------
    ``None``, or the copy. Written are:

    ``obsm[key_added]``
        ``[n_obs, longest sentence]`` int32 token ids of the gene table, 0 (PAD) beyond a sentence's end: 1-3 are LEFT,
        RIGHT and CLS, 4 + i the i-th gene, 4 + n_genes + k the k-th chromosome.
    ``obs[f"{key_added}_length"]``
        Number of tokens; 0 for a cell without a count in any gene.
    ``uns[key_added]["params"]``
        Model, tables, seed and sampling.

    Raises
    ------
    ValueError, KeyError
        As :func:`univerce.tl.uce_embed`.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:5].copy()
    >>> uc.pp.uce_tokenize(adata)
    >>> adata.obsm["uce_sentences"][0, 0].item()
    3
    """
    data = adata.copy() if copy else adata
    check_writable(get_modality(data, mod))
    inputs = resolve_inputs(
        data,
        species=species,
        model=model,
        mod=mod,
        layer=layer,
        gene_key=gene_key,
        rng=rng,
        sampling=sampling,
        table=table,
    )
    sentences = _draw(inputs, show=settings.progress)
    inputs.adata.obsm[key_added] = sentences.ids
    inputs.adata.obs[f"{key_added}_length"] = sentences.lengths
    inputs.adata.uns[key_added] = {"params": inputs.params | {"inputs_digest": inputs.digest()}}
    return data if copy else None


def _draw(inputs: Inputs, *, show: bool) -> Sentences:
    drawing = inputs.drawing
    width = max(
        max_sentence_length(drawing.n_sample, int(chromosome_index(g.table).max(initial=-1)) + 1, drawing.max_length)
        for g in inputs.genes
    )
    n = len(inputs.names)
    ids, lengths = np.zeros((n, width), dtype=np.int32), np.zeros(n, dtype=np.int32)
    pooled = np.zeros(n, dtype=bool)
    with tqdm(total=n, unit="cell", desc="tokenize", disable=not show) as bar:
        for rows, groups in inputs.prepare(_BLOCK_ROWS):
            for group in groups:
                sentences, cells = group.draws[0], group.cells + rows.start
                ids[cells, : sentences.ids.shape[1]] = sentences.ids
                lengths[cells], pooled[cells] = sentences.lengths, sentences.pooled
            bar.update(rows.stop - rows.start)
    return Sentences(ids[:, : max(int(lengths.max()), 1)], lengths, pooled)
