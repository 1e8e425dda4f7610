"""Connect genes that are similar to a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._settings import logger
from univerce._validate import check_whole, get_modality
from univerce.genes.load import BUNDLED_MODEL, BUNDLED_SENTENCES, available_species, load_table
from univerce.genes.lookup import map_names
from univerce.genes.species_of import species_of
from univerce.inference.expression import gene_features
from univerce.inference.inputs import resolve_inputs
from univerce.tl.genes._genes import describe_genes, find_rows

if TYPE_CHECKING:
    from mudata import MuData

_BLOCK = 1024


def gene_network(
    adata: ad.AnnData | MuData,
    genes: Sequence[str] | None = None,
    *,
    context: bool = False,
    species: str | None = None,
    model: str | Path | None = None,
    threshold: float | None = None,
    n_neighbors: int | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    sampling: Literal["multinomial", "systematic"] | None = None,
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Connect genes that a model considers similar, by their features or in the context of cells.

    A model represents genes by features of their protein or of a text. The similarity of two genes is the cosine of
    their features: it connects families and orthologs rather than genes of one pathway, and does not depend on the
    cells.

    With ``context`` genes are compared in the sentences of the cells, by the output of the last transformer layer,
    averaged over all occurrences of a gene. This needs a model that reads sentences, such as ``"uce-tiny"``. The mean
    over all genes is subtracted, because otherwise all cosines are near one. Means of genes that are drawn rarely are
    noisy. Differences between the networks of two sets of cells are due to the cells.

    Parameters
    ----------
    adata
        Cells of one species. Without ``context`` only the names of their genes and their species are read.
    genes
        Names of genes, as in :func:`univerce.genes.map_names`; ``None`` takes the genes of ``adata``.
    context
        Compare genes in the sentences of the cells, which requires raw counts. Genes that do not occur in any sentence
        are left out, with a warning in the log.
    species
        Species of the genes; ``None`` reads it from ``adata``.
    model
        ``None`` is the bundled ``"uce-mini"``, or with ``context`` the bundled ``"uce-tiny"``; ``"uce-4l"``,
        ``"uce-33l"``, or the directory of a model.
    threshold
        Minimum similarity of an edge; ``None`` is 0.5, or -1 with ``n_neighbors``.
    n_neighbors
        Keep an edge only if one gene is among this many nearest of the other; ties go to the first in ``genes``.
    mod, layer, gene_key, sampling, rng
        As in :func:`univerce.tl.uce_embed`.

    Returns
    -------
    A new AnnData of genes; ``adata`` is not changed. If two names stand for the same gene, the first is
    used.

    ``X``
        ``[n_genes, n_dims]`` float32 vectors that are compared.
    ``obs``
        ``symbol`` and ``ensembl_id``, indexed by ``genes``.
    ``obsp["similarity"]``
        ``[n_genes, n_genes]`` symmetric sparse matrix of the cosines of all edges.
    ``uns["gene_network"]["table"]``
        An edge per row, the most similar first: ``source``, ``target`` (in the order of ``genes``, each pair once),
        ``similarity``. ``networkx.from_pandas_edgelist(table, edge_attr="similarity")`` makes it a graph.
    ``uns["gene_network"]["params"]``
        Parameters.

    Raises
    ------
    ValueError
        If a gene is not in the gene table, fewer than two are left, the species is not stated or unknown, the values
        are not counts, or an option is out of range.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:50].copy()
    >>> network = uc.tl.gene_network(adata, ["CD3D", "CD3E", "CD79A", "CD79B", "LYZ"], n_neighbors=1)
    >>> uc.get.table(network, "gene_network").columns.tolist()
    ['source', 'target', 'similarity']
    >>> network = uc.tl.gene_network(adata, ["CD3D", "CD3E", "CD79A"], context=True, threshold=-1)
    >>> network.obsp["similarity"].nnz
    6
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r} must lie between -1 and 1.")
    if n_neighbors is not None:
        check_whole("n_neighbors", n_neighbors, 1)
    data, adata = adata, get_modality(adata, mod)
    name = (BUNDLED_SENTENCES if context else BUNDLED_MODEL) if model is None else model
    keys, _ = species_of(adata, species, known=tuple(available_species(name)), within=data)
    several = [keys] if isinstance(keys, str) else sorted(set(map(str, keys)))
    if len(several) > 1:
        raise ValueError(f"The cells are of several species ({', '.join(several)}). Pass the species= of the genes.")
    key = several[0]
    table = load_table(key, model=name)
    names, rows = _rows(adata, genes, gene_key, table, key)
    if context:
        from univerce.inference.gene_context import mean_context  # torch

        inputs = resolve_inputs(
            data, species=key, model=name, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling
        )
        means, n_places = mean_context(inputs)
        names, rows = _drawn(names, rows, n_places)
        vectors = means[rows]
    else:
        vectors = gene_features(table, rows)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    least = threshold if threshold is not None else -1.0 if n_neighbors is not None else 0.5
    edges = _edges(unit, float(least), n_neighbors)

    out = ad.AnnData(vectors.astype(np.float32), obs=describe_genes(table, rows, names))
    out.obsp["similarity"] = sp.csr_matrix(edges + edges.T)
    similar = {"source": names[edges.row], "target": names[edges.col], "similarity": edges.data.astype(np.float64)}
    params = {"species": key, "model": str(name), "context": context, "threshold": least, "n_neighbors": n_neighbors}
    out.uns["gene_network"] = {
        "table": pd.DataFrame(similar).rename(index=str),
        "params": {k: "" if v is None else v for k, v in params.items()},
    }
    return out


def _rows(
    adata: ad.AnnData, genes: Sequence[str] | None, gene_key: str | None, table: ad.AnnData, species: str
) -> tuple[np.ndarray, np.ndarray]:
    """Names of different genes, and their rows in the gene table."""
    if isinstance(genes, str):
        raise ValueError(f"genes={genes!r} is one gene; a network needs two.")
    if genes is not None:
        names = np.array([str(name) for name in genes], dtype=object)
        rows = find_rows(names, table, species)
    else:
        names = (adata.var_names if gene_key is None else adata.var[gene_key]).astype(str).to_numpy(object)
        rows = map_names(names, table).rows
        names, rows = names[rows >= 0], rows[rows >= 0]
    first = np.sort(np.unique(rows, return_index=True)[1])
    if len(first) < 2:
        raise ValueError(f"{len(first)} genes of {species!r} are left; a network needs two.")
    return names[first], rows[first]


def _drawn(names: np.ndarray, rows: np.ndarray, n_places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Genes that occur in a sentence."""
    drawn = n_places[rows] > 0
    if not drawn.all():
        logger.warning(
            "Leaving out %d of %d genes, which occur in no sentence of the cells: %s.", (~drawn).sum(), len(drawn),
            ", ".join(map(repr, names[~drawn][:10])),
        )  # fmt: skip
    if drawn.sum() < 2:
        raise ValueError(f"{drawn.sum()} genes occur in the sentences of the cells; a network needs two.")
    return names[drawn], rows[drawn]


def _edges(unit: np.ndarray, least: float, n_neighbors: int | None) -> sp.coo_matrix:
    """Pairs ``row < col`` and their cosine, the highest first; products in blocks bound the memory."""
    n = len(unit)
    sources, targets, values = [], [], []
    for start in range(0, n, _BLOCK):
        cosine = unit[start : start + _BLOCK] @ unit.T
        row = np.arange(len(cosine))
        cosine[row, start + row] = -np.inf
        if n_neighbors is None:
            i, j = np.nonzero(cosine >= least)
            keep = start + i < j
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
