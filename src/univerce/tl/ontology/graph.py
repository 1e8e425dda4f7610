"""Terms of an ontology, their ancestors and distances. Edges lead from a term to its parents."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from univerce.io.cell_ontology import CELL_ONTOLOGY, read_cell_ontology
from univerce.io.obo import read_obo

if TYPE_CHECKING:
    import networkx as nx

UPPER_TERMS: Final = {
    "CL:0000000": "cell", "CL:0000003": "native cell", "CL:0000255": "eukaryotic cell", "CL:0000548": "animal cell",
    "CL:0002371": "somatic cell", "CL:0002321": "embryonic cell (metazoa)", "CL:0001034": "cell in vitro",
    "CL:0001061": "abnormal cell",
    # by nucleus and ploidy
    "CL:0002242": "nucleate cell", "CL:0000225": "anucleate cell", "CL:0000226": "single nucleate cell",
    "CL:0000228": "multinucleate cell", "CL:0000412": "polyploid cell", "CL:0000413": "haploid cell",
    "CL:0000415": "diploid cell",
    # by something that many kinds of cells do
    "CL:0000064": "ciliated cell", "CL:0000080": "circulating cell", "CL:0000151": "secretory cell",
    "CL:0000183": "contractile cell", "CL:0000211": "electrically active cell",
    "CL:0000212": "absorptive cell", "CL:0000213": "lining cell", "CL:0000215": "barrier cell",
    "CL:0000219": "motile cell", "CL:0000234": "phagocyte", "CL:0000325": "stuff accumulating cell",
    "CL:0000329": "oxygen accumulating cell", "CL:0000393": "electrically responsive cell",
    "CL:0000404": "electrically signaling cell", "CL:0000422": "mitogenic signaling cell",
    "CL:0000424": "excretory cell", "CL:0000445": "apoptosis fated cell", "CL:0000473": "defensive cell",
    "CL:0000518": "phagocyte (sensu Vertebrata)", "CL:0000627": "transporting cell", "CL:0000630": "supporting cell",
    "CL:0009002": "inflammatory cell", "CL:0009010": "transit amplifying cell", "CL:0011026": "progenitor cell",
    "CL:0011115": "precursor cell",
}  # fmt: skip
"""Terms of the Cell Ontology above kinds of cells: by nature, ploidy, stage or function, across lineages."""


def as_ontology(ontology: Any) -> nx.DiGraph:
    """Return the graph of :func:`univerce.datasets.read_ontology`, or read it: ``"CL"``, or the path of an OBO file."""
    if isinstance(ontology, str) and ontology == CELL_ONTOLOGY:
        return read_cell_ontology()
    if isinstance(ontology, str | os.PathLike):
        return read_obo(ontology)
    if not {"alternative", "obsolete"} <= set(getattr(ontology, "graph", ())):
        raise TypeError(
            f"ontology is a {type(ontology).__name__}; pass 'CL', the path of an OBO file or the result of "
            "uc.datasets.read_ontology."
        )
    return ontology


def describe(ontology: nx.DiGraph) -> dict[str, str]:
    """Name and version of an ontology, for the parameters of a result."""
    return {"ontology": str(ontology.graph.get("name")), "ontology_version": str(ontology.graph.get("version"))}


def match_terms(ontology: nx.DiGraph, names: Iterable[str]) -> pd.DataFrame:
    """Look up names: ids, merged or replaced ids, names, and exact synonyms.

    Names and synonyms are matched without regard to case, names before synonyms. The table has a row for each name:
    ``term_id`` (``""`` for none), its ``term``, how it is ``matched`` (``"id"``, ``"replaced id"``, ``"name"``,
    ``"synonym"`` or ``""``), and for others a ``hint``: the terms that share the synonym, or what an obsolete term was.
    """
    by_name, by_synonym = defaultdict(set), defaultdict(set)
    for term, entry in ontology.nodes(data=True):
        by_name[entry["name"].casefold()].add(term)
        for synonym in entry["synonyms"]:
            by_synonym[synonym.casefold()].add(term)
    rows = {}
    for name in dict.fromkeys(names):
        text = str(name).strip()
        current = _current_id(ontology, text)
        if current in ontology:
            matched, ids = "id" if current == text else "replaced id", {current}
        else:
            options = {"name": by_name.get(text.casefold()), "synonym": by_synonym.get(text.casefold())}
            matched, ids = next(((how, found) for how, found in options.items() if found), ("", set()))
        if len(ids) == 1:
            (term,) = ids
            rows[name] = (term, ontology.nodes[term]["name"], matched, "")
        else:
            rows[name] = ("", "", "", _hint(ontology, text, ids))
    columns = ["term_id", "term", "matched", "hint"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)


def resolve_terms(ontology: nx.DiGraph, names: Iterable[str], *, what: str = "names") -> dict[str, str]:
    """Find the id of each name as :func:`match_terms` does.

    ``ValueError`` names those that are unknown, obsolete without a replacement, or a synonym of several terms; ``what``
    is their kind.
    """
    found = match_terms(ontology, names)
    missing = found[found["term_id"] == ""]
    if len(missing):
        wrong = [f"{name!r}{hint}" for name, hint in missing["hint"].items()]
        more = f" and {len(wrong) - 10:,} more" if len(wrong) > 10 else ""
        raise ValueError(
            f"{len(wrong):,} of {len(found):,} {what} are not terms of the ontology {ontology.graph.get('name')!r} "
            f"({ontology.graph.get('version')}): {', '.join(wrong[:10])}{more}. Pass the ids of the terms."
        )
    return {str(name): str(term) for name, term in found["term_id"].items()}


def _current_id(ontology: nx.DiGraph, term: str) -> str:
    """Follow an id that was merged or replaced, possibly several times."""
    obsolete, alternative = ontology.graph["obsolete"], ontology.graph["alternative"]
    seen = set()
    while term not in ontology and term not in seen:
        seen.add(term)
        replaced = obsolete.get(term, {}).get("replaced_by", [])
        term = alternative.get(term, replaced[0] if len(replaced) == 1 else term)
    return term


def _hint(ontology: nx.DiGraph, term: str, ids: set[str]) -> str:
    if ids:
        return f" (may be {', '.join(sorted(ids))})"
    entry = ontology.graph["obsolete"].get(term)
    if entry is None:
        return ""
    instead = ", ".join([*entry["replaced_by"], *entry["consider"]])
    return f" ({entry['name']}{f'; consider {instead}' if instead else ''})"


def ancestors(ontology: nx.DiGraph, term: str) -> set[str]:
    """The term and all its ancestors."""
    import networkx as nx

    return {term} | set(nx.descendants(ontology, term))


def depths(ontology: nx.DiGraph) -> dict[str, int]:
    """Edges on the longest path from each term to a root: every term is deeper than all its ancestors."""
    import networkx as nx

    depth: dict[str, int] = {}
    for term in reversed(list(nx.topological_sort(ontology))):
        depth[term] = max((depth[parent] + 1 for parent in ontology.successors(term)), default=0)
    return depth


def tree_distances(ontology: nx.DiGraph, terms: Sequence[str]) -> np.ndarray:
    """``[n_terms, n_terms]`` fewest edges up to a common ancestor and down again; infinite without a common ancestor.

    A term is its own ancestor. A path never leads down and up again through a common subtype.
    """
    import networkx as nx

    steps = [nx.single_source_shortest_path_length(ontology, term) for term in terms]  # to each ancestor
    place = {ancestor: i for i, ancestor in enumerate(dict.fromkeys(a for up in steps for a in up))}
    up = np.full((len(terms), len(place)), np.inf)
    for row, found in zip(up, steps, strict=True):
        row[[place[ancestor] for ancestor in found]] = list(found.values())
    return np.array([(up + row).min(axis=1) for row in up])


def vacuous_terms(ontology: nx.DiGraph) -> set[str]:
    """Terms that would be a true label of very different cells: roots, and :data:`UPPER_TERMS` of the Cell Ontology."""
    return {term for term in ontology if term in UPPER_TERMS or not ontology.out_degree(term)}
