"""Give cells the labels of a reference, by their embeddings."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import check_writable, get_modalities
from univerce.embeddings.cells import check_comparable
from univerce.embeddings.classifiers import Search
from univerce.io.cluster import find_client
from univerce.io.files import open_anndata
from univerce.tl.labels._backoff import Ladders, climb, make_ladders, right_steps
from univerce.tl.labels._transferred import predict, write
from univerce.tl.labels.calibration import at_threshold, choose_threshold, risk_coverage, thin
from univerce.tl.labels.label_classifier import LabelClassifier, check_cells, is_saved_classifier
from univerce.tl.ontology.graph import as_ontology, resolve_terms
from univerce.tl.ontology.terms import stated_terms

if TYPE_CHECKING:
    import networkx as nx
    from mudata import MuData

_FEWEST = 10


def transfer_labels(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData | LabelClassifier | str | os.PathLike[str],
    *,
    labels: str | None = None,
    method: Literal["logistic", "knn", "centroid"] = "logistic",
    mod: str | None = None,
    use_rep: str = X_UCE,
    key_added: str | None = None,
    batch: str | None = None,
    accuracy: float | None = None,
    coverage: float | None = None,
    confidence: float | None = None,
    unknown: str = "unknown",
    ontology: nx.DiGraph | str | os.PathLike[str] | None = None,
    ontology_ids: str | Mapping[str, str] | None = None,
    balanced: bool = False,
    n_neighbors: int = 15,
    search: Search = "exact",
    min_cells: int = 5,
    max_cells: int | None = 1000,
    probabilities: bool = False,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    client: Any = None,
) -> None:
    """Predict the labels of cells from those of a reference, with a probability that means what it says.

    The reference is divided into folds, by batch when there is one, and every cell is predicted by a classifier that
    has not seen its fold. These held-out cells set the one temperature that makes confidences match how often they are
    right, the threshold below which a cell is called unknown, and the scores that are reported; the classifier that
    labels ``adata`` is then fitted on all folds. All this holds for cells like those of the reference: where species,
    tissue or technology differ, expect less, and more so the less alike they are.

    Parameters
    ----------
    adata
        Cells to label; only ``obsm[use_rep]`` is read.
    reference
        AnnData with labels and the same kind of embedding; the path of an ``.h5ad`` or ``.zarr``, an atlas for
        instance, which is read in blocks; or a :class:`univerce.tl.LabelClassifier` or its path. A classifier is
        fitted: it takes no ``batch``, ``balanced``, ``n_neighbors``, ``search``, ``min_cells``, ``max_cells`` or
        ``rng``.
    labels
        Column of ``reference.obs`` with the labels; cells without one are not used. A classifier knows its own.
    method
        ``"logistic"``: multinomial logistic regression of scikit-learn, on cells that are centered and divided by one
        number for all columns: standardized columns carry over worse to other data sets. ``"knn"``: share of
        the votes of the nearest cells. ``"centroid"``: softmax of the negative squared distances to the mean of each
        label.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm`` of both. With a classifier the default is the key that it was fitted on.
    key_added
        Key of what is written; ``None`` is ``f"{labels}_transferred"``.
    batch
        Column of ``reference.obs`` with the batch or donor. Its values are held out whole, so that confidence is that
        for another batch, not for more cells of the same.
    accuracy
        Call unsure cells unknown, so that of the held-out cells which keep a label this share is right; at least 10
        must keep theirs.
    coverage
        Call unsure cells unknown, so that this share of the held-out cells keeps a label.
    confidence
        Call cells unknown whose confidence is lower. At most one of the three; without any every cell gets a label.
    unknown
        What rejected cells are called.
    ontology
        Path of an OBO file, or what :func:`univerce.datasets.read_ontology` gives. An unsure cell then gets the most
        specific term above its label whose summed probability reaches the threshold, before it is unknown. Terms that
        all labels of the reference are kinds of are never given.
    ontology_ids
        Term of each label: a column of ``reference.obs``, or a mapping whose missing labels have none. Ids, names and
        exact synonyms are understood. ``None`` takes the labels themselves.
    balanced
        Let all labels count the same, however many cells they have: class weights of ``"logistic"``, heavier votes of
        rare labels for ``"knn"``; ``"centroid"`` does so anyway. Without it rare labels are predicted rarely, which is
        right when ``adata`` has the composition of the reference. From one data set to another neither is better.
    n_neighbors
        Neighbors of ``method="knn"``.
    search
        How ``method="knn"`` looks for them. ``"exact"`` compares every cell with every cell of the reference, which
        takes as long as the product of both matrices; ``"ivf"`` and ``"hnsw"`` search an index of faiss
        (``pip install "univerce[faiss]"``), tuned to find 98 % of the neighbors. Held-out cells are compared exactly.
    min_cells
        Labels with fewer cells are not learned; they are logged and listed in ``uns[key_added]["left_out"]``.
    max_cells
        Most cells of a label that are used, chosen by the hash of their names; ``None`` uses all. Scores and
        calibration are those of the cells that are used.
    probabilities
        Also write the probabilities of all labels.
    check_space
        Refuse embeddings of two models, see :func:`univerce.tl.check_same_space`. False is for those of other methods,
        which record nothing.
    rng
        Seed of the folds and of the choice of cells, or a generator that is drawn from once.
    client
        A ``dask.distributed.Client``, whose workers read a reference that is on disk and label blocks of ``adata``;
        the classifier is fitted here and sent to them. An embedding of ``adata`` on disk must lie where all of them see
        it, one in memory is sent. The result is the same to the last bit for as many threads.

    Returns
    -------
    ``None``. Written are, with NaN for cells without an embedding:

    ``obs[key_added]``
        Label, term or ``unknown``, categorical, with the colors of the reference in ``uns[f"{key_added}_colors"]``.
    ``obs[f"{key_added}_confidence"]``
        Probability of what was written, float32; for unknown cells that of the best label.
    ``obs[f"{key_added}_best"]``, ``obs[f"{key_added}_second"]``
        Best and second-best label, also where it was rejected.
    ``obs[f"{key_added}_ontology_id"]``
        Id of the label or term, with an ontology.
    ``obsm[f"{key_added}_probability"]``
        ``[n_obs, n_classes]`` float32, on request; the columns are the rows of ``uns[key_added]["classes"]``.
    ``uns[key_added]``
        ``params`` (options, temperature, threshold), ``scores`` (of held-out cells: accuracy, macro-F1, calibration
        error before and after, coverage and accuracy at the threshold), tables ``reliability``, ``risk_coverage``,
        ``classes`` and ``left_out``. :func:`univerce.pl.label_transfer` draws them.

    Raises
    ------
    ValueError
        When the spaces differ, fewer than two labels have enough cells, options contradict each other or are out of
        range, the accuracy is out of reach, a term is unknown, or a label is called as ``unknown`` is.
    KeyError
        When a column or an embedding does not exist, or it is not recorded which model made it.
    FileNotFoundError
        When there is nothing at a path.
    TypeError
        When ``reference`` or ``client`` is something else.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[:200].copy(), adata[200:].copy()
    >>> uc.tl.transfer_labels(query, reference, labels="cell_type", accuracy=0.9)
    >>> bool((query.obs["cell_type_transferred"] == "unknown").mean() < 0.5)
    True
    >>> query.uns["cell_type_transferred"]["scores"]["accuracy"] > 0.7
    True
    """
    adata, reference = get_modalities(mod, adata, reference)
    demands = {"accuracy": accuracy, "coverage": coverage, "confidence": confidence}
    _check_demands(demands, ontology, ontology_ids)
    check_writable(adata)
    client = find_client(client, None)
    classifier = _get_classifier(
        adata, reference, check_space=check_space,
        options={
            "labels": labels, "method": method, "use_rep": use_rep, "batch": batch, "ontology_ids": ontology_ids,
            "balanced": balanced, "n_neighbors": n_neighbors, "search": search, "min_cells": min_cells,
            "max_cells": max_cells, "rng": rng,
        },
        client=client,
    )  # fmt: skip
    use_rep = classifier.params["use_rep"] if use_rep == X_UCE else use_rep
    check_cells(classifier, adata, use_rep, check_space=check_space)
    names = classifier.classes.index.to_numpy(object)
    if unknown in names and any(v is not None for v in demands.values()):
        raise ValueError(
            f"The reference has a label {unknown!r}, which is what rejected cells are called. Pass another unknown=, "
            "or set that label to NaN in the reference."
        )
    graph = None if ontology is None else as_ontology(ontology)
    ladders, ids = (None, []) if graph is None else _get_ladders(classifier, graph, ontology_ids)
    curve = _held_out_curve(classifier, ladders)
    threshold = confidence if confidence is not None else np.nan
    if accuracy is not None or coverage is not None:
        least = min(1.0, _FEWEST / classifier.scores["n_cells"])
        threshold = choose_threshold(curve, accuracy=accuracy, coverage=coverage, least_coverage=least)
    found = predict(adata, classifier, ladders, threshold, use_rep=use_rep, keep=probabilities, client=client)
    key = key_added or f"{classifier.params['labels']}_transferred"
    write(adata, key, found, classifier, ladders, ids, unknown)
    asked = {name: np.nan if value is None else float(value) for name, value in demands.items()}
    adata.uns[key] = {
        "params": {
            **classifier.params,
            "use_rep": use_rep,
            "unknown": unknown,
            "asked": asked,
            "threshold": float(threshold),
            "ontology": "" if graph is None else f"{graph.graph['name']} {graph.graph['version']}",
        },
        "scores": {k: v for k, v in classifier.scores.items() if k != "reliability"} | at_threshold(curve, threshold),
        "reliability": classifier.scores["reliability"].copy(),
        "risk_coverage": thin(curve),
        "classes": classifier.classes.copy(),
        "left_out": classifier.left_out.copy(),
    }


# What is asked for ---------------------------------------------------------------------------------------------------


def _check_demands(demands: Mapping[str, float | None], ontology: Any, ontology_ids: Any) -> None:
    given = {name: value for name, value in demands.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} all set the threshold; pass one of them.")
    for name, value in given.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name}={value!r} must lie above 0 and not above 1.")
    if ontology is not None and not given:
        raise ValueError(
            "ontology= is for cells whose label is unsure: say how sure a label must be with accuracy=, coverage= or "
            "confidence=."
        )
    if ontology is None and ontology_ids is not None:
        raise ValueError("ontology_ids= says which terms the labels are; pass ontology= too.")


def _get_classifier(
    adata: ad.AnnData,
    reference: Any,
    *,
    options: dict[str, Any],
    client: Any,
    check_space: bool,
) -> LabelClassifier:
    """The classifier that was given, or one that is fitted to the reference."""
    if isinstance(reference, str | os.PathLike):
        saved = is_saved_classifier(reference)
        reference = LabelClassifier.load(reference) if saved else open_anndata(Path(reference))
    if isinstance(reference, ad.AnnData):
        if options["labels"] is None:
            raise ValueError(
                f"labels= must name the column of reference.obs to transfer: {', '.join(map(repr, reference.obs))}."
            )
        names = ("adata", "reference")
        check_comparable(adata, reference, options["use_rep"], check_space=check_space, names=names)  # before the work
        return LabelClassifier.fit(reference, **options, client=client)
    if not isinstance(reference, LabelClassifier):
        raise TypeError(f"reference is a {type(reference).__name__}; pass an AnnData, a path or a LabelClassifier.")
    defaults = {name: p.default for name, p in inspect.signature(transfer_labels).parameters.items()}
    ours = {"use_rep", *(() if isinstance(options["ontology_ids"], str) else ("ontology_ids",))}
    for name, value in options.items():
        fitted = reference.params.get(name) or None  # "" and 0 stand for None, which no file holds
        if name not in ours and value is not defaults[name] and value != defaults[name] and value != fitted:
            raise ValueError(
                f"{name}={value!r} is for fitting, and the reference is a classifier that is fitted already"
                f"{f', with {name}={fitted!r}' if fitted is not None else ''}. Leave it out."
            )
    return reference


def _get_ladders(classifier: LabelClassifier, ontology: nx.DiGraph, ontology_ids: Any) -> tuple[Ladders, list[str]]:
    """Terms above each label, and the term of each label (``""`` for none)."""
    names = classifier.classes.index
    by_class = ontology_ids is None or isinstance(ontology_ids, str)
    given = stated_terms(classifier.classes["ontology_id"] if by_class else ontology_ids)
    if not any(name in given for name in names):
        if ontology_ids is not None:
            raise ValueError(f"ontology_ids= has a term for none of the labels {', '.join(map(repr, names[:10]))}.")
        given = {name: name for name in names}
    terms = {name: given[name] for name in names if name in given}
    resolved = resolve_terms(ontology, terms.values(), what="terms of labels (ontology_ids=)")
    ids = [resolved[terms[name]] if name in terms else "" for name in names]
    return make_ladders(ontology, list(names), ids), ids


def _held_out_curve(classifier: LabelClassifier, ladders: Ladders | None) -> pd.DataFrame:
    proba, truth = np.asarray(classifier.held_out["probability"], np.float64), np.asarray(classifier.held_out["label"])
    best = proba.argmax(axis=1)
    if ladders is None:
        return risk_coverage(proba.max(axis=1)[:, None], (best == truth)[:, None])
    values, terms = climb(proba, best, ladders)
    return risk_coverage(values, right_steps(truth, best, terms, ladders))
