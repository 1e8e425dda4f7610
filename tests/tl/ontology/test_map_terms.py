"""uc.tl.map_terms: names, synonyms and ids become ids, with a report."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from univerce.tl.ontology.map_terms import map_terms

EXPECTED = {
    "B cell": ("CL:0000236", "name"),
    "NK CELL": ("CL:0000623", "synonym"),
    "CL:0000084": ("CL:0000084", "id"),
    "CL:0000003": ("CL:0000000", "replaced id"),
    "cluster 7": ("", ""),
}


@pytest.fixture
def adata():
    labels = [*np.repeat(list(EXPECTED), [3, 2, 2, 1, 1]), np.nan]
    return ad.AnnData(obs=pd.DataFrame({"type": labels}, index=[f"c{i}" for i in range(10)]))


def test_labels_become_ids_with_a_report(adata, caplog):
    with caplog.at_level(logging.WARNING, "univerce"):
        map_terms(adata, groupby="type")
    assert "1 of 5 labels are not terms of the ontology: 'cluster 7'" in caplog.text
    key = "type_ontology_term_id"
    table = adata.uns[key]["table"]
    for name, (term, matched) in EXPECTED.items():
        assert (table.loc[name, "term_id"], table.loc[name, "matched"]) == (term, matched)
        assert (adata.obs[key][adata.obs["type"] == name] == (term or "unknown")).all()
        assert table.loc[name, "n_cells"] == (adata.obs["type"] == name).sum()
    assert adata.obs[key].iloc[-1] == "unknown"
    assert adata.uns[key]["params"]["ontology_version"] == "2026-03-26"
    assert table.loc["NK CELL", "term"] == "natural killer cell"


def test_a_synonym_of_several_terms_is_not_mapped(adata, tmp_path):
    lines = ["format-version: 1.2", "ontology: toy", ""]
    for i in (1, 2):
        lines += ["[Term]", f"id: T:{i}", f"name: kind {i}", 'synonym: "B cell" EXACT []', ""]
    (tmp_path / "toy.obo").write_text("\n".join(lines))
    map_terms(adata, groupby="type", ontology=tmp_path / "toy.obo", key_added="k")
    assert (adata.obs["k"] == "unknown").all()
    assert adata.uns["k"]["table"].loc["B cell", "hint"] == " (may be T:1, T:2)"
    copied = map_terms(adata, groupby="type", key_added="new", copy=True)
    assert "new" in copied.obs
    assert "new" not in adata.obs
