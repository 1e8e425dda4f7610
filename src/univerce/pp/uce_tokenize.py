"""Draw cell sentences without embedding them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from univerce._docs import document
from univerce._keys import UCE_SENTENCES
from univerce._settings import progress_bar
from univerce._validate import check_writable, get_modality
from univerce.genes.load import BUNDLED_SENTENCES
from univerce.genes.species_of import SpeciesLike
from univerce.genes.table import chromosome_index
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences, max_sentence_length

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_BLOCK_ROWS = 1000


@document
def uce_tokenize(
    adata: AnnData | MuData,
    species: SpeciesLike = None,
    *,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator = 0,
    sampling: str | None = None,
    key_added: str = UCE_SENTENCES,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Draw the sentence of every cell (Rosen et al. 2026, Methods, "Cell sentences").

    A sentence is ``[CLS]`` and then, chromosome by chromosome in random order, ``[CHROMOSOME]``, the drawn genes by
    genomic start, ``[RIGHT]``. :func:`univerce.tl.uce_embed` reuses these sentences if model and parameters are the
    same. The bundled ``"uce-mini"`` reads no sentences.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData. Cells are neither reordered nor dropped.
    %(species)s
    model
        A model that reads sentences: ``None`` is the bundled ``"uce-tiny"``; ``"uce-4l"``, ``"uce-33l"``, or the
        directory of a model.
    %(mod, layer, gene_key)s
    rng
        Seed or generator. The sentence of a cell depends on it and on the name of the cell.
    %(sampling)s
    key_added
        Key of the sentences in ``obsm``, and of their parameters in ``uns``.
    %(copy, sets)s

    ``obsm[key_added]``
        ``[n_obs, longest sentence]`` int32 token ids of the gene table, padded with 0 (PAD): 1-3 are LEFT, RIGHT and
        CLS, 4 + i the i-th gene, 4 + n_genes + k the k-th chromosome.
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
    check_writable(get_modality(data, mod), key_added)
    model = BUNDLED_SENTENCES if model is None else model
    inputs = resolve_inputs(
        data, species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling
    )
    sentences = _draw(inputs)
    inputs.adata.obsm[key_added] = sentences.ids
    inputs.adata.obs[f"{key_added}_length"] = sentences.lengths
    inputs.adata.uns[key_added] = {"params": inputs.params | {"inputs_digest": inputs.digest}}
    return data if copy else None


def _draw(inputs: Inputs) -> Sentences:
    drawing = inputs.sentences()
    width = max(
        max_sentence_length(drawing.n_sample, int(chromosome_index(g.table).max(initial=-1)) + 1, drawing.max_length)
        for g in inputs.genes
    )
    n = len(inputs.names)
    ids, lengths = np.zeros((n, width), dtype=np.int32), np.zeros(n, dtype=np.int32)
    pooled = np.zeros(n, dtype=bool)
    with progress_bar(total=n, unit="cell", desc="tokenize") as bar:
        for rows, groups in draw_sentences(inputs, _BLOCK_ROWS):
            for group in groups:
                sentences, cells = group.draws[0], group.cells + rows.start
                ids[cells, : sentences.ids.shape[1]] = sentences.ids
                lengths[cells], pooled[cells] = sentences.lengths, sentences.pooled
            bar.update(rows.stop - rows.start)
    return Sentences(ids[:, : max(int(lengths.max()), 1)], lengths, pooled)
