"""uc.tl.evaluate_ood_score: a type apart is found, none is found in noise, and the plain computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page
from univerce.inference.sentences import shuffled_rows


@pytest.fixture
def adata():
    out = blobs({"T": 90, "B": 80, "NK": 70}, spread=0.4)
    out.obsm["X_noise"] = np.random.default_rng(0).normal(size=(out.n_obs, 5))
    return out


def evaluate(adata, **options) -> pd.DataFrame:
    return uc.tl.evaluate_ood_score(adata, **{"groupby": "type", "use_reps": ["X_toy", "X_noise"]} | options)


def test_a_type_apart_is_found_and_noise_is_at_chance_and_calibrated(adata):
    table = evaluate(adata)
    pd.testing.assert_frame_equal(uc.get.table(adata, "ood_evaluation").reset_index(drop=True), table)
    mean = table.groupby("use_rep")[["auroc", "flagged", "flagged_others"]].mean()
    assert (mean.loc["X_toy", "auroc"] > 0.99, mean.loc["X_toy", "flagged"] > 0.9) == (True, True)
    assert mean.loc["X_noise", "auroc"] == pytest.approx(0.5, abs=0.06)
    np.testing.assert_allclose(mean["flagged_others"], 0.05, atol=0.04)
    again = evaluate(adata[np.random.default_rng(1).permutation(adata.n_obs)].copy())
    pd.testing.assert_frame_equal(again, table)


def test_scores_are_those_of_the_plain_computation(adata):
    row = evaluate(adata, use_reps="X_noise", n_neighbors=5).set_index("type").loc["B"]
    values, is_b = adata.obsm["X_noise"], (adata.obs["type"] == "B").to_numpy()
    order = shuffled_rows(adata.obs_names.to_numpy(dtype=object), np.flatnonzero(~is_b), 0, draw=-6)
    reference, query = order[::2], np.concatenate([np.flatnonzero(is_b), order[1::2]])
    far = np.sort(cdist(values[query], values[reference]), axis=1)[:, 4]
    usual = np.sort(cdist(values[reference], values[reference]), axis=1)[:, 5]
    p = (1 + (usual >= far[:, None]).sum(axis=1)) / (1 + len(usual))
    assert row["auroc"] == pytest.approx(roc_auc_score(is_b[query], far), abs=1e-6)
    assert row["flagged"] == pytest.approx((p[is_b[query]] <= 0.05).mean())
    assert row["flagged_others"] == pytest.approx((p[~is_b[query]] <= 0.05).mean())


def test_batches_are_dealt_whole(adata):
    adata.obs["batch"] = np.resize(["a", "b", "c", "d"], adata.n_obs)
    adata.obsm["X_toy"][adata.obs["batch"] == "a"] += 50.0  # one batch far from the others
    others = evaluate(adata, use_reps="X_toy", batch_key="batch")["flagged_others"]
    assert ((others < 0.2) | (others > 0.4)).all()
    assert evaluate(adata, use_reps="X_toy")["flagged_others"].max() < 0.15
    check_page(uc.pl.evaluate_ood_score(adata, return_fig=True))


def test_bad_input_is_an_error(adata):
    for options, match in (
        ({"use_reps": []}, "use_reps is empty"),
        ({"min_cells": 85}, "one type"),
        ({"n_neighbors": 200}, "n_neighbors=200 needs 201"),
        ({"batch_key": "one"}, "one batch"),
    ):
        with pytest.raises(ValueError, match=match):
            evaluate(adata.copy() if "batch_key" not in options else _one(adata), **options)
    with pytest.raises(KeyError, match="nowhere"):
        evaluate(adata, use_reps="nowhere")


def _one(adata):
    out = adata.copy()
    out.obs["one"] = "a"
    return out
