"""Cells of donors in two or more conditions, and PyDESeq2 called with a formula."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import norm

N_SILENT = 20


def donors_of(
    n_cells: Mapping[str, Sequence[int]], *, n_genes: int = 60, rate: float = 1.0, sd: float = 0.3,
    change: Mapping[str, float] | None = None, n_changed: int = 1, paired: bool = False, seed: int = 0,
) -> ad.AnnData:  # fmt: skip
    """Cells of each donor of each condition, with a factor of each donor and gene; the last genes are silent.

    ``change`` multiplies the first genes in a condition. ``paired`` donors occur in every condition.
    """
    rng = np.random.default_rng(seed)
    mean = rate * rng.gamma(2, 1, n_genes)
    counts, obs = [], []
    factors: dict[str, np.ndarray] = {}
    for state, sizes in n_cells.items():
        for i, n in enumerate(sizes):
            donor = f"donor {i if paired else len(factors)}"
            factor = factors.setdefault(donor, np.exp(rng.normal(0, sd, n_genes)))
            here = mean * factor * np.where(np.arange(n_genes) < n_changed, (change or {}).get(state, 1), 1)
            counts.append(rng.poisson(here * rng.gamma(4, 0.25, (n, 1))))
            obs += [(state, donor)] * n
    X = np.hstack([np.concatenate(counts), np.zeros((len(obs), N_SILENT), dtype=np.int64)])
    names = [*(f"gene {i}" for i in range(n_genes)), *(f"silent {i}" for i in range(N_SILENT))]
    out = ad.AnnData(sp.csr_matrix(X, dtype=np.float32), var=pd.DataFrame(index=names))
    out.obs = pd.DataFrame(obs, columns=["state", "donor"], index=out.obs_names).assign(found=True)
    return out


def deseq(cells: ad.AnnData, design: str, contrast: list[str], genes: Iterable[str]) -> pd.DataFrame:
    """Columns of ``compare_groups`` by PyDESeq2 on the sums of each donor and state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.ds import DeseqStats

        sums = (
            cells.to_df()[list(genes)].groupby([cells.obs["state"].astype(str), cells.obs["donor"].astype(str)]).sum()
        )
        metadata = sums.index.to_frame().set_axis(range(len(sums))).rename(index=str)
        counts = sums.set_axis(metadata.index).astype(int)
        data = DeseqDataSet(counts=counts, metadata=metadata, design=design, quiet=True, n_cpus=1)
        data.deseq2()
        stats = DeseqStats(data, contrast=contrast, quiet=True, n_cpus=1)
        stats.summary()
    names = {"log2FoldChange": "log2_fold_change", "lfcSE": "standard_error", "stat": "score", "pvalue": "p_value"}
    return stats.results_df.rename(columns=names)


def check_close_to(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Fold changes are those of PyDESeq2, and scores up to the trend of its dispersions."""
    np.testing.assert_allclose(table["log2_fold_change"], expected["log2_fold_change"], atol=0.1)
    assert np.corrcoef(table["score"], expected["score"])[0, 1] > 0.98
    np.testing.assert_allclose(table["score"], table["log2_fold_change"] / table["standard_error"])
    assert (table["p_value"].to_numpy() >= 2 * norm.sf(np.abs(table["score"]))).all()
