"""OBO files: an ontology as a graph of its terms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from univerce._errors import FileError, reading
from univerce._validate import as_path
from univerce.io.text import open_text

if TYPE_CHECKING:
    import networkx as nx

IS_A = "is_a"
_EXACT = re.compile(r'"((?:[^"\\]|\\.)*)"\s+EXACT\b')


def read_obo(path: str | os.PathLike[str], relations: Sequence[str] = (IS_A,)) -> nx.DiGraph:
    """See :func:`univerce.datasets.read_ontology`."""
    try:
        import networkx as nx
        import obonet
    except ImportError as error:
        raise ImportError('Reading an ontology needs obonet: pip install "univerce[ontology]"') from error
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No ontology found at {str(path)!r}. Download an OBO file such as cl.obo first.")
    with reading(path, "an ontology in OBO format"):
        with open_text(path) as file:
            raw = obonet.read_obo(file, ignore_obsolete=False)
        if not any("name" in term for _, term in raw.nodes(data=True)):
            raise ValueError("no term has a name.")
    found = {key for *_, key in raw.edges(keys=True)}
    if isinstance(relations, str) or not relations or set(relations) - {IS_A} - found:
        raise ValueError(
            f"relations={relations!r} must name relations found in {path.name}: {', '.join(map(repr, sorted(found)))}."
        )
    with reading(path, "an ontology in OBO format"):
        graph = _graph(raw, relations)
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " > ".join(edge[0] for edge in nx.find_cycle(graph))
        raise FileError(f"{path}: the terms form a cycle: {cycle}. Read fewer relations.")
    return graph


def _graph(raw: Any, relations: Sequence[str]) -> nx.DiGraph:
    """Terms in use and their relations."""
    import networkx as nx

    graph = nx.DiGraph(name=raw.graph["name"], version=raw.graph.get("data-version", "unknown"))
    alternative: dict[str, str] = {}
    obsolete: dict[str, dict[str, Any]] = {}
    for term, entry in raw.nodes(data=True):
        name = entry.get("name", term)
        if entry.get("is_obsolete") == "true":
            replaced_by, consider = entry.get("replaced_by", []), entry.get("consider", [])
            obsolete[term] = {"name": name, "replaced_by": replaced_by, "consider": consider}
            continue
        graph.add_node(term, name=name, synonyms=_exact_synonyms(entry.get("synonym", [])))
        alternative |= dict.fromkeys(entry.get("alt_id", []), term)
    for relation in relations:  # the first relation between two terms names their edge
        for term, parent, key in raw.edges(keys=True):
            if key == relation and term in graph and parent in graph and not graph.has_edge(term, parent):
                graph.add_edge(term, parent, relation=key)
    graph.graph |= {"alternative": alternative, "obsolete": obsolete}
    return graph


def _exact_synonyms(lines: Iterable[str]) -> tuple[str, ...]:
    """Exact synonyms only: broader, narrower and related ones are names of other terms."""
    found = (_EXACT.match(line) for line in lines)
    return tuple(match[1].replace('\\"', '"') for match in found if match)
