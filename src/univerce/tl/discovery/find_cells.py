"""Find the cells of an atlas that resemble a labeled cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import logger, progress_bar
from univerce._validate import check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import Cells
from univerce.embeddings.labels import given_labels
from univerce.tl.discovery._positives import Detector, fit_detector, label_cells, read
from univerce.tl.discovery._thresholds import (
    abundance,
    average_precision,
    count_rates,
    describe_rates,
    threshold_of_precision,
)
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
    labeled cells (negatives), and every cell of the atlas gets a calibrated probability. Data sets and tissues are
    ranked by the lower confidence bound of their fraction of found cells, so that small groups do not come first.
    Calibration and threshold are determined on held-out cells: those of the other folds, and all labeled cells that are
    not used in the fit.

    Rare types need many negatives: after 5,000 negatives without a false positive, the false positive rate may still be
    0.0007, and at a prevalence of 0.0001 most found cells may be wrong. All bounds hold for cells like the labeled
    ones. Check the genes with :func:`univerce.tl.marker_fold_changes`.

    Parameters
    ----------
    adata
        Cells to search, for example an atlas from :func:`univerce.atlas.open`; the embedding is read in blocks. Cells
        that were used in the fit are counted and logged; their scores are not predictions.
    positives
        Labeled cells with an embedding: AnnData, or the path of an ``.h5ad`` or ``.zarr``.
    groupby, groups
        Column of ``positives.obs``, and its label or labels of positives. Cells with other labels are negatives, cells
        without a label are ignored. With ``None`` all cells are positives, and ``negatives`` is required.
    negatives
        Additional cells to use as negatives: AnnData or path.
    %(mod, use_rep)s
    abundance_by
        Column or columns of ``adata.obs`` to count found cells by; ``None`` takes ``data_set`` and ``tissue`` where
        they exist.
    threshold
        Minimum probability of a found cell, or ``{"precision": 0.9}`` for the lowest threshold with at least this
        precision at ``prevalence``, with 95 % confidence.
    prevalence
        Expected share of positives in ``adata``, on which probabilities and precision depend. ``None`` takes the share
        among the labeled cells.
    fit_options
        Options of the fit: ``batch_key`` (column of ``obs`` whose values are held out as a whole, default ``None``),
        ``max_cells`` (most positives and most negatives to fit on, default 5000; ``None`` takes all), ``n_folds``
        (default 5) and ``rng`` (default 0).
    key_added
        Prefix of the keys of the results.
    %(check_space, copy, sets)s

    ``obs[f"{key_added}_score"]``
        Calibrated probability of a positive, float32; NaN for cells without an embedding.
    ``obs[key_added]``
        Whether the cell is found; False for cells without an embedding.
    ``uns[key_added]["table"]``
        Abundances, the highest ``low`` first within each column: ``by`` (the column; ``"all"`` in the first row, which
        counts all cells), ``group``, ``n_cells`` (with an embedding), ``n_found``, ``share`` with the interval ``low``
        to ``high``, the ``prevalence``, which is the share corrected for recall and false positives, with the interval
        ``prevalence_low`` to ``prevalence_high``, and ``mean_score``. The 95 % intervals (Clopper-Pearson) hold for
        all groups of a column together.
    ``uns[key_added]["scores"]``
        On held-out cells: ``precision`` (at the prevalence) with its lower bound ``precision_low``, ``recall`` and
        ``false_positive_rate`` at the threshold with their 95 % intervals ``_low`` to ``_high``,
        ``average_precision``, ``calibration_error``, ``n_positives`` and ``n_negatives`` (labeled), and
        ``n_held_out_positives`` and ``n_held_out_negatives``.
    ``uns[key_added]["params"]``
        Parameters, with the threshold, the prevalence, and ``n_in_labeled`` cells that the classifier was fitted on.

    Raises
    ------
    KeyError
        If an embedding, a column or the record of a space does not exist.
    ValueError
        If there are fewer than five positives or negatives, the held-out cells cannot show the precision, the spaces
        differ, or an option is out of range.

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
    check_writable(adata, key_added)
    cells = Cells.read(adata, use_rep)
    by = [key for key in _ABUNDANCE if key in adata.obs] if abundance_by is None else abundance_by
    columns = {key: cells.labels(key) for key in ([by] if isinstance(by, str) else by)}
    sources = label_cells(read(positives), None if negatives is None else read(negatives), groupby, groups, use_rep)
    for source in sources:
        cells.check_comparable(source.cells, check_space=check_space)

    detector = fit_detector(sources, fit_options)
    prior = detector.prevalence if prevalence is None else float(prevalence)
    held_out, is_positive = detector.all_held_out(sources, prior)
    if precision is not None:
        cutoff = threshold_of_precision(held_out, is_positive, prior, precision)
    rates = count_rates(held_out, is_positive, cutoff)
    score, n_seen = _scan(cells, detector, prior)
    with np.errstate(invalid="ignore"):
        is_found = score >= cutoff

    parts = {ALL: pd.Categorical([ALL] * len(score))} | columns
    tables: list[pd.DataFrame] = [abundance(labels, score, is_found, rates) for labels in parts.values()]
    table = pd.concat([each.assign(by=by) for by, each in zip(parts, tables, strict=True)])
    table = table[["by", *table.columns.drop("by")]].reset_index(drop=True).rename(index=str)

    adata.obs[f"{key_added}_score"] = score.astype(np.float32)
    adata.obs[key_added] = is_found
    wanted = [] if groups is None else given_labels(groups)
    adata.uns[key_added] = {
        "params": {
            "use_rep": use_rep, "groupby": groupby or "", "groups": np.array(wanted, dtype=object),
            "batch_key": (fit_options or {}).get("batch_key") or "", "precision": precision or "",
            "threshold": cutoff, "prevalence": prior, "n_in_labeled": n_seen,
            "seed": int(detector.classifier.params["seed"]), "univerce_version": __version__,
        },
        "scores": {
            **describe_rates(rates, prior), "average_precision": average_precision(held_out, is_positive, prior),
            "calibration_error": expected_error(reliability(detector.held_out, detector.is_positive)),
            "n_positives": detector.n_positives, "n_negatives": detector.n_negatives,
            "n_held_out_positives": rates.n_positives, "n_held_out_negatives": rates.n_negatives,
        },
        "table": table,
    }  # fmt: skip
    _check_prevalence(table.iloc[0], prior)
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


def _scan(cells: Cells, detector: Detector, prevalence: float) -> tuple[np.ndarray, int]:
    """``[n_obs]`` float64 probability of a positive, NaN without an embedding; and cells that were fitted on."""
    score, n_seen = np.full(len(cells), np.nan), 0
    with progress_bar(total=len(cells), unit="cell", desc="scan") as bar:
        for rows, known, probability, seen in iter_proba(detector.classifier, cells.values):
            score[rows.start + np.flatnonzero(known)] = detector.score(probability, prevalence)
            n_seen += int(seen.sum())
            bar.update(len(known))
    if n_seen:
        logger.warning(
            "%s of %s cells are among the labeled cells that the classifier was fitted on: their scores are no "
            "predictions. Leave them out of one of the two.", f"{n_seen:,}", f"{len(cells):,}",
        )  # fmt: skip
    return score, n_seen


def _check_prevalence(found: pd.Series, prevalence: float) -> None:
    """Warn if the cells contradict the prevalence that was assumed."""
    low, high = found["prevalence_low"], found["prevalence_high"]
    if prevalence < low or prevalence > high:
        logger.warning(
            "The probabilities assume a prevalence of %.2g, but the found cells suggest %.2g (%.2g to %.2g). "
            "Pass prevalence=.",
            prevalence, found["prevalence"], low, high,
        )  # fmt: skip
