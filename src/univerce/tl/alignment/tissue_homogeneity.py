"""Test whether a cell type is closest to itself in other tissues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import as_seed, check_writable, get_modality
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.groups import LOGNORM, embedding_means, get_groups
from univerce.embeddings.ranks import OVERALL, any_same, check_options, first_same, shuffle_within, summarize
from univerce.tl.alignment._baseline import Baseline
from univerce.tl.alignment.centroid_alignment import check_tissue_key

if TYPE_CHECKING:
    from mudata import MuData


@document
def tissue_homogeneity(
    adata: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    tissue_key: str = "tissue",
    k: int | Sequence[int] = (1, 3),
    mod: str | None = None,
    use_rep: str = X_UCE,
    baseline: str | Mapping[str, str] | None = LOGNORM,
    metric: str = "euclidean",
    min_cells: int = 10,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "tissue_homogeneity",
) -> pd.DataFrame:
    """Count the cell types that have the same type of another tissue among their nearest centroids.

    A centroid is the mean embedding of the cells of one type in one tissue. It is a hit if any of its ``k`` nearest
    centroids, of all types and tissues, is of the same type (Rosen et al. 2026, macrophages, ``k`` of 1 and 3). Types
    found in one tissue only are not scored. For the score by chance, types are shuffled among the centroids of each
    tissue.

    Parameters
    ----------
    adata
        Annotated data, or centroids of :func:`univerce.tl.centroids` with ``min_cells=1``.
    groupby, tissue_key
        Columns of ``obs`` with the cell types and the tissues.
    k
        Number of nearest centroids, one or several.
    %(mod, use_rep)s
    baseline
        ``"lognorm"``: counts normalized to 10,000 per cell and log-transformed. Skipped and logged if there is no
        expression. ``{"layer": ...}`` does the same with the counts of a layer. Any other string is the key of another
        embedding in ``obsm``.
    %(metric, min_cells, n_permutations, rng, key_added)s

    Returns
    -------
    A row per ``representation``, ``k``, and part of the centroids: all (``by`` and ``name`` are ``"overall"``), a type
    (``by="type"``) or a tissue (``by="tissue"``). ``hits`` of ``n`` centroids as a ``share``; the mean share ``chance``
    of shuffled types, its 95 % interval ``chance_low`` to ``chance_high``, and the one-sided ``p_value``. Writes:

    %(written)s
    ``uns[key_added]["centroids"]``
        A row per representation and centroid: ``type``, ``tissue``, ``n_cells``, and the ``rank`` of the nearest one of
        its type, NaN if there is none.

    Raises
    ------
    KeyError
        If an embedding, a column or a layer does not exist.
    ValueError
        If no type occurs in two tissues, an option is invalid, or ``adata`` is a view of a backed file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    >>> table = uc.tl.tissue_homogeneity(adata, tissue_key="phase", use_rep="X_toy")
    >>> table.columns.tolist()[:7]
    ['representation', 'by', 'name', 'k', 'n', 'hits', 'share']
    """
    adata = get_modality(adata, mod)
    ks = check_options(k, metric, n_permutations, min_cells)
    check_tissue_key(tissue_key, groupby)
    check_writable(adata, key_added)
    seed = as_seed(rng)
    compared = Baseline.parse(baseline, use_rep, ("layer",))

    embeddings = {rep: Cells.read(adata, rep, metric=metric) for rep in filter(None, (use_rep, compared.use_rep))}
    first = embeddings[use_rep]
    groups = get_groups(first, [tissue_key, groupby], known_in_all(*embeddings.values()), min_cells=min_cells)
    types, tissues = groups.table[groupby].to_numpy(), groups.table[tissue_key].to_numpy()
    codes, _ = pd.factorize(types)
    if len(codes) == len(np.unique(codes)):
        raise ValueError(
            f"No type of obs[{groupby!r}] occurs in two tissues of obs[{tissue_key!r}], which are: "
            f"{', '.join(map(repr, np.unique(tissues)[:5]))}. At least two tissues with a type in common are needed."
        )
    means = {rep: embedding_means(cells, groups) for rep, cells in embeddings.items()}
    if compared.lognorm and (found := compared.expression_means([adata], [groups], ["adata"])) is not None:
        (means[LOGNORM],), _ = found

    shuffled = shuffle_within(codes, tissues, n_permutations, np.random.default_rng(seed))
    repeated, everywhere = np.bincount(codes)[codes] > 1, np.ones(len(codes), dtype=bool)
    parts = [("overall", OVERALL, everywhere, repeated)]
    parts += [("type", name, everywhere, types == name) for name in np.unique(types[repeated])]
    parts += [("tissue", name, tissues == name, repeated) for name in np.unique(tissues)]
    rows, ranked = [], []
    named = groups.table[[groupby, tissue_key, "n_cells"]].set_axis(["type", "tissue", "n_cells"], axis=1)
    for rep, points in means.items():
        rank, ranks = first_same(points, codes, metric)
        ranked.append(named.assign(representation=rep, rank=np.where(np.isfinite(rank), rank, np.nan)))
        for n in ks:
            hits = any_same(ranks <= n, shuffled)
            for by, name, where, which in parts:
                part = where & which
                null = (hits & where & np.isin(shuffled, codes[which])).sum(axis=1)
                row: dict[str, Any] = {"representation": rep, "by": by, "name": name, "k": n}
                rows.append(row | summarize(int((rank[part] <= n).sum()), int(part.sum()), null))
    table = pd.DataFrame(rows)
    adata.uns[key_added] = {
        "table": table,
        "centroids": pd.concat(ranked, ignore_index=True),
        "params": {
            "groupby": groupby, "tissue_key": tissue_key, "use_rep": use_rep, "k": np.array(ks), "metric": metric,
            "min_cells": min_cells, "n_permutations": n_permutations, "seed": seed,
            **({"baseline": compared.name} if len(means) > 1 else {}),
        },
    }  # fmt: skip
    return table.copy()
