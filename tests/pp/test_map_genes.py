"""uc.pp.map_genes on every kind of input."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata import MuData

import univerce as uc
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import species_of
from univerce.genes.table import make_table, write_table

NAMES = ["CD3D", "MALAT1", "ENSG00000177455.15", "Ms4a1", "cd3d"]
IDS = ["ENSG00000167286", "", "ENSG00000177455", "ENSG00000156738", "ENSG00000167286"]
COUNTS = np.array([[4, 1, 0, 0, 0], [0, 1, 6, 0, 0], [2, 2, 0, 3, 1]], dtype=np.float32)


def _adata(X=COUNTS, names=NAMES, **kwargs) -> ad.AnnData:
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(X.shape[0])])
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=list(names)), **kwargs)


def test_genes_of_another_genome_are_not_those_of_the_same_name():
    names = ["CD3D", "MS4A1", "Cd3d", "Ms4a1", "Actb"]
    adata = _adata(names=names)
    adata.var["genome"] = ["GRCh38", "GRCh38", "mm10", "mm10", "mm10"]
    with pytest.warns(UserWarning, match="prefix of mouse"):
        uc.pp.map_genes(adata, species="human")
    assert adata.var["uce_gene"].tolist() == ["ENSG00000167286", "ENSG00000156738", "", "", ""]
    with pytest.warns(UserWarning, match="prefix of human"):
        uc.pp.map_genes(adata, species="mouse")
    assert (adata.var["uce_gene"] != "").tolist() == [False, False, True, True, True]
    adata.var["genome"] = "mm10"  # says nothing about single genes
    uc.pp.map_genes(adata, species="human")
    assert (adata.var["uce_gene"] != "").all()


def test_every_variable_gets_its_gene_and_nothing_is_removed():
    adata = _adata()
    assert uc.pp.map_genes(adata, species="human") is None
    assert adata.shape == (3, 5)
    assert adata.var["uce_gene"].tolist() == IDS
    report = adata.uns["uce_gene"]["human"]
    assert (report["n_mapped"], report["n_genes"], report["n_cells"]) == (4, 3, 3)
    assert report["fraction_counts"] == pytest.approx(16 / 20)
    assert report["lost"].to_dict("list") == {"name": ["MALAT1"], "counts": [4.0], "share": [0.2]}
    assert report["duplicates"]["names"].tolist() == ["CD3D; cd3d"]
    assert report["gene_key"] == "var_names"


def test_a_copy_leaves_the_data_as_they_are_and_survives_a_file(tmp_path):
    adata = _adata()
    changed = uc.pp.map_genes(adata, species="human", key_added="gene", copy=True)
    assert list(changed.uns) == ["gene"]
    assert adata.var.columns.empty
    assert not adata.uns
    changed.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.var["gene"].tolist() == IDS
    assert back.uns["gene"]["human"]["suspicion"] == ""


@pytest.fixture
def large() -> ad.AnnData:
    """12,300 cells: CD3D in all, ENSG00000177455 in the second half, MALAT1 in the last."""
    n = 12_300
    X = sp.lil_matrix((n, 5), dtype=np.float32)
    X[:, 0] = 1
    X[n // 2 :, 2] = 2
    X[-1, 1] = 5
    return _adata(X.tocsr())


def _backed(adata: ad.AnnData, path: Path) -> ad.AnnData:
    adata.write_h5ad(path / "x.h5ad")
    return ad.read_h5ad(path / "x.h5ad", backed="r")


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda a, p: a, id="csr"),
        pytest.param(lambda a, p: _backed(_adata(a.X.tocsc()), p), id="backed csc"),
        pytest.param(lambda a, p: _backed(a, p)[:], id="view of a backed file"),
    ],
)
def test_blocks_spread_over_all_cells_are_sampled(large, tmp_path, convert):
    report = resolve_genes(convert(large, tmp_path), "human", "uce-mini")["human"].coverage
    # 40 of the 50 blocks of 250 rows, the last of which has 50
    assert report.n_cells == 39 * 250 + 50
    # the first and the last block are among them, and those between are spread evenly
    assert report.lost["counts"].tolist() == [5]
    assert report.fraction_counts == pytest.approx(1 - 5 / (2 * report.n_cells), rel=1e-4)


def test_the_well_known_column_that_covers_most_counts_is_found_and_reported(caplog):
    adata = _adata(names="01234")
    adata.var["gene_ids"] = ["ENSG00000167286", "x", "x", "x", "x"]
    adata.var["Feature_Name"] = NAMES
    adata.var["my_names"] = NAMES
    with caplog.at_level("DEBUG", logger="univerce"):
        uc.pp.map_genes(adata, species="human")
    assert adata.var["uce_gene"].tolist() == IDS
    assert adata.uns["uce_gene"]["human"]["gene_key"] == "Feature_Name"
    assert "names from Feature_Name" in caplog.text
    adata.var["my_names"] = pd.Categorical(NAMES)
    uc.pp.map_genes(adata, species="human", gene_key="my_names")
    assert adata.var["uce_gene"].tolist() == IDS
    assert adata.uns["uce_gene"]["human"]["gene_key"] == "my_names"


def test_var_names_are_kept_when_no_column_covers_more():
    adata = _adata(names=["CD3D", "lnc1", "lnc2", "lnc3", "lnc4"])
    adata.var["symbol"] = adata.var_names
    with pytest.warns(UserWarning, match=r"var_names, species 'human': only 30.0% of the counts"):
        uc.pp.map_genes(adata, species="human")
    assert adata.uns["uce_gene"]["human"]["gene_key"] == "var_names"
    adata.var["poor"] = ["x", "C9orf72", "lnc2", "lnc3", "lnc4"]
    with pytest.warns(UserWarning, match="Names from poor"):
        uc.pp.map_genes(adata, species="human", gene_key="poor")
    assert adata.var["uce_gene"].ne("").tolist() == [False, True, False, False, False]


def test_identifiers_come_before_symbols_and_symbols_before_nothing():
    adata = _adata(names=["MATR3", "MATR3 ", "LYZ", "CD74", "MARCH3"])
    adata.var["gene_ids"] = ["ENSG00000280987", "ENSG00000015479", "ENSG00000090382", "ENSG00000019582", ""]
    found = []
    for second in ("MATR3 ", "MATR3-1"):  # of make_unique
        adata.var_names = ["MATR3", second, *adata.var_names[2:]]
        uc.pp.map_genes(adata, species="human")
        found.append(adata.var["uce_gene"].tolist())
    assert found[0] == found[1]
    assert found[0] == ["ENSG00000280987", "ENSG00000015479", "ENSG00000090382", "ENSG00000019582", "ENSG00000173926"]
    report = adata.uns["uce_gene"]["human"]
    assert report["gene_key"] == "gene_ids"
    assert report["found"].set_index("how")["names"].to_dict() == {"ensembl": 4, "previous": 1}
    assert report["duplicates"].empty


def test_columns_of_joined_data_sets_are_all_read():
    adata = _adata(names=["a1", "MATR3", "a3", "x", "y"])
    adata.var["gene_ids-0"] = ["ENSG00000167286", np.nan, np.nan, "", ""]
    adata.var["Gene_IDs-1-0"] = ["", "ENSG00000015479", "ENSG00000156738.3", "", ""]
    uc.pp.map_genes(adata, species="human")
    assert adata.var["uce_gene"].tolist()[:3] == ["ENSG00000167286", "ENSG00000015479", "ENSG00000156738"]
    assert adata.uns["uce_gene"]["human"]["gene_key"] == "Gene_IDs-1-0"


def test_counts_of_two_names_of_one_gene_add_up():
    names = {"plain": ["CD3D", "SEPTIN2", "x", "y", "z"], "repeated": ["CD3D", "SEPT2", "x", "CD3D-1", "SEPTIN2"]}
    adata = {key: _adata(names=each) for key, each in names.items()}
    adata["plain"].X = adata["repeated"].X @ np.array(
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]], dtype=np.float32
    )
    for data in adata.values():
        uc.tl.uce_embed(data, species="human")
    np.testing.assert_allclose(adata["plain"].obsm["X_uce"], adata["repeated"].obsm["X_uce"], atol=1e-6)


@pytest.mark.parametrize(
    "types, left",
    [
        pytest.param(["Gene Expression", "Antibody Capture"], {"Antibody Capture": 400}, id="10x"),
        pytest.param(["GEX", "ADT"], {"ADT": 400}, id="NeurIPS 2021"),
        pytest.param(["Gene Expression", "Mine"], {"Mine": 400}, id="another beside genes"),
        pytest.param([None, "Antibody Capture"], {"Antibody Capture": 400}, id="missing"),
        pytest.param(["protein_coding", "lncRNA"], {}, id="biotypes of CELLxGENE"),
    ],
)
def test_variables_that_are_no_genes_are_left_out_and_listed(types, left):
    names = ["CD3D", "CD4", "LYZ"]
    adata = _adata(np.array([[1, 2, 3, 100, 100], [0, 1, 1, 100, 100]], dtype=np.float32), [*names, "cd4", "CD3D-1"])
    adata.var["feature_types"] = pd.Categorical([types[0]] * 3 + [types[1]] * 2)
    uc.pp.map_genes(adata, species="human")
    report = adata.uns["uce_gene"]["human"]
    assert report["left_out"].set_index("feature_type")["counts"].to_dict() == left
    assert adata.var["uce_gene"].eq("").tolist() == [False] * 3 + [bool(left)] * 2
    assert report["n_vars"] == (3 if left else 5)


def test_a_matrix_without_genes_is_refused():
    adata = _adata(names=["CD3D", "CD4", "LYZ", "CD74", "CD19"])
    adata.var["feature_types"] = "Antibody Capture"
    with pytest.raises(ValueError, match="The variables are not genes but Antibody Capture 5"):
        uc.pp.map_genes(adata, species="human")


def test_genes_of_two_genomes_in_one_matrix():
    names = ["GRCh38_CD3D", "GRCh38_LYZ", "mm10___Cd3d", "mm10___Lyz2", "mm10___Xkr4"]
    adata = _adata(np.array([[5, 4, 0, 0, 0], [0, 0, 3, 2, 1], [6, 5, 1, 0, 0]], dtype=np.float32), names)
    with pytest.warns(UserWarning, match="25.9% of the counts belong to genes with the prefix of mouse"):
        uc.pp.map_genes(adata, species="human")
    assert adata.var["uce_gene"].ne("").tolist() == [True, True, False, False, False]
    del adata.var["uce_gene"]
    adata.obs["species"] = ["human", "mouse", "human"]
    uc.pp.map_genes(adata)
    assert adata.var["uce_gene_human"].ne("").tolist() == [True, True, False, False, False]
    assert adata.var["uce_gene_mouse"].ne("").tolist() == [False, False, True, True, True]
    reports = adata.uns["uce_gene"]
    assert reports["human"]["other_genomes"] == {"mouse": 1 / 21}
    assert reports["mouse"]["other_genomes"] == {}


def _two_species() -> ad.AnnData:
    X = np.array([[5, 3, 0, 0, 1], [0, 0, 4, 2, 0], [1, 1, 0, 0, 0]], dtype=np.float32)
    adata = _adata(X, names=["CD3D", "C9orf72", "Cd3d", "Xkr4", "MALAT1"])
    adata.obs["organism"] = pd.Categorical(["Homo sapiens", "Mus musculus", "Homo sapiens"])
    return adata


def test_several_species_get_a_column_and_a_report_each_from_their_own_cells():
    adata = _two_species()
    uc.pp.map_genes(adata)
    assert set(adata.var) == {"uce_gene_human", "uce_gene_mouse"}
    assert adata.var["uce_gene_human"].tolist()[0] == adata.var["uce_gene_human"].tolist()[2] == "ENSG00000167286"
    assert adata.var["uce_gene_mouse"].tolist()[2:4] == ["ENSMUSG00000032094", "ENSMUSG00000051951"]
    human, mouse = adata.uns["uce_gene"]["human"], adata.uns["uce_gene"]["mouse"]
    assert (human["n_cells"], mouse["n_cells"]) == (2, 1)
    assert human["lost"]["counts"].tolist() == [1]
    assert mouse["lost"].empty
    assert mouse["fraction_counts"] == 1
    assert human["suspicion"] == mouse["suspicion"] == ""


def test_a_species_with_few_cells_among_many_is_sampled_too(large):
    species = np.full(large.n_obs, "human", dtype=object)
    species[7_777] = "mouse"
    keys = pd.Categorical(species, ["human", "mouse", "rat"])
    with pytest.warns(UserWarning, match="species 'mouse': only 33.3%"):  # the names are human
        report = resolve_genes(large, keys, "uce-mini")
    assert list(report) == ["human", "mouse"]
    assert report["mouse"].coverage.n_cells == 1


def test_a_modality_of_a_mudata():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from mudata
        data = MuData({"rna": _adata(np.log1p(COUNTS), layers={"raw": COUNTS}), "adt": _adata(names="abcde")})
        copied = uc.pp.map_genes(data, species="human", mod="rna", layer="raw", copy=True)
    assert isinstance(copied, MuData)
    assert copied.mod["rna"].var["uce_gene"].tolist() == IDS
    assert copied.mod["rna"].uns["uce_gene"]["human"]["fraction_counts"] == pytest.approx(16 / 20)
    assert data.mod["rna"].var.columns.empty


def _own_model(path: Path) -> Path:
    genes = pd.DataFrame(
        {"symbol": ["FOO", "BAR"], "ensembl_id": ["AXO1", ""], "chromosome": "1", "start": [1, 5], "chromosome_code": 0}
    )
    table = make_table(
        genes,
        np.eye(2, 4, dtype=np.float32),
        species="axolotl",
        encoder="none",
        source="test",
        special_features=np.zeros((4, 4), dtype=np.float32),
        chromosome_names=["1"],
        chromosome_codes=[0],
        chromosome_features=np.ones((1, 4), dtype=np.float32),
    )
    (path / "config.json").write_text(json.dumps({}))
    write_table(table, path / "tables" / "axolotl.h5ad")
    return path


def test_a_custom_model_defines_its_species(tmp_path):
    adata = _adata(names=["FOO", "BAR", "AXO1", "bar", "baz"])
    uc.pp.map_genes(adata, species="Axolotl", model=_own_model(tmp_path))
    assert adata.var["uce_gene"].tolist() == ["AXO1", "BAR", "AXO1", "BAR", ""]


def test_names_of_another_species_warn():
    adata = _adata(names=["Cd3d", "Actb", "Ptprc", "Ms4a1", "Cd74"])
    with pytest.warns(UserWarning, match="The names fit mouse better"):
        uc.pp.map_genes(adata, species="human")


def test_bad_input_is_refused_and_nothing_is_written():
    human = {"species": "human"}
    repeated = _adata()
    repeated.obs.index = pd.Index(["a", "a", "b"])
    twice = _adata()
    twice.obs = pd.DataFrame([["human", "human"]] * 3, twice.obs_names, columns=["species", "species"])
    for adata, arguments, error, said in (
        (_adata(), {}, ValueError, "species is not stated"),
        (_adata(), {"species": "unicorn"}, ValueError, "'unicorn' is not known"),
        (_adata(), {"species": "frog"}, ValueError, "no gene table of 'frog'.*human"),
        (_adata(), human | {"model": "uce"}, ValueError, "no model 'uce'"),
        (_adata(), human | {"layer": "raw"}, KeyError, "layer='raw'"),
        (_adata(), human | {"mod": "rna"}, ValueError, "mod='rna'"),
        (_adata(), human | {"gene_key": "ids"}, KeyError, "are: none"),
        (_adata(np.log1p(COUNTS)), human, ValueError, "adata.X holds"),
        (_adata(COUNTS * np.nan), human, ValueError, "missing"),
        (_adata(COUNTS[:0]), human, ValueError, "empty"),
        (_adata(COUNTS[:, :0], []), human, ValueError, "empty"),
        (_adata(names="01234"), human, ValueError, "row numbers"),
        (repeated, human, ValueError, "obs_names_make_unique"),
        (twice, {}, ValueError, r"adata.obs has 2 columns named 'species'"),
    ):
        with pytest.raises(error, match=said):
            uc.pp.map_genes(adata, **arguments)
        assert adata.var.columns.empty
        assert not adata.uns


def test_two_columns_of_one_name_are_refused_where_they_are_read():
    adata = _adata()
    adata.var = pd.DataFrame([["x", "y"]] * 5, adata.var_names, columns=["gene_ids", "gene_ids"])
    for arguments in ({}, {"gene_key": "gene_ids"}):
        with pytest.raises(
            ValueError, match=r"adata.var has 2 columns named 'gene_ids'. Keep one: adata.var = adata.var"
        ):
            uc.pp.map_genes(adata, species="human", **arguments)
    adata.var.columns = ["other", "other"]
    uc.pp.map_genes(adata, species="human")


@pytest.mark.parametrize(
    "name", ["human_breast_tumor_wu_cid4465", "human_brain_darmanis", "mouse_epidermis_joost_rsoptsc"]
)
def test_nearly_all_counts_of_protein_coding_and_immune_receptor_genes_are_found(test_data, name):
    adata = ad.read_h5ad(test_data / "eval" / f"{name}.h5ad")
    species = name.split("_")[0]
    source = test_data / "gene_annotation"
    read = {"sep": "\t", "dtype": str, "keep_default_na": False, "quoting": 3}
    known = set(pd.read_csv(source / f"{species}.tsv.gz", **read)["symbol"])
    for file, column in (("immune_receptor_genes", "symbol"), ("gene_aliases", "name")):
        more = pd.read_csv(source / f"{file}.tsv.gz", **read)
        known |= set(more.loc[more["species"] == species, column])
    genes = adata.var_names.isin(known - {""})
    uc.pp.map_genes(adata, species)
    counts = np.asarray(adata.X.sum(axis=0)).ravel()
    found = adata.var["uce_gene"].ne("").to_numpy()
    assert counts[genes & found].sum() > 0.99 * counts[genes].sum()


def test_a_real_data_set_with_two_name_columns(test_data):
    adata = ad.read_h5ad(test_data / "eval" / "human_pbmc_facs_zheng_fasttopics.h5ad")
    assert species_of(adata)[0] == "human"
    uc.pp.map_genes(adata)
    report = adata.uns["uce_gene"]["human"]
    assert report["n_cells"] == adata.n_obs
    assert report["fraction_counts"] > 0.9
    assert adata.var["uce_gene"].ne("").sum() == report["n_mapped"]
