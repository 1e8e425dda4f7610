"""The bars of lineages: what is drawn is what was scored."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page

IDS = {"T": "T", "B": "B", "NK": "NK", "monocyte": "mono", "neutrophil": "neutro"}
LONG = "cells of the myeloid lineage, which has a name that takes several lines"


@pytest.fixture
def adata():
    graph = nx.DiGraph([(i, "lymphoid") for i in ("T", "B", "NK")] + [(i, "myeloid") for i in ("mono", "neutro")])
    nx.set_node_attributes(graph, {term: {"name": term, "synonyms": ()} for term in graph})
    graph.graph |= {"alternative": {}, "obsolete": {}}
    out = blobs(dict.fromkeys(IDS, 30))
    uc.tl.lineage_colocalization(
        out, lineages={"lymphoid": "lymphoid", LONG: "myeloid"}, ontology=graph, ontology_ids=IDS, groupby="type",
        use_rep="X_toy",
    )  # fmt: skip
    return out


def test_bars_are_the_shares_of_nearest_types_and_then_the_accuracies(adata):
    ax = uc.pl.lineage_colocalization(adata, show=False)
    scores = adata.uns["lineage_colocalization"]["table"]
    assert scores["n"].tolist() == [5, 3, 2]
    widths = np.array([bar.get_width() for bar in ax.patches])
    np.testing.assert_allclose(widths, 100 * np.concatenate([scores["share"], scores["accuracy"]]))
    right = adata.uns["lineage_colocalization"]["types"].eval("lineage == predicted")
    assert ax.texts[3].get_text() == f"{right.sum()} / 5"
    ticks = [line.get_xdata() for line in ax.lines]
    np.testing.assert_allclose(ticks, 100 * scores[["chance", "majority"]].to_numpy().T)


def test_the_figure_fits_the_page(adata):
    check_page(uc.pl.lineage_colocalization(adata, return_fig=True))
