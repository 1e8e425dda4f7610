"""Names of the bundled tables."""

from __future__ import annotations

import importlib

import anndata as ad
import pandas as pd

from univerce.genes.bundled_names import SpeciesNames, bundled_names, hashes, symbols_by_id
from univerce.genes.load import available_species, load_table
from univerce.pp import map_genes


def test_the_names_are_those_of_the_bundled_tables():
    names = {known.species: known for known in bundled_names()}
    assert sorted(names) == available_species()
    for species in names:
        obs = load_table(species).obs.astype(str)
        assert set(names[species].symbols) == _hashed(set(obs["symbol"]) - {""})
        assert set(names[species].upper_symbols) == _hashed(set(obs["symbol"].str.upper()) - {""})
        assert set(names[species].ids) == _hashed(set(obs["ensembl_id"].str.upper()) - {""})
        identifiers = dict(zip(obs["ensembl_id"].str.upper(), obs["symbol"].str.upper(), strict=True))
        assert symbols_by_id(species) == {name: symbol for name, symbol in identifiers.items() if name}


def test_no_two_bundled_names_share_a_hash():
    names = {name for species in available_species() for name in _spellings(load_table(species).obs.astype(str))}
    assert len(set(hashes(sorted(names)))) == len(names) > 300_000


def test_names_are_those_of_a_worked_example():
    obs = pd.DataFrame({"symbol": [" Actb", "", "Trp53", "Actb"], "ensembl_id": ["a1", "A2", None, ""]}, dtype=object)
    known = SpeciesNames.of(ad.AnnData(obs=obs.set_axis(list("wxyz")), uns={"gene_table": {"species": "mouse"}}))
    assert known.species == "mouse"
    assert set(known.symbols) == _hashed({"Actb", "Trp53"})
    assert set(known.upper_symbols) == _hashed({"ACTB", "TRP53"})
    assert set(known.ids) == _hashed({"A1", "A2"})


def test_the_bundled_names_are_prepared_once_and_not_at_every_report(monkeypatch):
    cells = ad.AnnData(pd.DataFrame([[1.0, 2.0]], index=["cell"], columns=["CD3E", "INS"]))
    map_genes(cells, species="human")
    prepared = []
    module = importlib.import_module("univerce.genes.bundled_names")
    monkeypatch.setattr(module, "hashes", lambda names: prepared.append(names) or hashes(names))
    map_genes(cells, species="human")
    assert len(prepared) == 3  # symbols, in upper case, and identifiers of the declared species


def _hashed(names: set[str]) -> set[int]:
    return set(hashes(sorted(names)))


def _spellings(obs: pd.DataFrame) -> set[str]:
    return {*obs["symbol"], *obs["symbol"].str.upper(), *obs["ensembl_id"].str.upper()}
