"""Compare found cells between conditions, with donors as replicates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._settings import logger
from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels, given_labels
from univerce.tl.discovery._comparison import PAIRED, choose_design, compare, rank_genes
from univerce.tl.discovery._deseq import STATISTICS
from univerce.tl.discovery._pseudobulk import get_found, read_counts

if TYPE_CHECKING:
    from mudata import MuData

_ROUNDING = 1e-9


@document
def compare_groups(
    adata: ad.AnnData | MuData,
    found_key: str = "found",
    *,
    condition_key: str,
    control: str,
    donor_key: str | None = None,
    groups: Sequence[str] | None = None,
    mod: str | None = None,
    layer: str | None = None,
    min_cells: int = 10,
    key_added: str = "compare_groups",
) -> pd.DataFrame:
    """Compare found cells between conditions, with donors as replicates (Rosen et al. 2026).

    Cells of one donor are not independent samples of a condition. The counts of the found cells are summed per donor
    (:func:`scanpy.get.aggregate`), genes with few counts are left out (as ``filterByExpr`` of edgeR), and the sums are
    compared with those of the control by the negative binomial model and Wald statistic of PyDESeq2
    (``pip install "univerce[de]"``). Two defaults differ, because sums of cells vary little more than Poisson counts
    and donors differ in the number of cells: the trend of the dispersions counts genes without excess variance, and
    p-values are those of a t distribution, with the degrees of freedom of the residuals and of the prior of the
    dispersion. The share of found cells per donor is compared by a t-test (Welch's, or paired).

    If most donors have found cells of both conditions, only these are used, and the donor is part of the design
    (paired). Otherwise all donors are used (unpaired). Both designs need three donors per condition. Without
    ``donor_key`` the result has fold changes and a gene ranking, but no p-values, because cells are not replicates.

    Parameters
    ----------
    adata
        Cells with raw counts, some of them found.
    %(found_key)s
    condition_key
        Column of ``obs`` with the conditions. Cells without one are left out.
    control
        Condition with which the others are compared.
    donor_key
        Column of ``obs`` with the donors. Cells without one are left out.
    groups
        Conditions to compare with the control; ``None`` takes all others.
    %(mod, layer, key_added)s
    min_cells
        Samples with fewer found cells are left out of the expression test, but not of the abundance test. A sample is a
        donor in a condition.

    Returns
    -------
    DataFrame with a row per condition and tested gene: ``group``, ``gene``, ``log2_fold_change`` with its
    ``standard_error``, ``score`` (the Wald statistic), ``p_value`` (NaN if a single donor decides), ``p_adjusted``
    (Benjamini and Hochberg within the group), ``share_group`` and ``share_control`` (of the found cells with a count of
    the gene). Without donors the fold change is shrunk by a prior count of 2, and the score is that of Wilcoxon's test
    between cells. Sets the following fields:

    ``uns[key_added]["table"]``, ``uns[key_added]["params"]``
        The same table, and parameters.
    ``uns[key_added]["abundance"]``
        ``condition``, ``n_donors``, ``n_donors_compared`` (with ``min_cells`` found cells), ``n_cells``, ``n_found``,
        ``mean_share`` over donors with its standard error ``sem``, ``p_value`` against the control, and ``design`` of
        the expression: ``"paired"``, ``"unpaired"``, ``"descriptive"``, or empty if it is not compared.
    ``uns[key_added]["donors"]``
        ``donor``, ``condition``, ``n_cells``, ``n_found``, ``share``, ``compared``.
    %(ranked)s

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ImportError
        If PyDESeq2 is not installed.
    ValueError
        If a condition is unknown, no group has enough donors or counts, or the values are not counts.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD14+ Monocyte"
    >>> adata.obs["donor"] = [f"donor {i % 6}" for i in range(adata.n_obs)]
    >>> adata.obs["state"] = np.where(adata.obs["donor"] < "donor 3", "control", "disease")
    >>> table = uc.tl.compare_groups(adata, condition_key="state", donor_key="donor", control="control")
    >>> bool(table["p_adjusted"].min() > 0.001)
    True
    """
    adata = get_modality(adata, mod)
    check_writable(adata, key_added)
    check_whole("min_cells", min_cells, 1)
    is_found, conditions = get_found(adata, found_key), get_labels(adata.obs, condition_key)
    (control,) = given_labels(control)
    others = _groups(conditions, condition_key, control, groups)
    donors = None if donor_key is None else get_labels(adata.obs, donor_key)
    known = (is_found >= 0) & np.asarray(conditions.isin([control, *others]))
    if donors is not None:
        known &= donors.codes >= 0
    counts, genes = read_counts(adata, layer), adata.var_names.astype(str)

    parts, designs = [], {}
    for group in others:
        side = np.select([np.asarray(conditions == group), np.asarray(conditions == control)], [1, 0], -1)
        side = np.where(known & (is_found == 1), side, -1)
        result = compare(counts, side, None if donors is None else donors.codes, min_cells)
        designs[group] = result.design
        if result.reason:
            logger.warning("%r is not compared with %r: %s.", group, control, result.reason)
            reason = f"{group!r}: {result.reason}"
        else:
            parts.append(result.table.assign(group=group, gene=genes[result.table["column"]]))
    if not parts:
        raise ValueError(
            f"No group can be compared with {control!r}, such as {reason}. Lower min_cells, or leave donor_key out for "
            "fold changes without a test."
        )
    columns = ["group", "gene", *STATISTICS, "share_group", "share_control"]
    table = pd.concat(parts, ignore_index=True).rename(columns={"share": "share_group", "share_rest": "share_control"})
    table = table[columns].rename(index=str)
    samples = _samples(is_found, conditions, donors, known, min_cells)
    abundance = _abundance(samples, control, designs)
    if donors is None:
        samples, abundance = samples.iloc[:0], abundance.assign(n_donors=0, n_donors_compared=0)
    adata.uns[key_added] = rank_genes(table, genes, "group", "share_group", "share_control") | {
        "table": table.copy(),
        "params": {
            "found_key": found_key, "condition_key": condition_key, "donor_key": donor_key or "", "control": control,
            "layer": layer or "X", "min_cells": int(min_cells), "groupby": condition_key,
            "method": "descriptive" if donors is None else "PyDESeq2", "reference": control, "use_raw": False,
            "corr_method": "benjamini-hochberg",
        },
        "donors": samples.rename(index=str),
        "abundance": abundance,
    }  # fmt: skip
    return table


def _groups(conditions: Any, key: str, control: str, groups: Sequence[str] | None) -> list[str]:
    available = [str(name) for name in conditions.categories]
    others = [x for x in available if x != control] if groups is None else list(dict.fromkeys(given_labels(groups)))
    if unknown := [name for name in (control, *others) if name not in available]:
        raise ValueError(f"obs[{key!r}] has no {unknown[0]!r}; it has {', '.join(map(repr, available[:20]))}.")
    if not others or control in others:
        raise ValueError(f"groups must name conditions other than the control {control!r}; choose from {available}.")
    return others


def _samples(is_found: np.ndarray, conditions: Any, donors: Any, known: np.ndarray, min_cells: int) -> pd.DataFrame:
    """Cells and found cells of each donor in each condition; without donors, of each condition."""
    columns = {"donor": "" if donors is None else np.asarray(donors, dtype=object)}
    columns |= {"condition": np.asarray(conditions, dtype=object), "found": is_found == 1}
    grouped = pd.DataFrame(columns)[known].groupby(["donor", "condition"], as_index=False)
    table = grouped.agg(n_cells=("found", "size"), n_found=("found", "sum"))
    return table.assign(share=table["n_found"] / table["n_cells"], compared=table["n_found"] >= min_cells)


def _abundance(samples: pd.DataFrame, control: str, designs: Mapping[str, str]) -> pd.DataFrame:
    """Share of found cells per condition, and tests against the control."""
    columns = {"n_donors": ("share", "size"), "n_donors_compared": ("compared", "sum"), "n_cells": ("n_cells", "sum")}
    columns |= {"n_found": ("n_found", "sum"), "mean_share": ("share", "mean"), "sem": ("share", "sem")}
    rows = samples.groupby("condition").agg(**columns).reindex([control, *designs])
    counts = [name for name in columns if name.startswith("n_")]
    rows[counts] = rows[counts].fillna(0).astype(int)
    shares = samples.pivot(index="donor", columns="condition", values="share").reindex(columns=rows.index)
    p = {name: _test_shares(shares[[control, name]].to_numpy()) for name in designs}
    rows = rows.assign(p_value=pd.Series(p, dtype=float), design=pd.Series(designs, dtype=object)).fillna(
        {"design": ""}
    )
    return rows.reset_index().rename(index=str)


def _test_shares(shares: np.ndarray) -> float:
    """P-value of a t-test between donors ``[n_donors, 2]``; NaN for too few of them, or without any variance."""
    from scipy.stats import ttest_ind, ttest_rel

    if (chosen := choose_design(~np.isnan(shares))) is None:
        return np.nan
    design, used = chosen
    control, group = (shares[used[:, i], i] for i in (0, 1))
    spread = np.ptp(group - control) if design == PAIRED else max(np.ptp(control), np.ptp(group))
    if spread < _ROUNDING:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one of them is constant
        test = ttest_rel(group, control) if design == PAIRED else ttest_ind(group, control, equal_var=False)
    return float(test.pvalue)
