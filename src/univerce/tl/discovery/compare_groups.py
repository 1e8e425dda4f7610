"""Do found cells differ between conditions, donor by donor?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery._pseudobulk import get_found, read_counts
from univerce.tl.discovery._statistics import FEWEST, benjamini_hochberg, log_cpm, sum_groups

if TYPE_CHECKING:
    from mudata import MuData

_FEWEST_DONORS = 2


def compare_groups(
    adata: ad.AnnData | MuData,
    found: str = "found",
    *,
    condition: str,
    donor: str,
    reference: str,
    groups: Sequence[str] | None = None,
    mod: str | None = None,
    layer: str | None = None,
    min_cells: int = FEWEST,
    key_added: str = "compare_groups",
) -> pd.DataFrame:
    """Compare found cells between conditions, such as a disease and controls (Rosen et al. 2024), with donors as units.

    The cells of a donor are no independent samples of a disease. So the counts of the found cells are summed up for
    each donor, and the log2 counts per million of the donors of two conditions are compared by Welch's t-test; in the
    same way the share of the cells that was found, donor by donor, is compared.

    Parameters
    ----------
    adata
        Cells with raw counts, of which some are found.
    found
        Column of ``obs`` that says which, as :func:`univerce.tl.find_cells` writes it. Cells without a value, and those
        without a score in ``obs[f"{found}_score"]``, are left out.
    condition, donor
        Columns of ``obs``. Each donor has one condition; cells that lack either are left out.
    reference
        The condition that the others are compared with.
    groups
        Conditions to compare with it; ``None`` takes all others.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts; ``None`` is ``X``.
    min_cells
        Fewest found cells of a donor whose expression counts. The abundance is that of all donors.
    key_added
        Key of what is written.

    Returns
    -------
    A row for each condition that is compared and each gene that a found cell expresses: ``group``, ``gene``,
    ``log2_fold_change`` (of the means over donors; counts per million with a prior count as in edgeR), ``mean_group``
    and ``mean_reference`` (log2 counts per million), ``p_value`` and ``p_adjusted`` (Benjamini and Hochberg within the
    group). Written are:

    ``uns[key_added]["genes"]``
        The same table.
    ``uns[key_added]["abundance"]``
        ``condition``, ``n_donors``, ``n_donors_compared`` (with ``min_cells`` found cells), ``n_cells``, ``n_found``,
        ``mean_share`` over donors with its standard error ``sem``, and ``p_value`` against the reference.
    ``uns[key_added]["donors"]``
        ``donor``, ``condition``, ``n_cells``, ``n_found``, ``share``, ``compared``.
    ``uns[key_added]["params"]``
        What was asked for.

    Raises
    ------
    KeyError
        When a column or layer does not exist.
    ValueError
        When a condition is unknown, a donor has two, none of the groups or not the reference has two donors with
        ``min_cells`` found cells, or the values are not counts.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD14+ Monocyte"
    >>> adata.obs["donor"] = [f"donor {i % 6}" for i in range(adata.n_obs)]
    >>> adata.obs["state"] = np.where(adata.obs["donor"] < "donor 3", "control", "disease")
    >>> table = uc.tl.compare_groups(adata, condition="state", donor="donor", reference="control")
    >>> bool(table["p_adjusted"].min() > 0.001)
    True
    """
    adata = get_modality(adata, mod)
    check_writable(adata)
    check_whole("min_cells", min_cells, 1)
    state = get_found(adata, found)
    conditions, donors = get_labels(adata.obs, condition), get_labels(adata.obs, donor)
    others = _groups(conditions, condition, reference, groups)
    known = (state >= 0) & (donors.codes >= 0) & np.asarray(conditions.isin([reference, *others]))
    table = _donors(state, conditions, donors, known, donor, int(min_cells))
    _check_donors(table, reference, others, int(min_cells))
    counts = read_counts(adata, layer)
    used = table.index[table["compared"]]
    codes = pd.Index(used).get_indexer(np.asarray(donors, dtype=object))
    sums = sum_groups(counts.X, np.where(known & (state == 1), codes, -1), len(used))
    expressed = np.flatnonzero(sums.any(axis=0))
    logged = log_cpm(sums)[:, expressed]
    of_donor = table.loc[used, "condition"].to_numpy()
    tables = []
    for group in others:
        a, b = logged[of_donor == group], logged[of_donor == reference]
        if len(a) < _FEWEST_DONORS:
            continue
        p = welch(a, b)
        tables.append(
            pd.DataFrame(
                {
                    "group": group,
                    "gene": counts.genes[expressed].astype(str),
                    "log2_fold_change": a.mean(axis=0) - b.mean(axis=0),
                    "mean_group": a.mean(axis=0),
                    "mean_reference": b.mean(axis=0),
                    "p_value": p,
                    "p_adjusted": benjamini_hochberg(p),
                }
            )
        )
    result = pd.concat(tables, ignore_index=True)
    adata.uns[key_added] = {
        "genes": result,
        "params": {
            "found": found, "condition": condition, "donor": donor, "reference": reference, "layer": layer or "X",
            "min_cells": int(min_cells),
        },
        "donors": table.rename_axis("donor").reset_index().rename(index=str),
        "abundance": _abundance(table, reference, others),
    }  # fmt: skip
    return result.copy()


def welch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two-sided p-values of Welch's t-test between the rows of ``a`` and ``b``, column by column.

    A column that is constant in both is no evidence of a difference that could be weighed: 1 where the two are equal,
    else NaN.
    """
    from scipy.stats import t

    n, m = len(a), len(b)
    u, v = a.var(axis=0, ddof=1) / n, b.var(axis=0, ddof=1) / m
    gap = a.mean(axis=0) - b.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))
        p = 2 * t.sf(np.abs(gap) / np.sqrt(u + v), freedom)
    return np.where(u + v > 0, p, np.where(gap == 0, 1.0, np.nan))


def _groups(conditions: Any, key: str, reference: str, groups: Sequence[str] | None) -> list[str]:
    there = [str(name) for name in conditions.categories]
    others = [name for name in there if name != reference] if groups is None else list(dict.fromkeys(map(str, groups)))
    if unknown := [name for name in (reference, *others) if name not in there]:
        raise ValueError(f"obs[{key!r}] has no {unknown[0]!r}; it has {', '.join(map(repr, there[:20]))}.")
    if not others or reference in others:
        raise ValueError(f"groups must name conditions other than the reference {reference!r}; there is {there}.")
    return others


def _donors(
    state: np.ndarray, conditions: Any, donors: Any, known: np.ndarray, key: str, min_cells: int
) -> pd.DataFrame:
    cells = pd.DataFrame(
        {
            "donor": np.asarray(donors, dtype=object)[known],
            "condition": np.asarray(conditions, dtype=object)[known],
            "found": state[known] == 1,
        }
    )
    grouped = cells.groupby("donor", sort=True)
    several = grouped["condition"].nunique()
    if (several > 1).any():
        name = several.index[several > 1][0]
        both = ", ".join(map(repr, sorted(cells.loc[cells["donor"] == name, "condition"].unique())))
        raise ValueError(
            f"{(several > 1).sum()} donors of obs[{key!r}] have cells of two conditions, such as {name!r} of {both}: "
            "their samples are paired, which Welch's test does not know. Compare donors of one condition each."
        )
    table = grouped.agg(condition=("condition", "first"), n_cells=("found", "size"), n_found=("found", "sum"))
    table["share"] = table["n_found"] / table["n_cells"]
    table["compared"] = table["n_found"] >= min_cells
    return table


def _check_donors(table: pd.DataFrame, reference: str, others: Sequence[str], min_cells: int) -> None:
    n = table[table["compared"]].groupby("condition").size()
    few = {name: int(n.get(name, 0)) for name in (reference, *others)}
    if few[reference] < _FEWEST_DONORS or max(few[name] for name in others) < _FEWEST_DONORS:
        counts = ", ".join(f"{name!r} has {number}" for name, number in few.items())
        raise ValueError(
            f"Two donors with {min_cells} found cells are needed of the reference and of a group: {counts}. Lower "
            "min_cells; cells of one donor cannot stand for a condition."
        )


def _abundance(table: pd.DataFrame, reference: str, others: Sequence[str]) -> pd.DataFrame:
    rows = []
    base = table.loc[table["condition"] == reference, "share"].to_numpy()[:, None]
    for name in (reference, *others):
        mine = table[table["condition"] == name]
        share = mine["share"].to_numpy()
        testable = name != reference and min(len(share), len(base)) >= _FEWEST_DONORS
        rows.append(
            {
                "condition": name,
                "n_donors": len(mine),
                "n_donors_compared": int(mine["compared"].sum()),
                "n_cells": int(mine["n_cells"].sum()),
                "n_found": int(mine["n_found"].sum()),
                "mean_share": float(share.mean()) if len(share) else np.nan,
                "sem": float(share.std(ddof=1) / np.sqrt(len(share))) if len(share) > 1 else np.nan,
                "p_value": float(welch(share[:, None], base)[0]) if testable else np.nan,
            }
        )
    return pd.DataFrame(rows, index=[str(i) for i in range(len(rows))])
