"""Terms that say nothing about the kind of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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


def vacuous_terms(ontology: nx.DiGraph) -> set[str]:
    """Terms that would be a true label of very different cells: roots, and :data:`UPPER_TERMS` of the Cell Ontology."""
    return {term for term in ontology if term in UPPER_TERMS or not ontology.out_degree(term)}
