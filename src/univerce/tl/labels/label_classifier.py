"""A classifier of cells by their embeddings, fitted once and applied to any number of cells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import progress_bar
from univerce._validate import as_path, as_seed, get_modalities
from univerce.embeddings.cells import Cells, fingerprints
from univerce.embeddings.classifiers import CLASSIFIERS, Classifier, assign_folds, held_out_models
from univerce.embeddings.space import EmbeddingInfo, Space
from univerce.io.files import open_anndata
from univerce.io.workers import find_client, map_rows
from univerce.tl.labels._held_out import ENOUGH, HeldOut, hold_out
from univerce.tl.labels._options import check_options
from univerce.tl.labels._prepare import Prepared, prepare
from univerce.tl.labels._stored import parts_of, read_content, write_content
from univerce.tl.labels.calibration import Calibration
from univerce.tl.labels.novelty import Novelty
from univerce.tl.labels.prior import Prior, target_shares
from univerce.tl.labels.reference import (
    choose_cells,
    class_colors,
    class_terms,
    count_batches,
    count_labels,
    get_batches,
)

if TYPE_CHECKING:
    from mudata import MuData


@dataclass(frozen=True, eq=False)
class LabelClassifier:
    """A calibrated classifier of labels in the space of an embedding, created by :meth:`fit`.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> classifier = uc.tl.LabelClassifier.fit(adata, groupby="cell_type")
    >>> classifier.predict_proba(adata.obsm["X_uce"]).shape == (adata.n_obs, len(classifier.classes))
    True
    >>> classifier.save("blood.h5ad")
    >>> uc.tl.LabelClassifier.load("blood.h5ad").params["method"]
    'logistic'
    """

    classes: pd.DataFrame
    """Labels that can be predicted (index), with ``n_cells`` of the reference, ``n_used`` of them, ``n_batches`` they
    come from, ``n_held_out`` of them, ``precision``, ``recall`` and ``f1`` of these, ``color`` and ``ontology_id``
    (``""`` for none)."""
    left_out: pd.DataFrame
    """Labels with too few cells, with ``n_cells``."""
    params: Mapping[str, Any]
    """Options of :meth:`fit`, the temperature, and ``n_dims`` of the embedding."""
    space: Space | None
    """Model and gene tables of the embedding; ``None`` if the reference does not record them."""
    scores: Mapping[str, Any]
    """Scores of the held-out cells: ``accuracy``, ``top_3_accuracy``, ``macro_f1``, ``ece_before`` and ``ece_after``
    calibration, ``n_cells``, ``n_never_held_out`` (cells whose label is in one batch only), and the table
    ``reliability``."""
    held_out: Mapping[str, np.ndarray]
    """Held-out cells: ``probability`` [n_cells, n_classes] at the shares of the fitted cells (of many cells the largest
    eight), the same ``uncalibrated``, true ``label`` (a row of ``classes``), ``fold`` and ``batch``."""
    model: Classifier
    """The fitted model. Not part of the interface."""
    calibration: Calibration
    """Temperature, and for some methods a factor and a bias for each label. Not part of the interface."""
    novelty: Novelty
    """Centroids of the labels and distances to them. Not part of the interface."""
    seen: np.ndarray
    """``[n_cells]`` sorted hashes of the fitted cells. Not part of the interface."""

    def __repr__(self) -> str:
        p, scores = self.params, self.scores
        return (
            f"LabelClassifier: {len(self.classes)} labels of {p['groupby']!r} by {p['method']} on "
            f"obsm[{p['use_rep']!r}]; {float(scores['accuracy']):.1%} of {int(scores['n_cells']):,} held-out cells "
            f"correct, calibration error {float(scores['ece_after']):.3f}"
        )

    @classmethod
    @document
    def fit(
        cls,
        reference: ad.AnnData | MuData | str | os.PathLike[str],
        *,
        groupby: str,
        method: Literal["logistic", "knn", "centroid"] = "logistic",
        use_rep: str = X_UCE,
        batch_key: str | None = None,
        ontology_ids: str | Mapping[str, str] | None = None,
        prior: Prior = "reference",
        knn_options: Mapping[str, Any] | None = None,
        min_cells: int = 10,
        max_cells: int | None = 1000,
        n_folds: int = 5,
        mod: str | None = None,
        rng: int | np.random.Generator = 0,
        client: Any = None,
    ) -> Self:
        """Fit and calibrate a classifier.

        Cells are split into folds, by batch if ``batch_key`` is given, and each fold is predicted by a classifier
        fitted to the others. These held-out predictions determine the calibration and the scores: a temperature, and
        for ``"knn"`` and ``"centroid"`` also a factor and a bias for each label. The final classifier is fitted to all
        cells. At most 20,000 cells of a fold are held out, and without batches folds are fitted until there are as
        many.

        Parameters
        ----------
        reference
            AnnData with labels in ``obs`` and an embedding in ``obsm``, or the path of an ``.h5ad`` or ``.zarr``, such
            as an atlas, whose embedding is read in blocks. Expression is not needed.
        groupby
            Column of ``obs`` with the labels. Cells without one are left out.
        method
            ``"logistic"``: multinomial logistic regression on centered cells, all columns divided by one number.
            ``"knn"``: share of the votes of the nearest cells. ``"centroid"``: softmax of the negative squared
            distances to the mean of each label.
        %(use_rep)s
        batch_key
            Column of ``obs`` with the batch or donor. Whole batches are held out, so that confidences are calibrated
            for new batches.
        ontology_ids
            Ontology term of each label: a column of ``obs``, or a mapping from label to term.
        prior
            Shares of the labels among the cells to predict. ``"reference"``: as among all labeled cells of the
            reference, regardless of ``max_cells``. ``"uniform"``: all labels are equally likely, which finds rare
            labels at the expense of common ones. ``"query"``: estimated from the cells to predict, by EM (Saerens et
            al. 2002).
        knn_options
            Options of ``method="knn"``: ``n_neighbors`` (15), and ``search``: ``"exact"``, or ``"ivf"``, ``"hnsw"``
            or ``"compressed"`` for an index of faiss (``pip install "univerce[faiss]"``), tuned to find 98 % of the
            neighbors of cells of the query. Held-out cells are always compared exactly.
        min_cells
            Labels with fewer cells are left out; at least 2.
        max_cells
            Maximum number of cells per label, subsampled by the hash of their names; ``None`` uses all.
        n_folds
            Folds of the held-out cells; at most as many as there are batches.
        mod
            Modality, if ``reference`` is a MuData.
        rng
            Seed or generator of the folds and the subsample.
        client
            A ``dask.distributed.Client``, whose workers read a reference on disk. The classifier is fitted in the
            calling process.

        Returns
        -------
        The classifier.

        Raises
        ------
        ValueError
            If fewer than two labels have enough cells, no cell can be held out, or an option is out of range.
        KeyError
            If a column or the embedding does not exist.
        """
        options = check_options(
            method, knn_options or {}, prior, min_cells=min_cells, max_cells=max_cells, n_folds=n_folds
        )
        seed, client = as_seed(rng), find_client(client, None)
        (reference,) = get_modalities(mod, reference)
        if not isinstance(reference, ad.AnnData):
            reference = open_anndata(Path(reference))
        cells = Cells.read(reference, use_rep, name="reference", client=client)
        codes, classes, left_out = count_labels(cells, groupby, min_cells=min_cells)
        rows = choose_cells(codes, cells.names, max_cells=max_cells, seed=seed)
        half = np.float16 if cells.values.dtype == np.float16 else np.float32  # as stored: half of the memory
        x, y, n_classes = cells.rows(rows, half), codes[rows], len(classes)
        batches = None if batch_key is None else get_batches(cells, batch_key, rows)
        classes["n_used"] = np.bincount(y, minlength=n_classes)
        classes["n_batches"] = count_batches(y, batches, classes.index)
        classes["color"] = class_colors(reference, groupby, classes.index)
        classes["ontology_id"] = class_terms(cells, ontology_ids, codes, classes.index)
        folds = assign_folds(y, batches, n_folds, seed)

        with progress_bar(total=len(np.unique(folds)) + 1, unit="fit", desc="fit") as bar:
            fits = held_out_models(method, x, y, n_classes, folds, max_rows=ENOUGH, **options | {"search": "exact"})
            calibration, held_out, held, last = hold_out(
                fits, x, y, folds, batches, by_class=method != "logistic", done=bar.update
            )
            if len(held) == 0:
                raise ValueError(
                    "No cell of the reference can be held out: every label occurs in one value of "
                    f"reference.obs[{batch_key!r}] only. Leave batch_key= out."
                )
            model = CLASSIFIERS[method].fit(x, y, n_classes, start=last, **options)
            bar.update(len(np.unique(folds)) + 1 - bar.n)
        found = HeldOut.read(held_out, classes, target_shares(classes, prior))
        classes = classes.assign(**found.by_label(n_classes).set_index(classes.index))
        n_never = int(classes["n_used"][classes["n_held_out"] == 0].sum())
        params = {
            "groupby": groupby, "method": method, "use_rep": use_rep, "n_dims": cells.n_dims,
            "batch_key": batch_key or "", "prior": prior, "min_cells": min_cells, "max_cells": max_cells or 0,
            "n_folds": len(np.unique(folds)), "seed": seed, "temperature": calibration.temperature, **options,
        }  # fmt: skip
        return cls(
            classes, left_out, params, cells.space,
            found.scores() | {"n_never_held_out": n_never}, held_out, model, calibration,
            Novelty.fit(x, y, n_classes, folds, np.isin(np.arange(len(y)), held)), np.unique(fingerprints(x)),
        )  # fmt: skip

    @property
    def info(self) -> EmbeddingInfo:
        """Width and space of the embedding, to compare with those of a query."""
        return EmbeddingInfo(int(self.params["n_dims"]), self.space, self.params["use_rep"], "reference")

    def predict_proba(self, embedding: Any) -> np.ndarray:
        """Predict calibrated probabilities, in blocks of rows.

        Parameters
        ----------
        embedding
            ``[n_cells, n_dims]`` in the space of the reference: numpy, zarr, HDF5 or dask.

        Returns
        -------
        ``[n_cells, n_classes]`` float32, in the order of ``classes``; NaN for cells without an embedding.

        Raises
        ------
        ValueError
            If the embedding has another width than the reference.
        """
        n_dims = self.params["n_dims"]
        if getattr(embedding, "ndim", 0) != 2 or embedding.shape[1] != n_dims:
            raise ValueError(
                f"The embedding is a {type(embedding).__name__} of shape {getattr(embedding, 'shape', None)}; the "
                f"reference of the classifier has {n_dims} columns. Embed both with the same model."
            )
        out = np.full((embedding.shape[0], len(self.classes)), np.nan, dtype=np.float32)
        for rows, known, proba, _ in iter_proba(self, embedding):
            out[rows][known] = proba
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier as an AnnData whose observations are the classes.

        Parameters
        ----------
        path
            Path ending in ``.h5ad``; ``ValueError`` otherwise. An existing file is replaced once the new one is
            complete.
        """
        path = as_path(path)
        if path.suffix != ".h5ad":
            raise ValueError(f"path={str(path)!r} must end in .h5ad: a classifier is saved as an AnnData.")
        content = {
            "params": dict(self.params),
            "space": {} if self.space is None else self.space.record,
            "left_out": self.left_out,
            "scores": dict(self.scores),
            "held_out": dict(self.held_out),
            "seen": self.seen,
        }
        parts = {name: parts_of(getattr(self, name)) for name in ("model", "calibration", "novelty")}
        write_content(path, self.classes, content | parts)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a classifier that :meth:`save` wrote.

        Parameters
        ----------
        path
            Path of the ``.h5ad`` that :meth:`save` wrote.

        Returns
        -------
        The classifier, with identical predictions.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is not a classifier.
        """
        classes, content = read_content(as_path(path))
        model = CLASSIFIERS[content["params"]["method"]](**content["model"])
        return cls(
            classes, content["left_out"], content["params"], Space.parse(content["space"]), content["scores"],
            content["held_out"], model, Calibration(**content["calibration"]), Novelty(**content["novelty"]),
            content["seen"],
        )  # fmt: skip


def iter_proba(classifier: LabelClassifier, values: Any) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Predict block by block.

    Rows of each block, which of them have an embedding, the probabilities of those in float64, and whether the
    classifier was fitted on them.
    """
    ready = prepare(classifier, values, prior=classifier.params["prior"])
    for rows, found in map_rows(partial(_proba_and_seen, ready, classifier.seen), values, name="predict_proba"):
        yield rows, *found


def _proba_and_seen(model: Prepared, seen: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known, proba = model.known_proba(block)
    return known, proba, np.isin(fingerprints(block[known]), seen)
