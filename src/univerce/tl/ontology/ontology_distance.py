"""Compare distances in an embedding with distances in an ontology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import logger
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.ranks import check_metric
from univerce.tl.ontology._pairs import (
    TypePairs,
    compare_steps,
    density,
    draw_pairs,
    pair_distances,
    spearman,
    summarize_by_distance,
)
from univerce.tl.ontology.graph import as_ontology, describe, tree_distances
from univerce.tl.ontology.terms import cell_terms

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData

_N_BOOTSTRAP = 1000


@document
def ontology_distance(
    adata: ad.AnnData | MuData,
    *,
    ontology: str | os.PathLike[str] | nx.DiGraph,
    ontology_ids: str | Mapping[str, str],
    groupby: str = "cell_type",
    mod: str | None = None,
    use_rep: str = X_UCE,
    metric: str = "euclidean",
    n_pairs: int = 100_000,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "ontology_distance",
) -> pd.DataFrame:
    r"""Compare the distance of cells in an embedding with the distance of their types in an ontology.

    Pairs of cells are drawn at random. The ontology distance of a pair is the fewest edges from the term of one cell up
    to a common ancestor and down to that of the other, 0 for cells of one term (Rosen et al. 2026). If the embedding
    follows the ontology, cells are farther apart with each step.

    Pairs share cells and types, so they are not independent, and a test on pairs would call nearly every difference
    significant. Here types are the unit: p-values come from terms permuted among the types, with every pair of types
    counted once, and intervals from resampled types.

    Parameters
    ----------
    %(adata, ontology, ontology_ids)s
    groupby
        Column of ``obs`` with the labels of the mapping.
    %(mod, use_rep, metric)s
    n_pairs
        Number of random pairs of cells to draw.
    %(n_permutations)s
    rng
        Seed or generator. Draws depend on cell names, not on their order.
    %(key_added)s

    Returns
    -------
    A row per ``ontology_distance``: ``n_pairs``, and the ``mean``, ``std``, ``q05``, ``q25``,
    ``median``, ``q75`` and ``q95`` of the distances in the embedding. Compared with the ontology distance before:
    Cohen's ``d`` with its 95 % bootstrap interval ``d_low`` to ``d_high`` over types, and the one-sided ``p_value``
    (farther apart than before), NaN if undefined. The step from distance 0 compares cells of one term with other cells,
    which does not depend on the ontology, so it has no p-value. Writes:

    %(written)s
    ``uns[key_added]["density"]``
        Densities for :func:`univerce.pl.ontology_distance`, a column per ontology distance.
    ``uns[key_added]["spearman"]``, ``uns[key_added]["spearman_types"]``, ``uns[key_added]["p_value"]``
        Spearman's rank correlation of both distances, over pairs of cells and over means of pairs of types, and the
        one-sided p-value of the latter (Mantel 1967).

    Raises
    ------
    KeyError
        If the embedding or a column does not exist.
    ValueError
        If an option or a term is invalid, fewer than two terms have cells, no terms are connected, or ``adata`` is a
        view of a backed file.
    ImportError
        If obonet is needed and not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("blood cell", ""), "CL:2": ("lymphocyte", "CL:1"), "CL:3": ("monocyte", "CL:1")}
    >>> terms |= {"CL:4": ("T cell", "CL:2"), "CL:5": ("B cell", "CL:2")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["format-version: 1.2\nontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    >>> ids = {"CD14+ Monocyte": "CL:3", "CD19+ B": "CL:5", "CD8+ Cytotoxic T": "CL:4", "CD4+/CD25 T Reg": "CL:4"}
    >>> table = uc.tl.ontology_distance(adata, ontology="small.obo", ontology_ids=ids, use_rep="X_toy", n_pairs=2000)
    >>> table["ontology_distance"].tolist()
    [0, 2, 3]
    """
    adata = get_modality(adata, mod)
    check_metric(metric)
    check_whole("n_pairs", n_pairs, 1)
    check_whole("n_permutations", n_permutations, 0)
    check_writable(adata, key_added)
    seed = as_seed(rng)
    graph = as_ontology(ontology)

    cells = Cells.read(adata, use_rep, metric=metric)
    terms = cell_terms(adata.obs, graph, ontology_ids, groupby)
    used = np.flatnonzero(pd.notna(terms) & cells.known)
    if n_unused := len(cells) - len(used):
        logger.info("%s of %s cells have no term or embedding and are left out.", f"{n_unused:,}", f"{len(cells):,}")
    codes, names = pd.factorize(terms[used], sort=True)
    if len(names) < 2:
        raise ValueError(
            "At least two terms are needed, each with a cell that has an embedding without NaN in "
            f"obsm[{use_rep!r}]; there are {len(names)}: {', '.join(names) or 'none'}."
        )
    order = np.argsort(adata.obs_names.to_numpy(dtype=str)[used], kind="stable")
    random = np.random.default_rng(seed)
    first, second = (order[side] for side in draw_pairs(len(used), int(n_pairs), random))
    between = tree_distances(graph, list(names))
    steps = between[codes[first], codes[second]]
    connected = np.isfinite(steps)
    if not connected.any():
        raise ValueError(f"The terms {', '.join(names[:5])} are not connected. Use an ontology with a common root.")
    if not connected.all():
        logger.info("%s pairs of terms that are not connected are left out.", f"{(~connected).sum():,}")
    first, second, steps = first[connected], second[connected], steps[connected].astype(np.int64)
    drawn, place = np.unique(used[np.concatenate([first, second])], return_inverse=True)
    first_row, second_row = np.split(place, 2)
    apart = pair_distances(cells.rows(drawn), first_row, second_row, metric)

    table = summarize_by_distance(steps, apart)
    pairs = TypePairs.sum(between, codes[first], codes[second], apart)
    distances = table["ontology_distance"].to_numpy()
    compared, of_types = compare_steps(pairs, distances, int(n_permutations), _N_BOOTSTRAP, random)
    table = pd.concat([table, compared], axis=1)
    adata.uns[key_added] = {
        "table": table,
        "density": density(steps, apart),
        "spearman": float(spearman(steps[None], apart)[0]),
        "spearman_types": of_types["spearman"],
        "p_value": of_types["p_value"],
        "params": {
            "groupby": groupby, "use_rep": use_rep, "metric": metric, "n_pairs": int(n_pairs),
            "n_permutations": int(n_permutations), "seed": seed, **describe(graph),
        },
    }  # fmt: skip
    return table.copy()
