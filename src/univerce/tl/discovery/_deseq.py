"""Negative binomial Wald tests between samples, by PyDESeq2."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

STATISTICS = ("log2_fold_change", "standard_error", "score", "p_value", "p_adjusted")
_GENES_PER_BIN, _CUT, _LEAST_DISPERSION = 50, 0.1, 1e-3
LEAST_PRIOR = 0.25  # of PyDESeq2


def wald_test(sums: np.ndarray, is_case: np.ndarray, pairs: np.ndarray | None = None) -> pd.DataFrame:
    """Test samples of a case against those of a control (Love et al. 2014; Muzellec et al. 2023).

    Sums of cells vary little more than Poisson counts, and differ in the number of cells. The defaults of DESeq2 are
    then too strict for most genes, because its trend of the dispersion leaves out genes without excess variance, and
    too lenient for few. So the trend is :func:`dispersion_trend`, and the Wald statistic is compared with a t
    distribution.

    ``sums`` ``[n_samples, n_genes]`` are counts of genes that passed a filter, ``is_case`` ``[n_samples]`` booleans,
    ``pairs`` ``[n_samples]`` the donors of a paired design. The table has a row for each gene with
    ``log2_fold_change``, its ``standard_error``, ``score`` (the Wald statistic), ``p_value`` (NaN if one sample
    decides, by its Cook's distance) and ``p_adjusted`` (Benjamini and Hochberg).
    """
    from scipy.stats import false_discovery_control, t

    with warnings.catch_warnings():  # PyDESeq2 also changes the filters when it is imported
        warnings.simplefilter("ignore")
        try:
            from pydeseq2.dds import DeseqDataSet
            from pydeseq2.default_inference import DefaultInference
            from pydeseq2.ds import DeseqStats
        except ImportError as error:
            raise ImportError(
                'A test between donors needs PyDESeq2: pip install "univerce[de]". Without donor_key there are fold '
                "changes without a test."
            ) from error
        design = design_matrix(is_case, pairs)
        inference = DefaultInference(n_cpus=1)
        counts = pd.DataFrame(sums.astype(np.int64), index=design.index)
        data = DeseqDataSet(
            counts=counts, metadata=design, design=design, refit_cooks=False, inference=inference, quiet=True
        )
        data.fit_size_factors()
        data.fit_genewise_dispersions()
        data.var["fitted_dispersions"] = dispersion_trend(sums, data.layers["_mu_hat"], design.shape[1])
        data.fit_dispersion_prior()
        if not np.isfinite(data.uns["prior_disp_var"]):  # no gene has excess variance
            data.uns["prior_disp_var"] = np.float64(LEAST_PRIOR)
        data.fit_MAP_dispersions()
        data.fit_LFC()
        data.calculate_cooks()
        contrast = (design.columns == "case").astype(float)
        stats = DeseqStats(data, contrast=contrast, inference=inference, quiet=True)
        stats.summary()
    found = stats.results_df
    score, tested = found["stat"].to_numpy(float), found["pvalue"].notna().to_numpy()
    df = len(sums) - design.shape[1] + prior_df(data.uns["prior_disp_var"])
    p, adjusted = np.full((2, len(score)), np.nan)
    p[tested] = 2 * t.sf(np.abs(score[tested]), df)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested])
    columns: list[Any] = [found["log2FoldChange"].to_numpy(float), found["lfcSE"].to_numpy(float), score, p, adjusted]
    return pd.DataFrame(dict(zip(STATISTICS, columns, strict=True)))


def design_matrix(is_case: np.ndarray, pairs: np.ndarray | None) -> pd.DataFrame:
    """Columns of the design: intercept, donors but one of a paired design, case."""
    samples = pd.RangeIndex(len(is_case)).astype(str)
    design = pd.DataFrame({"intercept": 1.0}, index=samples)
    if pairs is not None:
        design = design.join(pd.get_dummies(pd.Series(pairs, samples), prefix="donor", drop_first=True, dtype=float))
    return design.assign(case=is_case.astype(float))


def dispersion_trend(sums: np.ndarray, fitted: np.ndarray, n_coefficients: int) -> np.ndarray:
    """``[n_genes]`` typical dispersion of genes with similar counts.

    The dispersion of a gene is the excess of its squared residuals over the Poisson variance, which may be negative.
    Means over bins of genes, without the highest and lowest tenth, are interpolated on a log scale. ``sums`` and
    ``fitted`` ``[n_samples, n_genes]`` are counts and their expectation in a design of ``n_coefficients``.
    """
    from scipy.stats import trim_mean

    squared = (sums - fitted) ** 2 * len(sums) / (len(sums) - n_coefficients)
    dispersion = (squared - fitted).sum(axis=0) / (fitted**2).sum(axis=0)
    size = np.log(fitted.mean(axis=0))
    bins = np.array_split(np.argsort(size, kind="stable"), max(len(size) // _GENES_PER_BIN, 1))
    typical = [max(trim_mean(dispersion[genes], _CUT), _LEAST_DISPERSION) for genes in bins]
    return np.exp(np.interp(size, [size[genes].mean() for genes in bins], np.log(typical)))


def prior_df(variance: float) -> float:
    """Degrees of freedom of which a log variance has this variance: trigamma(df / 2) (Smyth 2004)."""
    from scipy.optimize import brentq
    from scipy.special import polygamma

    return float(2 * brentq(lambda half: polygamma(1, half) - variance, 1e-3, 1e4))
