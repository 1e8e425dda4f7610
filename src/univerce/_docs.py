"""Parameters that mean the same everywhere, described once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

PARAMETERS: Final = {
    "adata": "Annotated data.",
    "ax": "Draw into these axes.",
    "batch_key": "Column of ``obs`` with the batches.",
    "cache": (
        "Directory for embeddings, by the hash of the data, the method, its code, options and weights, the seed and\n"
        "the versions. Methods defined inside a function are not cached."
    ),
    "check_space": "Require both embeddings to come from one model. ``False`` is for embeddings of other methods.",
    "copy": "Return a changed copy and leave ``adata`` as it is.",
    "figsize": "Size in inches; ``None`` fits the labels.",
    "groupby": "Column of ``obs`` with the cell types.",
    "key": "Key of the result in ``uns``.",
    "key_added": "Key in ``uns``.",
    "layer": "Layer with the counts; ``None`` for ``X``.",
    "metric": '``"euclidean"`` or ``"cosine"``. Under the cosine, a cell of zeros counts as one without an embedding.',
    "min_cells": "Leave out groups with fewer cells.",
    "mod": "Modality, if ``adata`` is a MuData.",
    "n_bootstrap": "Resamples for 95 % intervals; 0 for none.",
    "n_permutations": "Number of shuffles; 0 skips the comparison with chance.",
    "ontology": (
        '``"CL"`` for the Cell Ontology that is included, the path of an OBO file, or the graph of\n'
        ":func:`univerce.datasets.read_ontology`."
    ),
    "ontology_ids": (
        "Column of ``obs`` with the term of each cell, or a mapping from labels of ``groupby`` to terms. Terms are\n"
        "ids, names or exact synonyms."
    ),
    "return_fig": "Return the figure.",
    "rng": "Seed or generator.",
    "seeds": "Seeds of the methods that depend on one; the others run once.",
    "show": "Show the figure; ``None`` shows it unless ``ax`` is given.",
    "use_rep": "Key of the embedding in ``obsm``.",
}
"""Text of each parameter."""


def _entry(name: str) -> str:
    return "\n".join([name, *(f"    {line}" for line in PARAMETERS[name].splitlines())])


BLOCKS: Final = {
    "written": """``uns[key_added]["table"]``
    The same table.
``uns[key_added]["params"]``
    Parameters.""",
    "figure": "\n".join(map(_entry, ("key", "figsize", "ax", "show", "return_fig"))),
    "drawn": """
Returns
-------
The axes, or the figure with ``return_fig``; ``None`` if the figure was shown.

Raises
------
KeyError
    If there is no such result.""",
}
"""Lines that stand in several docstrings."""


def document(function: F) -> F:
    """Replace each line ``%(name, ...)s`` of the docstring by the texts of parameters or blocks."""

    def expand(match: re.Match[str]) -> str:
        texts = [BLOCKS.get(name) or _entry(name) for name in match[2].split(", ")]
        return "\n".join((match[1] + line).rstrip() for text in texts for line in text.splitlines())

    if function.__doc__:  # None under python -OO
        function.__doc__ = re.sub(r"^( *)%\(([\w, ]+)\)s$", expand, function.__doc__, flags=re.MULTILINE)
    return function
