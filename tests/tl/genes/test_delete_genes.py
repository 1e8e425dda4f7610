"""uc.tl.delete_genes: paired embeddings, their means over groups, and bad input."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.tiny import tiny_cells, write_tiny_linear, write_tiny_model
from univerce.inference.linear import LinearEncoder
from univerce.inference.sentence_encoder import SentenceEncoder
from univerce.tl.genes.delete_genes import delete_genes
from univerce.tl.uce_embed import uce_embed


@pytest.fixture(scope="module", params=[write_tiny_model, write_tiny_linear], ids=["sentences", "linear"])
def model(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("model") / "tiny").path


@pytest.fixture
def adata() -> ad.AnnData:
    out = tiny_cells(n=24)
    out.obs["group"] = pd.Categorical(["a"] * 12 + ["b"] * 11 + ["alone"])
    return out


def silence(adata: ad.AnnData, gene: str, cells) -> ad.AnnData:
    X = adata.X.toarray()
    X[cells, adata.var_names.get_loc(gene)] = 0
    out = adata.copy()
    out.X = sp.csr_matrix(X)
    return out


def shifts(adata, genes, model, **options) -> tuple[ad.AnnData, pd.DataFrame]:
    out = delete_genes(adata, genes, model=model, copy=True, **options)
    return out, out.uns["deleted"]["table"]


def test_a_gene_without_counts_moves_no_cell(adata, model):
    gene, other = adata.var_names[:2]
    out, table = shifts(silence(adata, gene, np.arange(24)), [gene, other], model, groupby="group")
    assert (out.obsm["deleted_cosine"][gene] == 0).all()
    assert (out.obsm["deleted_euclidean"][gene] == 0).all()
    assert table.loc[table["deletion"] == gene, "n_expressing"].eq(0).all()
    assert table.loc[table["deletion"] == gene, "cosine_shift_expressing"].isna().all()
    assert (out.obsm["deleted_cosine"][other] > 0).any()


def test_only_cells_that_express_the_gene_move(adata, model):
    gene = adata.var_names[5]
    half = silence(adata, gene, np.arange(12))
    out, _ = shifts(half, gene, model)
    expressed = np.asarray(half[:, gene].X.todense()).ravel() > 0
    assert (out.obsm["deleted_cosine"][gene][~expressed] == 0).all()
    assert (out.obsm["deleted_cosine"][gene][expressed] > 0).mean() > 0.5


def test_shifts_are_those_between_two_embeddings(adata, model, monkeypatch):
    """The embeddings before are those of uce_embed; after is read on its way."""
    kind = LinearEncoder if "linear" in uc.model.find_model(model).config.family else SentenceEncoder
    seen = {}
    original = kind.delete

    def watched(*args):
        for found in original(*args):
            seen[found.name] = (found.changed, found.values)
            yield found

    monkeypatch.setattr(kind, "delete", watched)
    gene = adata.var_names[3]
    vector = np.arange(1.0, 11.0)
    out, table = shifts(adata, gene, model, toward=vector, rng=4)
    uce_embed(out, model=model, rng=4)
    changed, after = seen[gene]
    before = out.obsm["X_uce"][changed].astype(float)
    cosine = (before * after).sum(axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    step = after - before
    expected = {"cosine": 1 - cosine, "euclidean": np.linalg.norm(step, axis=1)}
    for kind, values in (expected | {"toward": step @ vector / np.linalg.norm(vector)}).items():
        np.testing.assert_allclose(
            out.obsm[f"deleted_{kind}"][gene].iloc[changed], values, atol=1e-6 if kind == "cosine" else 1e-5
        )
    assert table["toward"].iloc[0] == pytest.approx(out.obsm["deleted_toward"][gene].mean(), abs=1e-6)


def test_pairing_leaves_less_noise_than_two_samplings(adata, tmp_path):
    path = write_tiny_model(tmp_path / "tiny").path
    gene = adata.var_names[3]
    out, _ = shifts(adata, gene, path, n_draws=4)
    again, without = adata.copy(), silence(adata, gene, np.arange(24))
    uce_embed(again, model=path, n_draws=4, rng=1)
    uce_embed(without, model=path, n_draws=4, rng=2)
    unpaired = 1 - (again.obsm["X_uce"] * without.obsm["X_uce"]).sum(axis=1)
    assert out.obsm["deleted_cosine"][gene].mean() < 0.5 * unpaired.mean()


def test_order_and_other_deletions_change_nothing(adata, model):
    gene = adata.var_names[1]
    out, _ = shifts(adata, list(adata.var_names[:3]), model)
    again, _ = shifts(adata[::-1].copy(), gene, model)
    np.testing.assert_allclose(again.obsm["deleted_cosine"][gene], out.obsm["deleted_cosine"][gene][::-1], atol=1e-6)


def test_sets_are_deleted_together_under_any_name_of_a_gene(adata, model):
    first, second = adata.var_names[:2]
    out, table = shifts(adata, {"both": [first.lower(), second], "one": first}, model, groupby="group")
    assert out.obsm["deleted_cosine"].columns.tolist() == ["both", "one"]
    expressed = np.asarray((adata[:, [first, second]].X > 0).sum(axis=1)).ravel() > 0
    assert table.query("deletion == 'both'")["n_expressing"].sum() == expressed.sum()
    assert out.uns["deleted"]["genes"]["both"].tolist() == [first.lower(), second]


def test_means_are_over_cells_also_in_a_group_of_one(adata, model):
    gene = adata.var_names[2]
    out, table = shifts(adata, gene, model, groupby="group", toward="a")
    expected = out.obsm["deleted_cosine"][gene].groupby(out.obs["group"], observed=True).mean()
    table = table.set_index("group")
    np.testing.assert_allclose(table["cosine_shift"], expected[table.index], rtol=1e-5)
    assert table.loc["alone", "n_cells"] == 1


def test_cells_without_counts_are_nan_and_emptied_cells_are_logged(adata, model, caplog, tmp_path):
    empty = tiny_cells(n=10, empty=(4,))
    X = empty.X.toarray()
    X[7] = [3] + [0] * 60
    empty.X = sp.csr_matrix(X)
    with caplog.at_level(logging.WARNING):
        out, table = shifts(empty, empty.var_names[0], model)
    nan = out.obsm["deleted_cosine"].iloc[:, 0].isna().to_numpy().nonzero()[0]
    assert nan.tolist() == [4, 7]
    assert table["n_cells"].iloc[0] == 8
    assert "1 cells express deleted genes only" in caplog.text
    out.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.obsm["deleted_cosine"], out.obsm["deleted_cosine"])


def test_markers_move_their_own_cells_most():
    adata = uc.datasets.pbmc68k_reduced()
    types = ["CD19+ B", "CD56+ NK", "CD14+ Monocyte"]
    rows = np.concatenate([np.flatnonzero(adata.obs["cell_type"] == t)[:12] for t in types])
    adata = adata[rows].copy()
    assert delete_genes(adata, ["CD79A", "NKG7", "LYZ"], groupby="cell_type") is None
    wide = uc.get.table(adata, "deleted").pivot(index="deletion", columns="group", values="cosine_shift")
    assert wide.idxmax(axis=1).to_dict() == {"CD79A": "CD19+ B", "NKG7": "CD56+ NK", "LYZ": "CD14+ Monocyte"}


@pytest.mark.parametrize(
    ("genes", "options", "error", "match"),
    [
        ([], {}, ValueError, "genes is empty"),
        ({"none": []}, {}, ValueError, "genes is empty"),
        (["no gene"], {}, ValueError, "1 of 1 genes are not in the gene table of human: 'no gene'"),
        ({"a/b": "X"}, {}, ValueError, "'/'"),
        (None, {"toward": "a"}, ValueError, "groupby="),
        (None, {"toward": "c", "groupby": "group"}, ValueError, "not a label"),
        (None, {"toward": np.zeros(10)}, ValueError, "not all zero"),
        (None, {"toward": np.ones(3)}, ValueError, r"10 numbers.*\(3,\)"),
        ("twice", {}, ValueError, "more than once"),
    ],
)
def test_bad_input_is_an_error(adata, tiny_model, genes, options, error, match):
    gene = adata.var_names[0]
    genes = gene if genes is None else [gene] * 2 if genes == "twice" else genes
    with pytest.raises(error, match=match):
        shifts(adata, genes, tiny_model, **options)
