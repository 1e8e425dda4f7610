"""The Cell Ontology, or an ontology of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from univerce.io.cell_ontology import read_cell_ontology
from univerce.io.obo import IS_A, read_obo

if TYPE_CHECKING:
    import networkx as nx


def read_ontology(path: str | os.PathLike[str] | None = None, *, relations: Sequence[str] = (IS_A,)) -> nx.DiGraph:
    """Read the Cell Ontology that is included, or an ontology from an OBO file.

    Included is the release of 2026-03-26 (Diehl et al. 2016, https://obophenotype.github.io/cell-ontology), licensed
    under CC BY 4.0: the ids, names, synonyms and parents of its terms.

    Parameters
    ----------
    path
        Local OBO file, optionally compressed (``.gz``, ``.bz2``, ``.xz``). ``None`` is the Cell Ontology that is
        included.
    relations
        Relations of the file to use as edges. ``("is_a", "part_of")`` also follows parts.

    Returns
    -------
    Graph of the terms in use, with their ``name`` and exact ``synonyms``. Edges lead from a term to its parents and
    carry their ``relation``. ``graph["alternative"]`` maps merged ids to those in use. ``graph["obsolete"]`` has the
    name and ``replaced_by`` of obsolete ids. Functions that take an ontology resolve both.

    Raises
    ------
    FileNotFoundError
        If the file does not exist. Nothing is downloaded.
    ValueError
        If the file is not in OBO format, lacks one of the relations, or its terms form a cycle.
    ImportError
        If networkx, or obonet for a file, is not installed.

    Examples
    --------
    >>> import univerce as uc
    >>> ontology = uc.datasets.read_ontology()
    >>> ontology.nodes["CL:0000084"]["name"]
    'T cell'
    >>> [ontology.nodes[parent]["name"] for parent in ontology.successors("CL:0000084")]
    ['lymphocyte']
    """
    if path is not None:
        return read_obo(path, relations)
    if tuple(relations) != (IS_A,):
        raise ValueError(f"relations={relations!r}: the Cell Ontology that is included has {IS_A!r} only. Pass a file.")
    return read_cell_ontology()
