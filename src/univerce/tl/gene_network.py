"""Which genes are alike to the model?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_whole
from univerce.genes.load import BUNDLED_MODEL, available_species, load_table
from univerce.genes.mapping import map_names
from univerce.genes.species import resolve_species
from univerce.genes.table import N_SPECIAL, iter_token_features
from univerce.pp._species import species_of

_BLOCK = 1024


def gene_network(
    genes: ad.AnnData | Sequence[str],
    *,
    species: str | None = None,
    model: str | Path | None = None,
    threshold: float | None = None,
    n_neighbors: int | None = None,
) -> pd.DataFrame:
    """A network of genes whose features are similar, as a table of edges.

    Genes enter a model as features, of their protein or of a text, before it has seen any cell; the similarity is the
    cosine of two features. So the network says what the model holds for alike from the start: families and orthologues
    rather than genes of one pathway, and nothing of the cells at hand. What genes become in the context of a cell is
    not looked at.

    Parameters
    ----------
    genes
        Names of genes, as :func:`univerce.genes.map_names` finds them, or AnnData, of whose variables those that are
        genes of the model are taken.
    species
        The species of the genes; ``None`` reads it from the AnnData.
    model
        ``None`` is the bundled ``"uce-mini"``; ``"uce-4l"``, ``"uce-33l"``, or the directory of a model.
    threshold
        Least similarity of an edge; ``None`` is 0.5, or none when ``n_neighbors`` is given.
    n_neighbors
        Keep an edge only when one gene is among so many nearest of the other, of equally near ones the first in
        ``genes``.

    Returns
    -------
    An edge in each row, the most similar first: ``source``, ``target`` (in the order of ``genes``, each pair once) and
    ``similarity``. Of names that stand for one gene the first is taken. ``networkx.from_pandas_edgelist(table,
    edge_attr="similarity")`` makes a graph of it.

    Raises
    ------
    ValueError
        When a gene is not in the gene table, fewer than two are left, the species is not stated or unknown, or an
        option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> table = uc.tl.gene_network(["CD3D", "CD3E", "CD3G", "RPL3", "RPL4"], species="human", n_neighbors=1)
    >>> sorted(table.columns)
    ['similarity', 'source', 'target']
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r} must lie between -1 and 1, as a cosine does.")
    if n_neighbors is not None:
        check_whole("n_neighbors", n_neighbors, 1)
    name = BUNDLED_MODEL if model is None else model
    key = _species(genes, species, name)
    table = load_table(key, model=name)
    names, rows = _rows(genes, table, key)
    used, places = np.unique(rows, return_inverse=True)
    features = np.concatenate([block for _, block in iter_token_features(table, used + N_SPECIAL)])[places]
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    least = threshold if threshold is not None else -1.0 if n_neighbors is not None else 0.5
    edges = _edges(unit, float(least), n_neighbors)
    return pd.DataFrame(
        {"source": names[edges.row], "target": names[edges.col], "similarity": edges.data.astype(np.float64)}
    )


def _species(genes: ad.AnnData | Sequence[str], species: str | None, model: str | Path) -> str:
    known = tuple(available_species(model))
    if isinstance(genes, ad.AnnData):
        found = species_of(genes, species, known=known)
        if isinstance(found, str):
            return found
        keys = sorted(set(map(str, found)))
        if len(keys) == 1:
            return keys[0]
        raise ValueError(f"The cells are of several species ({', '.join(keys)}); pass species= to say whose genes.")
    if species is None:
        raise ValueError("species= must say which species the genes are of.")
    return resolve_species(species, extra=known)


def _rows(genes: ad.AnnData | Sequence[str], table: ad.AnnData, species: str) -> tuple[np.ndarray, np.ndarray]:
    """Names of different genes, and their rows in the gene table."""
    if isinstance(genes, str):
        raise ValueError(f"genes={genes!r} is one gene; a network needs two.")
    names = np.array(
        [str(name) for name in (genes.var_names if isinstance(genes, ad.AnnData) else genes)], dtype=object
    )
    rows = map_names(names, table).rows
    if isinstance(genes, ad.AnnData):
        names, rows = names[rows >= 0], rows[rows >= 0]
    elif (rows < 0).any():
        unknown = names[rows < 0]
        raise ValueError(
            f"{len(unknown):,} of {len(names):,} genes are not in the gene table of {species!r}: "
            f"{', '.join(map(repr, unknown[:10]))}. Leave them out, or pass the species= they belong to."
        )
    first = np.sort(np.unique(rows, return_index=True)[1])
    if len(first) < 2:
        raise ValueError(f"{len(first)} genes of {species!r} are left; a network needs two.")
    return names[first], rows[first]


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
