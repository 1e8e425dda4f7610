"""Which genes are alike to the model?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_whole, get_modalities
from univerce.genes.load import BUNDLED_MODEL, available_species, load_table
from univerce.genes.lookup import map_names
from univerce.genes.species import resolve_species
from univerce.genes.species_of import species_of
from univerce.genes.table import N_SPECIAL, iter_token_features
from univerce.tl.genes._context import read_context

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
_BLOCK = 1024


def gene_network(
    genes: ad.AnnData | MuData | Sequence[str],
    *,
    context: ad.AnnData | MuData | None = None,
    species: str | None = None,
    model: str | Path | None = None,
    threshold: float | None = None,
    n_neighbors: int | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    sampling: Literal["multinomial", "systematic"] | None = None,
    device: str = "auto",
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """A network of genes that are alike to a model, as a table of edges.

    Genes enter a model as features, of their protein or of a text, before it has seen any cell; the similarity is the
    cosine of two features. So the network says what the model holds for alike from the start: families and orthologues
    rather than genes of one pathway, and nothing of the cells at hand.

    With ``context`` it is that of what the genes have become in the sentences of these cells: the outputs of the last
    layer of the transformer, averaged over all places of a gene. What all genes have in common, their mean, is taken
    off, without which every cosine is near one. A gene that is drawn few times has a noisy mean. Two sets of cells give
    two networks, whose difference is what the cells add, as far as the model reads it.

    Parameters
    ----------
    genes
        Names of genes, as :func:`univerce.genes.map_names` finds them, or AnnData or MuData, of whose variables those
        that are genes of the model are taken.
    context
        Cells of one species with raw counts. Genes that are in none of their sentences are left out, with a warning in
        the log.
    species
        The species of the genes; ``None`` reads it from the AnnData.
    model
        ``None`` is the bundled ``"uce-mini"``; ``"uce-4l"``, ``"uce-33l"``, or the directory of a model.
    threshold
        Least similarity of an edge; ``None`` is 0.5, or none when ``n_neighbors`` is given.
    n_neighbors
        Keep an edge only when one gene is among so many nearest of the other, of equally near ones the first in
        ``genes``.
    mod
        Modality, of each that is a MuData.
    layer, gene_key, sampling, rng
        As in :func:`univerce.tl.uce_embed`, for ``context``.
    device
        ``"auto"`` takes what ``settings.device`` says, and CUDA, MPS, CPU in this order when that is ``"auto"`` too.

    Returns
    -------
    An edge in each row, the most similar first: ``source``, ``target`` (in the order of ``genes``, each pair once) and
    ``similarity``. Of names that stand for one gene the first is taken. ``networkx.from_pandas_edgelist(table,
    edge_attr="similarity")`` makes a graph of it, ``table.to_csv`` a file.

    Raises
    ------
    ValueError
        When a gene is not in the gene table, fewer than two are left, the species is not stated or unknown or that of
        the cells is another, the values of ``context`` are not counts, or an option is out of range.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> names = ["CD3D", "CD3E", "CD79A", "CD79B", "LYZ"]
    >>> table = uc.tl.gene_network(names, species="human", n_neighbors=1)
    >>> sorted(table.columns)
    ['similarity', 'source', 'target']
    >>> adata = uc.datasets.pbmc68k_reduced()[:50].copy()
    >>> len(uc.tl.gene_network(names, context=adata, threshold=-1))
    10
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r} must lie between -1 and 1, as a cosine does.")
    if n_neighbors is not None:
        check_whole("n_neighbors", n_neighbors, 1)
    name = BUNDLED_MODEL if model is None else model
    adata, cells = get_modalities(mod, genes, context)
    listed = not isinstance(adata, ad.AnnData)
    within = context if listed else genes
    key = _species(cells if listed else adata, species, name, within)
    table = load_table(key, model=name)
    names, rows = _rows(adata if listed else adata.var_names, table, key, strict=listed)
    if context is None:
        vectors = _features(table, rows)
    else:
        means, n_places = read_context(
            context, species=key, model=model, mod=None if cells is context else mod, layer=layer,
            gene_key=gene_key, sampling=sampling, device=device, rng=rng,
        )  # fmt: skip
        names, rows = _drawn(names, rows, n_places)
        vectors = means[rows]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    least = threshold if threshold is not None else -1.0 if n_neighbors is not None else 0.5
    edges = _edges(unit, float(least), n_neighbors)
    return pd.DataFrame(
        {"source": names[edges.row], "target": names[edges.col], "similarity": edges.data.astype(np.float64)}
    )


def _species(adata: ad.AnnData | None, species: str | None, model: str | Path, within: Any) -> str:
    """The species of the genes: that of the cells, of which there may be none."""
    known = tuple(available_species(model))
    if adata is None:
        if species is None:
            raise ValueError("species= must say which species the genes are of.")
        return resolve_species(species, extra=known)
    found, _ = species_of(adata, species, known=known, within=within)
    if isinstance(found, str):
        return found
    keys = sorted(set(map(str, found)))
    if len(keys) == 1:
        return keys[0]
    raise ValueError(f"The cells are of several species ({', '.join(keys)}); pass species= to say whose genes.")


def _rows(genes: Any, table: ad.AnnData, species: str, *, strict: bool) -> tuple[np.ndarray, np.ndarray]:
    """Names of different genes, and their rows in the gene table, of which all must have one when ``strict``."""
    if isinstance(genes, str):
        raise ValueError(f"genes={genes!r} is one gene; a network needs two.")
    names = np.array([str(name) for name in genes], dtype=object)
    rows = map_names(names, table).rows
    if strict and (rows < 0).any():
        unknown = names[rows < 0]
        raise ValueError(
            f"{len(unknown):,} of {len(names):,} genes are not in the gene table of {species!r}: "
            f"{', '.join(map(repr, unknown[:10]))}. Leave them out, or pass the species= they belong to."
        )
    names, rows = names[rows >= 0], rows[rows >= 0]
    first = np.sort(np.unique(rows, return_index=True)[1])
    if len(first) < 2:
        raise ValueError(f"{len(first)} genes of {species!r} are left; a network needs two.")
    return names[first], rows[first]


def _drawn(names: np.ndarray, rows: np.ndarray, n_places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The genes that occur in a sentence."""
    there = n_places[rows] > 0
    if not there.all():
        logger.warning(
            "%d of %d genes are in no sentence of the cells and left out: %s.", (~there).sum(), len(there),
            ", ".join(map(repr, names[~there][:10])),
        )  # fmt: skip
    if there.sum() < 2:
        raise ValueError(f"{there.sum()} genes are in the sentences of the cells; a network needs two.")
    return names[there], rows[there]


def _features(table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """``[n_genes, token_dim]`` features of rows in any order."""
    used, places = np.unique(rows, return_inverse=True)
    return np.concatenate([block for _, block in iter_token_features(table, used + N_SPECIAL)])[places]


def _edges(unit: np.ndarray, least: float, n_neighbors: int | None) -> sp.coo_matrix:
    """Pairs ``row < col`` and their cosine, the highest first; products in blocks that bound the memory."""
    n = len(unit)
    sources, targets, values = [], [], []
    for start in range(0, n, _BLOCK):
        cosine = unit[start : start + _BLOCK] @ unit.T
        row = np.arange(len(cosine))
        cosine[row, start + row] = -np.inf
        if n_neighbors is None:
            i, j = np.nonzero(cosine >= least)
            keep = start + i < j
            i, j = i[keep], j[keep]
        else:
            nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(n_neighbors, n - 1)]
            i, j = np.repeat(row, nearest.shape[1]), nearest.ravel()
            keep = cosine[i, j] >= least
            i, j = i[keep], j[keep]
        values.append(np.einsum("ij,ij->i", unit[start + i], unit[j]))
        sources.append(np.minimum(start + i, j))
        targets.append(np.maximum(start + i, j))
    pairs = pd.DataFrame(
        {"i": np.concatenate(sources), "j": np.concatenate(targets), "cosine": np.concatenate(values)}
    ).drop_duplicates(["i", "j"])
    pairs = pairs.sort_values(["cosine", "i", "j"], ascending=[False, True, True], kind="stable")
    return sp.coo_matrix((pairs["cosine"], (pairs["i"], pairs["j"])), shape=(n, n))
