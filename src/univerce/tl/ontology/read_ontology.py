"""Read an ontology of cell types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from univerce.tl.ontology.graph import IS_A, read_obo

if TYPE_CHECKING:
    import networkx as nx


def read_ontology(path: str | os.PathLike[str], *, relations: Sequence[str] = (IS_A,)) -> nx.DiGraph:
    """Read an ontology, such as the Cell Ontology, from an OBO file.

    Parameters
    ----------
    path
        Local OBO file, which may be compressed (``.gz``, ``.bz2``, ``.xz``). That of the Cell Ontology is ``cl.obo`` at
        http://purl.obolibrary.org/obo/cl.obo.
    relations
        Which relations become edges. ``("is_a", "part_of")`` also follows parts, where the file states them.

    Returns
    -------
    Graph whose nodes are the ids of the terms that are in use, with their ``name`` and their exact ``synonyms``. Edges
    lead from a term to its parents and carry their ``relation``. ``graph["alternative"]`` maps merged ids to those in
    use, ``graph["obsolete"]`` tells of retired ids what they were called and ``replaced_by``; functions that take an
    ontology resolve both.

    Raises
    ------
    FileNotFoundError
        When there is no such file; nothing is downloaded.
    ValueError
        When the file is no OBO file or has no such relation, or its terms go round in a circle.
    ImportError
        When obonet is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> lines = ["format-version: 1.2", "ontology: tiny", ""]
    >>> lines += ["[Term]", "id: CL:0000542", "name: lymphocyte", ""]
    >>> lines += ["[Term]", "id: CL:0000084", "name: T cell", "is_a: CL:0000542 ! lymphocyte", ""]
    >>> _ = Path("tiny.obo").write_text(chr(10).join(lines))
    >>> ontology = uc.tl.read_ontology("tiny.obo")
    >>> list(ontology.edges)
    [('CL:0000084', 'CL:0000542')]
    >>> ontology.nodes["CL:0000084"]["name"]
    'T cell'
    """
    return read_obo(path, relations)
