from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.genes.given import given_tables, species_and_tables
from univerce.genes.table import write_table


def test_tables_come_as_objects_paths_or_several(tmp_path):
    human, mouse = tiny_table("human"), tiny_table("mouse")
    path = write_table(mouse, tmp_path / "m.zarr.zip")
    assert given_tables(None) == {}
    assert list(given_tables(human)) == ["human"]
    assert list(given_tables(str(path))) == ["mouse"]
    assert list(given_tables([human, path])) == ["human", "mouse"]
    with pytest.raises(ValueError, match="two gene tables of 'mouse'"):
        given_tables([mouse, path])


def test_a_single_table_says_of_which_species_the_cells_are_when_nothing_else_does(tiny_model):
    table = tiny_table("mouse", seed=1)
    table.uns["gene_table"]["species"] = "axolotl"
    adata = tiny_cells("mouse")
    del adata.uns["organism"]
    keys, tables = species_and_tables(adata, None, tiny_model, table, adata)
    assert (keys, list(tables)) == ("axolotl", ["axolotl"])


@pytest.mark.parametrize("species", [None, "human"], ids=["in uns", "as argument"])
def test_a_table_of_another_species_than_the_cells_is_refused(tiny_model, species):
    adata = tiny_cells("human")
    with pytest.raises(ValueError, match="table= is of mouse; the cells are of human"):
        uc.pp.map_genes(adata, species=species, model=tiny_model, table=tiny_table("mouse"))


@pytest.mark.parametrize("verb", [uc.tl.uce_embed, uc.pp.uce_tokenize])
def test_a_table_that_is_handed_over_goes_before_that_of_the_model(tiny_model, verb):
    other = tiny_table("human", seed=1)
    adata, mapped = tiny_cells("human"), tiny_cells("human")
    verb(adata, model=tiny_model, table=other)
    (key,) = set(adata.uns) - {"organism"}
    assert adata.uns[key]["params"]["table_digest"] == {"human": other.uns["gene_table"]["digest"]}
    uc.pp.map_genes(mapped, model=tiny_model, table=other)
    assert set(mapped.var["uce_gene"]) == {*other.obs_names, ""}


def test_of_several_species_some_may_use_their_own_table(tiny_model):
    import anndata as ad

    joint = ad.concat([tiny_cells("human", 5), tiny_cells("mouse", 5)], join="outer")
    joint.obs["organism"] = ["human"] * 5 + ["mouse"] * 5
    plain, handed = joint.copy(), joint.copy()
    uc.tl.uce_embed(plain, model=tiny_model)
    uc.tl.uce_embed(handed, model=tiny_model, table=tiny_table("mouse", seed=1))
    a, b = plain.obsm["X_uce"], handed.obsm["X_uce"]
    np.testing.assert_allclose(a[:5], b[:5], atol=1e-5)
    assert np.abs(a[5:] - b[5:]).max() > 1e-3
