"""A cell of zeros has no direction: under the cosine every analysis takes it for a cell without an embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from univerce.embeddings.cells import known_cells

IDS = {"T": "T", "B": "B", "monocyte": "mono", "neutrophil": "neutro"}


def cells(fill: float) -> ad.AnnData:
    out = blobs(dict.fromkeys(IDS, 25))
    out.obs["tissue"] = np.array(["lung", "gut"])[np.arange(out.n_obs) % 2]
    out.obsm["X_toy"][[3, 40]] = fill
    return out


def graph() -> nx.DiGraph:
    above = {"T": "lymphoid", "B": "lymphoid", "mono": "myeloid", "neutro": "myeloid"}
    out = nx.DiGraph([*above.items(), ("lymphoid", "cell"), ("myeloid", "cell")])
    nx.set_node_attributes(out, {term: {"name": term, "synonyms": ()} for term in out})
    out.graph |= {"alternative": {}, "obsolete": {}}
    return out


def align(adata: ad.AnnData, **options: Any) -> pd.DataFrame:
    return uc.tl.centroid_alignment(adata, blobs(dict.fromkeys(IDS, 25), seed=1), groupby="type", **options)


def dendrogram(adata: Any, mod: str | None = None, **options: Any) -> pd.DataFrame:
    uc.tl.dendrogram(adata, "type", ontology=graph(), ontology_ids=IDS, mod=mod, **options)
    return uc.get.table(adata, "uce_dendrogram", mod=mod)


CALLS: dict[str, Callable[..., pd.DataFrame]] = {
    "centroid_alignment": lambda a, **o: align(a, baseline=None, **o),
    "dendrogram": lambda a, **o: dendrogram(a, **o),
    "lineage_colocalization": lambda a, **o: uc.tl.lineage_colocalization(
        a, lineages={"lymphoid": "lymphoid", "myeloid": "myeloid"}, ontology=graph(), ontology_ids=IDS, groupby="type",
        **o,
    ),
    "ontology_distance": lambda a, **o: uc.tl.ontology_distance(
        a, ontology=graph(), ontology_ids=IDS, groupby="type", n_pairs=500, **o
    ),
    "silhouette_by_type": lambda a, *, use_rep, **o: uc.tl.silhouette_by_type(a, groupby="type", use_reps=use_rep, **o),
    "tissue_homogeneity": lambda a, **o: uc.tl.tissue_homogeneity(a, groupby="type", baseline=None, **o),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_cells_of_zeros_count_as_those_of_nan(call):
    zero, missing = (call(cells(fill), use_rep="X_toy", metric="cosine") for fill in (0.0, np.nan))
    assert len(zero)
    pd.testing.assert_frame_equal(zero, missing)


def test_for_the_euclidean_distance_they_are_cells_as_any_other():
    rows = np.array([[0.0, 0.0], [1.0, np.nan], [0.0, 1.0]], dtype=np.float32)
    assert known_cells(rows).tolist() == [True, False, True]
    assert known_cells(rows, "cosine").tolist() == [False, False, True]
