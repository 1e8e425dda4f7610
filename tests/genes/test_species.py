"""Names of species."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from univerce.genes.species import SPECIES, find_species, resolve_species


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("human", "human", id="key"),
        pytest.param("Homo sapiens", "human", id="scientific name"),
        pytest.param("homo_sapiens", "human", id="scientific name as Ensembl writes it"),
        pytest.param("  HOMO-SAPIENS ", "human", id="other case and blanks around"),
        pytest.param("H. sapiens", "human", id="abbreviated genus"),
        pytest.param("Hs", "human", id="two letters"),
        pytest.param("NCBITaxon:9606", "human", id="CELLxGENE term"),
        pytest.param("9606", "human", id="taxonomy number"),
        pytest.param("GRCh38", "human", id="assembly"),
        pytest.param("rhesus macaque", "macaca_mulatta", id="common name"),
        pytest.param("Canis lupus familiaris", "dog", id="subspecies"),
        pytest.param("mouse lemur", "mouse_lemur", id="mouse lemur is no mouse"),
        pytest.param("Naked mole-rat", "naked_mole_rat", id="naked mole-rat is no rat"),
        pytest.param("Drosophila melanogaster", "fly", id="fly"),
        pytest.param("C. elegans", "worm", id="worm"),
    ],
)
def test_a_species_is_known_by_many_names(name, key):
    assert resolve_species(name) == key


def test_every_name_in_the_registry_leads_to_its_species():
    for key, species in SPECIES.items():
        names = (key, species.scientific_name, f"NCBITaxon:{species.taxonomy_id}", *species.aliases)
        assert {resolve_species(name) for name in names} == {key}


def test_identifier_prefixes_tell_species_apart():
    prefixes = [species.id_prefix for species in SPECIES.values()]
    assert len(set(prefixes)) == len(prefixes)


def test_release_files_are_those_of_the_released_tables():
    released = {key: s.release_prefix for key, s in SPECIES.items() if s.release_prefix}
    assert sorted(released) == [
        "frog",
        "human",
        "macaca_fascicularis",
        "macaca_mulatta",
        "mouse",
        "mouse_lemur",
        "pig",
        "zebrafish",
    ]
    for key, prefix in released.items():
        assert prefix.startswith(SPECIES[key].scientific_name.replace(" ", "_") + ".")


@given(st.text())
@settings(deadline=None)
def test_any_text_resolves_to_a_key_or_is_refused(name):
    key = find_species(name)
    if key is None:
        with pytest.raises(ValueError, match="is not known"):
            resolve_species(name)
    else:
        assert key in SPECIES
        assert resolve_species(name) == key


@pytest.mark.parametrize("name", ["", "  ", "_"])
def test_a_name_without_letters_is_no_species(name):
    assert find_species(name, extra=["axolotl"]) is None


def test_an_unknown_species_gets_a_hint_and_the_list():
    with pytest.raises(ValueError, match=re.escape("species='zebra fsh' is not known; did you mean 'zebrafish'?")) as e:
        resolve_species("zebra fsh")
    assert "macaca_mulatta" in str(e.value)


def test_an_unknown_species_far_from_all_gets_no_hint():
    with pytest.raises(ValueError, match=r"is not known\. Known are"):
        resolve_species("qqqqqqqq")


def test_own_species_are_known_by_their_key_and_come_first():
    assert resolve_species("Axolotl V2", extra=["axolotl_v2"]) == "axolotl_v2"
    assert resolve_species("hs", extra=["HS"]) == "HS"
    with pytest.raises(ValueError, match="did you mean 'axolotl_v2'") as e:
        resolve_species("axolotl_v3", extra=["axolotl_v2"])
    assert "axolotl_v2, chicken" in str(e.value)
