"""Negative binomial Wald tests between samples, by PyDESeq2."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

STATISTICS = ("log2_fold_change", "standard_error", "score", "p_value", "p_adjusted")
_NAMES = ["log2FoldChange", "lfcSE", "stat", "pvalue", "padj"]  # the same in PyDESeq2


def wald_test(sums: np.ndarray, is_case: np.ndarray, pairs: np.ndarray | None = None) -> pd.DataFrame:
    """Test samples of a case against those of a control (Love et al. 2014; Muzellec et al. 2023).

    Parameters
    ----------
    sums
        ``[n_samples, n_genes]`` counts of genes that passed a filter.
    is_case
        ``[n_samples]`` bool.
    pairs
        ``[n_samples]`` donor of each sample, for a paired design.

    Returns
    -------
    ``[n_genes]`` rows with ``log2_fold_change``, its ``standard_error``, ``score`` (the Wald statistic), ``p_value``
    (NaN if one sample decides, by its Cook's distance) and ``p_adjusted`` (Benjamini and Hochberg).
    """
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
        samples = pd.RangeIndex(len(sums)).astype(str)
        design = pd.DataFrame({"intercept": 1.0}, index=samples)
        if pairs is not None:
            design = design.join(pd.get_dummies(pd.Series(pairs, samples), prefix="donor", drop_first=True, dtype=float))
        design["case"] = is_case.astype(float)
        inference = DefaultInference(n_cpus=1)
        data = DeseqDataSet(
            counts=pd.DataFrame(sums.astype(np.int64), index=samples), metadata=design, design=design,
            inference=inference, quiet=True,
        )  # fmt: skip
        data.deseq2()
        contrast = (design.columns == "case").astype(float)
        stats = DeseqStats(data, contrast=contrast, independent_filter=False, inference=inference, quiet=True)
        stats.summary()
    return stats.results_df[_NAMES].set_axis(list(STATISTICS), axis=1).reset_index(drop=True)
