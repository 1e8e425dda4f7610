"""Options of fitting a classifier and of transferring labels, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd

from univerce._validate import check_whole
from univerce.embeddings.classifiers import CLASSIFIERS, Search
from univerce.embeddings.labels import given_labels
from univerce.tl.labels.prior import Prior

FIT_OPTIONS = (
    "method", "batch_key", "ontology_ids", "prior", "knn_options", "min_cells", "max_cells", "n_folds", "rng",
)  # fmt: skip
"""Parameters of :meth:`LabelClassifier.fit` that are not also those of a transfer."""


def check_options(
    method: str, knn_options: Mapping[str, Any], prior: str, *, min_cells: int, max_cells: int | None, n_folds: int
) -> dict[str, Any]:
    """Check the options, and fill in the defaults of ``knn_options``."""
    options: dict[str, Any] = {"n_neighbors": 15, "search": "exact"} | dict(knn_options)
    for name, value, known in (
        ("method", method, CLASSIFIERS),
        ("search", options["search"], get_args(Search)),
        ("prior", prior, get_args(Prior)),
    ):
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


def check_fit_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of :meth:`LabelClassifier.fit` for a transfer; ``ValueError`` for another name."""
    options = dict(options or {})
    if unknown := sorted(set(options) - set(FIT_OPTIONS)):
        raise ValueError(f"fit_options has no {unknown[0]!r}; its keys are {', '.join(map(repr, FIT_OPTIONS))}.")
    return options


def check_fitted(options: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if options differ from those of a fitted classifier; ``None`` is not asked for."""
    for name, value in options.items():
        fitted = params.get(name) or None  # "" stands for None
        if value not in (None, fitted):
            raise ValueError(
                f"{name}={value!r} is an option of fitting, but the reference is a classifier that is already fitted"
                f"{f', with {name}={fitted!r}' if fitted else ''}. Leave it out."
            )


def check_rule(threshold: Any, label_set: Any, ontology: Any) -> dict[str, float]:
    """The requested confidence, accuracy, coverage or coverage of sets, or nothing."""
    if label_set is not None:
        if threshold is not None:
            raise ValueError("threshold= and label_set= are two rules for uncertain cells; pass one of them.")
        check_share("label_set", label_set, label_set, below_one=True)
        return {"label_set": float(label_set)}
    if threshold is None:
        if ontology is not None:
            raise ValueError("ontology= is for uncertain cells; pass threshold= or label_set= too.")
        return {}
    asked = dict(threshold) if isinstance(threshold, Mapping) else {"confidence": threshold}
    if len(asked) != 1 or (isinstance(threshold, Mapping) and not asked.keys() <= {"accuracy", "coverage"}):
        raise ValueError(
            f"threshold={threshold!r} is not known; pass a confidence such as 0.5, {{'accuracy': 0.9}} or "
            "{'coverage': 0.9}."
        )
    ((name, value),) = asked.items()
    check_share("threshold", threshold, value)
    return {name: float(value)}


def check_share(name: str, given: Any, value: Any, *, below_one: bool = False) -> None:
    """Raise ``ValueError`` unless the value is above 0 and at most 1, or below."""
    number = not isinstance(value, bool) and isinstance(value, int | float | np.number)
    if not number or not 0 < value <= 1 or (below_one and value == 1):
        raise ValueError(f"{name}={given!r} must be above 0 and {'below' if below_one else 'at most'} 1.")


def check_allowed(allowed: Sequence[str] | None, labels: pd.Index) -> list[str] | None:
    """The labels as text; ``ValueError`` unless two or more labels of the reference are allowed, and no other."""
    if allowed is None:
        return None
    names = given_labels(allowed)
    known = f"its labels are {', '.join(map(repr, labels[:20]))}"
    if wrong := [name for name in names if name not in labels]:
        raise ValueError(f"allowed= names {', '.join(map(repr, wrong[:5]))}, which the reference lacks; {known}.")
    if len(set(names)) < 2:
        raise ValueError(f"allowed={allowed!r} leaves fewer than two labels; {known}.")
    return names
