"""A classifier of cells by their embeddings, fitted once and used on any number of them."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, get_modalities
from univerce.embeddings.cells import check_comparable, gather, get_embedding
from univerce.embeddings.classifiers import CLASSIFIERS, Classifier, Search, assign_folds, held_out_log_proba
from univerce.io.cluster import find_client
from univerce.io.files import open_anndata
from univerce.io.ondisk import OnDisk
from univerce.io.rows import ROUNDED_ROWS, blocks_of_rows, map_rows
from univerce.tl.labels.calibration import cross_fitted, expected_error, fit_temperature, reliability, soften
from univerce.tl.labels.reference import (
    category_colors,
    choose_cells,
    class_terms,
    count_labels,
    get_batches,
    plain,
    recorded_space,
)

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
STORED = "label_classifier"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class LabelClassifier:
    """A calibrated classifier of labels in the space of an embedding; :meth:`fit` makes one.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> classifier = uc.tl.LabelClassifier.fit(adata, labels="cell_type")
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
    """Options of :meth:`fit`, the temperature, and what was recorded of the embedding."""
    scores: Mapping[str, Any]
    """Of held-out cells of the reference: ``accuracy``, ``macro_f1``, ``ece_before`` and ``ece_after`` calibration,
    ``n_cells``, ``n_never_held_out`` (their label is in one batch only), and the table ``reliability``."""
    held_out: Mapping[str, np.ndarray]
    """Calibrated ``probability`` [n_cells, n_classes] of the held-out cells and their true ``label``, a row of
    ``classes``."""
    model: Classifier
    """What was fitted; its form is not part of the interface."""

    def __repr__(self) -> str:
        p, scores = self.params, self.scores
        on = f"obsm[{p['use_rep']!r}]"
        return (
            f"LabelClassifier: {len(self.classes)} labels of {p['labels']!r} by {p['method']} on {on}; "
            f"{float(scores['accuracy']):.1%} of {int(scores['n_cells']):,} held-out cells right, calibration error "
            f"{float(scores['ece_after']):.3f}"
        )

    @classmethod
    def fit(
        cls,
        reference: ad.AnnData | MuData | str | os.PathLike[str],
        *,
        labels: str,
        method: Literal["logistic", "knn", "centroid"] = "logistic",
        mod: str | None = None,
        use_rep: str = X_UCE,
        batch: str | None = None,
        ontology_ids: str | Mapping[str, str] | None = None,
        balanced: bool = False,
        n_neighbors: int = 15,
        search: Search = "exact",
        min_cells: int = 5,
        max_cells: int | None = 1000,
        n_folds: int = 5,
        rng: int | np.random.Generator = 0,
        client: Any = None,
    ) -> Self:
        """Fit and calibrate a classifier.

        Parameters
        ----------
        reference
            AnnData with labels in ``obs`` and an embedding in ``obsm``, or the path of an ``.h5ad`` or ``.zarr``, an
            atlas for instance, whose embedding is read in blocks. Its expression is not needed.
        labels
            Column of ``obs``.
        method
            See :func:`univerce.tl.transfer_labels`, as for the following ones.
        mod
            Modality, when ``reference`` is a MuData.
        use_rep
            Key of the embedding in ``obsm``.
        batch
            Column of ``obs``.
        ontology_ids
            Column of ``obs``, or mapping from label to term.
        balanced
            Weigh all labels alike.
        n_neighbors
            Neighbors of ``method="knn"``.
        search
            How ``method="knn"`` looks for them.
        min_cells
            Fewest cells of a label, at least 2.
        max_cells
            Most cells of a label that are used; ``None`` uses all.
        n_folds
            Folds of the held-out cells.
        rng
            Seed, or a generator that is drawn from once.
        client
            A ``dask.distributed.Client``, whose workers read a reference that is on disk; the classifier is fitted
            here.

        Returns
        -------
        The classifier.

        Raises
        ------
        ValueError
            When fewer than two labels have enough cells, no cell can be held out, or an option is out of range.
        KeyError
            When there is no such column or embedding.
        """
        _check_options(
            method, search, min_cells=min_cells, max_cells=max_cells, n_folds=n_folds, n_neighbors=n_neighbors
        )
        seed = as_seed(rng)
        (reference,) = get_modalities(mod, reference)
        if not isinstance(reference, ad.AnnData):
            reference = open_anndata(Path(reference))
        rep = get_embedding(reference, use_rep, name="reference")
        client = find_client(client, None)
        readers = None if OnDisk.find(rep) is None else client
        codes, classes, left_out = count_labels(reference, labels, use_rep, min_cells=min_cells, client=readers)
        rows = choose_cells(codes, reference.obs_names, max_cells=max_cells, seed=seed)
        x, y = gather(rep, rows, client=readers), codes[rows]
        classes["n_used"] = np.bincount(y, minlength=len(classes))
        colors = category_colors(reference, labels)
        classes["color"] = [colors.get(name, "") for name in classes.index]
        classes["ontology_id"] = class_terms(reference, ontology_ids, codes, classes.index)
        groups = None if batch is None else get_batches(reference, batch, rows)

        options: dict[str, Any] = {"balanced": balanced, "n_neighbors": n_neighbors, "search": search}
        folds = assign_folds(y, groups, n_folds, seed)
        show = settings.progress
        log_proba = np.full((len(y), len(classes)), np.nan)
        with tqdm(total=len(np.unique(folds)) + 1, unit="fit", desc="fit", disable=not show) as bar:
            for held, values in held_out_log_proba(method, x, y, len(classes), folds, **options | {"search": "exact"}):
                log_proba[held] = values
                bar.update()
            held = ~np.isnan(log_proba).any(axis=1)
            if not held.any():
                raise ValueError(
                    f"No cell of the reference can be held out: no label occurs in two values of "
                    f"reference.obs[{batch!r}], so that none can be learned without its own batch. Leave batch= out."
                )
            model = CLASSIFIERS[method].fit(x, y, len(classes), **options)
            bar.update()
        log_proba, truth = log_proba[held], y[held]
        proba = cross_fitted(log_proba, truth, folds[held])
        params = {
            "labels": labels,
            "method": method,
            "use_rep": use_rep,
            "batch": batch or "",
            "min_cells": min_cells,
            "max_cells": max_cells or 0,
            "n_folds": len(np.unique(folds)),
            "seed": seed,
            "temperature": fit_temperature(log_proba, truth),
            "space": recorded_space(reference, use_rep),
            **options,
        }
        scores = _scores(soften(log_proba, 1.0), proba, truth) | {"n_never_held_out": int((~held).sum())}
        return cls(
            classes=classes,
            left_out=left_out,
            params=params,
            scores=scores,
            held_out={"probability": proba.astype(np.float32), "label": truth},
            model=model,
        )

    def predict_proba(self, embedding: Any) -> np.ndarray:
        """Calibrated probabilities of cells, read in blocks.

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
            When the embedding has another width than the reference.
        """
        _check_width(self, embedding)
        out = np.full((embedding.shape[0], len(self.classes)), np.nan, dtype=np.float32)
        for rows, known, proba in iter_proba(self, embedding):
            out[rows][known] = proba
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier as an AnnData whose observations are the classes.

        Parameters
        ----------
        path
            Name that ends in ``.h5ad``; what is there is replaced once all is written.

        Raises
        ------
        ValueError
            When ``path`` ends otherwise.
        """
        path = Path(path)
        if path.suffix != ".h5ad":
            raise ValueError(f"path={str(path)!r} must end in .h5ad: a classifier is saved as an AnnData.")
        content = {
            "format": _FORMAT,
            "params": dict(self.params),
            "left_out": self.left_out,
            "scores": dict(self.scores),
            "held_out": dict(self.held_out),
            "model": {f.name: getattr(self.model, f.name) for f in fields(self.model)},
        }
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            ad.AnnData(obs=self.classes, uns={STORED: content}).write_h5ad(temporary, compression="gzip")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        The classifier; it predicts the same bytes.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When it holds something else.
        """
        if not is_saved_classifier(path):
            if not Path(path).exists():
                raise FileNotFoundError(f"There is no classifier at {str(path)!r}.")
            raise ValueError(f"{str(path)!r} is no saved classifier; write one with LabelClassifier.save.")
        adata = ad.read_h5ad(path)
        content = adata.uns[STORED]
        if int(content["format"]) != _FORMAT:
            raise ValueError(
                f"{str(path)!r} was saved in format {content['format']}, this version reads {_FORMAT}. Fit it again."
            )
        params = plain(content["params"])
        model = CLASSIFIERS[params["method"]](**plain(content["model"]))
        classes = adata.obs.assign(**{c: adata.obs[c].astype(str).astype(object) for c in ("color", "ontology_id")})
        return cls(classes, content["left_out"], params, plain(content["scores"]), plain(content["held_out"]), model)


def check_cells(classifier: LabelClassifier, adata: ad.AnnData, use_rep: str, *, check_space: bool) -> None:
    """Raise unless the cells lie in the space of the classifier's reference."""
    n_dims, space = classifier.params["space"]["n_dims"], classifier.params["space"]["params"]
    shell = ad.AnnData(
        obs=pd.DataFrame(index=pd.Index([], dtype=str)),
        obsm={use_rep: np.empty((0, n_dims), dtype=np.float32)},
        uns={use_rep: {"params": space}},
    )
    check_comparable(adata, shell, use_rep, check_space=check_space, names=("adata", "reference"))


def iter_proba(classifier: LabelClassifier, rep: Any) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rows of a block, which of them have an embedding, and the probabilities of those, in float64."""
    for rows, (known, proba) in map_rows(block_proba(classifier, rep), rep, name="predict_proba"):
        yield rows, known, proba


def block_proba(classifier: LabelClassifier, rep: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What tells for a block of ``rep`` which rows have an embedding, and the probabilities of those, in float64."""
    _check_width(classifier, rep)
    return partial(_block_proba, classifier.model, float(classifier.params["temperature"]))


def _block_proba(model: Classifier, temperature: float, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(block).all(axis=1)
    parts = [model.log_proba(block[rows][known[rows]]) for rows in blocks_of_rows(len(block), ROUNDED_ROWS)]
    return known, soften(np.concatenate(parts), temperature)


def _check_width(classifier: LabelClassifier, rep: Any) -> None:
    n_dims = classifier.params["space"]["n_dims"]
    if getattr(rep, "ndim", 0) != 2 or rep.shape[1] != n_dims:
        raise ValueError(
            f"The embedding is a {type(rep).__name__} of shape {getattr(rep, 'shape', None)}; the reference of the "
            f"classifier has {n_dims} columns. Embed both with the same model."
        )


def is_saved_classifier(path: Any) -> bool:
    """Whether :meth:`LabelClassifier.save` wrote what is at ``path``."""
    import h5py

    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return f"uns/{STORED}/format" in file


def _check_options(method: str, search: str, *, max_cells: int | None, **least: int) -> None:
    if method not in CLASSIFIERS:
        raise ValueError(f"method={method!r} is not known; use one of {', '.join(CLASSIFIERS)}.")
    if search not in get_args(Search):
        raise ValueError(f"search={search!r} is not known; use one of {', '.join(get_args(Search))}.")
    if search != "exact" and method != "knn":
        raise ValueError(f"search={search!r} is for method='knn'; method={method!r} looks for no neighbors.")
    numbers = {**least, "max_cells": least["min_cells"] if max_cells is None else max_cells}
    for name, value in numbers.items():
        check_whole(name, value, 1 if name == "n_neighbors" else 2)


def _scores(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What held-out cells say of the classifier; labels that could not be held out do not count."""
    from sklearn.metrics import f1_score

    best = after.argmax(axis=1)
    right = best == truth
    tables = [reliability(p.max(axis=1), right) for p in (before, after)]
    return {
        "accuracy": float(right.mean()),
        "macro_f1": float(f1_score(truth, best, labels=np.unique(truth), average="macro", zero_division=0)),
        "ece_before": expected_error(tables[0]),
        "ece_after": expected_error(tables[1]),
        "n_cells": len(truth),
        "reliability": tables[1],
    }
