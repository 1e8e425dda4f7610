"""Alignment of centroids: by hand, and against a search by brute force."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.helpers.toy import toy_counts
from univerce.embeddings.space import Space
from univerce.tl.alignment.centroid_alignment import centroid_alignment
from univerce.tl.uce_embed import uce_embed

FREE = {"use_rep": "X_e", "check_space": False, "min_cells": 1}


def line(types: dict[str, list[float]], *, genes: int = 0, **obs: str) -> ad.AnnData:
    """Cells on a line: ``{type: positions}``."""
    cells = [(name, x) for name, xs in types.items() for x in xs]
    names = pd.Index([f"cell{i}" for i in range(len(cells))])
    adata = ad.AnnData(
        toy_counts(len(cells), genes) if genes else None,
        obs=pd.DataFrame({"cell_type": [name for name, _ in cells], **obs}, index=names),
    )
    adata.obsm["X_e"] = np.array([[x] for _, x in cells], dtype=np.float32)
    return adata


@pytest.fixture
def query() -> ad.AnnData:
    return line({"a": [-1, 1], "b": [9, 10, 11], "only here": [-0.5]})


@pytest.fixture
def reference() -> ad.AnnData:
    return line({"a": [2, 4], "b": [11], "only there": [1, 1, 1]})


def random_cells(n: int, n_types: int, seed: int, *, spread: float = 1.0) -> ad.AnnData:
    """Cells of many types and three tissues, around centers that every seed shares."""
    centers = np.random.default_rng(99).normal(size=(40, 6))
    rng = np.random.default_rng(seed)
    types = rng.integers(0, n_types, n)
    adata = ad.AnnData(toy_counts(n, 30, seed=seed))
    adata.obs["cell_type"] = pd.Categorical([f"type {t}" for t in types])
    adata.obs["tissue"] = pd.Categorical(rng.choice(["gut", "lung", "skin"], n))
    adata.obsm["X_e"] = (centers[types] + spread * rng.normal(size=(n, 6))).astype(np.float32)
    adata.obsm["X_other"] = rng.normal(size=(n, 3)).astype(np.float32)
    return adata


def share(scores: pd.DataFrame, score: str, k: int = 1, tissue: str = "overall", rep: str = "X_e") -> pd.Series:
    (row,) = scores.query("representation == @rep and tissue == @tissue and score == @score and k == @k").iloc
    return row


def test_scores_of_a_line_are_those_counted_by_hand(query, reference):
    scores = centroid_alignment(query, reference, k=(1, 2, 3), baseline=None, **FREE)
    # Centroids: query a 0, b 10, only here -0.5; reference a 3, b 11, only there 1.
    # From a: only here at 0.5, only there at 1, a at 3. From b: b at 1, then a at 7.
    found = scores.set_index(["score", "k"])[["hits", "n"]].apply(tuple, axis=1).to_dict()
    assert found == {
        ("either", 1): (1, 2), ("either", 2): (1, 2), ("either", 3): (2, 2),
        ("cross", 1): (1, 2), ("cross", 2): (2, 2), ("cross", 3): (2, 2),
        ("mixing", 1): (1, 3),
    }  # fmt: skip
    types = query.uns["centroid_alignment"]["types"].set_index("type")
    assert types.loc["a"].to_dict() == {
        "representation": "X_e", "tissue": "overall", "in_reference": True, "n_cells": 2, "n_cells_reference": 2,
        "nearest": "only here", "nearest_data": "query", "nearest_query": "only here", "distance_query": 0.5,
        "nearest_reference": "only there", "distance_reference": 1, "distance_match": 3, "rank_either": 3,
        "rank_cross": 2,
    }  # fmt: skip
    assert types.loc["b", ["nearest", "nearest_data", "rank_either"]].tolist() == ["b", "reference", 1]
    assert not types.loc["only here", "in_reference"]
    assert types.loc["only here", ["distance_match", "rank_either", "rank_cross"]].isna().all()
    pairs = query.uns["centroid_alignment"]["pairs"].set_index(["query", "reference"])
    assert len(pairs) == 9
    assert pairs.loc[("b", "a"), ["distance", "rank_cross", "rank_either"]].tolist() == [7, 2, 2]


def test_chance_of_a_line_is_that_of_all_permutations(query, reference):
    scores = centroid_alignment(query, reference, baseline=None, n_permutations=4000, **FREE)
    # Each label sits on each of the three centroids equally often, so k of 3 are hit, and both at once in 1 of 6.
    assert share(scores, "cross", 1)["chance"] == pytest.approx(1 / 3, abs=0.02)
    assert share(scores, "cross", 3)[["chance", "chance_low", "chance_high", "p_value"]].tolist() == [1, 1, 1, 1]
    assert (share(scores, "cross")[["chance_low", "chance_high"]] == [0, 1]).all()
    # the nearest of a is its own only here, whatever the labels of the reference; the nearest of b is in the reference
    assert share(scores, "either", 1)["chance"] == pytest.approx((0 + 1 / 3) / 2, abs=0.02)
    assert np.isnan(share(scores, "mixing")["p_value"])


def brute_force(query: ad.AnnData, reference: ad.AnnData, rep: str, tissue: str | None, ks: tuple[int, ...]) -> dict:
    """Hits and types of each tissue, score and k, one centroid after the other."""
    centroids = []
    for data, adata in (("query", query), ("reference", reference)):
        for name in adata.obs["tissue"].unique() if tissue else ["overall"]:
            for label in adata.obs["cell_type"].unique():
                member = (adata.obs["cell_type"] == label).to_numpy()
                if tissue:
                    member = member & (adata.obs["tissue"] == name).to_numpy()
                if member.any():
                    centroids.append((data, name, label, adata.obsm[rep][member].astype(np.float64).mean(axis=0)))
    out: dict[tuple[str, str, int], list[int]] = {}
    for data, name, label, center in centroids:
        if data == "reference":
            continue
        others = [c for c in centroids if c[1] == name and not (c[0] == "query" and c[2] == label)]
        others.sort(key=lambda c: np.linalg.norm(c[3] - center))
        shared = any(c[0] == "reference" and c[2] == label for c in others)
        for where in {name, "overall"}:
            mixed = out.setdefault((where, "mixing", 1), [0, 0])
            mixed[0] += others[0][0] == "reference"
            mixed[1] += 1
            for k in ks:
                for score, among in (("either", others), ("cross", [c for c in others if c[0] == "reference"])):
                    entry = out.setdefault((where, score, k), [0, 0])
                    entry[0] += any(c[0] == "reference" and c[2] == label for c in among[:k])
                    entry[1] += shared
    return out


@pytest.mark.parametrize("tissue", [None, "tissue"], ids=["all_cells", "by_tissue"])
def test_scores_equal_a_search_by_brute_force(tissue):
    query, reference = random_cells(2000, 30, 1, spread=6), random_cells(3000, 40, 2, spread=6)
    query = query[~((query.obs["tissue"] == "gut") & (query.obs["cell_type"] == "type 3"))].copy()
    scores = centroid_alignment(query, reference, tissue_key=tissue, baseline="X_other", k=(1, 2, 3), **FREE)
    for rep in ("X_e", "X_other"):
        found = scores[scores["representation"] == rep].set_index(["tissue", "score", "k"])[["hits", "n"]]
        expected = brute_force(query, reference, rep, tissue, (1, 2, 3))
        assert found.apply(list, axis=1).to_dict() == expected
    assert 0 < share(scores, "either", 1)["share"] < 1
    # the more shared centroids, the closer chance comes to k over their number
    n = 40
    assert share(scores, "cross", 3)["chance"] == pytest.approx(3 / n, abs=0.01)
    assert share(scores, "cross", 3)["p_value"] < 0.01
    assert share(scores, "cross", 3, rep="X_other")["share"] < share(scores, "cross", 3)["share"]


def test_log_normalized_expression_is_the_baseline():
    import scanpy as sc

    query, reference = random_cells(300, 8, 1), random_cells(300, 8, 2)
    reference.var_names = [*query.var_names[:20].str.lower(), *(f"other{i}" for i in range(10))]
    query.var_names = query.var_names.str.upper()
    scores = centroid_alignment(query, reference, **FREE)
    assert query.uns["centroid_alignment"]["params"]["n_shared_genes"] == 20
    for adata in (query, reference):
        expression = adata[:, :20].copy()
        sc.pp.normalize_total(expression, target_sum=1e4)
        sc.pp.log1p(expression)
        adata.obsm["X_log"] = expression.X.toarray().astype(np.float64)
    expected = centroid_alignment(query, reference, baseline="X_log", **FREE)
    columns = ["tissue", "score", "k", "n", "hits", "share", "chance", "p_value"]
    pd.testing.assert_frame_equal(
        scores.query("representation == 'lognorm'")[columns].reset_index(drop=True),
        expected.query("representation == 'X_log'")[columns].reset_index(drop=True),
    )


def test_symbols_in_a_column_of_var_and_a_reference_without_expression(caplog):
    query, reference = random_cells(100, 4, 1), random_cells(100, 4, 2)
    for adata, prefix in ((query, "ENSG"), (reference, "ENSMUSG")):
        adata.var["symbol"] = adata.var_names
        adata.var_names = prefix + adata.var_names
    centroid_alignment(query, reference, baseline={"gene_key": "symbol"}, **FREE)
    assert query.uns["centroid_alignment"]["params"]["n_shared_genes"] == 30
    with pytest.raises(ValueError, match=r"needs shared genes.*'ENSG0'.*gene_key"):
        centroid_alignment(query, reference, **FREE)
    with pytest.raises(KeyError, match=r"gene_key='none' is not in adata\.var; its columns are: 'symbol'"):
        centroid_alignment(query, reference, baseline={"gene_key": "none"}, **FREE)
    with pytest.raises(ValueError, match="no option 'gene'; its options are: layer, gene_key"):
        centroid_alignment(query, reference, baseline={"gene": "none"}, **FREE)
    bare = ad.AnnData(obs=reference.obs, obsm=dict(reference.obsm))
    with caplog.at_level(logging.INFO, "univerce"):
        assert set(centroid_alignment(query, bare, **FREE)["representation"]) == {"X_e"}
    assert "No baseline: reference without expression." in caplog.text
    assert "baseline" not in query.uns["centroid_alignment"]["params"]


def test_the_seed_matters_and_the_order_of_the_cells_does_not():
    query, reference = random_cells(400, 12, 1), random_cells(500, 12, 2)
    expected = centroid_alignment(query, reference, tissue_key="tissue", **FREE)
    order = np.random.default_rng(0).permutation
    shuffled = query[order(400)].copy(), reference[order(500)].copy()
    pd.testing.assert_frame_equal(centroid_alignment(*shuffled, tissue_key="tissue", **FREE), expected)
    other = centroid_alignment(query, reference, tissue_key="tissue", rng=1, **FREE)
    assert not other["chance"].equals(expected["chance"])


def test_a_tissue_of_one_side_has_no_types():
    query, reference = random_cells(200, 6, 1), random_cells(200, 8, 2)
    query.obs["tissue"] = query.obs["tissue"].cat.rename_categories({"skin": "here alone"})
    scores = centroid_alignment(query, reference, tissue_key="tissue", **FREE)
    assert share(scores, "either", 1, "here alone")[["n", "hits"]].tolist() == [0, 0]
    assert query.uns["centroid_alignment"]["params"]["tissue_key"] == "tissue"


def test_small_groups_are_left_out_and_one_type_has_no_neighbor(query, reference):
    scores = centroid_alignment(query, reference, baseline=None, n_permutations=0, **FREE | {"min_cells": 2})
    assert share(scores, "either", 1)[["hits", "n"]].tolist() == [0, 1]
    assert scores[["chance", "chance_low", "chance_high", "p_value"]].isna().all(axis=None)
    query = line({"a": [0, 1]})
    scores = centroid_alignment(query, line({"a": [5]}), baseline=None, **FREE)
    assert share(scores, "either", 1)[["hits", "n", "chance", "p_value"]].tolist() == [1, 1, 1, 1]
    (row,) = query.uns["centroid_alignment"]["types"].iloc
    assert (row["nearest_query"], row["nearest"]) == ("", "a")
    assert np.isnan(row["distance_query"])


def test_cells_without_label_or_embedding_are_ignored(query, reference):
    expected = centroid_alignment(query, reference, baseline=None, **FREE)
    extra = line({"a": [900, np.nan, 5], "b": [-900], "c": [0]})
    extra.obs["cell_type"] = [None, "a", "b", None, "c"]
    extra.obsm["X_e"][[2, 4]] = np.nan
    more = ad.concat([query, extra], index_unique="-")
    pd.testing.assert_frame_equal(centroid_alignment(more, reference, baseline=None, **FREE), expected)


def test_types_without_a_shared_name_are_refused(query, reference):
    reference.obs["cell_type"] = "x" + reference.obs["cell_type"].astype(str)
    message = r"share no type of obs\['cell_type'\]\. adata has 'a', 'b'.*'xa', 'xb'.*replace"
    with pytest.raises(ValueError, match=message):
        centroid_alignment(query, reference, **FREE)
    x, y = (line({"a": [0]}, tissue=name) for name in ("x", "y"))
    with pytest.raises(ValueError, match=r"share no type .* in one tissue of obs\['tissue'\]"):
        centroid_alignment(x, y, tissue_key="tissue", baseline=None, **FREE)


def test_bad_input_is_named(query, reference):
    query.obs["tissue"] = "gut"
    with pytest.raises(KeyError, match=r"reference\.obs\['tissue'\] does not exist"):
        centroid_alignment(query, reference, tissue_key="tissue", baseline=None, **FREE)
    named = line({"a": [0]}, tissue="overall")
    with pytest.raises(ValueError, match="has a tissue 'overall'"):
        centroid_alignment(named, named.copy(), tissue_key="tissue", **FREE)
    with pytest.raises(ValueError, match="tissue_key='cell_type' is the column of the types"):
        centroid_alignment(query, reference, tissue_key="cell_type", **FREE)
    with pytest.raises(ValueError, match="baseline='X_e' is the embedding itself"):
        centroid_alignment(query, reference, baseline="X_e", **FREE)
    reference.obsm["X_e"][:] = np.nan
    with pytest.raises(ValueError, match=r"reference: no cell has both a label in obs\['cell_type'\] and an embedding"):
        centroid_alignment(query, reference, **FREE)


def test_spaces_are_checked_unless_switched_off(query, reference, tiny_model):
    with pytest.raises(KeyError, match=r"says which model.*check_space=False"):
        centroid_alignment(query, reference, use_rep="X_e")
    cells = [random_cells(20, 2, seed) for seed in (1, 2)]
    for adata, digest in zip(cells, ("one", "two"), strict=True):
        Space("m", digest, ("human",), {"human": "t"}).write(adata, "X_e")
    with pytest.raises(ValueError, match=r"come from two models"):
        centroid_alignment(*cells, use_rep="X_e")
    centroid_alignment(*cells, **FREE)


def test_blood_of_two_laboratories_aligns(test_data):
    """Uses the bundled model, on a sample of the cells."""
    coarse = {
        "B": "B", "B Activated": "B", "NK": "NK", "CD14 Mono": "CD14 monocyte", "CD8 T": "CD8 T",
        "CD4 Naive T": "CD4 T", "CD4 Memory T": "CD4 T", "CD19+ B": "B", "CD56+ NK": "NK",
        "CD14+ Monocyte": "CD14 monocyte", "CD8+ Cytotoxic T": "CD8 T", "CD4+/CD45RO+ Memory": "CD4 T",
        "CD4+ T Helper2": "CD4 T", "CD34+": "CD34",
    }  # fmt: skip
    sets = []
    for name in ("human_pbmc_ifnb_kang_2800_14k", "human_pbmc_facs_zheng_fasttopics"):
        adata = ad.read_h5ad(test_data / "eval" / f"{name}.h5ad")[::10].copy()
        adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).map(coarse).astype("category")
        uce_embed(adata)
        sets.append(adata)
    scores = centroid_alignment(*sets, min_cells=1)
    found = share(scores, "cross", 3, rep="X_uce")
    assert found["n"] == 5
    assert found["share"] > found["chance_high"]
    assert sets[0].uns["centroid_alignment"]["params"]["n_shared_genes"] > 10_000


def test_a_view_of_a_file_is_refused_before_anything_is_computed(query, reference, tmp_path):
    query.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="view of a backed AnnData"):
        centroid_alignment(backed[:3], reference, **FREE)
    scores = centroid_alignment(backed, reference, baseline=None, **FREE)
    pd.testing.assert_frame_equal(scores, centroid_alignment(query, reference, baseline=None, **FREE))
    backed.file.close()


def test_a_tissue_that_the_reference_lacks_is_not_scored(query, reference):
    query, reference = (ad.concat([a, a], index_unique="-") for a in (query, reference))
    query.obs["tissue"] = np.repeat(["gut", "skin"], query.n_obs // 2)
    reference.obs["tissue"] = "gut"
    scores = centroid_alignment(query, reference, tissue_key="tissue", **FREE)
    overall, gut, skin = (
        scores[scores["tissue"] == name].set_index(["representation", "score", "k"])
        for name in ("overall", "gut", "skin")
    )
    pd.testing.assert_frame_equal(overall[["n", "hits"]], gut[["n", "hits"]])
    assert (skin["n"] == 0).all()
    assert skin["share"].isna().all()


@pytest.mark.parametrize(("n_shared", "said"), [(2, True), (3, False)])
def test_a_baseline_of_few_shared_genes_is_a_warning(caplog, n_shared, said):
    query, reference = line({"a": [0, 1], "b": [4]}, genes=25), line({"a": [0], "b": [4, 5]}, genes=40)
    reference.var_names = [name if i < n_shared else f"other {name}" for i, name in enumerate(reference.var_names)]
    centroid_alignment(query, reference, **FREE)
    assert query.uns["centroid_alignment"]["params"]["n_shared_genes"] == n_shared
    assert (f"The baseline uses {n_shared} shared genes, of 25 in" in caplog.text) == said
