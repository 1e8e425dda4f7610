"""The Cell Ontology that is included in the package."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

CELL_ONTOLOGY = "CL"
FILE = files("univerce").joinpath("data", "cell_ontology.json.gz")


def read_cell_ontology() -> nx.DiGraph:
    """See :func:`univerce.datasets.read_ontology`."""
    try:
        import networkx as nx
    except ImportError as error:
        raise ImportError('The Cell Ontology needs networkx: pip install "univerce[ontology]"') from error
    content = json.loads(gzip.decompress(FILE.read_bytes()))
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
