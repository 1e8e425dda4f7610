"""Transfer labels from a reference by embedding."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import pandas as pd

from univerce._docs import document
from univerce._keys import UNKNOWN, X_UCE
from univerce._validate import check_writable, get_modalities
from univerce.embeddings.cells import Cells
from univerce.io.files import open_anndata
from univerce.io.workers import find_client
from univerce.tl.labels._ancestors import get_ancestors
from univerce.tl.labels._columns import check_separable, write
from univerce.tl.labels._evaluate import evaluate
from univerce.tl.labels._options import check_allowed, check_fit_options, check_fitted, check_rule
from univerce.tl.labels._predictions import Work, predict
from univerce.tl.labels._prepare import prepare
from univerce.tl.labels._stored import is_saved_classifier
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.ontology.graph import as_ontology

if TYPE_CHECKING:
    import networkx as nx
    from mudata import MuData

_CELL_TYPE = "cell_type"


@document
def transfer_labels(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData | LabelClassifier | str | os.PathLike[str],
    *,
    groupby: str | None = None,
    use_rep: str = X_UCE,
    threshold: float | Mapping[Literal["accuracy", "coverage"], float] | None = None,
    label_set: float | None = None,
    allowed: Sequence[str] | None = None,
    ontology: nx.DiGraph | str | os.PathLike[str] | None = None,
    fit_options: Mapping[str, Any] | None = None,
    key_added: str | None = None,
    mod: str | None = None,
    check_space: bool = True,
    client: Any = None,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Transfer labels from a reference by embedding, with calibrated confidences.

    Held-out cells of the reference are used to calibrate the confidences, to choose the threshold or the label sets,
    and to compute the reported scores. Expect lower scores across species, tissues and technologies. Labels are assumed
    to be as common as in the reference; ``fit_options={"prior": "query"}`` estimates their shares in the query.

    Parameters
    ----------
    adata
        Cells to label. Only ``obsm[use_rep]`` is read.
    reference
        AnnData with labels and an embedding; the path of an ``.h5ad`` or ``.zarr``, such as an atlas, which is read in
        blocks; or a fitted :class:`univerce.tl.LabelClassifier` or its path.
    groupby
        Column of ``reference.obs`` with the labels; ``None`` takes ``cell_type``, which every atlas has. A classifier
        knows its own.
    use_rep
        Key of the embedding in ``obsm`` of both. With a classifier the default is the key it was fitted on.
    threshold
        Cells with a lower confidence are called ``"unknown"``. ``{"accuracy": 0.9}`` chooses the lowest threshold at
        which 90 % of the labeled held-out cells (at least 10) are correct, ``{"coverage": 0.9}`` the highest one at
        which 90 % of them get a label. ``None`` labels every cell.
    label_set
        Alternative to a threshold: give each cell a set of labels that contains the true one for this share of the
        cells of each label, such as 0.9 (split conformal prediction). The best label is always in the set. If it is the
        only one, the cell gets that label; otherwise it gets the most specific term of the ontology that covers the
        set, or is unknown without an ontology. The share holds for cells like the held-out ones; see ``set_coverage``
        below.
    allowed
        Labels to choose from, such as those of the tissue; ``None`` allows all labels of the reference.
    ontology
        ``"CL"`` for the Cell Ontology that is included, the path of an OBO file, or the graph of
        :func:`univerce.datasets.read_ontology`. An uncertain cell then gets the most specific ancestor of its label
        whose summed probability reaches the threshold, if any. Roots, ancestors of all labels of the reference, and
        terms that name no kind of cell, such as "animal cell" or "motile cell", are never used.
    fit_options
        Options of :meth:`univerce.tl.LabelClassifier.fit`, such as ``{"method": "knn", "batch_key": "donor"}``. Of a
        fitted classifier ``prior`` and a mapping ``ontology_ids`` can be changed. ``ontology_ids`` are the terms of the
        labels: ids, names or exact synonyms; without them they are the labels themselves.
    key_added
        Key of the results; ``None`` is ``f"{groupby}_transferred"``.
    mod
        Modality to use of each input that is a MuData.
    %(check_space)s
    client
        A ``dask.distributed.Client``, whose workers read a reference on disk and label blocks of ``adata``. Files must
        be visible to all of them; an embedding in memory is sent. The result is identical for the same number of
        threads.
    %(copy)s

    Returns
    -------
    ``None``, or a copy of ``adata`` with ``copy=True``. Sets the following fields, with NaN for cells
    without an embedding:

    ``obs[key_added]``
        Label, ancestor or ``"unknown"``, categorical, with the colors of the reference in
        ``uns[f"{key_added}_colors"]``.
    ``obs[f"{key_added}_confidence"]``
        Probability of that label, float32; for unknown cells that of the best label.
    ``obs[f"{key_added}_best"]``, ``obs[f"{key_added}_second"]``
        Best and second-best label, also of unknown cells.
    ``obs[f"{key_added}_novelty"]``
        Share of the held-out cells of the best label that are nearer to its centroid, float32; 1 for a cell that is
        farther away than all of them.
    ``obs[f"{key_added}_set"]``, ``obs[f"{key_added}_set_size"]``
        Labels in the set, separated by ``" | "``, and their number, with ``label_set``.
    ``obs[f"{key_added}_ontology_term_id"]``
        Term of the label or ancestor, ``"unknown"`` where there is none, as in the schema of CELLxGENE; if the labels
        have terms.
    ``uns[key_added]``
        ``table`` (cells, mean confidence and kind of each label), ``params`` (options, temperature, threshold, shares
        of the labels, recall of an index, cells that are in the reference), ``scores`` (of held-out cells: accuracy,
        macro-F1, calibration error before and after; coverage and accuracy at a threshold chosen without them, for
        labels and terms together and apart; coverage and size of sets, and accuracy of their labels and terms; with an
        ontology hierarchical precision, recall and F1), and the tables ``reliability``, ``risk_coverage``, ``classes``
        (scores of each label), ``left_out`` and, with ``label_set`` and batches, ``set_coverage`` (of each batch).
        :func:`univerce.pl.label_transfer` draws them.

    Raises
    ------
    ValueError
        If the spaces differ, fewer than two labels have enough cells, an option is out of range or needs another, the
        threshold is out of reach, a term is unknown, or the reference has a label ``"unknown"`` or, with ``label_set``,
        one that holds ``" | "``.
    KeyError
        If a column or an embedding does not exist, or does not record its model.
    FileNotFoundError
        If a path does not exist.
    TypeError
        If ``reference`` or ``client`` is something else.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[:200].copy(), adata[200:].copy()
    >>> uc.tl.transfer_labels(query, reference, groupby="cell_type", threshold={"accuracy": 0.9})
    >>> bool((query.obs["cell_type_transferred"] == "unknown").mean() < 0.5)
    True
    >>> query.uns["cell_type_transferred"]["scores"]["accuracy"] > 0.7
    True
    """
    data = adata.copy() if copy else adata
    adata, reference = get_modalities(mod, data, reference)
    asked = check_rule(threshold, label_set, ontology)
    options = check_fit_options(fit_options)
    check_writable(adata, key_added)
    client = find_client(client, None)
    if isinstance(reference, str | os.PathLike):
        saved = is_saved_classifier(reference)
        reference = LabelClassifier.load(reference) if saved else open_anndata(Path(reference))
    if isinstance(reference, LabelClassifier):
        use_rep = reference.info.use_rep if use_rep == X_UCE else use_rep
    cells = Cells.read(adata, use_rep)
    graph = None if ontology is None else as_ontology(ontology)
    classifier = _get_classifier(reference, groupby, options, use_rep, client, query=cells, check_space=check_space)
    allowed = check_allowed(allowed, classifier.classes.index)
    if asked and UNKNOWN in classifier.classes.index:
        raise ValueError(
            f"The reference has a label {UNKNOWN!r}, the name of cells below the threshold. Rename that label in the "
            "reference, or set it to NaN."
        )
    if "label_set" in asked:
        check_separable(classifier.classes.index)
    ancestors = get_ancestors(classifier.classes, graph, options.get("ontology_ids"))
    prior = options.get("prior") or classifier.params["prior"]
    ready = prepare(classifier, cells.values, cells.names, prior=prior, allowed=allowed)
    rule, tables, params = evaluate(classifier, ready.shares, ancestors, graph, asked)
    n_bytes = (len(classifier.classes) + 7) // 8 if "label_set" in asked else 0
    found = predict(cells, Work(ready, rule, classifier.novelty, classifier.seen, n_bytes), client)

    key = key_added or f"{classifier.params['groupby']}_transferred"
    write(adata, key, found, classifier.classes, ancestors)
    own = {
        "use_rep": use_rep, "asked": asked, "prior": prior, "allowed": allowed or [],
        "n_in_reference": int(found.seen.sum()),
        "space": {} if classifier.space is None else classifier.space.record,
        "ontology": "" if graph is None else f"{graph.graph['name']} {graph.graph['version']}",
    }  # fmt: skip
    adata.uns[key] = {
        "table": _count_labels(adata.obs, key, classifier.classes.index),
        "params": {**classifier.params, **own, **ready.search, **params},
        **tables,
        "left_out": classifier.left_out.copy(),
    }
    return data if copy else None


def _count_labels(obs: pd.DataFrame, key: str, labels: pd.Index) -> pd.DataFrame:
    """Cells and mean confidence of each label, and whether it is a label, a term or unknown."""
    confidence = obs.groupby(key, observed=True)[f"{key}_confidence"]
    table = pd.DataFrame({"n_cells": confidence.size(), "confidence": confidence.mean()})
    table = table.set_axis(table.index.astype(str))
    table["kind"] = ["label" if name in labels else "unknown" if name == UNKNOWN else "term" for name in table.index]
    return table


def _get_classifier(
    reference: Any, groupby: str | None, options: dict[str, Any], use_rep: str, client: Any, *, query: Cells,
    check_space: bool,
) -> LabelClassifier:  # fmt: skip
    """The given classifier, or one fitted to the reference."""
    if isinstance(reference, ad.AnnData):
        if groupby is None and _CELL_TYPE not in reference.obs:
            raise ValueError(
                f"groupby= must name the column of reference.obs to transfer: {', '.join(map(repr, reference.obs))}."
            )
        groupby = groupby or _CELL_TYPE
        query.check_comparable(Cells.read(reference, use_rep, name="reference"), check_space=check_space)
        return LabelClassifier.fit(reference, groupby=groupby, use_rep=use_rep, client=client, **options)
    if not isinstance(reference, LabelClassifier):
        raise TypeError(f"reference is a {type(reference).__name__}; pass an AnnData, a path or a LabelClassifier.")
    query.info.check_comparable(reference.info, check_space=check_space)
    needs_no_fit = {"prior"} if isinstance(options.get("ontology_ids"), str) else {"prior", "ontology_ids"}
    check_fitted({"groupby": groupby} | {k: v for k, v in options.items() if k not in needs_no_fit}, reference.params)
    return reference
