"""Which trend of the dispersions, and which distribution of the Wald statistic, hold the null.

The deals of :mod:`benchmarks.differential_expression`, tested by the model of PyDESeq2 with its trend or ours, and with
the normal distribution or a t distribution: with the degrees of freedom of the residuals, or also those of the prior of
the dispersions. ``repeats=`` is the number of deals of each setting.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, norm, t

from benchmarks.differential_expression import ALPHA, PAIRED, UNPAIRED, deal
from benchmarks.labeled.sets import IFNB
from benchmarks.measurement import Run
from univerce.tl.discovery._deseq import LEAST_PRIOR, design_matrix, dispersion_trend, prior_df
from univerce.tl.discovery._pseudobulk import aggregate, filter_by_expr

HEADER = (
    "trend, distribution", "design", "comparisons", "p < 0.05", "range over settings", "p < 0.001",
    "comparisons without a gene at FDR 0.05",
)  # fmt: skip

_FIRST = 100  # other deals than those of the first table


def simulate(run: Run) -> Iterator[tuple]:
    """The table of all variants."""
    repeats, every = int(run.option("repeats", "20") or 0), int(run.option("every", "4") or 1)
    cells = ad.read_h5ad(run.data / "eval" / f"{IFNB}.h5ad")[:, ::every].copy()
    monocytes = cells[cells.obs["cell_type"] == "CD14 Mono"].copy()
    rows = []
    for paired, settings, source in ((False, UNPAIRED, monocytes), (True, PAIRED, cells)):
        for setting in settings:
            for seed in range(_FIRST, _FIRST + repeats):
                rng = np.random.default_rng([seed, setting.n_donors, setting.n_case, int(100 * setting.depth)])
                dealt = deal(source, setting, rng, paired=paired)
                rows += [("paired" if paired else "unpaired", str(setting), *row) for row in variants(dealt, paired)]
    title = "Variants of the test where no gene differs, all settings of the first table together"
    yield title, HEADER, summarize(pd.DataFrame(rows, columns=["design", "setting", "name", "rate", "rare", "clean"]))


def variants(cells: ad.AnnData, paired: bool) -> Iterator[tuple[str, float, float, bool]]:
    """Name, shares of p < 0.05 and p < 0.001, and whether no gene is found, of each variant."""
    is_case = cells.obs["found" if paired else "condition"].isin([True, "case"]).to_numpy()
    codes = pd.Categorical(cells.obs["donor"]).codes.astype(int) * 2 + is_case
    present, samples = np.unique(codes, return_inverse=True)
    sums, case = aggregate(cells.X, samples), present % 2 == 1
    sums = sums[:, filter_by_expr(sums, case)]
    design = design_matrix(case, present // 2 if paired else None)
    residual = len(sums) - design.shape[1]
    for trend in ("PyDESeq2", "ours"):
        score, tested, prior = fit(sums, design, own=trend == "ours")
        size = np.abs(score[tested])
        for name, p in (
            ("normal", 2 * norm.sf(size)), ("t, residuals", 2 * t.sf(size, residual)),
            ("t, residuals and prior", 2 * t.sf(size, residual + prior)),
        ):  # fmt: skip
            clean = not (false_discovery_control(p) < ALPHA).any()
            yield f"{trend}, {name}", float((p < ALPHA).mean()), float((p < 0.001).mean()), clean


def fit(sums: np.ndarray, design: pd.DataFrame, *, own: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Wald statistic of each gene, whether it is tested, and the degrees of freedom of the prior."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.default_inference import DefaultInference
        from pydeseq2.ds import DeseqStats

        inference = DefaultInference(n_cpus=1)
        data = DeseqDataSet(
            counts=pd.DataFrame(sums.astype(np.int64), index=design.index), metadata=design, design=design,
            refit_cooks=False, inference=inference, quiet=True,
        )  # fmt: skip
        data.fit_size_factors()
        data.fit_genewise_dispersions()
        if own:
            data.var["fitted_dispersions"] = dispersion_trend(sums, data.layers["_mu_hat"], design.shape[1])
        else:
            data.fit_dispersion_trend()
        data.fit_dispersion_prior()
        if not np.isfinite(data.uns["prior_disp_var"]):
            data.uns["prior_disp_var"] = np.float64(LEAST_PRIOR)
        data.fit_MAP_dispersions()
        data.fit_LFC()
        data.calculate_cooks()
        contrast = (design.columns == "case").astype(float)
        stats = DeseqStats(data, contrast=contrast, inference=inference, quiet=True)
        stats.summary()
    found = stats.results_df
    return found["stat"].to_numpy(float), found["pvalue"].notna().to_numpy(), prior_df(data.uns["prior_disp_var"])


def summarize(found: pd.DataFrame) -> list[tuple]:
    """A row for each variant and design."""
    rows = []
    for (name, design), each in found.groupby(["name", "design"], sort=False):
        rate = each.groupby("setting")["rate"].mean()
        rows.append((
            name, design, len(each), f"{each['rate'].mean():.3f}", f"{rate.min():.3f}–{rate.max():.3f}",
            f"{each['rare'].mean():.4f}", f"{each['clean'].mean():.0%}",
        ))  # fmt: skip
    return rows
