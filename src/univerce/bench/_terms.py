"""Terms of the types of a data set, and scores that count what a wrong type shares with the true one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from univerce._settings import logger
from univerce.bench._bootstrap import Resampling, counts_interval
from univerce.bench._metrics import pairs_of
from univerce.bench._result import row
from univerce.embeddings.labels import get_labels
from univerce.tl.labels.hierarchy import hierarchical_scores, label_lines
from univerce.tl.ontology.graph import as_ontology, match_terms


def stated_lines(obs: pd.DataFrame, groupby: str, types: np.ndarray) -> np.ndarray | None:
    """``[n_types, n_terms]`` terms of the Cell Ontology of each type and their ancestors, from the column of the terms.

    A type with several terms, or one that the ontology lacks, has none. None without the column or any term.
    """
    key = f"{groupby}_ontology_term_id"
    if key not in obs:
        return None
    pairs = pd.DataFrame({"type": np.asarray(get_labels(obs, groupby), dtype=object), "term": obs[key].astype(object)})
    terms = pairs.dropna().groupby("type")["term"].agg(["nunique", "first"])
    stated = terms["first"][(terms["nunique"] == 1) & terms.index.isin(types)].astype(str)
    ontology = as_ontology("CL")
    found = match_terms(ontology, stated.unique())["term_id"] if len(stated) else pd.Series(dtype=object)
    ids = {str(name): str(found[term]) for name, term in stated.items() if found[term]}
    if len(ids) < len(types):
        logger.warning("%d of %d types have one term of the Cell Ontology in obs[%r].", len(ids), len(types), key)
    return label_lines(types, ontology, ids) if ids else None


def hierarchical_rows(
    kind: str, name: str, lines: np.ndarray | None, truth: np.ndarray, given: np.ndarray, how: Resampling
) -> Iterator[dict[str, Any]]:
    """Rows of hierarchical precision, recall and F1 of cells ``[n]`` with a given type, not -1; none without terms."""
    known = given >= 0
    if lines is None or not known.any():
        return
    truth, given, how = truth[known], given[known], how.of(known)
    true, other, place = pairs_of(truth, given)
    for key, value in hierarchical_scores(lines, truth, given).items():

        def statistic(counts: np.ndarray, key: str = key) -> np.ndarray:
            return np.array([hierarchical_scores(lines, true, other, weights)[key] for weights in counts])

        metric = f"{name} {key.replace('hierarchical_', 'hierarchical ').replace('_', ' ')}"
        bounds = counts_interval(place, statistic, how) if how.n and not np.isnan(value) else {}
        yield row(kind, metric, value, n_cells=len(given), **bounds)
