"""Compare the centroids of cell types with those of a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import as_seed, check_writable, get_modalities
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.groups import LOGNORM, Groups, embedding_means, get_groups
from univerce.embeddings.ranks import OVERALL, check_options
from univerce.tl.alignment._baseline import Baseline
from univerce.tl.alignment._tables import Centroids, compare

if TYPE_CHECKING:
    from mudata import MuData

_NAMES = ("adata", "reference")


@document
def centroid_alignment(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    tissue_key: str | None = None,
    k: int | Sequence[int] = (1, 3),
    mod: str | None = None,
    use_rep: str = X_UCE,
    baseline: str | Mapping[str, str] | None = LOGNORM,
    metric: str = "euclidean",
    min_cells: int = 10,
    n_permutations: int = 1000,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    key_added: str = "centroid_alignment",
) -> pd.DataFrame:
    """Count the cell types whose centroid is close to that of the same type in a reference.

    A centroid is the mean embedding of the cells of a type, within a tissue if ``tissue_key`` is given; each tissue is
    then compared with the same tissue of the reference. Types of only one data set are not scored, but their centroids
    may be the nearest. Two scores (Rosen et al. 2026) are counted over the shared types:

    ``"either"``
        The reference centroid of the type is among the ``k`` nearest centroids of both data sets, excluding the type's
        own. This measures alignment to an atlas.
    ``"cross"``
        It is among the ``k`` nearest centroids of the reference. This is the score across species.

    Each score is compared with that of shuffled reference types, and with that of a baseline representation of the same
    cells under the same shuffles. Ties count against the match. A third row,
    ``"mixing"``, is the share of all types of the query whose nearest centroid is in the reference, in tissues that the
    reference has.

    Parameters
    ----------
    adata
        Query; results are written into its ``uns``.
    reference
        Labeled data to compare with; not changed.
    groupby
        Column of ``obs``, in both, with the cell types or their ontology ids. Types match if their labels are equal.
    tissue_key
        Column of ``obs``, in both, with the tissues; ``None`` compares all cells at once.
    k
        Number of nearest centroids, one or several.
    mod
        Modality, if a MuData is given.
    use_rep
        Key of the embedding in ``obsm``, in both.
    baseline
        ``"lognorm"``: counts normalized to 10,000 per cell and log-transformed, on the genes that both share. Genes are
        matched without regard to case; names that are not unique are left out. Skipped and logged if either has no
        expression. ``{"layer": ..., "gene_key": ...}`` does the same with the counts of a layer, or with the names of
        genes in a column of ``var``. Any other string is the key of another embedding in ``obsm``.
    %(metric, min_cells, n_permutations, check_space, rng, key_added)s

    Returns
    -------
    A row per ``representation``, ``tissue`` (and ``"overall"``), ``score`` and ``k``: ``hits`` of ``n`` shared types
    as a ``share``; the mean share ``chance`` of shuffled types, its 95 % interval ``chance_low`` to ``chance_high`` and
    the one-sided ``p_value``, (1 + shuffles at least as good) / (1 + shuffles). NaN is undefined. Writes:

    ``uns[key_added]["table"]``
        The same table.
    ``uns[key_added]["types"]``
        A row per representation, tissue and type of the query: ``in_reference``, ``n_cells`` in both, the nearest
        centroid (``nearest``, of ``"query"`` or ``"reference"`` by ``nearest_data``), the nearest one of each side with
        its distance, and distance and ranks of the matching centroid.
    ``uns[key_added]["pairs"]``
        Distance and ranks of each type of the ``query`` and the ``reference``, for
        :func:`univerce.pl.centroid_alignment`.
    ``uns[key_added]["params"]``
        Parameters, and the number of shared genes.

    Raises
    ------
    KeyError
        If an embedding, a column or a layer does not exist, or the space of an embedding is not recorded.
    ValueError
        If the spaces differ, no type or gene is shared, an option is invalid, or ``adata`` is a view of a backed file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:160].copy()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> scores = uc.tl.centroid_alignment(query, reference, min_cells=3)
    >>> scores.query("score == 'either' and k == 3")[["representation", "hits", "n"]].values.tolist()
    [['X_uce', 6, 6], ['lognorm', 6, 6]]
    """
    adata, reference = data = get_modalities(mod, adata, reference)
    ks = check_options(k, metric, n_permutations, min_cells)
    check_tissue_key(tissue_key, groupby)
    check_writable(adata, key_added)
    seed = as_seed(rng)
    compared = Baseline.parse(baseline, use_rep, ("layer", "gene_key"))

    keys = [groupby] if tissue_key is None else [tissue_key, groupby]
    embeddings = {}
    for rep in filter(None, (use_rep, compared.use_rep)):
        mine, theirs = (Cells.read(a, rep, name=name, metric=metric) for a, name in zip(data, _NAMES, strict=True))
        mine.check_comparable(theirs, check_space=check_space and rep == use_rep)
        embeddings[rep] = (mine, theirs)
    groups = [
        get_groups(cells[0], keys, known_in_all(*cells), min_cells=min_cells)
        for cells in zip(*embeddings.values(), strict=True)
    ]
    _check_shared_types(groups, groupby, tissue_key)
    means = {
        rep: [embedding_means(c, g) for c, g in zip(cells, groups, strict=True)] for rep, cells in embeddings.items()
    }
    n_genes = None
    if compared.lognorm and (found := compared.expression_means(data, groups, _NAMES)) is not None:
        means[LOGNORM], n_genes = found

    tables = []
    for rep, sides in means.items():
        query, target = (_centroids(g, m, groupby, tissue_key) for g, m in zip(groups, sides, strict=True))
        parts = compare(query, target, ks=ks, metric=metric, n_permutations=n_permutations, seed=seed)
        tables.append([part.assign(representation=rep) for part in parts])
    scores, types, pairs = (_concat(parts) for parts in zip(*tables, strict=True))

    params: dict[str, Any] = {
        "groupby": groupby, "use_rep": use_rep, "k": np.array(ks), "metric": metric, "min_cells": min_cells,
        "n_permutations": n_permutations, "seed": seed,
    }  # fmt: skip
    params |= {} if tissue_key is None else {"tissue_key": tissue_key}
    params |= {} if len(means) == 1 else {"baseline": compared.name}
    params |= {} if n_genes is None else {"n_shared_genes": n_genes}
    adata.uns[key_added] = {"table": scores, "types": types, "pairs": pairs, "params": params}
    return scores.copy()


def check_tissue_key(tissue_key: str | None, groupby: str) -> None:
    """Raise ``ValueError`` if the tissues are the types."""
    if tissue_key == groupby:
        raise ValueError(f"tissue_key={tissue_key!r} is the column of the types; pass another one.")


def _check_shared_types(groups: Sequence[Groups], groupby: str, tissue_key: str | None) -> None:
    """Raise ``ValueError`` unless a type is shared, and no tissue is named as the sum of all."""
    tables = [g.table.drop(columns="n_cells") for g in groups]
    for table, name in zip(tables, _NAMES, strict=True):
        if tissue_key is not None and (table[tissue_key] == OVERALL).any():
            raise ValueError(
                f"{name}.obs[{tissue_key!r}] has a tissue {OVERALL!r}, which is the row of all tissues. Rename it."
            )
    mine, theirs = (set(table.itertuples(index=False, name=None)) for table in tables)
    if not mine & theirs:
        where = "" if tissue_key is None else f" in one tissue of obs[{tissue_key!r}]"
        listed = []
        for table in tables:
            labels = sorted(set(table[groupby]))
            more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
            listed.append(", ".join(map(repr, labels[:20])) + more)
        raise ValueError(
            f"adata and reference share no type of obs[{groupby!r}]{where}. adata has {listed[0]}; reference has "
            f"{listed[1]}. Rename the types of one of them, as with adata.obs[{groupby!r}].replace({{...}}), or "
            "group by a column of ontology ids."
        )


def _centroids(groups: Groups, means: np.ndarray, groupby: str, tissue_key: str | None) -> Centroids:
    columns = groups.table.reindex(columns=[groupby, "n_cells", tissue_key])
    types, n_cells, tissues = (columns[name].to_numpy() for name in columns)
    return Centroids(means, types, n_cells, None if tissue_key is None else tissues)


def _concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of all representations in one, with the representation as its first column."""
    joined = pd.concat(tables, ignore_index=True)
    return joined[["representation", *joined.columns.drop("representation")]]
