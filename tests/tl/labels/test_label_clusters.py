"""uc.tl.label_clusters against a plain count."""

from __future__ import annotations

from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.helpers.blobs import blobs
from univerce.tl.labels.label_clusters import label_clusters
from univerce.tl.labels.transfer_labels import transfer_labels

KEY = "type_transferred"


@pytest.fixture
def query():
    reference = blobs({"T": 200, "B": 200, "NK": 200}, spread=1.0)
    adata = blobs({"T": 60, "B": 50, "NK": 40, "new": 30}, spread=1.0, seed=1)
    adata.obs["cluster"] = adata.obs["type"].astype(object)
    adata.obs.loc[adata.obs_names[:4], "cluster"] = None
    adata.obsm["X_toy"][4:7] = np.nan
    reference.uns["type_colors"] = ["#000001", "#000002", "#000003"]
    transfer_labels(adata, reference, groupby="type", use_rep="X_toy", threshold=0.6)
    return adata


def test_a_cluster_gets_the_label_of_most_of_its_cells(query):
    label_clusters(query, KEY, groupby="cluster")
    table = query.uns[f"{KEY}_by_cluster"]["table"]
    known = query.obs["cluster"].notna() & query.obs[f"{KEY}_best"].notna()
    for cluster, row in table.iterrows():
        cells = query.obs[known & (query.obs["cluster"] == cluster)]
        votes = Counter(cells[f"{KEY}_best"])
        top = max(votes.values())
        assert votes[row["best"]] == top
        assert row["n_cells"] == len(cells)
        assert row["agreement"] == pytest.approx(top / len(cells))
        others = [n for name, n in votes.items() if name != row["best"]]
        assert row["margin"] == pytest.approx((top - max(others, default=0)) / len(cells))
        assert row["confidence"] == pytest.approx(cells[f"{KEY}_confidence"].mean())
        assert row["novelty"] == pytest.approx((cells[f"{KEY}_novelty"] > 0.95).mean())
    assert table.loc[["T", "B", "NK"], "label"].tolist() == ["T", "B", "NK"]
    assert table["novelty"].idxmax() == "new"
    assert table.loc[["T", "B", "NK"], "novelty"].max() < 0.3
    found = query.obs[f"{KEY}_by_cluster"]
    assert found.isna().sum() == query.obs["cluster"].isna().sum()
    assert (found[known] == query.obs["cluster"][known].map(table["label"])).all()


def test_a_divided_cluster_is_unknown_and_results_survive_a_file(query, tmp_path):
    query.obs["all"] = "one"
    assert label_clusters(query, KEY, groupby="all", key_added="k", copy=True).obs["k"].unique().tolist() == ["unknown"]
    assert "k" not in query.obs
    label_clusters(query, KEY, groupby="all", min_agreement=0.1, key_added="k")
    query.write_h5ad(tmp_path / "q.h5ad")
    again = ad.read_h5ad(tmp_path / "q.h5ad")
    pd.testing.assert_frame_equal(again.uns["k"]["table"], query.uns["k"]["table"], check_index_type=False)


def test_missing_columns_are_named(query):
    with pytest.raises(KeyError, match=f"Pass key='{KEY}'"):
        label_clusters(query, "type", groupby="cluster")
    with pytest.raises(KeyError, match="does not exist"):
        label_clusters(query, KEY, groupby="leiden")
    with pytest.raises(ValueError, match="min_agreement=0 must be above 0"):
        label_clusters(query, KEY, groupby="cluster", min_agreement=0)
