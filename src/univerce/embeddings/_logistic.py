"""Coefficients of logistic regression on centered cells, divided by one number: by scikit-learn, or in blocks.

Cells ``x`` ``[n, n_dims]`` may be float16. Only blocks of them are converted, and only the ``kept`` rows are read.
"""

from __future__ import annotations

import warnings

import numpy as np

from univerce.io.workers import blocks_of_rows

MAX_ITER = 1000
_BLOCK_ROWS = 4096


def center_and_spread(x: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, float]:
    """``[n_dims]`` mean of cells, and the square root of the mean variance of their columns, 1 if all are constant."""
    blocks = [kept[part] for part in blocks_of_rows(len(kept), _BLOCK_ROWS)]
    mean = sum(x[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / len(kept)
    center = mean.astype(np.float32)
    squares = sum(np.square(x[rows] - center).sum(dtype=np.float64) for rows in blocks)
    return mean, float(np.sqrt(squares / (len(kept) * x.shape[1]))) or 1.0


def fit_whole(x: np.ndarray, y: np.ndarray, mean: np.ndarray, *, balanced: bool) -> tuple[np.ndarray, float]:
    """Fit by scikit-learn in float64; ``balanced`` gives all classes the same weight.

    Returns ``[n_classes, n_dims + 1]`` coefficients and intercepts, and by what the centered cells were divided.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    centered = x - mean
    scale = np.sqrt(np.mean(np.einsum("nd,nd->n", centered, centered)) / x.shape[1]) or 1.0
    centered /= scale
    fitted = LogisticRegression(max_iter=MAX_ITER, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations change no prediction
        fitted.fit(centered, y)
    found = np.column_stack([fitted.coef_, fitted.intercept_])
    if len(found) == 1:  # of two classes scikit-learn keeps the odds of the second
        found = np.vstack([np.zeros_like(found), found])
    return found, float(scale)


def fit_blocks(
    x: np.ndarray, y: np.ndarray, kept: np.ndarray, mean: np.ndarray, scale: float, *, start: np.ndarray | None,
    tol: float, balanced: bool = False,
) -> np.ndarray:  # fmt: skip
    """Fit the same model in float32: in half the time, without arrays of cells by classes.

    ``x`` is ``[n, n_dims]``, of which ``kept`` ``[n_kept]`` rows have the classes ``y``, from 0 without gaps. ``mean``
    is subtracted, ``scale`` divided by. The result, coefficients and intercepts ``[n_classes, n_dims + 1]``, is sought
    from ``start`` (None: zeros) until no absolute gradient of the mean loss exceeds ``tol``.
    """
    from scipy.optimize import minimize

    n, d, k = len(kept), x.shape[1], int(y.max()) + 1
    center, gain = mean.astype(np.float32), np.float32(1 / scale)
    weights = n / (k * np.bincount(y)) if balanced else np.ones(k)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        coef = flat.reshape(k, d + 1)
        weight, intercept = coef[:, :d].T.astype(np.float32), coef[:, d].astype(np.float32)
        total, gradient = 0.0, np.zeros((k, d + 1))
        for rows in blocks_of_rows(n, _BLOCK_ROWS):
            block = x[kept[rows]].astype(np.float32)
            block -= center
            block *= gain
            own, counted = (np.arange(len(block)), y[rows]), weights[y[rows]]
            proba = block @ weight + intercept
            proba -= proba.max(axis=1, keepdims=True)
            total -= float(np.dot(counted, proba[own]))
            np.exp(proba, out=proba)
            sums = proba.sum(axis=1)
            total += float(np.dot(counted, np.log(sums)))
            proba /= sums[:, None]
            proba[own] -= 1
            if balanced:
                proba *= counted[:, None]
            gradient[:, :d] += proba.T @ block
            gradient[:, d] += proba.sum(axis=0, dtype=np.float64)
        if k == 2:  # only the odds of the second, as scikit-learn
            gradient[0] = 0
        gradient[:, :d] += coef[:, :d]  # L2 penalty of one on the coefficients, as the default of scikit-learn
        return (total + float(np.square(coef[:, :d]).sum()) / 2) / n, gradient.ravel() / n

    begin = np.zeros((k, d + 1)) if start is None else start - start[0] * (k == 2)
    options = {"maxiter": MAX_ITER, "maxls": 50, "gtol": tol, "ftol": 64 * np.finfo(np.float64).eps}  # as scikit-learn
    return np.asarray(minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", options=options).x).reshape(k, d + 1)
