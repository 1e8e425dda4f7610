"""uc.tl.predict_expression against a slow plain implementation, and bad input."""

from __future__ import annotations

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_network, tiny_table, write_tiny_model
from univerce.model import expression

GENE = tiny_table("human").obs["symbol"].iloc[3]


def embedded(model, species: str = "human", n: int = 5, **options) -> ad.AnnData:
    adata = tiny_cells(species, n, **options)
    uc.tl.uce_embed(adata, model=model)
    return adata


def predicted(adata: ad.AnnData, genes, model, **options) -> pd.DataFrame:
    return uc.tl.predict_expression(adata, genes, model=model, **options).to_df()


def layer(state: dict[str, torch.Tensor], name: str, x: np.ndarray) -> np.ndarray:
    return state[f"{name}.weight"].numpy().astype(float) @ x + state[f"{name}.bias"].numpy().astype(float)


def norm(state: dict[str, torch.Tensor], name: str, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * state[f"{name}.weight"].numpy() + state[f"{name}.bias"].numpy()


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def plain_logit(state: dict[str, torch.Tensor], cell: np.ndarray, feature: np.ndarray) -> float:
    """The head on one cell and one gene, from the description of the method."""
    unit = feature / np.linalg.norm(feature)
    gene = norm(state, "gene_embedding_layer.2", gelu(layer(state, "gene_embedding_layer.0", unit)))
    h = np.concatenate([cell, gene])
    last = max(int(k.split(".")[1]) for k in state if k.startswith("binary_decoder."))
    for k in range(last):
        h = gelu(norm(state, f"binary_decoder.{k}.1", layer(state, f"binary_decoder.{k}.0", h)))
    value = layer(state, f"binary_decoder.{last}", h)[0]
    return float(value)


@pytest.fixture
def model(tmp_path):
    return write_tiny_model(tmp_path / "m", tables=[tiny_table("human"), tiny_table("mouse")]).path


def test_every_pair_is_the_head_on_this_cell_and_gene(model):
    adata = embedded(model)
    table = tiny_table("human")
    rows, symbols = [7, 0, 41], table.obs["symbol"]
    names = [symbols.iloc[7], table.obs["ensembl_id"].iloc[0], symbols.iloc[41].lower()]
    result = predicted(adata, names, model)
    state = tiny_network().state_dict()
    expected = np.array(
        [[1 / (1 + math.exp(-plain_logit(state, cell, table.X[row]))) for row in rows] for cell in adata.obsm["X_uce"]]
    )
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert result.index.equals(adata.obs_names)
    assert result.columns.tolist() == names
    assert (result.dtypes == np.float32).all()


def test_blocks_do_not_matter(model, monkeypatch):
    adata = embedded(model, n=11)
    genes = tiny_table("human").obs["symbol"].tolist()
    whole = predicted(adata, genes, model)
    for size in (1, 4 * 24 * 7, 4 * 24 * 100):
        monkeypatch.setattr(expression, "_ACTIVATIONS", size)
        np.testing.assert_allclose(predicted(adata, genes, model), whole, atol=1e-6)


def test_genes_that_were_measured_are_scored_beside_chance_and_depth(model):
    adata = embedded(model, n=40)
    table = tiny_table("human")
    adata = adata[:, 5:].copy()
    adata.obsm["X_uce"][3] = np.nan
    symbols = table.obs["symbol"].tolist()
    adata.X = sp.csr_matrix(np.where(adata.var_names == symbols[8], 1, adata.X.toarray()))
    found = uc.tl.predict_expression(adata, symbols[:12], model=model)
    known = np.arange(40) != 3
    counts = pd.DataFrame(adata.X.toarray(), columns=adata.var_names)[known]
    for name, row in found.var.iterrows():
        if name not in counts or (counts[name] > 0).all():
            assert np.isnan(row["auroc"])
            continue
        has = (counts[name] > 0).to_numpy()
        for column, score in (
            ("auroc", found[known, name].X.ravel()),
            ("auroc_depth", (counts > 0).sum(axis=1).to_numpy()),
        ):
            above = np.subtract.outer(score[has].astype(float), score[~has].astype(float))
            assert row[column] == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())
        assert row["share"] == has.mean()
    assert found.var["auroc"].isna().sum() == 6
    other = tiny_table("mouse").obs["symbol"].iloc[0]
    assert "auroc" not in uc.tl.predict_expression(adata, other, species="mouse", model=model).var


def test_genes_of_another_species_are_predicted(model):
    adata = embedded(model)
    names = tiny_table("mouse").obs["symbol"].tolist()[:4]
    as_mouse = predicted(adata, names, model, species="Mus musculus")
    other = adata.copy()
    del other.obs["X_uce_space"]
    other.uns["univerce"]["X_uce"]["species"] = ["mouse"]
    other.uns["univerce"]["X_uce"]["table_digest"] = {"mouse": tiny_table("mouse").uns["gene_table"]["digest"]}
    pd.testing.assert_frame_equal(as_mouse, predicted(other, names, model))
    symbols = {name.upper() for name in tiny_table("human").obs["symbol"]}
    if shared := [name for name in names if name.upper() in symbols]:
        assert not np.allclose(as_mouse[shared], predicted(adata, shared, model))


def test_a_frequency_adds_its_log_odds_and_is_clipped(model):
    adata = embedded(model)
    names = tiny_table("human").obs["symbol"].tolist()[:3]
    plain = predicted(adata, names, model).to_numpy(dtype=float)
    expected = 1 / (1 + (1 - plain) / plain * np.array([[0.75 / 0.25, 1, 0.1 / 0.9]]))
    by_name = {names[1]: 0.5, names[2]: 0.9, names[0]: 0.25, "unasked": 0.1}
    for frequency in ([0.25, 0.5, 0.9], pd.Series(by_name), by_name):
        np.testing.assert_allclose(predicted(adata, names, model, gene_frequency=frequency), expected, atol=1e-5)
    clipped = [predicted(adata, names, model, gene_frequency=f) for f in ([0, 0.5, 1], [1e-4, 0.5, 1 - 1e-4])]
    pd.testing.assert_frame_equal(*clipped)
    assert ((clipped[0] > 0) & (clipped[0] < 1)).to_numpy().all()


def test_a_cell_without_embedding_has_no_prediction(model):
    with pytest.warns(UserWarning, match="1 of 5 cells"):
        adata = embedded(model, empty=(2,))
    result = predicted(adata, tiny_table("human").obs["symbol"].tolist()[:3], model, gene_frequency=[0.1, 0.2, 0.3])
    assert result.iloc[2].isna().all()
    assert result.drop(index=adata.obs_names[2]).notna().to_numpy().all()


def test_a_subset_another_key_and_a_list_of_one_give_the_same_and_nothing_is_written(model):
    adata = embedded(model)
    before = adata.copy()
    whole = predicted(adata, GENE, model)
    assert (list(adata.obsm), list(adata.obs), adata.uns) == (list(before.obsm), list(before.obs), before.uns)
    adata.obsm["here"], adata.uns["univerce"]["here"] = adata.obsm["X_uce"], adata.uns["univerce"]["X_uce"]
    part = predicted(adata[2:4], GENE, model, use_rep="here")
    np.testing.assert_allclose(part, whole.iloc[2:4], atol=1e-6)
    pd.testing.assert_frame_equal(predicted(adata, [GENE], model), whole)


def test_the_bundled_model_is_found_by_what_was_recorded(tmp_path):
    adata = uc.datasets.pbmc68k_reduced()[:4].copy()
    uc.tl.uce_embed(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = uc.tl.predict_expression(ad.read_h5ad(tmp_path / "a.h5ad"), ["CD3D", "Ms4a1"])
    expected = uc.tl.predict_expression(adata, ["CD3D", "Ms4a1"])
    pd.testing.assert_frame_equal(again.to_df(), expected.to_df())
    assert expected.var["symbol"].tolist() == ["CD3D", "MS4A1"]
    expected.write_h5ad(tmp_path / "b.h5ad")


@pytest.mark.parametrize(
    "genes, options, error, said",
    [
        ([], {}, ValueError, "genes is empty"),
        (["nonsense", "gibberish"], {}, ValueError, "2 of 2 genes .* 'human': 'nonsense', 'gibberish'"),
        ([GENE, GENE], {}, ValueError, f"'{GENE}' more than once"),
        (GENE, {"species": "unicorn"}, ValueError, "unicorn"),
        (GENE, {"species": "dog"}, ValueError, "no gene table of 'dog'"),
        (GENE, {"gene_frequency": [0.1, 0.2]}, ValueError, r"shape \(2,\); 1 genes"),
        (GENE, {"gene_frequency": [1.5]}, ValueError, "holds 1.5"),
        (GENE, {"gene_frequency": [np.nan]}, ValueError, "holds nan"),
        (GENE, {"gene_frequency": {"x": 0.1}}, KeyError, f"has no '{GENE}'"),
    ],
)
def test_bad_input_is_an_error(tiny_model, genes, options, error, said):
    with pytest.raises(error, match=said):
        predicted(embedded(tiny_model, n=3), genes, tiny_model, **options)


def test_only_the_model_that_made_the_embedding_reads_it(tiny_model):
    adata = embedded(tiny_model, n=3)
    with pytest.raises(ValueError, match=r"made by the model 'tiny', .* Pass model= with its directory"):
        predicted(adata, "CD3D", None)
    with pytest.raises(ValueError, match=r"made by the model 'tiny' \(.{12}\), not by 'uce-mini' \(.{12}\)"):
        predicted(adata, "CD3D", "uce-mini")
    adata.obsm["X_uce"] = adata.obsm["X_uce"][:, :4]
    with pytest.raises(ValueError, match="4 columns; the model 'tiny' makes 10"):
        predicted(adata, GENE, tiny_model)


def test_another_gene_table_of_the_species_is_an_error(tiny_model, tmp_path):
    adata = embedded(tiny_model, n=3)
    other = write_tiny_model(tmp_path / "m", tables=[tiny_table("human", seed=1), tiny_table("mouse", seed=1)]).path
    with pytest.raises(ValueError, match=r"another gene table of 'human' \(.{12}\)"):
        predicted(adata, GENE, other)
    name = tiny_table("mouse").obs["symbol"].iloc[3]
    assert predicted(adata, name, other, species="mouse").shape == (3, 1)


def test_cells_of_several_species_need_the_species_of_the_genes(tiny_model):
    adata = embedded(tiny_model, n=3)
    adata.uns["univerce"]["X_uce"]["table_digest"]["mouse"] = tiny_table("mouse").uns["gene_table"]["digest"]
    with pytest.raises(ValueError, match=r"several species \(human, mouse\)\. Pass the species="):
        predicted(adata, GENE, tiny_model)
    assert predicted(adata, GENE, tiny_model, species="human").shape == (3, 1)


def test_a_released_model_counts_a_frequency_once(tmp_path):
    model = write_tiny_model(tmp_path / "m", tables=[tiny_table("human")], model_id="uce-4l").path
    with pytest.raises(ValueError, match="'uce-4l' was not, and would count"):
        predicted(embedded(model, n=3), GENE, model, gene_frequency=[0.5])
