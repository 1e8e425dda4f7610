"""Map labels to terms of an ontology."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import UNKNOWN
from univerce._settings import logger
from univerce._validate import check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.io.cell_ontology import CELL_ONTOLOGY
from univerce.tl.ontology.graph import as_ontology, describe, match_terms

if TYPE_CHECKING:
    import networkx as nx
    from mudata import MuData


@document
def map_terms(
    adata: ad.AnnData | MuData,
    *,
    groupby: str,
    ontology: nx.DiGraph | str | os.PathLike[str] = CELL_ONTOLOGY,
    mod: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Map labels to the ids of terms: by id, merged or replaced id, name, or exact synonym.

    Case does not matter. A label that is a synonym of several terms is not mapped.

    Parameters
    ----------
    adata
        Cells with labels, such as names of cell types.
    groupby
        Column of ``obs`` with the labels.
    ontology
        ``"CL"`` for the Cell Ontology that is included, the path of an OBO file, or the graph of
        :func:`univerce.datasets.read_ontology`.
    %(mod)s
    key_added
        Key of the results; ``None`` is ``f"{groupby}_ontology_term_id"``.
    %(copy, sets)s

    ``obs[key_added]``
        Id of the term, ``"unknown"`` where there is none, as in the schema of CELLxGENE.
    ``uns[key_added]["table"]``
        A row for each label: ``n_cells``, ``term_id``, ``term``, ``matched`` (``"id"``, ``"replaced id"``, ``"name"``,
        ``"synonym"`` or ``""``) and a ``hint`` for labels without a term.
    ``uns[key_added]["params"]``
        Name and version of the ontology.

    Raises
    ------
    KeyError
        If the column does not exist.
    ImportError
        If networkx is not installed.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["type"] = adata.obs["cell_type"].map({"CD19+ B": "B cell", "CD56+ NK": "NK cell"}).astype(object)
    >>> uc.tl.map_terms(adata, groupby="type")
    >>> uc.get.table(adata, "type_ontology_term_id")[["term_id", "term", "matched"]]
                term_id                 term  matched
    type
    B cell   CL:0000236               B cell     name
    NK cell  CL:0000623  natural killer cell  synonym
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    check_writable(adata, key_added)
    labels = get_labels(adata.obs, groupby)
    graph = as_ontology(ontology)
    found = match_terms(graph, labels.categories)
    found.insert(0, "n_cells", np.bincount(labels.codes[labels.codes >= 0], minlength=len(found)))
    missing = found[found["term_id"] == ""]
    if len(missing):
        names = ", ".join(f"{str(name)!r}{hint}" for name, hint in missing["hint"].head(10).items())
        logger.warning("%d of %d labels are not terms of the ontology: %s.", len(missing), len(found), names)
    ids = np.append(found["term_id"].replace("", UNKNOWN).to_numpy(dtype=object), UNKNOWN)  # the last is for no label
    key = key_added or f"{groupby}_ontology_term_id"
    adata.obs[key] = pd.Categorical(ids[labels.codes])
    adata.uns[key] = {"table": found.rename_axis(groupby), "params": {"groupby": groupby, **describe(graph)}}
    return data if copy else None
