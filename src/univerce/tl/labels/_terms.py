"""Terms of the labels of a classifier and their ancestors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from univerce._settings import logger
from univerce.tl.labels._ancestors import Ancestors, find_ancestors
from univerce.tl.ontology.graph import match_terms, resolve_terms
from univerce.tl.ontology.terms import stated_terms

if TYPE_CHECKING:
    import networkx as nx

_ID = re.compile(r"[A-Za-z]+:\w+")


def get_ancestors(
    classes: pd.DataFrame, ontology: nx.DiGraph | None, ontology_ids: str | Mapping[str, str] | None
) -> Ancestors:
    """Find the terms of the labels, and their ancestors.

    Stated terms must exist. Without any, the labels themselves are looked up, and those that are no terms are logged.
    Without an ontology, stated ids are kept and have no ancestors.
    """
    names = list(classes.index)
    given = stated_terms(ontology_ids if isinstance(ontology_ids, Mapping) else classes["ontology_id"])
    if ontology is None:
        ids = [given.get(name, "") for name in names]
        return Ancestors.none([term if _ID.fullmatch(term) else "" for term in ids])
    what = "terms of labels (ontology_ids=)"
    if any(name in given for name in names):
        terms = [given.get(name, "") for name in names]
        resolved = resolve_terms(ontology, filter(None, terms), what=what)
        return find_ancestors(ontology, names, [resolved[term] if term else "" for term in terms])
    if ontology_ids is not None:
        raise ValueError(f"ontology_ids= has a term for none of the labels {', '.join(map(repr, names[:10]))}.")
    found = match_terms(ontology, names)["term_id"]
    if (found == "").all():
        resolve_terms(ontology, names, what=what)  # raises with hints
    if missing := [name for name in names if found[name] == ""]:
        logger.warning(
            "%d of %d labels are not terms of the ontology, so nothing replaces them: %s. Pass ontology_ids=.",
            len(missing), len(names), ", ".join(map(repr, missing[:10])),
        )  # fmt: skip
    return find_ancestors(ontology, names, [str(found[name]) for name in names])
