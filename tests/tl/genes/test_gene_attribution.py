"""uc.tl.gene_attribution: completeness, the genes that matter, random weights, and bad input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.tiny import gentle_network, tiny_cells, write_tiny_linear, write_tiny_model
from univerce.genes.load import load_table
from univerce.model import save_model
from univerce.tl.genes.gene_attribution import gene_attribution
from univerce.tl.uce_embed import uce_embed

OPTIONS = {"n_steps": 24, "tolerance": 0.2}


@pytest.fixture(scope="module", params=["sentences", "linear"])
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    return write_gentle_model(path) if request.param == "sentences" else write_tiny_linear(path / "linear").path


def write_gentle_model(path):
    """A tiny model whose gradients change little on the way."""
    model = write_tiny_model(path / "tiny")
    save_model(gentle_network(), path / "gentle")
    (model.path / "tables").rename(path / "gentle" / "tables")
    return path / "gentle"


@pytest.fixture
def adata() -> ad.AnnData:
    out = tiny_cells(n=12)
    out.obs["group"] = pd.Categorical(["a"] * 5 + ["b"] * 6 + ["alone"])
    return out


def test_attributions_add_up_and_cosines_are_those_of_the_embeddings(adata, model):
    vector = np.arange(1.0, 11.0)
    result = gene_attribution(adata, vector, model=model, rng=3, **OPTIONS)
    uce_embed(adata, model=model, rng=3)
    np.testing.assert_allclose(result.obs["cosine"], adata.obsm["X_uce"] @ (vector / np.linalg.norm(vector)), atol=1e-5)
    residual, difference = result.obs["residual"], result.obs["cosine"] - result.obs["cosine_baseline"]
    np.testing.assert_allclose(np.asarray(result.X).sum(axis=1) + residual, difference, atol=1e-5)
    assert residual.abs().max() < 0.1
    assert residual.abs().mean() < 0.1 * difference.abs().mean()


def test_genes_without_counts_are_left_out_and_means_are_over_cells_also_in_a_group_of_one(adata, model):
    adata.X = adata.X @ sp.diags((np.arange(61) != 4).astype(np.float32)).tocsr()
    result = gene_attribution(adata, "alone", groupby="group", model=model, **OPTIONS)
    assert adata.var_names[4] not in result.var_names
    assert set(result.var_names) <= set(adata.var_names[:-1])
    assert (result.var["symbol"] == result.var_names).all()
    means = result.uns["gene_attribution"]["table"]
    for group, part in means.groupby("group"):
        expected = np.asarray(result[result.obs["group"] == group].X).mean(axis=0)
        np.testing.assert_allclose(part.set_index("gene")["attribution"][result.var_names], expected, atol=1e-6)
        assert part["attribution"].is_monotonic_decreasing


def test_genes_that_were_not_drawn_are_zero(adata, tmp_path):
    path = write_gentle_model(tmp_path)
    result = gene_attribution(adata, "a", groupby="group", model=path, **OPTIONS)
    uc.pp.uce_tokenize(adata, model=path)
    rows = uc.genes.map_names(result.var_names, load_table("human", model=path)).rows
    drawn = np.array([np.isin(rows + 4, sentence) for sentence in adata.obsm["uce_sentences"]])
    assert (result.X[~drawn] == 0).all()
    assert (result.X[drawn] != 0).mean() > 0.9


def test_cells_without_counts_are_nan_and_the_result_can_be_written(model, tmp_path):
    cells = tiny_cells(n=8, empty=(2,))
    result = gene_attribution(cells, np.ones(10), model=model, **OPTIONS)
    assert np.isnan(np.asarray(result.X)).all(axis=1).nonzero()[0].tolist() == [2]
    assert result.obs[["cosine", "residual"]].isna().all(axis=1).sum() == 1
    result.write_h5ad(tmp_path / "x.h5ad")
    tables = [uc.get.table(a, "gene_attribution") for a in (ad.read_h5ad(tmp_path / "x.h5ad"), result)]
    assert tables[0]["gene"].astype(str).tolist() == tables[1]["gene"].tolist()


def test_too_few_steps_warn(adata, tmp_path):
    model = write_gentle_model(tmp_path)
    with pytest.warns(UserWarning, match="do not add up .* Raise n_steps=1"):
        gene_attribution(adata, "a", groupby="group", model=model, n_steps=1, tolerance=1e-6)


def top(result, group, n) -> list[str]:
    means = result.uns["gene_attribution"]["table"]
    return means.loc[means["group"] == group, "gene"].head(n).tolist()


def test_markers_rank_first_but_not_in_a_random_direction():
    adata = uc.datasets.pbmc68k_reduced()
    types = ["CD19+ B", "CD56+ NK", "CD14+ Monocyte"]
    adata = adata[np.concatenate([np.flatnonzero(adata.obs["cell_type"] == t)[:8] for t in types])].copy()
    toward = gene_attribution(adata, "CD19+ B", groupby="cell_type")
    assert "CD79A" in top(toward, "CD19+ B", 5)  # next to genes that B cells lack
    assert toward.obs["residual"].abs().max() < 1e-6  # the integral has a closed form
    vector = np.random.default_rng(0).normal(size=128)
    random = gene_attribution(adata, vector, groupby="cell_type")
    assert toward.var_names.equals(random.var_names)
    assert len(set(top(toward, "CD19+ B", 20)) & set(top(random, "CD19+ B", 20))) <= 12


@pytest.mark.parametrize(
    ("direction", "options", "error", "match"),
    [
        ("a", {}, ValueError, "groupby="),
        ("c", {"groupby": "group"}, ValueError, "not a label of obs"),
        ("same", {"groupby": "one"}, ValueError, "12 cells .* label 'same' and 0 do not"),
        (np.ones(10), {"n_steps": 0}, ValueError, "n_steps=0"),
        (np.ones(10), {"tolerance": 0}, ValueError, "tolerance=0"),
    ],
    ids=str,
)
def test_bad_input_is_an_error(adata, tiny_model, direction, options, error, match):
    adata.obs["one"] = "same"
    with pytest.raises(error, match=match):
        gene_attribution(adata, direction, model=tiny_model, **OPTIONS | options)


def test_several_species_are_an_error(tiny_model):
    adata = ad.concat([tiny_cells("human", 3), tiny_cells("mouse", 3)], join="outer", fill_value=0)
    adata.obs["organism"] = ["human"] * 3 + ["mouse"] * 3
    with pytest.raises(ValueError, match="several species"):
        gene_attribution(adata, np.ones(10), model=tiny_model)
