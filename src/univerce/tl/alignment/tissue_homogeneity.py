"""Is a cell type nearest to itself in other tissues?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import as_seed, check_writable, get_modality
from univerce.embeddings.cells import get_embedding, known_cells
from univerce.embeddings.groups import LOGNORM, embedding_means, get_groups, has_counts, lognorm_means
from univerce.embeddings.ranks import any_same, check_options, first_same, shuffle_within, summarize
from univerce.tl.alignment.tables import OVERALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

logger = logging.getLogger(__name__)


def tissue_homogeneity(
    adata: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    tissue: str = "tissue",
    k: int | Sequence[int] = (1, 3),
    mod: str | None = None,
    use_rep: str = X_UCE,
    baseline: str | None = LOGNORM,
    layer: str | None = None,
    metric: str = "euclidean",
    min_cells: int = 1,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "tissue_homogeneity",
) -> pd.DataFrame:
    """How often the nearest centroids of a cell type in one tissue include the same type of another tissue.

    A centroid is the mean embedding of the cells of one type in one tissue. For each whose type occurs in a second
    tissue: is any of its ``k`` nearest, among the centroids of all other types and tissues, one of the same type?
    Rosen et al. (2024) ask it of macrophages, for ``k`` of 1 and 3. Chance is told by shuffling the types among the
    centroids of each tissue.

    Parameters
    ----------
    adata
        Cells, or centroids of :func:`univerce.tl.centroids`; results are written into ``uns``.
    groupby, tissue
        Columns of ``obs`` with the types and with the tissues.
    k
        How many nearest centroids count, one number or several.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``.
    baseline
        ``"lognorm"``: logarithm of the counts, normalized to 10,000 per cell; left out, with a note in the log, when
        there is no expression. Any other string is the key of another embedding in ``obsm``; ``None`` is no baseline.
    layer
        Layer with the counts for ``"lognorm"``; ``None`` is ``X``.
    metric
        ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and counts as one without an
        embedding.
    min_cells
        Smaller groups are left out, with a note in the log.
    n_permutations
        Shuffles of the types; 0 leaves chance out.
    rng
        Seed, or generator, of the shuffles.
    key_added
        Key in ``uns``.

    Returns
    -------
    A row for each ``representation``, ``k``, and part of the centroids: all (``by`` and ``name`` are ``"overall"``),
    those of a type (``by="type"``), those in a tissue (``by="tissue"``). ``n`` centroids are of a type that a second
    tissue has, ``hits`` of them have it among the nearest, which is their ``share``; ``chance``, its 95 % interval
    ``chance_low`` to ``chance_high`` and the one-sided ``p_value`` are of shuffled types. Written are:

    ``uns[key_added]["scores"]``
        The same table.
    ``uns[key_added]["centroids"]``
        Every centroid: ``type``, ``tissue``, ``n_cells``, and in ``rank`` the place of the nearest one of its type,
        NaN when there is none.
    ``uns[key_added]["params"]``
        What was compared.

    Raises
    ------
    KeyError
        When an embedding, a column or the layer does not exist.
    ValueError
        When no type occurs in two tissues, ``baseline="lognorm"`` finds no counts, an option is out of range, or
        ``adata`` is a view of a file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> scores = uc.tl.tissue_homogeneity(adata, tissue="phase", min_cells=10)
    >>> scores.columns.tolist()[:7]
    ['representation', 'by', 'name', 'k', 'n', 'hits', 'share']
    """
    adata = get_modality(adata, mod)
    ks = check_options(k, metric, n_permutations, min_cells)
    if tissue == groupby:
        raise ValueError(f"tissue={tissue!r} is the column of the types; name another one.")
    check_writable(adata)
    seed = as_seed(rng)
    if baseline == use_rep:
        raise ValueError(f"baseline={baseline!r} is the embedding itself; name another representation or None.")
    reps = [use_rep] if baseline in (None, LOGNORM) else [use_rep, str(baseline)]
    known = np.logical_and.reduce([known_cells(get_embedding(adata, rep), metric) for rep in reps])
    groups = get_groups(adata, [tissue, groupby], known, min_cells=min_cells)
    types, tissues = groups.table[groupby].to_numpy(), groups.table[tissue].to_numpy()
    codes, _ = pd.factorize(types)
    if len(codes) == len(np.unique(codes)):
        raise ValueError(
            f"No type of obs[{groupby!r}] occurs in two tissues of obs[{tissue!r}], whose tissues are: "
            f"{', '.join(map(repr, np.unique(tissues)[:5]))}. At least two tissues with a type in common are needed."
        )
    means = {rep: embedding_means(get_embedding(adata, rep), groups) for rep in reps}
    if baseline == LOGNORM and has_counts(adata, layer):
        means[LOGNORM] = lognorm_means(adata, layer, np.arange(adata.n_vars), groups, "adata")
    elif baseline == LOGNORM:
        logger.info("No baseline: adata without expression.")

    shuffled = shuffle_within(codes, tissues, n_permutations, np.random.default_rng(seed))
    twice, everywhere = np.bincount(codes)[codes] > 1, np.ones(len(codes), dtype=bool)
    parts = [("overall", OVERALL, everywhere, twice)]
    parts += [("type", name, everywhere, types == name) for name in np.unique(types[twice])]
    parts += [("tissue", name, tissues == name, twice) for name in np.unique(tissues)]
    scores, found = [], []
    for rep, points in means.items():
        rank, ranks = first_same(points, codes, metric)
        found.append(
            groups.table[[groupby, tissue, "n_cells"]]
            .set_axis(["type", "tissue", "n_cells"], axis=1)
            .assign(representation=rep, rank=np.where(np.isfinite(rank), rank, np.nan))
        )
        for n in ks:
            hits = any_same(ranks <= n, shuffled)
            for by, name, where, which in parts:
                part = where & which
                null = (hits & where & np.isin(shuffled, codes[which])).sum(axis=1)
                row: dict[str, Any] = {"representation": rep, "by": by, "name": name, "k": n}
                scores.append(row | summarize(int((rank[part] <= n).sum()), int(part.sum()), null))
    table = pd.DataFrame(scores)
    adata.uns[key_added] = {
        "scores": table,
        "centroids": pd.concat(found, ignore_index=True),
        "params": {
            "groupby": groupby, "tissue": tissue, "use_rep": use_rep, "k": np.array(ks), "metric": metric,
            "min_cells": min_cells, "n_permutations": n_permutations, "seed": seed,
            **({"baseline": baseline} if len(means) > 1 else {}),
        },
    }  # fmt: skip
    return table.copy()
