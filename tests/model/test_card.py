"""Model cards are read by the hub's own parser and state what is on record."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

import univerce as uc
from univerce.cli import main

MODELS = uc.model.list_models().set_index("name")


@pytest.mark.parametrize("name", MODELS.index)
def test_the_hub_reads_the_card(name):
    card = ModelCard(uc.model.model_card(name), ignore_metadata_errors=False)
    on_record = MODELS.loc[name]
    assert card.data.library_name == "univerce"
    assert card.data.license in {"bsd-3-clause", "cc-by-4.0", "unknown"}
    assert (card.data.license == "unknown") == on_record["license"].startswith("none stated")
    assert card.data.base_model == (on_record["repository"] or None)
    assert on_record["family"] in card.data.tags
    assert card.text.lstrip().startswith(f"# {name}\n")
    for fact in ("species", "training", "license", "revision"):
        assert on_record[fact] in card.text


def test_special_tokens_that_only_the_registry_states_are_on_the_card():
    assert "chrom_token_offset 1000" in uc.model.model_card("uce-multispecies-2025-11-08")
    assert "special tokens" not in uc.model.model_card("brain-uce-pilot-mix-v3")


def test_a_name_that_is_not_on_record():
    with pytest.raises(ValueError, match=r"There is no model 'uce-5l' on record; the names are uce-mini"):
        uc.model.model_card("uce-5l")


def test_the_command_prints_the_card(capsys):
    assert main(["models", "card", "uce-4l"]) == 0
    assert capsys.readouterr().out == uc.model.model_card("uce-4l")
