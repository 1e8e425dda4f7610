"""Transfer labels from a reference by embedding."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import UNKNOWN, X_UCE
from univerce._validate import check_writable, get_modalities
from univerce.embeddings.cells import Cells
from univerce.io.files import open_anndata
from univerce.io.workers import find_client
from univerce.tl.labels._ancestors import Ancestors, candidates, correct_candidates, find_ancestors
from univerce.tl.labels._predictions import predict, write
from univerce.tl.labels.calibration import at_threshold, choose_threshold, risk_coverage, thin
from univerce.tl.labels.label_classifier import LabelClassifier, is_saved_classifier
from univerce.tl.ontology.graph import as_ontology, resolve_terms
from univerce.tl.ontology.terms import stated_terms

if TYPE_CHECKING:
    import networkx as nx
    from mudata import MuData

_MIN_LABELED = 10


@document
def transfer_labels(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData | LabelClassifier | str | os.PathLike[str],
    *,
    groupby: str | None = None,
    method: Literal["logistic", "knn", "centroid"] = "logistic",
    use_rep: str = X_UCE,
    batch_key: str | None = None,
    threshold: float | Mapping[Literal["accuracy", "coverage"], float] | None = None,
    ontology: nx.DiGraph | str | os.PathLike[str] | None = None,
    ontology_ids: str | Mapping[str, str] | None = None,
    key_added: str | None = None,
    mod: str | None = None,
    check_space: bool = True,
    client: Any = None,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Transfer labels from a reference by embedding, with calibrated confidences.

    Held-out cells of the reference set the temperature that makes confidences match accuracies, the threshold below
    which a cell is called unknown, and the reported scores. Expect less across species, tissues and technologies. For
    more options pass a classifier of :meth:`univerce.tl.LabelClassifier.fit` as ``reference``.

    Parameters
    ----------
    adata
        Cells to label. Only ``obsm[use_rep]`` is read.
    reference
        AnnData with labels and an embedding; the path of an ``.h5ad`` or ``.zarr``, such as an atlas, which is read in
        blocks; or a fitted :class:`univerce.tl.LabelClassifier` or its path.
    groupby
        Column of ``reference.obs`` with the labels. A classifier knows its own.
    method
        ``"logistic"``, ``"knn"`` or ``"centroid"``.
    use_rep
        Key of the embedding in ``obsm`` of both. With a classifier the default is the key it was fitted on.
    batch_key
        Column of ``reference.obs`` with the batch or donor, to hold out whole batches and calibrate for another one.
    threshold
        Cells with a lower confidence are called ``"unknown"``. ``{"accuracy": 0.9}`` chooses the lowest threshold at
        which 90 % of the labeled held-out cells (at least 10) are correct, ``{"coverage": 0.9}`` the highest one at
        which 90 % of them get a label. ``None`` labels every cell.
    ontology
        Path of an OBO file, or the graph of :func:`univerce.datasets.read_ontology`. An uncertain cell then gets the
        most specific ancestor of its label whose summed probability reaches the threshold, if any. Ancestors of all
        labels of the reference are never given.
    ontology_ids
        Ontology term of each label: a column of ``reference.obs``, or a mapping from label to term. Ids, names and
        exact synonyms are understood. ``None`` takes the labels themselves.
    key_added
        Key of the results; ``None`` is ``f"{groupby}_transferred"``.
    mod
        Modality, of each that is a MuData.
    %(check_space)s
    client
        A ``dask.distributed.Client``, whose workers read a reference on disk and label blocks of ``adata``. Files must
        be visible to all of them; an embedding in memory is sent. The result is the same to the last bit for the same
        number of threads.
    %(copy)s

    Returns
    -------
    ``None``, or the copy. Written are, with NaN for cells without an embedding:

    ``obs[key_added]``
        Label, ancestor or ``"unknown"``, categorical, with the colors of the reference in
        ``uns[f"{key_added}_colors"]``.
    ``obs[f"{key_added}_confidence"]``
        Probability of that label, float32; for unknown cells that of the best label.
    ``obs[f"{key_added}_best"]``, ``obs[f"{key_added}_second"]``
        Best and second-best label, also of unknown cells.
    ``obs[f"{key_added}_ontology_id"]``
        Term of the label or ancestor, with an ontology.
    ``uns[key_added]``
        ``table`` (cells and mean confidence of each label), ``params`` (options, temperature, threshold), ``scores``
        (of held-out cells: accuracy, macro-F1, calibration error before and after, coverage and accuracy at the
        threshold), and the tables ``reliability``, ``risk_coverage``, ``classes`` and ``left_out``.
        :func:`univerce.pl.label_transfer` draws them.

    Raises
    ------
    ValueError
        If the spaces differ, fewer than two labels have enough cells, an option is out of range or needs another, the
        threshold is out of reach, a term is unknown, or the reference has a label ``"unknown"``.
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
    asked = _check_threshold(threshold, ontology, ontology_ids)
    check_writable(adata)
    client = find_client(client, None)
    if isinstance(reference, str | os.PathLike):
        saved = is_saved_classifier(reference)
        reference = LabelClassifier.load(reference) if saved else open_anndata(Path(reference))
    if isinstance(reference, LabelClassifier):
        use_rep = reference.info.use_rep if use_rep == X_UCE else use_rep
    cells = Cells.read(adata, use_rep)
    options = {"groupby": groupby, "method": method, "batch_key": batch_key, "ontology_ids": ontology_ids}
    classifier = _get_classifier(reference, options, use_rep, client, query=cells, check_space=check_space)
    if asked and UNKNOWN in classifier.classes.index:
        raise ValueError(
            f"The reference has a label {UNKNOWN!r}, the name of cells below the threshold. Rename that label in the "
            "reference, or set it to NaN."
        )
    graph = None if ontology is None else as_ontology(ontology)
    ancestors = _get_ancestors(classifier, graph, ontology_ids)
    curve = _held_out_curve(classifier, ancestors)
    cutoff = asked.get("confidence", np.nan)
    if "accuracy" in asked or "coverage" in asked:
        cutoff = choose_threshold(curve, **asked, min_coverage=min(1.0, _MIN_LABELED / classifier.scores["n_cells"]))
    found = predict(cells, classifier.calibrated, ancestors, cutoff, client)

    key = key_added or f"{classifier.params['groupby']}_transferred"
    write(adata, key, found, classifier.classes, ancestors)
    confidence = adata.obs.groupby(key, observed=True)[f"{key}_confidence"]
    table = pd.DataFrame({"n_cells": confidence.size(), "confidence": confidence.mean()})
    own = {
        "use_rep": use_rep, "asked": asked, "threshold": float(cutoff),
        "space": {} if classifier.space is None else classifier.space.params,
        "ontology": "" if graph is None else f"{graph.graph['name']} {graph.graph['version']}",
    }  # fmt: skip
    adata.uns[key] = {
        "table": table.set_axis(table.index.astype(str)),
        "params": {**classifier.params, **own},
        "scores": {k: v for k, v in classifier.scores.items() if k != "reliability"} | at_threshold(curve, cutoff),
        "reliability": classifier.scores["reliability"].copy(),
        "risk_coverage": thin(curve),
        "classes": classifier.classes.copy(),
        "left_out": classifier.left_out.copy(),
    }
    return data if copy else None


def _check_threshold(threshold: Any, ontology: Any, ontology_ids: Any) -> dict[str, float]:
    """The requested confidence, accuracy or coverage, or nothing."""
    if ontology is None and ontology_ids is not None:
        raise ValueError("ontology_ids= gives the terms of the labels; pass ontology= too.")
    if threshold is None:
        if ontology is not None:
            raise ValueError("ontology= is for uncertain cells; pass threshold= too.")
        return {}
    asked = dict(threshold) if isinstance(threshold, Mapping) else {"confidence": threshold}
    if len(asked) != 1 or (isinstance(threshold, Mapping) and not asked.keys() <= {"accuracy", "coverage"}):
        raise ValueError(
            f"threshold={threshold!r} is not known; pass a confidence such as 0.5, {{'accuracy': 0.9}} or "
            "{'coverage': 0.9}."
        )
    ((name, value),) = asked.items()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value <= 1:
        raise ValueError(f"threshold={threshold!r} must be above 0 and at most 1.")
    return {name: float(value)}


def _get_classifier(
    reference: Any, options: dict[str, Any], use_rep: str, client: Any, *, query: Cells, check_space: bool
) -> LabelClassifier:
    """The given classifier, or one fitted to the reference."""
    if isinstance(reference, ad.AnnData):
        if options["groupby"] is None:
            raise ValueError(
                f"groupby= must name the column of reference.obs to transfer: {', '.join(map(repr, reference.obs))}."
            )
        query.check_comparable(Cells.read(reference, use_rep, name="reference"), check_space=check_space)
        return LabelClassifier.fit(reference, **options, use_rep=use_rep, client=client)
    if not isinstance(reference, LabelClassifier):
        raise TypeError(f"reference is a {type(reference).__name__}; pass an AnnData, a path or a LabelClassifier.")
    query.info.check_comparable(reference.info, check_space=check_space)
    if not isinstance(options["ontology_ids"], str):  # a mapping needs no fitting
        options = options | {"ontology_ids": None}
    for name, value in options.items():
        fitted = reference.params.get(name) or None  # "" stands for None
        if value not in (None, fitted) and (name, value) != ("method", "logistic"):
            raise ValueError(
                f"{name}={value!r} is an option of fitting, but the reference is a classifier that is already fitted"
                f"{f', with {name}={fitted!r}' if fitted else ''}. Leave it out."
            )
    return reference


def _get_ancestors(classifier: LabelClassifier, ontology: nx.DiGraph | None, ontology_ids: Any) -> Ancestors:
    names = classifier.classes.index
    if ontology is None:
        return Ancestors.none(len(names))
    fitted = ontology_ids is None or isinstance(ontology_ids, str)
    given = stated_terms(classifier.classes["ontology_id"] if fitted else ontology_ids)
    if not any(name in given for name in names):
        if ontology_ids is not None:
            raise ValueError(f"ontology_ids= has a term for none of the labels {', '.join(map(repr, names[:10]))}.")
        given = {name: name for name in names}
    terms = [given.get(name, "") for name in names]
    resolved = resolve_terms(ontology, filter(None, terms), what="terms of labels (ontology_ids=)")
    return find_ancestors(ontology, list(names), [resolved[term] if term else "" for term in terms])


def _held_out_curve(classifier: LabelClassifier, ancestors: Ancestors) -> pd.DataFrame:
    proba, truth = np.asarray(classifier.held_out["probability"], np.float64), np.asarray(classifier.held_out["label"])
    best = proba.argmax(axis=1)
    values, terms = candidates(proba, best, ancestors)
    return risk_coverage(values, correct_candidates(truth, best, terms, ancestors))
