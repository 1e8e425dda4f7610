"""Do the types of a new data set land on the same types of a reference?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import as_seed, check_writable, get_modalities
from univerce.embeddings.cells import check_comparable, get_embedding, known_cells
from univerce.embeddings.groups import (
    LOGNORM,
    Groups,
    embedding_means,
    get_groups,
    has_counts,
    lognorm_means,
    shared_genes,
)
from univerce.embeddings.labels import get_labels
from univerce.embeddings.ranks import check_options
from univerce.tl.alignment.tables import OVERALL, Centroids, compare

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
_FEW_GENES = 0.1


def centroid_alignment(
    query: ad.AnnData | MuData,
    reference: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    mapping: Mapping[str, str] | None = None,
    tissue: str | None = None,
    k: int | Sequence[int] = (1, 3),
    mod: str | None = None,
    use_rep: str = X_UCE,
    baseline: str | None = LOGNORM,
    layer: str | None = None,
    gene_symbols: str | None = None,
    metric: str = "euclidean",
    min_cells: int = 1,
    n_permutations: int = 1000,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    key_added: str = "centroid_alignment",
) -> pd.DataFrame:
    """How many cell types of a data set land on the same type of a reference, by the centroids of the types.

    A centroid is the mean embedding of the cells of a type, in one tissue when ``tissue`` is given; each tissue is then
    compared with the same tissue of the reference. Types that only one side has are not scored, and stay among the
    centroids that may be nearest. Two scores (Rosen et al. 2024) are counted over the types that both have:

    ``"either"``
        Is the reference's centroid of the type among the ``k`` nearest centroids from either data set, the type's own
        one excluded? This is the alignment to an atlas: the types of the query compete too.
    ``"cross"``
        Is it among the ``k`` nearest centroids of the reference? This is the score across species, top 1, 2 or 3.

    Each stands beside the share that shuffled type labels of the reference's centroids would give, and beside the same
    score in a baseline representation of the same cells, on the same shuffles. Centroids at the same distance count as
    nearer than the one that is looked for. A third row, ``"mixing"``, is the share of all types of the query whose
    nearest centroid is one of the reference, whatever its type, in the tissues that the reference has.

    Parameters
    ----------
    query
        The new data; results are written into its ``uns``.
    reference
        What it is compared with, which is only read.
    groupby
        Column of ``obs``, in both, with the types; types are the same when their labels are. A column of ontology ids
        does as well.
    mapping
        What labels of either side are called in common where the two have vocabularies of their own, as in
        ``{"CD14+ Monocyte": "monocyte", "mono": "monocyte"}``; labels that it lacks keep their names, and those that
        get one name are one type.
    tissue
        Column of ``obs``, in both, with the tissues; ``None`` compares all cells at once.
    k
        How many nearest centroids count, one number or several.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm``, in both.
    baseline
        ``"lognorm"``: logarithm of the counts, normalized to 10,000 per cell, on the genes that both share. Symbols are
        compared without their case, and those that are not one-to-one are left out, so that it also serves across
        species. It is left out, with a note in the log, when either has no expression. Any other string is the key of
        another embedding in ``obsm``; ``None`` is no baseline.
    layer
        Layer with the counts for ``"lognorm"``, in both; ``None`` is ``X``.
    gene_symbols
        Column of ``var``, in both, with the names by which genes are compared; ``None`` is ``var_names``.
    metric
        ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and counts as one without an
        embedding.
    min_cells
        Smaller groups are left out, with a note in the log.
    n_permutations
        Shuffles of the labels; 0 leaves chance out.
    check_space
        Demand that both embeddings were made by one model; False is for embeddings of other methods.
    rng
        Seed, or generator, of the shuffles.
    key_added
        Key in ``query.uns``.

    Returns
    -------
    The scores, a row for each ``representation``, ``tissue`` (and ``"overall"``, over all of them), ``score`` and
    ``k``: ``n`` types that both have, ``hits`` and their ``share``; of shuffled labels the mean share ``chance``, its
    95 % interval ``chance_low`` to ``chance_high``, and the one-sided ``p_value``, which is
    (1 + shuffles at least as good) / (1 + shuffles). NaN is what cannot be told. Written are:

    ``query.uns[key_added]["scores"]``
        The same table.
    ``query.uns[key_added]["types"]``
        A row for each representation and type of the query, in each tissue: ``in_reference``, ``n_cells`` in both, the
        nearest centroid (``nearest``, and in ``nearest_data`` whether it is ``"query"`` or ``"reference"``), the
        nearest one of each side with its distance, and distance and ranks of the reference's centroid of the type.
    ``query.uns[key_added]["pairs"]``
        Distance and ranks of each type of the query (``query``) and of the reference (``reference``), which
        :func:`univerce.pl.centroid_alignment` draws.
    ``query.uns[key_added]["params"]``
        What was compared, and the number of shared genes.

    Raises
    ------
    KeyError
        When an embedding, a column or the layer does not exist, or the space of an embedding is not recorded.
    ValueError
        When the spaces differ, the two share no type, ``mapping`` has a label that neither has, ``baseline="lognorm"``
        finds no shared gene or no counts, a centroid has no direction for the cosine, an option is out of range, or the
        query is a view of a file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> scores = uc.tl.centroid_alignment(query, reference)
    >>> scores.query("score == 'either' and k == 3")[["representation", "hits", "n"]].values.tolist()
    [['X_uce', 9, 10], ['lognorm', 9, 10]]
    """
    query, reference = get_modalities(mod, query, reference)
    ks = check_options(k, metric, n_permutations, min_cells)
    if tissue == groupby:
        raise ValueError(f"tissue={tissue!r} is the column of the types; name another one.")
    check_writable(query)
    seed = as_seed(rng)
    if use_rep == baseline:
        raise ValueError(f"baseline={baseline!r} is the embedding itself; name another representation or None.")
    names = ("query", "reference")
    check_comparable(query, reference, use_rep, check_space=check_space, names=names)
    keys = [groupby] if tissue is None else [tissue, groupby]
    both = (query, reference)
    common = _common_names(both, groupby, mapping)
    groups = tuple(
        get_groups(a, keys, _known(a, use_rep, baseline, metric, n), min_cells=min_cells, name=n, mapping=common)
        for a, n in zip(both, names, strict=True)
    )
    _check_groups(groups, groupby, tissue)

    means = {use_rep: _embedded(both, groups, use_rep)}
    n_genes = None
    if baseline is not None and baseline != LOGNORM:
        check_comparable(query, reference, baseline, check_space=False, names=names)
        means[baseline] = _embedded(both, groups, baseline)
    elif baseline == LOGNORM and (found := _expression(both, groups, layer, gene_symbols)) is not None:
        means[LOGNORM], n_genes = found

    tables = []
    for name, (mine, theirs) in means.items():
        sides = (_centroids(groups[0], keys, mine), _centroids(groups[1], keys, theirs))
        compared = compare(*sides, ks=ks, metric=metric, n_permutations=n_permutations, seed=seed)
        tables.append([table.assign(representation=name) for table in compared])
    scores, types, pairs = (_joined(parts) for parts in zip(*tables, strict=True))
    params: dict[str, Any] = {
        "groupby": groupby, "use_rep": use_rep, "k": np.array(ks), "metric": metric, "min_cells": min_cells,
        "n_permutations": n_permutations, "seed": seed,
    }  # fmt: skip
    params |= {} if tissue is None else {"tissue": tissue}
    if common:
        params["mapping"] = pd.DataFrame({"label": list(common), "name": list(common.values())})
    params |= {} if len(means) == 1 else {"baseline": baseline}
    params |= {} if n_genes is None else {"n_shared_genes": n_genes}
    query.uns[key_added] = {"scores": scores, "types": types, "pairs": pairs, "params": params}
    return scores.copy()


def _known(adata: ad.AnnData, use_rep: str, baseline: str | None, metric: str, name: str) -> np.ndarray:
    """``[n_obs]`` cells that every embedding knows."""
    reps = [use_rep] if baseline in (None, LOGNORM) else [use_rep, str(baseline)]
    return np.logical_and.reduce([known_cells(get_embedding(adata, rep, name=name), metric) for rep in reps])


def _common_names(both: Sequence[ad.AnnData], groupby: str, mapping: Mapping[str, str] | None) -> dict[str, str]:
    """The mapping as text, each of whose labels one side must have."""
    common = {str(label): str(name) for label, name in (mapping or {}).items()}
    labels = [get_labels(a.obs, groupby, name=n).categories for a, n in zip(both, ("query", "reference"), strict=True)]
    if unknown := [label for label in common if not any(label in there for there in labels)]:
        raise ValueError(
            f"mapping= names {', '.join(map(repr, unknown[:10]))}, which neither side has in obs[{groupby!r}]. "
            f"{_vocabularies(*labels)}"
        )
    return common


def _vocabularies(mine: Iterable[str], theirs: Iterable[str]) -> str:
    """What the two sides call their types."""
    some = []
    for labels in (sorted(set(mine)), sorted(set(theirs))):
        more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        some.append(", ".join(map(repr, labels[:20])) + more)
    return f"The query has {some[0]}; the reference has {some[1]}."


def _check_groups(groups: tuple[Groups, ...], groupby: str, tissue: str | None) -> None:
    """Raise unless the two sides share a type, and no tissue is called as their sum is."""
    tables = [g.table.drop(columns="n_cells") for g in groups]
    for table, name in zip(tables, ("query", "reference"), strict=True):
        if tissue is not None and (table[tissue] == OVERALL).any():
            raise ValueError(
                f"{name}.obs[{tissue!r}] calls a tissue {OVERALL!r}, as the sum of all is called; rename it."
            )
    mine, theirs = (set(table.itertuples(index=False, name=None)) for table in tables)
    if not mine & theirs:
        where = "" if tissue is None else f" in one tissue of obs[{tissue!r}]"
        raise ValueError(
            f"query and reference share no type of obs[{groupby!r}]{where}. "
            f"{_vocabularies(*(table[groupby] for table in tables))} Give those that are the same one name with "
            "mapping=, or group by a column of ontology ids."
        )


def _embedded(both: Sequence[ad.AnnData], groups: Sequence[Groups], use_rep: str) -> tuple[np.ndarray, ...]:
    return tuple(embedding_means(get_embedding(a, use_rep), g) for a, g in zip(both, groups, strict=True))


def _expression(
    both: Sequence[ad.AnnData], groups: Sequence[Groups], layer: str | None, gene_symbols: str | None
) -> tuple[tuple[np.ndarray, ...], int] | None:
    """Centroids in log-normalized expression, and the number of genes; ``None`` when either side has none."""
    names = ("query", "reference")
    if absent := [n for a, n in zip(both, names, strict=True) if not has_counts(a, layer)]:
        logger.info("No baseline: %s without expression.", " and ".join(absent))
        return None
    genes = []
    for adata, name in zip(both, names, strict=True):
        if gene_symbols is not None and gene_symbols not in adata.var:
            raise KeyError(
                f"gene_symbols={gene_symbols!r} is not in {name}.var; its columns are: "
                f"{', '.join(map(repr, adata.var.columns)) or 'none'}."
            )
        genes.append(adata.var_names if gene_symbols is None else adata.var[gene_symbols])
    columns = shared_genes(*genes)
    if len(columns[0]) == 0:
        raise ValueError(
            f"baseline={LOGNORM!r} needs genes that query and reference share; they are called {list(genes[0][:3])} "
            f"and {list(genes[1][:3])}. Name a column of var with symbols as gene_symbols=, or pass baseline=None."
        )
    least = min(map(len, genes))
    if len(columns[0]) < _FEW_GENES * least:
        logger.warning(
            "The baseline stands on %s shared genes, of %s that the smaller side has; they may share a name by chance. "
            "Name a column of var with symbols as gene_symbols=.", f"{len(columns[0]):,}", f"{least:,}",
        )  # fmt: skip
    means = zip(both, columns, groups, names, strict=True)
    return tuple(lognorm_means(a, layer, c, g, n) for a, c, g, n in means), len(columns[0])


def _centroids(groups: Groups, keys: list[str], means: np.ndarray) -> Centroids:
    table = groups.table
    blocks = table[keys[0]].to_numpy() if len(keys) == 2 else None
    return Centroids(means, table[keys[-1]].to_numpy(), table["n_cells"].to_numpy(), blocks)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all representations in one, whose name comes first."""
    joined = pd.concat(tables, ignore_index=True)
    return joined[["representation", *joined.columns.drop("representation")]]
