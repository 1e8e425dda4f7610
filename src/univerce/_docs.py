"""Parameters that mean the same everywhere, described once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

PARAMETERS: Final = {
    "adata": "Annotated data matrix.",
    "ax": "Axes to draw into; ``None`` creates a figure.",
    "batch_key": "Column of ``obs`` with the batches.",
    "cache": (
        "Directory in which embeddings are stored. They are reused if the data, the method with its code, options and\n"
        "weights, the seed and the versions are the same. Methods defined inside a function are not cached."
    ),
    "check_space": "Check that both embeddings come from the same model. ``False`` is for embeddings of other methods.",
    "cmap": "Color map: a name of matplotlib, or a :class:`matplotlib.colors.Colormap`.",
    "copy": "Return a copy instead of writing to ``adata``.",
    "figsize": "Size in inches; ``None`` fits the labels.",
    "found_key": (
        "Boolean column of ``obs`` with the found cells, as written by :func:`univerce.tl.find_cells`. Cells without\n"
        'a value, or without a score in ``obs[f"{found_key}_score"]``, are left out.'
    ),
    "gene_key": (
        "Column of ``var`` with the gene names. ``None`` looks up each variable by identifier, if a common column\n"
        "(``ensembl_id``, ``gene_ids``, ...) has one, then by ``var_names``, then in other common columns\n"
        "(``feature_name``, ``gene_symbols``, ...), and reports the column that matched the most counts."
    ),
    "groupby": "Column of ``obs`` with the cell types.",
    "key": "Key of the result in ``uns``: the ``key_added`` of the call that computed it.",
    "key_added": "Key of the result in ``uns``.",
    "layer": "Layer with the counts; ``None`` for ``X``.",
    "metric": '``"euclidean"`` or ``"cosine"``. With ``"cosine"``, cells of zeros count as missing.',
    "min_cells": "Leave out groups with fewer cells.",
    "mod": "Modality to use, if ``adata`` is a MuData.",
    "model": (
        '``None`` for the bundled ``"uce-mini"`` (learning, tests, a first look); ``"uce-tiny"``, a small\n'
        'demonstration of the network of the paper; ``"uce-33l"``, ``"uce-4l"`` or another name of\n'
        ':func:`univerce.model.list_models`, or ``"hf://owner/name[@revision]"``, for a public checkpoint, which is\n'
        "downloaded and converted at first use; or a directory."
    ),
    "n_bootstrap": "Number of resamples for 95 % intervals; 0 skips the intervals.",
    "n_permutations": "Number of permutations; 0 skips the comparison with chance.",
    "ontology": (
        '``"CL"`` for the Cell Ontology that is included, the path of an OBO file, or the graph of\n'
        ":func:`univerce.datasets.read_ontology`."
    ),
    "ontology_ids": (
        "Column of ``obs`` with the term of each cell, or a mapping from labels of ``groupby`` to terms. Terms are\n"
        "ids, names or exact synonyms."
    ),
    "palette": (
        "Colors of the categories: the name of a color map, colors in their order, or a mapping from their names.\n"
        'Overrides ``uns[f"{column}_colors"]``; without either, the colors are those of scanpy.'
    ),
    "return_fig": "Return the figure instead of its axes, and do not show it.",
    "rng": "Seed or :class:`numpy.random.Generator`.",
    "sampling": (
        '``"multinomial"`` (the paper) or ``"systematic"`` (same expected counts, far less variance); ``None`` for\n'
        "the default of the model."
    ),
    "seeds": "Seeds of the stochastic methods; deterministic methods run once.",
    "show": "Show the figure; ``None`` shows it unless ``ax`` is given.",
    "species": (
        'Species of the cells (``"human"``, ``"Mus musculus"``, ``"NCBITaxon:7955"``, ...) or the column of ``obs``\n'
        "with the species of each cell. ``None`` reads ``organism``, ``species`` or ``organism_ontology_term_id``\n"
        "from ``uns``, ``obs`` or ``uns`` of a MuData. Or a gene table to use instead of the model's own, such as one\n"
        "of :func:`univerce.genes.build_species`: an AnnData, a path (``.h5ad``, ``.zarr.zip``), or several for data\n"
        "of several species. A single table also states the species. Tables of an encoder that the model was not\n"
        "trained with raise an error."
    ),
    "title": "Title above the figure, or above ``ax``.",
    "use_rep": "Key of the embedding in ``obsm``.",
}
"""Text of each parameter."""


def _entry(name: str) -> str:
    return "\n".join([name, *(f"    {line}" for line in PARAMETERS[name].splitlines())])


BLOCKS: Final = {
    "ranked": """\
``uns[key_added]["names"]``, ``["scores"]``, ``["logfoldchanges"]``, ``["pvals"]``, ``["pvals_adj"]``, ``["pts"]``
    The result as :func:`scanpy.tl.rank_genes_groups` stores it, for :func:`scanpy.get.rank_genes_groups_df` and
    the plots of scanpy with ``key=``.""",
    "written": """``uns[key_added]["table"]``
    The same table.
``uns[key_added]["params"]``
    Parameters of the call.""",
    "figure": "\n".join(map(_entry, ("key", "title", "figsize", "ax", "show", "return_fig"))),
    "sets": """
Returns
-------
``None``, or a copy of ``adata`` with ``copy=True``. Sets the following fields:""",
    "drawn": """
Returns
-------
The axes, or the figure with ``return_fig``; ``None`` if the figure was shown.

Raises
------
KeyError
    If there is no such result.""",
    "types": """>>> types = {
...     "CD14+ Monocyte": "CL:0001054",
...     "CD19+ B": "CL:0000236",
...     "CD4+/CD25 T Reg": "CL:0000792",
...     "CD4+/CD45RO+ Memory": "CL:0000897",
...     "CD56+ NK": "CL:0000623",
...     "CD8+ Cytotoxic T": "CL:0000794",
...     "CD8+/CD45RA+ Naive Cytotoxic": "CL:0000900",
...     "Dendritic": "CL:0000451",
... }""",
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
