"""Terms of an ontology: a networkx graph whose edges lead from a term to what it is a kind of."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

IS_A = "is_a"
_EXACT = re.compile(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b')


def read_obo(path: str | os.PathLike[str], relations: Sequence[str] = (IS_A,)) -> nx.DiGraph:
    """The graph that :func:`univerce.tl.read_ontology` describes."""
    try:
        import networkx as nx
        import obonet
    except ImportError as error:
        raise ImportError('Reading an ontology needs obonet: pip install "univerce[ontology]"') from error
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no ontology at {str(path)!r}; download an OBO file such as cl.obo first.")
    try:
        raw = obonet.read_obo(str(path), ignore_obsolete=False)
    except (ValueError, AttributeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} is no ontology in OBO format: {error}") from error
    if not any("name" in term for _, term in raw.nodes(data=True)):
        raise ValueError(f"{str(path)!r} is no ontology in OBO format: it holds no term with a name.")
    unknown = set(relations) - {IS_A} - {key for *_, key in raw.edges(keys=True)}
    if isinstance(relations, str) or not relations or unknown:
        there = ", ".join(sorted({repr(key) for *_, key in raw.edges(keys=True)}))
        raise ValueError(f"relations={relations!r} must be some of the relations in {path.name}: {there}.")

    graph = nx.DiGraph(name=raw.graph["name"], version=raw.graph.get("data-version", "unknown"))
    alternative: dict[str, str] = {}
    obsolete: dict[str, dict[str, Any]] = {}
    for term, entry in raw.nodes(data=True):
        if entry.get("is_obsolete") == "true":
            obsolete[term] = {
                "name": entry.get("name", term),
                "replaced_by": entry.get("replaced_by", []),
                "consider": entry.get("consider", []),
            }
            continue
        graph.add_node(term, name=entry.get("name", term), synonyms=_exact_synonyms(entry.get("synonym", [])))
        alternative |= dict.fromkeys(entry.get("alt_id", []), term)
    for relation in relations:  # the first relation between two terms names their edge
        for term, parent, key in raw.edges(keys=True):
            if key == relation and term in graph and parent in graph and not graph.has_edge(term, parent):
                graph.add_edge(term, parent, relation=key)
    graph.graph |= {"alternative": alternative, "obsolete": obsolete}
    if not nx.is_directed_acyclic_graph(graph):
        circle = " > ".join(edge[0] for edge in nx.find_cycle(graph))
        raise ValueError(f"The terms of {path.name} go round in a circle: {circle}. Read fewer relations.")
    return graph


def as_ontology(ontology: Any) -> nx.DiGraph:
    """A graph as :func:`read_obo` makes it, from itself or from the path of an OBO file."""
    if isinstance(ontology, str | os.PathLike):
        return read_obo(ontology)
    if not {"alternative", "obsolete"} <= set(getattr(ontology, "graph", ())):
        raise TypeError(
            f"ontology is a {type(ontology).__name__}; pass the path of an OBO file or what uc.tl.read_ontology gives."
        )
    return ontology


def _exact_synonyms(lines: Iterable[str]) -> tuple[str, ...]:
    """The synonyms that mean the same; broader, narrower and related ones would name another term."""
    found = (_EXACT.match(line) for line in lines)
    return tuple(match[1].replace('\\"', '"') for match in found if match)


# Names ---------------------------------------------------------------------------------------------------------------


def resolve_terms(ontology: nx.DiGraph, names: Iterable[str], *, what: str = "names") -> dict[str, str]:
    """The id of each name: an id, an alternative or replaced id, a name, or an exact synonym.

    Names and synonyms may be written in capitals or not, and a name goes before a synonym.

    Parameters
    ----------
    ontology
        Graph of :func:`read_obo`.
    names
        What to resolve.
    what
        How the message calls them.

    Returns
    -------
    ``{name: id}`` in the order of ``names``.

    Raises
    ------
    ValueError
        When some are no term, are obsolete without a replacement, or are a synonym of several terms; the message
        names them.
    """
    names = list(dict.fromkeys(names))
    by_name, by_synonym = _index(ontology)
    found: dict[str, str] = {}
    wrong: list[str] = []
    for name in names:
        term = _current(ontology, str(name).strip())
        if term in ontology:
            found[name] = term
            continue
        folded = str(name).strip().casefold()
        ids = by_name.get(folded) or by_synonym.get(folded) or set()
        if len(ids) == 1:
            (found[name],) = ids
        else:
            wrong.append(f"{name!r}{_why_not(ontology, str(name).strip(), ids)}")
    if wrong:
        more = f" and {len(wrong) - 10:,} more" if len(wrong) > 10 else ""
        raise ValueError(
            f"{len(wrong):,} of {len(names):,} {what} are no terms of the ontology {ontology.graph.get('name')!r} "
            f"({ontology.graph.get('version')}): {', '.join(wrong[:10])}{more}. Give the id of the term that is meant."
        )
    return found


def _index(ontology: nx.DiGraph) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    names, synonyms = defaultdict(set), defaultdict(set)
    for term, entry in ontology.nodes(data=True):
        names[entry["name"].casefold()].add(term)
        for synonym in entry["synonyms"]:
            synonyms[synonym.casefold()].add(term)
    return dict(names), dict(synonyms)


def _current(ontology: nx.DiGraph, term: str) -> str:
    """The id in use of an id that may have been merged or replaced, more than once."""
    obsolete, alternative = ontology.graph["obsolete"], ontology.graph["alternative"]
    seen = set()
    while term not in ontology and term not in seen:
        seen.add(term)
        replaced = obsolete.get(term, {}).get("replaced_by", [])
        term = alternative.get(term, replaced[0] if len(replaced) == 1 else term)
    return term


def _why_not(ontology: nx.DiGraph, term: str, ids: set[str]) -> str:
    if ids:
        return f" (may be {', '.join(sorted(ids))})"
    entry = ontology.graph["obsolete"].get(term)
    if entry is None:
        return ""
    instead = ", ".join([*entry["replaced_by"], *entry["consider"]])
    return f" ({entry['name']}{f'; consider {instead}' if instead else ''})"


# Relations -----------------------------------------------------------------------------------------------------------


def ancestors(ontology: nx.DiGraph, term: str) -> set[str]:
    """The term itself and everything it is a kind of."""
    import networkx as nx

    return {term} | set(nx.descendants(ontology, term))  # edges lead upwards


def depths(ontology: nx.DiGraph) -> dict[str, int]:
    """Edges on the longest way from each term up to a root, so that a term lies deeper than all its ancestors."""
    import networkx as nx

    depth: dict[str, int] = {}
    for term in reversed(list(nx.topological_sort(ontology))):
        depth[term] = max((depth[parent] + 1 for parent in ontology.successors(term)), default=0)
    return depth


def common_ancestors(ontology: nx.DiGraph, terms: Iterable[str]) -> list[str]:
    """The most specific terms that all ``terms`` are kinds of, sorted: no common ancestor lies below any of them."""
    shared = set.intersection(*(ancestors(ontology, term) for term in terms))
    above = Counter(upper for term in shared for upper in ontology.successors(term))
    return sorted(shared - set(above))


def tree_distances(ontology: nx.DiGraph, terms: Sequence[str]) -> np.ndarray:
    """``[n_terms, n_terms]`` fewest edges between two terms, in either direction; infinite when there is no way."""
    neighbors = {term: [*ontology.successors(term), *ontology.predecessors(term)] for term in ontology}
    out = np.full((len(terms), len(terms)), np.inf)
    for i, term in enumerate(terms):
        steps = {term: 0}
        queue = deque([term])
        while queue:
            here = queue.popleft()
            for other in neighbors[here]:
                if other not in steps:
                    steps[other] = steps[here] + 1
                    queue.append(other)
        out[i] = [steps.get(other, np.inf) for other in terms]
    return out
