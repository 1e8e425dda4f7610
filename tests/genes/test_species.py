"""Names of species."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from univerce.genes.release.registry import RELEASED_SPECIES
from univerce.genes.species import SPECIES, find_species, resolve_species

NAMES = {
    "human": "human", "Homo sapiens": "human", "homo_sapiens": "human", "  HOMO-SAPIENS ": "human",
    "H. sapiens": "human", "Hs": "human", "NCBITaxon:9606": "human", "9606": "human", "GRCh38": "human",
    "rhesus macaque": "macaca_mulatta", "Canis lupus familiaris": "dog", "mouse lemur": "mouse_lemur",
    "Naked mole-rat": "naked_mole_rat", "Drosophila melanogaster": "fly", "C. elegans": "worm",
}  # fmt: skip


def test_a_species_has_many_names():
    assert {name: resolve_species(name) for name in NAMES} == NAMES


def test_every_name_in_the_registry_leads_to_its_species():
    for key, species in SPECIES.items():
        names = (key, species.scientific_name, f"NCBITaxon:{species.taxonomy_id}", *species.aliases)
        assert {resolve_species(name) for name in names} == {key}


def test_identifier_prefixes_are_unique_and_released_species_known():
    assert len({species.id_prefix for species in SPECIES.values()}) == len(SPECIES)
    for key, stem in RELEASED_SPECIES.items():
        assert stem.startswith(SPECIES[key].scientific_name.replace(" ", "_") + ".")


@given(st.text())
def test_any_text_resolves_to_a_key_or_is_refused(name):
    key = find_species(name)
    if key is None:
        with pytest.raises(ValueError, match="is not known"):
            resolve_species(name)
    else:
        assert key in SPECIES
        assert resolve_species(name) == key


def test_an_unknown_species_gets_a_hint_and_the_list():
    assert find_species("_", extra=["axolotl"]) is None
    with pytest.raises(ValueError, match=re.escape("species='zebra fsh' is not known; did you mean 'zebrafish'?")) as e:
        resolve_species("zebra fsh")
    assert "macaca_mulatta" in str(e.value)
    with pytest.raises(ValueError, match=r"is not known\. Known species: "):
        resolve_species("qqqqqqqq")


def test_own_species_are_known_by_their_key_and_come_first():
    assert resolve_species("Axolotl V2", extra=["axolotl_v2"]) == "axolotl_v2"
    assert resolve_species("hs", extra=["HS"]) == "HS"
    with pytest.raises(ValueError, match="did you mean 'axolotl_v2'") as e:
        resolve_species("axolotl_v3", extra=["axolotl_v2"])
    assert "axolotl_v2, chicken" in str(e.value)
