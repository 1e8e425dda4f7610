"""A classifier of cells by their embeddings, fitted once and applied to any number of cells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, get_modalities
from univerce.embeddings.cells import Cells
from univerce.embeddings.classifiers import CLASSIFIERS, Classifier, Search, assign_folds, held_out_log_proba
from univerce.embeddings.space import EmbeddingInfo, Space
from univerce.io.atomic import replacing
from univerce.io.files import open_anndata
from univerce.io.workers import find_client, map_rows
from univerce.tl.labels.calibration import (
    Calibrated,
    cross_fitted,
    expected_error,
    fit_temperature,
    reliability,
    soften,
)
from univerce.tl.labels.reference import choose_cells, class_colors, class_terms, count_labels, get_batches

if TYPE_CHECKING:
    from mudata import MuData

_STORED = "label_classifier"
_FORMAT = 2


@dataclass(frozen=True, eq=False)
class LabelClassifier:
    """A calibrated classifier of labels in the space of an embedding. Use :meth:`fit` to make one.

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
    """Labels that can be predicted (index), with ``n_cells`` of the reference, ``n_used`` of them, ``color`` and
    ``ontology_id`` (``""`` for none)."""
    left_out: pd.DataFrame
    """Labels with too few cells, with ``n_cells``."""
    params: Mapping[str, Any]
    """Options of :meth:`fit`, the temperature, and ``n_dims`` of the embedding."""
    space: Space | None
    """Model and gene tables of the embedding; ``None`` if the reference does not record them."""
    scores: Mapping[str, Any]
    """Scores of the held-out cells: ``accuracy``, ``macro_f1``, ``ece_before`` and ``ece_after`` calibration,
    ``n_cells``, ``n_never_held_out`` (cells whose label is in one batch only), and the table ``reliability``."""
    held_out: Mapping[str, np.ndarray]
    """Calibrated ``probability`` [n_cells, n_classes] of the held-out cells and their true ``label``, a row of
    ``classes``."""
    model: Classifier
    """The fitted model. Not part of the interface."""

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
        balanced: bool = False,
        knn_options: Mapping[str, Any] | None = None,
        min_cells: int = 10,
        max_cells: int | None = 1000,
        n_folds: int = 5,
        mod: str | None = None,
        rng: int | np.random.Generator = 0,
        client: Any = None,
    ) -> Self:
        """Fit and calibrate a classifier.

        The cells are divided into folds, by batch if ``batch_key`` is given. A classifier fitted on the other
        folds predicts each fold. These held-out cells set the temperature of the probabilities and the scores. The
        final classifier is then fitted on all folds.

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
            Column of ``obs`` with the batch or donor, to hold out whole batches and calibrate for cells of another one.
        ontology_ids
            Ontology term of each label: a column of ``obs``, or a mapping from label to term.
        balanced
            Weigh all labels the same, however many cells they have; ``"centroid"`` always does. Otherwise rare labels
            are predicted rarely, which is correct if the query has the composition of the reference.
        knn_options
            Options of ``method="knn"``: ``n_neighbors`` (15), and ``search``: ``"exact"``, or ``"ivf"`` or ``"hnsw"``
            for an index of faiss (``pip install "univerce[faiss]"``), tuned to find 98 % of the neighbors. Held-out
            cells are always compared exactly.
        min_cells
            Labels with fewer cells are left out; at least 2.
        max_cells
            Most cells per label, subsampled by the hash of their names; ``None`` uses all.
        n_folds
            Folds of the held-out cells; at most as many as there are batches.
        mod
            Modality, if ``reference`` is a MuData.
        rng
            Seed of the folds and the subsample, or a generator that is drawn from once.
        client
            A ``dask.distributed.Client``, whose workers read a reference on disk. The classifier is fitted here.

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
        options = _check_options(method, knn_options or {}, min_cells=min_cells, max_cells=max_cells, n_folds=n_folds)
        seed, client = as_seed(rng), find_client(client, None)
        (reference,) = get_modalities(mod, reference)
        if not isinstance(reference, ad.AnnData):
            reference = open_anndata(Path(reference))
        cells = Cells.read(reference, use_rep, name="reference", client=client)
        codes, classes, left_out = count_labels(cells, groupby, min_cells=min_cells)
        rows = choose_cells(codes, cells.names, max_cells=max_cells, seed=seed)
        x, y = cells.rows(rows), codes[rows]
        classes["n_used"] = np.bincount(y, minlength=len(classes))
        classes["color"] = class_colors(reference, groupby, classes.index)
        classes["ontology_id"] = class_terms(cells, ontology_ids, codes, classes.index)
        folds = assign_folds(y, None if batch_key is None else get_batches(cells, batch_key, rows), n_folds, seed)

        options["balanced"] = balanced
        log_proba = np.full((len(y), len(classes)), np.nan)
        with tqdm(total=len(np.unique(folds)) + 1, unit="fit", desc="fit", disable=not settings.progress) as bar:
            for fold, values in held_out_log_proba(method, x, y, len(classes), folds, **options | {"search": "exact"}):
                log_proba[fold] = values
                bar.update()
            held = ~np.isnan(log_proba).any(axis=1)
            if not held.any():
                raise ValueError(
                    "No cell of the reference can be held out: every label occurs in one value of "
                    f"reference.obs[{batch_key!r}] only. Leave batch_key= out."
                )
            model = CLASSIFIERS[method].fit(x, y, len(classes), **options)
            bar.update()
        log_proba, truth = log_proba[held], y[held]
        proba = cross_fitted(log_proba, truth, folds[held])
        params = {
            "groupby": groupby, "method": method, "use_rep": use_rep, "n_dims": cells.n_dims,
            "batch_key": batch_key or "", "min_cells": min_cells, "max_cells": max_cells or 0,
            "n_folds": len(np.unique(folds)), "seed": seed, "temperature": fit_temperature(log_proba, truth), **options,
        }  # fmt: skip
        scores = _scores(soften(log_proba, 1.0), proba, truth) | {"n_never_held_out": int((~held).sum())}
        held_out = {"probability": proba.astype(np.float32), "label": truth}
        return cls(classes, left_out, params, cells.space, scores, held_out, model)

    @property
    def info(self) -> EmbeddingInfo:
        """Width and space of the embedding, to compare with those of a query."""
        return EmbeddingInfo(int(self.params["n_dims"]), self.space, self.params["use_rep"], "reference")

    @property
    def calibrated(self) -> Calibrated:
        """The fitted model with its temperature. Not part of the interface."""
        return Calibrated(self.model, float(self.params["temperature"]))

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
        for rows, known, proba in iter_proba(self, embedding):
            out[rows][known] = proba
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier as an AnnData whose observations are the classes.

        Parameters
        ----------
        path
            Name that ends in ``.h5ad``; ``ValueError`` otherwise. An existing file is replaced once all is written.
        """
        path = Path(path)
        if path.suffix != ".h5ad":
            raise ValueError(f"path={str(path)!r} must end in .h5ad: a classifier is saved as an AnnData.")
        content = {
            "format": _FORMAT,
            "params": dict(self.params),
            "space": {} if self.space is None else self.space.to_uns(),
            "left_out": self.left_out,
            "scores": dict(self.scores),
            "held_out": dict(self.held_out),
            "model": {f.name: getattr(self.model, f.name) for f in fields(self.model)},
        }
        with replacing(path) as part:
            ad.AnnData(obs=self.classes, uns={_STORED: content}).write_h5ad(part, compression="gzip")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a classifier that :meth:`save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        The classifier. It predicts the same bytes.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it holds something else.
        """
        if not Path(path).exists():
            raise FileNotFoundError(f"There is no classifier at {str(path)!r}.")
        if not is_saved_classifier(path):
            raise ValueError(f"{str(path)!r} is not a saved classifier; write one with LabelClassifier.save.")
        adata = ad.read_h5ad(path)
        content = _plain(adata.uns[_STORED])
        if content["format"] != _FORMAT:
            raise ValueError(
                f"{str(path)!r} was saved in format {content['format']}; this version reads {_FORMAT}. Fit it again."
            )
        model = CLASSIFIERS[content["params"]["method"]](**content["model"])
        classes = adata.obs.assign(**{c: adata.obs[c].astype(str).astype(object) for c in ("color", "ontology_id")})
        return cls(
            classes, content["left_out"], content["params"], Space.find(content, "space"), content["scores"],
            content["held_out"], model,
        )  # fmt: skip


def iter_proba(classifier: LabelClassifier, values: Any) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rows of each block, which of them have an embedding, and the probabilities of those in float64."""
    for rows, (known, proba) in map_rows(classifier.calibrated.known_proba, values, name="predict_proba"):
        yield rows, known, proba


def is_saved_classifier(path: Any) -> bool:
    """Whether :meth:`LabelClassifier.save` wrote the file."""
    import h5py

    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return f"uns/{_STORED}/format" in file


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Plain dictionaries and numbers of what was read from a file."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value.item() if isinstance(value, np.generic) else value
        for key, value in tree.items()
    }


def _check_options(
    method: str, knn_options: Mapping[str, Any], *, min_cells: int, max_cells: int | None, n_folds: int
) -> dict[str, Any]:
    """Check the options, and fill in the defaults of ``knn_options``."""
    options: dict[str, Any] = {"n_neighbors": 15, "search": "exact"} | dict(knn_options)
    for name, value, known in (("method", method, CLASSIFIERS), ("search", options["search"], get_args(Search))):
        if value not in known:
            raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(known)}.")
    if unknown := set(options) - {"n_neighbors", "search"}:
        raise ValueError(f"knn_options has {unknown.pop()!r}; its options are n_neighbors and search.")
    if knn_options and method != "knn":
        raise ValueError(f"knn_options={dict(knn_options)} is for method='knn', not for method={method!r}.")
    check_whole("n_neighbors", options["n_neighbors"], 1)
    check_whole("min_cells", min_cells, 2)
    check_whole("n_folds", n_folds, 2)
    check_whole("max_cells", 2 if max_cells is None else max_cells, 2)
    return options


def _scores(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Scores of held-out cells; labels that cannot be held out do not count."""
    from sklearn.metrics import f1_score

    best = after.argmax(axis=1)
    tables = [reliability(p.max(axis=1), best == truth) for p in (before, after)]
    return {
        "accuracy": float((best == truth).mean()),
        "macro_f1": float(f1_score(truth, best, labels=np.unique(truth), average="macro", zero_division=0)),
        "ece_before": expected_error(tables[0]),
        "ece_after": expected_error(tables[1]),
        "n_cells": len(truth),
        "reliability": tables[1],
    }
