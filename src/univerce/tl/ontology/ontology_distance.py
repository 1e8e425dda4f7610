"""Are cells farther apart in an embedding when their types are farther apart in an ontology?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import gather, get_embedding, known_cells
from univerce.embeddings.ranks import check_metric
from univerce.tl.ontology._pairs import density, draw_pairs, pair_distances, successive, type_means
from univerce.tl.ontology.graph import as_ontology, tree_distances
from univerce.tl.ontology.terms import cell_terms

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData

logger = logging.getLogger(__name__)


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
    rng: int | np.random.Generator = 0,
    key_added: str = "ontology_distance",
) -> pd.DataFrame:
    r"""The distance of cells in an embedding, by the distance of their types in an ontology.

    Pairs of cells are drawn at random. The ontology distance of a pair is the number of edges between the terms of its
    cells, up to a common kind and down again, 0 for cells of one term (Rosen et al. 2024). When the embedding follows
    the ontology, each step makes the cells lie farther apart.

    Pairs share cells, and cells share types, so they are not independent: with so many pairs nearly every difference
    is significant. The effect sizes say how large it is.

    Parameters
    ----------
    adata
        Cells; results are written into ``uns``.
    ontology
        Path of an OBO file, or what :func:`univerce.tl.read_ontology` gives.
    ontology_ids
        Column of ``obs`` with the term of each cell, or a mapping from the labels of ``groupby`` to terms. Terms are
        ids, names or exact synonyms.
    groupby
        Column of ``obs`` whose labels a mapping speaks of.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``.
    metric
        ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and counts as one without an
        embedding.
    n_pairs
        Pairs to draw.
    rng
        Seed, or generator, of the draws. They depend on the names of the cells, not on their order.
    key_added
        Key in ``uns``.

    Returns
    -------
    A row for each ``ontology_distance``: the ``n_pairs`` at it, ``mean``, ``std``, ``q05``, ``q25``, ``median``,
    ``q75`` and ``q95`` of their distances in the embedding, and compared with the distance before: Welch's ``t`` and
    its one-sided ``p_value`` (farther apart than before), and Cohen's ``d``. NaN is what cannot be told. Written are:

    ``uns[key_added]["distances"]``
        The same table.
    ``uns[key_added]["density"]``
        Densities that :func:`univerce.pl.ontology_distance` draws, a column for each ontology distance.
    ``uns[key_added]["spearman"]``, ``uns[key_added]["spearman_types"]``
        Spearman's rank correlation of both distances, over pairs of cells, and over the means of pairs of types, in
        which every two different types count once.
    ``uns[key_added]["params"]``
        What was compared.

    Raises
    ------
    KeyError
        When the embedding or a column does not exist.
    ValueError
        When a term is unknown, fewer than two terms have cells, nothing connects them, an option is out of range, or
        ``adata`` is a view of a file.
    ImportError
        When an ontology is to be read and obonet is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("blood cell", ""), "CL:2": ("lymphocyte", "CL:1"), "CL:3": ("monocyte", "CL:1")}
    >>> terms |= {"CL:4": ("T cell", "CL:2"), "CL:5": ("B cell", "CL:2")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["format-version: 1.2\nontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> ids = {"CD14+ Monocyte": "CL:3", "CD19+ B": "CL:5", "CD8+ Cytotoxic T": "CL:4", "CD4+/CD25 T Reg": "CL:4"}
    >>> table = uc.tl.ontology_distance(adata, ontology="small.obo", ontology_ids=ids, n_pairs=2000)
    >>> table["ontology_distance"].tolist()
    [0, 2, 3]
    """
    adata = get_modality(adata, mod)
    check_metric(metric)
    check_whole("n_pairs", n_pairs, 1)
    check_writable(adata)
    seed = as_seed(rng)
    graph = as_ontology(ontology)
    rep = get_embedding(adata, use_rep)
    terms = cell_terms(adata, graph, ontology_ids, groupby)
    used = np.flatnonzero(pd.notna(terms) & known_cells(rep, metric))
    if len(used) < adata.n_obs:
        logger.info(
            "%s of %s cells have no term or no embedding and are left out.",
            f"{adata.n_obs - len(used):,}", f"{adata.n_obs:,}",
        )  # fmt: skip
    codes, names = pd.factorize(terms[used], sort=True)
    if len(names) < 2:
        raise ValueError(
            f"Cells of at least two terms are needed, with an embedding without NaN in obsm[{use_rep!r}]; there are "
            f"{len(names)}: {', '.join(names) or 'none'}."
        )
    order = np.argsort(adata.obs_names.to_numpy(dtype=str)[used], kind="stable")
    first, second = (order[side] for side in draw_pairs(len(used), int(n_pairs), np.random.default_rng(seed)))
    steps = tree_distances(graph, list(names))[codes[first], codes[second]]
    connected = np.isfinite(steps)
    if not connected.any():
        raise ValueError(f"Nothing connects the terms {', '.join(names[:5])} in the ontology; take one with a root.")
    if not connected.all():
        logger.info("%s pairs of terms that nothing connects are left out.", f"{(~connected).sum():,}")
    first, second, steps = first[connected], second[connected], steps[connected].astype(np.int64)
    drawn, place = np.unique(used[np.concatenate([first, second])], return_inverse=True)
    first_row, second_row = np.split(place, 2)
    apart = pair_distances(gather(rep, drawn), first_row, second_row, metric)

    table = successive(steps, apart)
    adata.uns[key_added] = {
        "distances": table,
        "density": density(steps, apart),
        "spearman": _spearman(steps, apart),
        "spearman_types": _spearman(*type_means(codes[first], codes[second], steps, apart)),
        "params": {
            "groupby": groupby, "use_rep": use_rep, "metric": metric, "n_pairs": int(n_pairs), "seed": seed,
            "ontology": str(graph.graph.get("name")), "ontology_version": str(graph.graph.get("version")),
        },
    }  # fmt: skip
    return table.copy()


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """NaN when one of them does not vary."""
    from scipy.stats import spearmanr

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
