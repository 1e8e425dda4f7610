"""The Cell Ontology that is included in the package."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx as nx

CELL_ONTOLOGY = "CL"
_FILE = "cell_ontology.json.gz"
_LICENSE = (
    "Cell Ontology, release {version} (Diehl et al. 2016; https://obophenotype.github.io/cell-ontology), licensed "
    "under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0). Changed: ids, names, synonyms and parents only."
)


def read_cell_ontology() -> nx.DiGraph:
    """See :func:`univerce.datasets.read_ontology`."""
    try:
        import networkx as nx
    except ImportError as error:
        raise ImportError('The Cell Ontology needs networkx: pip install "univerce[ontology]"') from error
    content = json.loads(gzip.decompress(files("univerce").joinpath("data", _FILE).read_bytes()))
    graph = nx.DiGraph(name="cl", version=content["version"], license=content["license"])
    for term, (name, parents, synonyms) in content["terms"].items():
        graph.add_node(term, name=name, synonyms=tuple(synonyms))
        graph.add_edges_from(((term, parent) for parent in parents), relation="is_a")
    obsolete = {
        term: {"name": name, "replaced_by": replaced_by, "consider": consider}
        for term, (name, replaced_by, consider) in content["obsolete"].items()
    }
    graph.graph |= {"alternative": {}, "obsolete": obsolete}
    return graph


def compact(terms: Mapping[str, Mapping[str, Any]], version: str) -> bytes:
    """Write what :func:`read_cell_ontology` reads, from the JSON of CELLxGENE (``{id: {label, ancestors, ...}}``).

    ``ancestors`` maps each ancestor to the number of edges to it; those at one edge are parents.
    """
    kept, obsolete = {}, {}
    for term, entry in sorted(terms.items()):
        if entry["deprecated"]:
            replaced_by = [entry["replaced_by"]] if entry.get("replaced_by") else []
            obsolete[term] = (entry["label"], replaced_by, entry.get("consider", []))
            continue
        parents = sorted(parent for parent, n_edges in entry["ancestors"].items() if n_edges == 1)
        kept[term] = (entry["label"], parents, entry.get("synonyms", []))
    content = {"license": _LICENSE.format(version=version), "version": version, "terms": kept, "obsolete": obsolete}
    return gzip.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), mtime=0)
