"""Homogeneity of types across tissues: by hand, and against a search by brute force."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.helpers.toy import toy_counts
from univerce.tl.alignment.tissue_homogeneity import tissue_homogeneity

REP = {"use_rep": "X_e", "min_cells": 1}


def cells(n: int = 1500, n_types: int = 15, n_tissues: int = 5, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    types, tissues = rng.integers(0, n_types, n), rng.integers(0, n_tissues, n)
    types[tissues == 0] = types[tissues == 0] % 4
    adata = ad.AnnData(toy_counts(n, 60, seed=seed))
    adata.obs["cell_type"] = [f"type {t}" for t in types]
    adata.obs["tissue"] = [f"tissue {t}" for t in tissues]
    centers = rng.normal(size=(n_types, 6))[types] + 0.5 * rng.normal(size=(n_tissues, 6))[tissues]
    adata.obsm["X_e"] = (centers + 3 * rng.normal(size=(n, 6))).astype(np.float32)
    return adata


def line(groups: dict[tuple[str, str], float]) -> ad.AnnData:
    """One cell for each (type, tissue) on a line."""
    obs = pd.DataFrame(groups.keys(), columns=["cell_type", "tissue"]).set_axis([f"c{i}" for i in range(len(groups))])
    return ad.AnnData(obs=obs, obsm={"X_e": np.array([[x] for x in groups.values()])})


def test_scores_of_a_line_are_those_counted_by_hand():
    adata = line({("a", "gut"): 0, ("a", "skin"): 1, ("b", "gut"): 3, ("b", "skin"): 9, ("c", "gut"): 5})
    scores = tissue_homogeneity(adata, **REP, k=(1, 2, 3), n_permutations=4000)
    # a in gut sees a at once, and a in skin too; b in gut sees a in skin and c (both 2 away), a in gut, then b;
    # b in skin sees c, then b in gut; c is in one tissue alone.
    found = scores.set_index(["by", "name", "k"])[["hits", "n"]].apply(tuple, axis=1)
    assert [found["overall", "overall", k] for k in (1, 2, 3)] == [(2, 4), (3, 4), (3, 4)]
    assert [found["type", "a", k] for k in (1, 2, 3)] == [(2, 2), (2, 2), (2, 2)]
    assert [found["type", "b", k] for k in (1, 2, 3)] == [(0, 2), (1, 2), (1, 2)]
    assert [found["tissue", "gut", k] for k in (1, 3)] == [(1, 2), (1, 2)]
    assert ("type", "c", 1) not in found.index
    rank = adata.uns["tissue_homogeneity"]["centroids"].set_index(["type", "tissue"])["rank"]
    assert rank.drop(("c", "gut")).to_dict() == {
        ("a", "gut"): 1, ("a", "skin"): 1, ("b", "gut"): 4, ("b", "skin"): 2,
    }  # fmt: skip
    assert np.isnan(rank["c", "gut"])
    # Shuffled, 3! x 2! ways: a lies at 0, 3 or 5 in gut and at 1 or 9 in skin, all six equally often; only 0 and 1 are
    # nearest to each other, 3 has 1 and 5 before all others, 5 has 3, 9 has 5. So a hits with 2, 0, 0, 0, 0 and 1.
    chance = scores.set_index(["by", "name", "k"])["chance"]
    assert chance["type", "a", 1] == pytest.approx(3 / 6 / 2, abs=0.02)


def test_scores_equal_a_search_by_brute_force():
    adata = cells()
    scores = tissue_homogeneity(adata, **REP, baseline=None, k=(1, 3))
    frame = pd.DataFrame(adata.obsm["X_e"].astype(np.float64), index=adata.obs_names)
    means = frame.groupby([adata.obs["cell_type"], adata.obs["tissue"]]).mean()
    counted: dict[tuple[str, str, int], list[int]] = {}
    for (name, tissue), center in means.iterrows():
        others = means.drop((name, tissue))
        if name not in others.index.get_level_values(0):
            continue
        nearest = ((others - center) ** 2).sum(axis=1).sort_values().index.get_level_values(0)
        for k in (1, 3):
            for key in (("overall", "overall"), ("type", name), ("tissue", tissue)):
                entry = counted.setdefault((*key, k), [0, 0])
                entry[0] += name in nearest[:k]
                entry[1] += 1
    assert scores.set_index(["by", "name", "k"])[["hits", "n"]].apply(list, axis=1).to_dict() == counted


def test_chance_equals_the_mean_over_shuffled_labels():
    adata = cells(600, 6, 3)
    scores = tissue_homogeneity(adata, **REP, baseline=None, k=2, n_permutations=2000)
    rng, again = np.random.default_rng(1), []
    for _ in range(150):
        shuffled = adata.copy()
        for tissue in np.unique(adata.obs["tissue"]):
            here = (adata.obs["tissue"] == tissue).to_numpy()
            names = np.unique(adata.obs["cell_type"][here])
            new = dict(zip(names, rng.permutation(names), strict=True))
            shuffled.obs.loc[here, "cell_type"] = adata.obs["cell_type"][here].map(new)
        again.append(tissue_homogeneity(shuffled, **REP, baseline=None, k=2, n_permutations=0)["share"])
    again = np.array(again)
    error = again.std(axis=0) / np.sqrt(150)
    assert (np.abs(scores["chance"] - again.mean(axis=0)) < 4 * error + 1e-9).all()


def test_log_normalized_expression_is_the_baseline(caplog):
    import scanpy as sc

    adata = cells(400, 6, 3)
    scores = tissue_homogeneity(adata, **REP, n_permutations=50)
    expression = adata.copy()
    sc.pp.normalize_total(expression, target_sum=1e4)
    sc.pp.log1p(expression)
    adata.obsm["X_log"] = expression.X.toarray().astype(np.float64)
    expected = tissue_homogeneity(adata, **REP, baseline="X_log", n_permutations=50)
    pd.testing.assert_frame_equal(
        scores.assign(representation=scores["representation"].replace("lognorm", "X_log")), expected
    )
    with caplog.at_level(logging.INFO, "univerce"):
        bare = tissue_homogeneity(ad.AnnData(obs=adata.obs, obsm=dict(adata.obsm)), **REP, n_permutations=50)
    assert set(bare["representation"]) == {"X_e"}
    assert "No baseline: adata without expression." in caplog.text


def test_neither_the_order_of_cells_nor_cells_without_embedding_matter():
    adata = cells(300, 5, 3)
    expected = tissue_homogeneity(adata, **REP, baseline=None)
    extra = cells(20, 5, 3, seed=1)
    extra.obsm["X_e"][:10] = np.nan
    extra.obs.iloc[10:15, 0] = None
    extra.obs.iloc[15:, 1] = None
    more = ad.concat([extra, adata], index_unique="-")
    more = more[np.random.default_rng(0).permutation(320)].copy()
    pd.testing.assert_frame_equal(tissue_homogeneity(more, **REP, baseline=None), expected)


def test_invalid_input_is_named():
    with pytest.raises(ValueError, match=r"No type of obs\['cell_type'\] occurs in two tissues.*'gut'"):
        tissue_homogeneity(line({("a", "gut"): 0, ("b", "gut"): 1}), **REP)
    with pytest.raises(ValueError, match="No type"):
        tissue_homogeneity(line({("a", "gut"): 0, ("b", "skin"): 1}), **REP)
    with pytest.raises(ValueError, match="baseline='X_e' is the embedding itself"):
        tissue_homogeneity(line({("a", "gut"): 0, ("a", "skin"): 1}), **REP, baseline="X_e")
