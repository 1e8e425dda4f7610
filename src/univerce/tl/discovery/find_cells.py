"""Find the cells of an atlas that are like some cells of yours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import check_comparable, get_embedding
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery import _statistics as kernels
from univerce.tl.discovery._positives import SOUGHT, Finder, fit_finder, label_cells, read
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.label_classifier import iter_proba

if TYPE_CHECKING:
    from mudata import MuData

_ABUNDANCE = ("data_set", "tissue")
ALL = "all"


def find_cells(
    adata: ad.AnnData | MuData,
    positives: ad.AnnData | MuData | str | os.PathLike[str],
    *,
    groupby: str | None = None,
    groups: str | Sequence[str] | None = None,
    negatives: ad.AnnData | MuData | str | os.PathLike[str] | None = None,
    mod: str | None = None,
    use_rep: str = X_UCE,
    batch: str | None = None,
    abundance_by: str | Sequence[str] | None = None,
    threshold: float | None = None,
    precision: float | None = None,
    prevalence: float | None = None,
    max_cells: int | None = 5000,
    n_folds: int = 5,
    key_added: str = "found",
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Find cells like a labeled cluster in an atlas, and rank where they are abundant (Rosen et al. 2024).

    This is how the paper found Norn cells: a logistic classifier learns what tells the cells of a cluster from the
    others, every cell of the atlas gets its score, and data sets and tissues are ranked by how many of their cells are
    found. Scores are calibrated and thresholds chosen on held-out cells, which the classifier had not seen.

    A share of found cells is no share of true ones: the rarer the cells, the more of those found are others that look
    like them. Compare a share with the false positive rate, which a data set without any such cell would show, and look
    at the marker genes of what was found with :func:`univerce.tl.marker_fold_changes`.

    Parameters
    ----------
    adata
        Cells to search, such as an atlas that :func:`univerce.atlas.open` opened; the embedding is read in blocks.
        Cells that are among the positives as well are found more easily than they would be otherwise.
    positives
        AnnData with cells of the kind that is sought and an embedding, or the path of an ``.h5ad`` or ``.zarr``.
    groupby
        Column of ``positives.obs``. ``None``: all of its cells are sought, and ``negatives`` are the rest.
    groups
        Label or labels of ``groupby`` that are sought. The cells of other labels are the rest; those without a label
        are neither.
    negatives
        AnnData, or path, with further cells of the rest.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm``, in all of them.
    batch
        Column of ``obs`` of the positives and negatives with the batch or donor, whose cells are held out together.
    abundance_by
        Column or columns of ``adata.obs`` to count found cells by; ``None`` takes ``data_set`` and ``tissue`` where
        they exist.
    threshold
        Score from which on a cell is found; 0.5 when neither this nor ``precision`` is given.
    precision
        Take the lowest threshold at which this share of the found held-out cells is right, at the given ``prevalence``.
    prevalence
        Share of the sought cells in ``adata``, as far as it is known; scores and precision are those for this share.
        ``None`` takes that of the labeled cells.
    max_cells
        Most cells of each kind that are learned from, of both sources together; ``None`` uses all. It
        does not change the prevalence.
    n_folds
        Folds of the held-out cells.
    key_added
        Key of what is written.
    check_space
        Demand that all embeddings lie in one space, see :func:`univerce.tl.check_same_space`.
    rng
        Seed, or a generator that is drawn from once.

    Returns
    -------
    The abundances, the highest share first within each column: ``by`` (the column; ``"all"`` in the first row, which
    counts all cells), ``group``, ``n_cells`` (with an embedding), ``n_found``, ``share`` with its 95 % interval
    (Wilson) ``low`` and ``high``, and ``mean_score``. Written into ``adata`` are:

    ``obs[f"{key_added}_score"]``
        Calibrated probability that a cell is of the sought kind, float32; NaN for a cell without an embedding.
    ``obs[key_added]``
        Whether it is found; False for a cell without an embedding.
    ``uns[key_added]["abundance"]``
        The same table.
    ``uns[key_added]["scores"]``
        Of held-out cells: ``precision`` (at the prevalence), ``recall`` and ``false_positive_rate`` at the threshold,
        ``average_precision``, ``calibration_error``, ``n_sought`` and ``n_rest``.
    ``uns[key_added]["params"]``
        What was asked for, the threshold and the prevalence.

    Raises
    ------
    KeyError
        When an embedding, a column or the record of a space is missing.
    ValueError
        When there are positives only or none, fewer than five cells of either kind, a precision that is out of reach,
        embeddings of two spaces, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, known = cells[::2].copy(), cells[1::2].copy()
    >>> table = uc.tl.find_cells(
    ...     adata, known, groupby="cell_type", groups="Dendritic", abundance_by="phase"
    ... )
    >>> bool(adata.obs.loc[adata.obs["found"], "cell_type"].eq("Dendritic").mean() > 0.8)
    True
    """
    adata, positives, negatives = get_modalities(mod, adata, positives, negatives)
    check_writable(adata)
    _check_options(threshold=threshold, precision=precision, prevalence=prevalence)
    seed = as_seed(rng)
    columns = _columns(adata, abundance_by)
    sources = label_cells(read(positives), None if negatives is None else read(negatives), groupby, groups)
    for source in sources:
        check_comparable(adata, source.adata, use_rep, check_space=check_space, names=("adata", source.name))
    finder = fit_finder(sources, use_rep=use_rep, batch=batch, max_cells=max_cells, n_folds=n_folds, seed=seed)
    prior = finder.prevalence if prevalence is None else float(prevalence)
    held_out = kernels.shift_prior(finder.held_out, finder.taught, prior)
    curve = kernels.precision_recall(held_out, finder.positive, prior)
    if precision is not None:
        threshold = kernels.threshold_of_precision(curve, precision)
    chosen = 0.5 if threshold is None else float(threshold)

    score = _scan(adata, finder, prior, use_rep, settings.progress)
    with np.errstate(invalid="ignore"):
        found = score >= chosen
    abundance = _abundance(columns, score, found)
    adata.obs[f"{key_added}_score"] = score.astype(np.float32)
    adata.obs[key_added] = found
    asked = "precision" if precision is not None else "default" if threshold is None else "threshold"
    wanted = [] if groups is None else [groups] if isinstance(groups, str) else groups
    adata.uns[key_added] = {
        "params": {
            "use_rep": use_rep, "groupby": groupby or "", "groups": np.array([str(g) for g in wanted], dtype=object),
            "batch": batch or "", "asked": asked, "threshold": chosen, "prevalence": prior, "seed": seed,
            "univerce_version": __version__,
        },
        "scores": {
            **kernels.at(curve, chosen), "average_precision": kernels.average_precision(curve),
            "calibration_error": _calibration_error(finder), "n_sought": finder.n_sought, "n_rest": finder.n_rest,
        },
        "abundance": abundance.copy(),
    }  # fmt: skip
    return abundance


def _check_options(**shares: float | None) -> None:
    for name, value in shares.items():
        if value is not None and not 0 < value < 1:
            raise ValueError(f"{name}={value!r} must lie between 0 and 1.")
    if shares["threshold"] is not None and shares["precision"] is not None:
        raise ValueError("threshold and precision both set the threshold; pass one of them.")


def _columns(adata: ad.AnnData, by: str | Sequence[str] | None) -> dict[str, pd.Categorical]:
    keys = [by] if isinstance(by, str) else [key for key in _ABUNDANCE if key in adata.obs] if by is None else list(by)
    return {key: get_labels(adata.obs, key) for key in keys}


def _scan(adata: ad.AnnData, finder: Finder, prior: float, use_rep: str, show: bool) -> np.ndarray:
    """``[n_obs]`` float64 probability of being sought."""
    score = np.full(adata.n_obs, np.nan)
    column = finder.classifier.classes.index.get_loc(SOUGHT)
    with tqdm(total=adata.n_obs, unit="cell", desc="scan", disable=not show) as bar:
        for rows, known, proba in iter_proba(finder.classifier, get_embedding(adata, use_rep)):
            score[rows.start + np.flatnonzero(known)] = kernels.shift_prior(proba[:, column], finder.taught, prior)
            bar.update(len(known))
    return score


def _abundance(columns: dict[str, pd.Categorical], score: np.ndarray, found: np.ndarray) -> pd.DataFrame:
    """How many cells of each group were found; groups whose cells all lack an embedding have shares of NaN."""
    everything = {ALL: pd.Categorical([ALL] * len(score))}
    parts = []
    for by, labels in (everything | columns).items():
        cells = pd.DataFrame({"group": labels, "known": ~np.isnan(score), "found": found, "score": score})
        grouped = cells.groupby("group", observed=False)
        part = grouped.agg(n_cells=("known", "sum"), n_found=("found", "sum"), mean_score=("score", "mean"))
        part.insert(0, "by", by)
        part["share"] = part["n_found"] / part["n_cells"].where(part["n_cells"] > 0)
        part["low"], part["high"] = kernels.wilson(part["n_found"].to_numpy(), part["n_cells"].to_numpy())
        part = part.reset_index().astype({"group": str})
        parts.append(part.sort_values(["share", "low"], ascending=False, kind="stable"))
    table = pd.concat(parts)[["by", "group", "n_cells", "n_found", "share", "low", "high", "mean_score"]]
    return table.set_axis([str(i) for i in range(len(table))])


def _calibration_error(finder: Finder) -> float:
    """Expected calibration error of the probability of being sought, among the cells that were learned from."""
    table: Any = reliability(finder.held_out, finder.positive)
    return expected_error(table)
