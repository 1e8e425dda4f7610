"""Where the species of the cells is looked for."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.genes.species_of import species_of
from univerce.genes.table import write_table


def _adata(uns=None, **obs) -> ad.AnnData:
    return ad.AnnData(np.ones((3, 1)), obs=pd.DataFrame(obs, index=list("abc")), uns=uns or {})


MIXED = ["Homo sapiens", "mouse", "human"]


@pytest.mark.parametrize(
    ("adata", "species", "expected"),
    [
        pytest.param(_adata(), "Mus musculus", "mouse", id="argument"),
        pytest.param(_adata({"organism": "human"}), "mouse", "mouse", id="argument over uns"),
        pytest.param(_adata(host=["mouse"] * 3), "host", "mouse", id="column of obs"),
        pytest.param(_adata(human=["mouse"] * 3), "human", "human", id="species over a column of that name"),
        pytest.param(_adata({"organism": "Danio rerio"}), None, "zebrafish", id="uns organism"),
        pytest.param(_adata({"species": "fly"}), None, "fly", id="uns species"),
        pytest.param(_adata({"organism_ontology_term_id": "NCBITaxon:9606"}), None, "human", id="uns term"),
        pytest.param(_adata({"organism": "human"}, species=["mouse"] * 3), None, "human", id="uns over obs"),
        pytest.param(
            _adata({"organism": {"a": 1}}, species=["mouse"] * 3), None, "mouse", id="uns entry that is no text"
        ),
        pytest.param(_adata(organism=["Homo sapiens"] * 3), None, "human", id="obs organism"),
        pytest.param(_adata(organism_ontology_term_id=["NCBITaxon:10090"] * 3), None, "mouse", id="obs term"),
        pytest.param(_adata(species=["human", "Hs", "9606"]), None, "human", id="three names of one species"),
        pytest.param(
            _adata(species=pd.Categorical(["human"] * 3, ["human", "mouse"])), None, "human", id="unused category"
        ),
        pytest.param(_adata(species=[9606] * 3), None, "human", id="taxonomy numbers"),
    ],
)
def test_one_species_is_one_key(adata, species, expected):
    assert species_of(adata, species) == (expected, {})


@pytest.mark.parametrize("species", [None, "species"])
@pytest.mark.parametrize("column", [MIXED, pd.Categorical(MIXED)], ids=["text", "categorical"])
def test_several_species_are_one_key_per_cell(species, column):
    keys, _ = species_of(_adata(species=column), species)
    assert isinstance(keys, pd.Categorical)
    assert list(keys) == ["human", "mouse", "human"]
    assert list(keys.categories) == ["human", "mouse"]


@pytest.mark.parametrize(
    ("adata", "uns", "expected"),
    [
        pytest.param(_adata(), {"organism": "Mus musculus"}, "mouse", id="of the MuData alone"),
        pytest.param(_adata(), {"organism_ontology_term_id": "NCBITaxon:9606"}, "human", id="as a term"),
        pytest.param(_adata({"organism": "human"}), {"organism": "mouse"}, "human", id="uns of the modality first"),
        pytest.param(_adata(species=["human"] * 3), {"organism": "mouse"}, "human", id="obs of the modality first"),
    ],
)
def test_a_modality_without_a_species_has_that_of_its_mudata(adata, uns, expected):
    assert species_of(adata, within=_adata(uns))[0] == expected


def test_own_species_are_known():
    assert species_of(_adata(), "Axolotl", known=["axolotl"])[0] == "axolotl"
    assert species_of(_adata(species=["Axolotl"] * 3), known=["axolotl"])[0] == "axolotl"


@pytest.mark.parametrize(
    ("adata", "species", "said"),
    [
        pytest.param(_adata(), None, 'not stated. Pass species=, for example species="human"', id="not stated"),
        pytest.param(_adata(batch=["x"] * 3), "humna", "did you mean 'human'.*column of obs: batch", id="misspelled"),
        pytest.param(_adata({"organism": "alien"}), None, "adata.uns.'organism'.*'alien' is not known", id="in uns"),
        pytest.param(_adata(species=["mouse", "alien", "mouse"]), None, "adata.obs.'species'.*'alien'", id="in obs"),
        pytest.param(_adata(species=["mouse", None, np.nan]), None, "2 of 3 cells have no species", id="missing"),
        pytest.param(_adata(species=["mouse", " ", "mouse"]), None, "1 of 3 cells have no species", id="blank"),
        pytest.param(_adata(s=pd.Categorical(["mouse", None, "rat"])), "s", "1 of 3 cells", id="missing category"),
        pytest.param(_adata(species=[None, None, None]), None, "3 of 3 cells have no species", id="all missing"),
    ],
)
def test_a_species_that_is_not_clear_is_an_error(adata, species, said):
    with pytest.raises(ValueError, match=said):
        species_of(adata, species)
    with pytest.raises(ValueError, match=r"mdata\.uns\['species'\]: .*'alien' is not known"):
        species_of(_adata(), within=_adata({"species": "alien"}))


def test_gene_tables_come_as_objects_paths_or_several(tmp_path):
    human, mouse = tiny_table("human"), tiny_table("mouse")
    path = write_table(mouse, tmp_path / "m.zarr.zip")
    mixed = _adata(species=["human", "mouse", "mouse"])
    for species in ([human, path], (str(path), human)):
        keys, tables = species_of(mixed, species)
        assert list(keys) == ["human", "mouse", "mouse"]
        assert sorted(tables) == ["human", "mouse"]
    assert list(species_of(mixed, str(path))[1]) == ["mouse"]
    # a single table states the species of data that do not
    table = tiny_table("mouse", seed=1)
    table.uns["gene_table"]["species"] = "axolotl"
    keys, tables = species_of(_adata(), table)
    assert (keys, list(tables)) == ("axolotl", ["axolotl"])


def test_tables_that_do_not_fit_are_refused():
    mouse = tiny_table("mouse")
    for tables, message in (
        ([mouse, mouse], "two gene tables of 'mouse'; pass one"),
        ([mouse], "a gene table of mouse, but the cells are of human"),
        (["human", mouse], r"species= holds 'human' in a list.*\.h5ad"),
    ):
        with pytest.raises(ValueError, match=message):
            species_of(_adata({"organism": "human"}), tables)


def test_a_given_table_replaces_that_of_the_model(tiny_model):
    other = tiny_table("human", seed=1)
    adata, mapped = tiny_cells("human"), tiny_cells("human")
    uc.tl.uce_embed(adata, other, model=tiny_model)
    uc.pp.uce_tokenize(adata, other, model=tiny_model)
    for record in (adata.uns["univerce"]["X_uce"], adata.uns["uce_sentences"]["params"]):
        assert record["table_digest"] == {"human": other.uns["gene_table"]["digest"]}
    uc.pp.map_genes(mapped, other, model=tiny_model)
    assert set(mapped.var["uce_gene"]) == {*other.obs_names, ""}


def test_of_several_species_some_may_have_a_given_table(tiny_model):
    joint = ad.concat([tiny_cells("human", 5), tiny_cells("mouse", 5)], join="outer")
    joint.obs["organism"] = ["human"] * 5 + ["mouse"] * 5
    plain, given = joint.copy(), joint.copy()
    uc.tl.uce_embed(plain, model=tiny_model)
    uc.tl.uce_embed(given, tiny_table("mouse", seed=1), model=tiny_model)
    a, b = plain.obsm["X_uce"], given.obsm["X_uce"]
    np.testing.assert_allclose(a[:5], b[:5], atol=1e-5)
    assert np.abs(a[5:] - b[5:]).max() > 1e-3
