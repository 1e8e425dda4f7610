"""Names of the bundled tables."""

from __future__ import annotations

from univerce.genes.load import available_species, load_table
from univerce.genes.names import bundled_names


def test_the_names_are_those_of_the_bundled_tables():
    names = {table.uns["gene_table"]["species"]: table for table in bundled_names()}
    assert sorted(names) == available_species()
    for species in ("human", "fly"):
        table = load_table(species)
        for column in ("symbol", "ensembl_id"):
            assert names[species].obs[column].astype(str).tolist() == table.obs[column].astype(str).tolist()
