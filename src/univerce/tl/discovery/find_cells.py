"""Find the cells of an atlas that resemble a labeled cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import Cells
from univerce.tl.discovery._positives import Detector, fit_detector, label_cells, read
from univerce.tl.discovery._thresholds import precision_recall, scores_at, threshold_of_precision
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.label_classifier import iter_proba

if TYPE_CHECKING:
    from mudata import MuData

_ABUNDANCE = ("data_set", "tissue")
ALL = "all"


@document
def find_cells(
    adata: ad.AnnData | MuData,
    positives: ad.AnnData | MuData | str | os.PathLike[str],
    *,
    groupby: str | None = None,
    groups: str | Sequence[str] | None = None,
    negatives: ad.AnnData | MuData | str | os.PathLike[str] | None = None,
    mod: str | None = None,
    use_rep: str = X_UCE,
    abundance_by: str | Sequence[str] | None = None,
    threshold: float | Mapping[str, float] = 0.5,
    prevalence: float | None = None,
    fit_options: Mapping[str, Any] | None = None,
    key_added: str = "found",
    check_space: bool = True,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Find cells like a labeled cluster in an atlas, and rank where they are abundant (Rosen et al. 2026).

    The paper found Norn cells this way. A logistic classifier is fitted to the cluster (positives) and all other
    labeled cells (negatives), every cell of the atlas gets a calibrated probability, and data sets and tissues are
    ranked by their share of found cells. Calibration and threshold come from held-out cells.

    The share of found cells overestimates a rare type. Compare it with the false positive rate, the share to expect in
    a data set without any such cell, and check the genes with :func:`univerce.tl.marker_fold_changes`.

    Parameters
    ----------
    adata
        Cells to search, for example an atlas from :func:`univerce.atlas.open`; the embedding is read in blocks. Cells
        that are also among the positives are found more easily.
    positives
        Labeled cells with an embedding: AnnData, or the path of an ``.h5ad`` or ``.zarr``.
    groupby, groups
        Column of ``positives.obs``, and its label or labels of positives. Cells with other labels are negatives, cells
        without a label neither. ``None``: all cells are positives, and ``negatives`` is required.
    negatives
        Further negatives: AnnData or path.
    %(mod, use_rep)s
    abundance_by
        Column or columns of ``adata.obs`` to count found cells by; ``None`` takes ``data_set`` and ``tissue`` where
        they exist.
    threshold
        Probability from which a cell is found, or ``{"precision": 0.9}`` for the lowest threshold with this precision
        on held-out cells, at ``prevalence``.
    prevalence
        Expected share of positives in ``adata``, which probabilities and precision depend on. ``None`` takes the share
        among the labeled cells.
    fit_options
        Options of the fit: ``batch_key`` (column of ``obs`` whose values are held out as a whole, default ``None``),
        ``max_cells`` (most positives and most negatives to fit on, default 5000; ``None`` takes all), ``n_folds``
        (default 5) and ``rng`` (default 0).
    key_added
        Start of the keys of the results.
    %(check_space, copy)s

    Returns
    -------
    ``None``, or the changed copy if ``copy``. Writes to ``adata``:

    ``obs[f"{key_added}_score"]``
        Calibrated probability of a positive, float32; NaN for cells without an embedding.
    ``obs[key_added]``
        Whether the cell is found; False for cells without an embedding.
    ``uns[key_added]["table"]``
        Abundances, the highest share first within each column: ``by`` (the column; ``"all"`` in the first row, which
        counts all cells), ``group``, ``n_cells`` (with an embedding), ``n_found``, ``share`` with its 95 % Wilson
        interval ``low`` and ``high``, and ``mean_score``.
    ``uns[key_added]["scores"]``
        On held-out cells: ``precision`` (at the prevalence), ``recall`` and ``false_positive_rate`` at the threshold,
        ``average_precision``, ``calibration_error``, ``n_positives`` and ``n_negatives``.
    ``uns[key_added]["params"]``
        Parameters, with the threshold and the prevalence.

    Raises
    ------
    KeyError
        If an embedding, a column or the record of a space does not exist.
    ValueError
        If there are fewer than five positives or negatives, the precision is out of reach, the spaces differ, or an
        option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, known = cells[::2].copy(), cells[1::2].copy()
    >>> uc.tl.find_cells(adata, known, groupby="cell_type", groups="Dendritic", abundance_by="phase")
    >>> bool(adata.obs.loc[adata.obs["found"], "cell_type"].eq("Dendritic").mean() > 0.8)
    True
    """
    cutoff, precision = _threshold(threshold)
    _check_share("prevalence", prevalence)
    data = adata.copy() if copy else adata
    adata, positives, negatives = get_modalities(mod, data, positives, negatives)
    check_writable(adata)
    cells = Cells.read(adata, use_rep)
    by = [key for key in _ABUNDANCE if key in adata.obs] if abundance_by is None else abundance_by
    columns = {key: cells.labels(key) for key in ([by] if isinstance(by, str) else by)}
    sources = label_cells(read(positives), None if negatives is None else read(negatives), groupby, groups, use_rep)
    for source in sources:
        cells.check_comparable(source.cells, check_space=check_space)

    detector = fit_detector(sources, fit_options)
    prior = detector.prevalence if prevalence is None else float(prevalence)
    curve = precision_recall(detector.held_out_scores(prior), detector.is_positive, prior)
    cutoff = cutoff if precision is None else threshold_of_precision(curve, precision)
    score = _scan(cells, detector, prior)
    with np.errstate(invalid="ignore"):
        is_found = score >= cutoff

    adata.obs[f"{key_added}_score"] = score.astype(np.float32)
    adata.obs[key_added] = is_found
    wanted = [] if groups is None else [groups] if isinstance(groups, str) else groups
    adata.uns[key_added] = {
        "params": {
            "use_rep": use_rep, "groupby": groupby or "", "groups": np.array([str(g) for g in wanted], dtype=object),
            "batch_key": (fit_options or {}).get("batch_key") or "", "precision": precision or "",
            "threshold": cutoff, "prevalence": prior, "seed": int(detector.classifier.params["seed"]),
            "univerce_version": __version__,
        },
        "scores": {
            **scores_at(curve, cutoff),
            "average_precision": float(np.sum(np.diff(curve["recall"], prepend=0) * curve["precision"])),
            "calibration_error": expected_error(reliability(detector.held_out, detector.is_positive)),
            "n_positives": detector.n_positives, "n_negatives": detector.n_negatives,
        },
        "table": _abundance(columns, score, is_found),
    }  # fmt: skip
    return data if copy else None


def _threshold(threshold: float | Mapping[str, float]) -> tuple[float, float | None]:
    """The threshold, and the precision that replaces it."""
    if not isinstance(threshold, Mapping):
        _check_share("threshold", threshold)
        return float(threshold), None
    if set(threshold) != {"precision"}:
        raise ValueError(f'threshold={dict(threshold)!r} must be a number or a mapping such as {{"precision": 0.9}}.')
    _check_share("precision", threshold["precision"])
    return 0.5, float(threshold["precision"])


def _check_share(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise ValueError(f"{name}={value!r} must lie between 0 and 1.")


def _scan(cells: Cells, detector: Detector, prevalence: float) -> np.ndarray:
    """``[n_obs]`` float64 probability of a positive; NaN without an embedding."""
    score = np.full(len(cells), np.nan)
    with tqdm(total=len(cells), unit="cell", desc="scan", disable=not settings.progress) as bar:
        for rows, known, probability in iter_proba(detector.classifier, cells.values):
            score[rows.start + np.flatnonzero(known)] = detector.score(probability, prevalence)
            bar.update(len(known))
    return score


def _abundance(columns: Mapping[str, pd.Categorical], score: np.ndarray, is_found: np.ndarray) -> pd.DataFrame:
    """Found cells per group; groups without an embedding have shares of NaN."""
    from statsmodels.stats.proportion import proportion_confint

    parts = []
    for by, labels in ({ALL: pd.Categorical([ALL] * len(score))} | dict(columns)).items():
        cells = pd.DataFrame({"group": labels, "known": ~np.isnan(score), "found": is_found, "score": score})
        grouped = cells.groupby("group", observed=False)
        part = grouped.agg(n_cells=("known", "sum"), n_found=("found", "sum"), mean_score=("score", "mean"))
        n_cells = part["n_cells"].where(part["n_cells"] > 0).to_numpy(float)
        part["share"] = part["n_found"] / n_cells
        part["low"], part["high"] = proportion_confint(part["n_found"].to_numpy(float), n_cells, method="wilson")
        part = part.reset_index().astype({"group": str}).assign(by=by)
        parts.append(part.sort_values(["share", "low"], ascending=False, kind="stable"))
    table = pd.concat(parts)[["by", "group", "n_cells", "n_found", "share", "low", "high", "mean_score"]]
    return table.reset_index(drop=True).rename(index=str)
