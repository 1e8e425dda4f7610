"""Compare found cells between conditions, with donors as replicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import check_whole, check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.tl.discovery._pseudobulk import adjust, get_found, log_cpm, read_counts, sum_groups, t_test

if TYPE_CHECKING:
    from mudata import MuData

_MIN_DONORS = 2


@document
def compare_groups(
    adata: ad.AnnData | MuData,
    found_key: str = "found",
    *,
    condition_key: str,
    donor_key: str,
    control: str,
    groups: Sequence[str] | None = None,
    mod: str | None = None,
    layer: str | None = None,
    min_cells: int = 10,
    key_added: str = "compare_groups",
) -> pd.DataFrame:
    """Compare found cells between conditions, with donors as replicates (Rosen et al. 2026).

    Cells of one donor are not independent samples of a condition. The counts of the found cells are summed per donor,
    and the log2 counts per million of the donors of two conditions are compared by Welch's t-test. The share of found
    cells per donor is compared in the same way.

    Parameters
    ----------
    adata
        Cells with raw counts, some of them found.
    found_key
        Boolean column of ``obs`` with the found cells, as written by :func:`univerce.tl.find_cells`. Cells without a
        value, or without a score in ``obs[f"{found_key}_score"]``, are left out.
    condition_key, donor_key
        Columns of ``obs``. Each donor has one condition. Cells without either are left out.
    control
        Condition to compare the others with.
    groups
        Conditions to compare with the control; ``None`` takes all others.
    %(mod, layer, key_added)s
    min_cells
        Donors with fewer found cells are left out of the expression, not of the abundance.

    Returns
    -------
    DataFrame with a row per condition and gene that a found cell expresses: ``group``, ``gene``, ``log2_fold_change``
    (of the means over donors; counts per million with a prior count as in edgeR), ``mean_group`` and ``mean_control``
    (log2 counts per million), ``p_value`` and ``p_adjusted`` (Benjamini and Hochberg within the group). Writes to
    ``adata``:

    ``uns[key_added]["table"]``, ``uns[key_added]["params"]``
        The same table, and parameters.
    ``uns[key_added]["abundance"]``
        ``condition``, ``n_donors``, ``n_donors_compared`` (with ``min_cells`` found cells), ``n_cells``, ``n_found``,
        ``mean_share`` over donors with its standard error ``sem``, and ``p_value`` against the control.
    ``uns[key_added]["donors"]``
        ``donor``, ``condition``, ``n_cells``, ``n_found``, ``share``, ``compared``.

    Raises
    ------
    KeyError
        If a column or layer does not exist.
    ValueError
        If a condition is unknown, a donor has two, the control or all groups have fewer than two donors with
        ``min_cells`` found cells, or the values are not counts.

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
    check_writable(adata)
    check_whole("min_cells", min_cells, 1)
    is_found = get_found(adata, found_key)
    conditions, donors = get_labels(adata.obs, condition_key), get_labels(adata.obs, donor_key)
    others = _groups(conditions, condition_key, control, groups)
    known = (is_found >= 0) & (donors.codes >= 0) & np.asarray(conditions.isin([control, *others]))
    table = _donors(is_found, conditions, donors, known, donor_key, int(min_cells))
    n_donors = table.loc[table["compared"], "condition"].value_counts().reindex([control, *others], fill_value=0)
    if n_donors[control] < _MIN_DONORS or n_donors[others].max() < _MIN_DONORS:
        numbers = ", ".join(f"{name!r} has {n}" for name, n in n_donors.items())
        raise ValueError(
            f"The control and a group need two donors with {min_cells} found cells: {numbers}. Lower min_cells; cells "
            "of one donor cannot represent a condition."
        )
    counts = read_counts(adata, layer)

    used = table.index[table["compared"]]
    codes = pd.Index(used).get_indexer(np.asarray(donors, dtype=object))
    sums = sum_groups(counts, np.where(known & (is_found == 1), codes, -1), len(used))
    expressed = np.flatnonzero(sums.any(axis=0))
    logged = log_cpm(sums)[:, expressed]
    of_donor = table.loc[used, "condition"].to_numpy()
    parts = []
    for group in others:
        a, b = logged[of_donor == group], logged[of_donor == control]
        if len(a) < _MIN_DONORS:
            continue
        p, mean, mean_control = t_test(a, b, paired=False), a.mean(axis=0), b.mean(axis=0)
        part = {"group": group, "gene": adata.var_names[expressed].astype(str), "log2_fold_change": mean - mean_control}
        part |= {"mean_group": mean, "mean_control": mean_control, "p_value": p, "p_adjusted": adjust(p)}
        parts.append(pd.DataFrame(part))
    result = pd.concat(parts, ignore_index=True).rename(index=str)
    adata.uns[key_added] = {
        "table": result.copy(),
        "params": {
            "found_key": found_key, "condition_key": condition_key, "donor_key": donor_key, "control": control,
            "layer": layer or "X", "min_cells": int(min_cells),
        },
        "donors": table.rename_axis("donor").reset_index().rename(index=str),
        "abundance": _abundance(table, control, others),
    }  # fmt: skip
    return result


def _groups(conditions: Any, key: str, control: str, groups: Sequence[str] | None) -> list[str]:
    available = [str(name) for name in conditions.categories]
    others = [x for x in available if x != control] if groups is None else list(dict.fromkeys(map(str, groups)))
    if unknown := [name for name in (control, *others) if name not in available]:
        raise ValueError(f"obs[{key!r}] has no {unknown[0]!r}; it has {', '.join(map(repr, available[:20]))}.")
    if not others or control in others:
        raise ValueError(f"groups must name conditions other than the control {control!r}; choose from {available}.")
    return others


def _donors(
    is_found: np.ndarray, conditions: Any, donors: Any, known: np.ndarray, key: str, min_cells: int
) -> pd.DataFrame:
    columns = {"donor": np.asarray(donors, dtype=object), "condition": np.asarray(conditions, dtype=object)}
    cells = pd.DataFrame(columns | {"found": is_found == 1})[known]
    grouped = cells.groupby("donor", sort=True)
    n_conditions = grouped["condition"].nunique()
    if (n_conditions > 1).any():
        name = n_conditions.index[n_conditions > 1][0]
        both = ", ".join(map(repr, sorted(cells.loc[cells["donor"] == name, "condition"].unique())))
        raise ValueError(
            f"{(n_conditions > 1).sum()} donors of obs[{key!r}] have cells of two conditions, such as {name!r} of "
            f"{both}. Welch's test does not support paired samples: compare donors of one condition each."
        )
    table = grouped.agg(condition=("condition", "first"), n_cells=("found", "size"), n_found=("found", "sum"))
    table["share"] = table["n_found"] / table["n_cells"]
    table["compared"] = table["n_found"] >= min_cells
    return table


def _abundance(table: pd.DataFrame, control: str, others: Sequence[str]) -> pd.DataFrame:
    """Share of found cells per condition, and tests against the control."""
    columns = {"n_donors": ("share", "size"), "n_donors_compared": ("compared", "sum"), "n_cells": ("n_cells", "sum")}
    columns |= {"n_found": ("n_found", "sum"), "mean_share": ("share", "mean"), "sem": ("share", "sem")}
    rows = table.groupby("condition").agg(**columns).reindex([control, *others])
    counts = [name for name in columns if name.startswith("n_")]
    rows[counts] = rows[counts].fillna(0).astype(int)
    shares = {name: table.loc[table["condition"] == name, ["share"]].to_numpy() for name in rows.index}
    testable = {name: min(len(shares[name]), len(shares[control])) >= _MIN_DONORS for name in others}
    p = {name: t_test(shares[name], shares[control], paired=False)[0] for name in others if testable[name]}
    return rows.assign(p_value=pd.Series(p, dtype=float)).reset_index().rename(index=str)
