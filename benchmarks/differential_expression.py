"""False positives and power of ``compare_groups`` and ``marker_fold_changes``, on real cells dealt to donors at random.

Nothing differs under the null but the numbers of cells and counts. Power: the counts of some genes are thinned in one
condition, those of all genes by a random factor of each donor. ``repeats=20`` is the number of deals of each setting,
``every=4`` the step between the genes that are used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import false_discovery_control, ttest_ind

import univerce as uc
from benchmarks.labeled.sets import IFNB
from benchmarks.measurement import Run

ALPHA = 0.05
N_SPIKED, SPIKE, DONOR_SD = 40, 1.5, 0.3
NULL_HEADER = (
    "function", "donors", "cells per donor", "counts", "repeats", "genes tested", "p < 0.05", "p < 0.001",
    "repeats without a gene at FDR 0.05",
)  # fmt: skip
POWER_HEADER = (
    "donors per side",
    "method",
    "repeats",
    "genes tested",
    "changed genes found",
    "genes found",
    "false discoveries",
)


class Setting(NamedTuple):
    """Donors of a condition, the cells of each in the case and in the control, and the share of counts of the case."""

    n_donors: int
    n_case: int
    n_control: int
    depth: float = 1.0


UNPAIRED = tuple(
    Setting(n, *cells)
    for n, equal, unequal in ((4, 80, (16, 160)), (6, 60, (12, 120)), (12, 34, (12, 56)))
    for cells in ((equal, equal), unequal, (equal, equal, 0.3))
)
PAIRED = tuple(Setting(n, *cells) for n in (4, 8, 12) for cells in ((100, 100), (15, 200)))


def simulate(run: Run) -> Iterator[tuple]:
    """Tables of the null and of the power."""
    repeats, every = int(run.option("repeats", "20") or 0), int(run.option("every", "4") or 1)
    cells = ad.read_h5ad(run.data / "eval" / f"{IFNB}.h5ad")
    cells = cells[:, np.arange(0, cells.n_vars, every)].copy()
    monocytes = cells[cells.obs["cell_type"] == "CD14 Mono"].copy()
    yield _null(cells, monocytes, repeats)
    yield _power(monocytes, max(repeats // 2, 1))


def deal(cells: ad.AnnData, setting: Setting, rng: np.random.Generator, *, paired: bool) -> ad.AnnData:
    """Cells of donors of two conditions, or of found and other cells of the same donors."""
    sizes = np.repeat([setting.n_case, setting.n_control], setting.n_donors)
    out = cells[rng.permutation(cells.n_obs)[: sizes.sum()]].copy()
    sample = np.repeat(np.arange(len(sizes)), sizes)
    is_case = sample < setting.n_donors
    out.obs["donor"] = [f"donor {i % setting.n_donors if paired else i}" for i in sample]
    out.obs["condition"] = np.where(is_case, "case", "control")
    out.obs["found"] = is_case if paired else True
    out.X = thin(out.X, np.where(is_case, setting.depth, 1.0)[:, None], rng)
    return out


def thin(X: sp.csr_matrix, keep: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
    """Keep each count with a probability ``[n_cells, n_genes]`` (or a column of it)."""
    X = sp.coo_matrix(X)
    keep = np.broadcast_to(keep, X.shape)[X.row, X.col]
    return sp.csr_matrix((rng.binomial(X.data.astype(np.int64), keep).astype(np.float32), (X.row, X.col)), X.shape)


def compare(cells: ad.AnnData, *, paired: bool = False) -> pd.DataFrame:
    if paired:
        return uc.tl.marker_fold_changes(cells, groupby=None, donor_key="donor")
    return uc.tl.compare_groups(cells, condition_key="condition", donor_key="donor", control="control")


def _null(cells: ad.AnnData, monocytes: ad.AnnData, repeats: int) -> tuple:
    rows = []
    for paired, settings in ((False, UNPAIRED), (True, PAIRED)):
        for setting in settings:
            source = cells if paired else monocytes
            deals = (deal(source, setting, np.random.default_rng(seed), paired=paired) for seed in range(repeats))
            tables = [compare(one, paired=paired) for one in deals]
            p = [table["p_value"].dropna() for table in tables]
            rate, rare = (float(np.mean([(x < level).mean() for x in p])) for level in (ALPHA, 0.001))
            clean = float(np.mean([not (table["p_adjusted"] < ALPHA).any() for table in tables]))
            rows.append((
                "marker_fold_changes" if paired else "compare_groups",
                f"{setting.n_donors} pairs" if paired else f"{setting.n_donors} and {setting.n_donors}",
                f"{setting.n_case} and {setting.n_control}",
                "as measured" if setting.depth == 1 else f"{setting.depth:.0%} in cases",
                repeats, int(np.mean([len(table) for table in tables])), f"{rate:.3f}", f"{rare:.4f}", f"{clean:.0%}",
            ))  # fmt: skip
    return "No gene differs: real cells assigned to donors at random", NULL_HEADER, rows


def _power(cells: ad.AnnData, repeats: int) -> tuple:
    rows = []
    for n_donors in (3, 4, 6):
        scores: dict[str, list[tuple[int, int, int]]] = {name: [] for name in METHODS}
        for seed in range(repeats):
            spiked, dealt = spike(cells, n_donors, np.random.default_rng(seed))
            for name, method in METHODS.items():
                tested = method(dealt)
                found = tested.index[tested < ALPHA]
                scores[name].append((len(tested), int(found.isin(spiked).sum()), len(found)))
        for name, values in scores.items():
            n_tested, n_true, n_found = np.mean(values, axis=0)
            false = float(np.mean([1 - true / max(found, 1) for _, true, found in values if found])) if n_found else 0.0
            rows.append((n_donors, name, repeats, f"{n_tested:.0f}", f"{n_true:.0f}", f"{n_found:.0f}", f"{false:.3f}"))
    title = f"{N_SPIKED} genes differ {2**SPIKE:.1f}-fold, real cells thinned by random factors of the donors"
    return title, POWER_HEADER, rows


def spike(cells: ad.AnnData, n_donors: int, rng: np.random.Generator) -> tuple[pd.Index, ad.AnnData]:
    """Names of the genes that differ, half of them up, and the cells."""
    dealt = deal(cells, Setting(n_donors, 70, 70), rng, paired=False)
    abundant = np.flatnonzero(np.asarray(cells.X.mean(axis=0)).ravel() > 0.3)
    chosen = rng.choice(abundant, N_SPIKED, replace=False)
    keep = np.clip(np.exp(rng.normal(-0.7, DONOR_SD, (2 * n_donors, cells.n_vars))), 0, 1)
    keep[:n_donors, chosen[::2]] /= 2**SPIKE
    keep[n_donors:, chosen[1::2]] /= 2**SPIKE
    donor = dealt.obs["donor"].str.removeprefix("donor ").astype(int).to_numpy()
    dealt.X = thin(dealt.X, keep[donor], rng)
    return cells.var_names[chosen], dealt


def by_compare_groups(cells: ad.AnnData) -> pd.Series:
    return compare(cells).set_index("gene")["p_adjusted"].dropna()


def by_pydeseq2(cells: ad.AnnData) -> pd.Series:
    """PyDESeq2 with its defaults, for genes with ten counts."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    sums = cells.to_df().groupby([cells.obs["donor"], cells.obs["condition"]]).sum().astype(int)
    metadata = sums.index.to_frame().reset_index(drop=True).rename(index=str)
    sums = sums.loc[:, sums.sum() >= 10].set_axis(metadata.index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = DeseqDataSet(counts=sums, metadata=metadata, design="~condition", n_cpus=1, quiet=True)
        data.deseq2()
        stats = DeseqStats(data, contrast=["condition", "case", "control"], n_cpus=1, quiet=True)
        stats.summary()
    return stats.results_df["padj"].dropna()


def by_welch(cells: ad.AnnData) -> pd.Series:
    """Welch's test of log counts per million, without a filter."""
    sums = cells.to_df().groupby(cells.obs[["condition", "donor"]].apply(tuple, axis=1)).sum()
    logged = np.log2(sums.div(sums.sum(axis=1), axis=0) * 1e6 + 1).loc[:, (sums > 0).any()]
    is_case = np.array([condition == "case" for condition, _ in sums.index])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # genes without variance
        p = ttest_ind(logged[is_case], logged[~is_case], equal_var=False).pvalue
    known = ~np.isnan(p)
    return pd.Series(false_discovery_control(p[known]), logged.columns[known])


METHODS = {"compare_groups": by_compare_groups, "PyDESeq2": by_pydeseq2, "Welch's t-test": by_welch}
