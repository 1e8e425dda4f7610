"""Annotations that are written pass ``cellxgene-schema validate``.

Its pins conflict with those of this package: ``pipx install cellxgene-schema``, or name the executable in
``CELLXGENE_SCHEMA``.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc
from univerce.genes import load_table

VALIDATE = shutil.which(os.environ.get("CELLXGENE_SCHEMA", "cellxgene-schema"))
TYPES = {"CD4": "CD4-positive helper T cell", "CD8": "CD8-positive, alpha-beta T cell", "B": "B cell", "my cells": None}
REQUIRED = {
    "assay_ontology_term_id": "EFO:0009922", "development_stage_ontology_term_id": "unknown",
    "disease_ontology_term_id": "PATO:0000461", "donor_id": "d1", "is_primary_data": True,
    "self_reported_ethnicity_ontology_term_id": "unknown", "sex_ontology_term_id": "unknown",
    "suspension_type": "cell", "tissue_ontology_term_id": "UBERON:0000178", "tissue_type": "tissue",
}  # fmt: skip


def cells(n: int, seed: int) -> ad.AnnData:
    """Counts of genes that differ between types, with the columns that the schema requires."""
    rng = np.random.default_rng(seed)
    genes = load_table("human").obs["ensembl_id"].astype(str)
    genes = sorted(gene for gene in genes if gene.startswith("ENSG"))[:400]
    kind = rng.integers(len(TYPES), size=n)
    rate = np.random.default_rng(0).gamma(0.3, 2.0, size=(len(TYPES), len(genes)))
    X = sp.csr_matrix(rng.poisson(rate[kind]).astype(np.float32))
    obs = pd.DataFrame(REQUIRED, index=[f"{seed}-{i}" for i in range(n)]).astype({"donor_id": "category"})
    obs["type"] = pd.Categorical(np.array(list(TYPES))[kind])
    var = pd.DataFrame({"feature_is_filtered": False}, index=genes)
    return ad.AnnData(X, obs=obs, var=var, uns={"organism_ontology_term_id": "NCBITaxon:9606", "title": "Cells"})


@pytest.mark.slow
@pytest.mark.skipif(VALIDATE is None, reason="needs the executable cellxgene-schema (pipx install cellxgene-schema)")
def test_an_annotated_file_is_valid(tmp_path):
    reference, query = cells(200, 0), cells(60, 1)
    reference.uns["type_colors"] = ["red", "green", "blue", "gray"]
    for each in (reference, query):
        uc.tl.uce_embed(each, species="human")
    terms = {name: term for name, term in TYPES.items() if term}
    fit_options = {"ontology_ids": terms}
    uc.tl.transfer_labels(
        query, reference, groupby="type", threshold={"coverage": 0.7}, ontology="CL", fit_options=fit_options,
        key_added="cell_type",
    )  # fmt: skip
    uc.tl.transfer_labels(
        query, reference, groupby="type", label_set=0.9, ontology="CL", fit_options=fit_options, key_added="sure"
    )
    query.obs["name"] = query.obs["type"].map(TYPES)
    uc.tl.map_terms(query, groupby="name")
    uc.tl.label_clusters(query, "cell_type", groupby="type")
    uc.tl.ood_score(query, reference)
    uc.tl.find_cells(query, reference, groupby="type", groups="B")
    del query.obs["cell_type"], query.uns["cell_type_colors"]  # the schema adds the names of the ids
    columns = ["cell_type_ontology_term_id", "sure_ontology_term_id", "name_ontology_term_id"]
    ids = query.obs[columns].astype(str).to_numpy()
    assert all(len(set(each)) > 2 for each in ids.T)
    query.obs[columns[0]] = pd.Categorical(ids[np.arange(len(ids)), np.arange(len(ids)) % len(columns)])
    path = tmp_path / "query.h5ad"
    query.write_h5ad(path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run([VALIDATE, "validate", path], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stdout + found.stderr
