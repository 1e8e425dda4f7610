from __future__ import annotations

import re

import pytest

from univerce.genes.release.models import BRAIN, MODELS, PAPER
from univerce.genes.release.registry import (
    ASSETS,
    MAGIC,
    RELEASED_MODELS,
    RELEASED_SPECIES,
    list_tables,
    protein_file,
)


def test_every_asset_has_a_source_and_bounds_that_include_its_published_size():
    for asset in ASSETS.values():
        assert asset.min_bytes <= (asset.size or asset.min_bytes) <= asset.max_bytes
        assert asset.kind in MAGIC
        assert asset.urls or asset.hub
    assert set(RELEASED_MODELS.values()) <= set(ASSETS)
    assert {protein_file(species) for species in RELEASED_SPECIES} <= set(ASSETS)


def test_figshare_is_asked_by_its_api_first_and_its_website_last():
    for asset in (asset for asset in ASSETS.values() if asset.figshare_id):
        hosts = [url.split("/")[2] for url in asset.urls]
        assert hosts == ["api.figshare.com", "ndownloader.figshare.com", "figshare.com"]
        assert {url.rsplit("/")[-1] for url in asset.urls} == {str(asset.figshare_id)}


def test_the_registered_models_are_of_known_families_and_pin_only_commits():
    for name, model in MODELS.items():
        assert model.name == name
        assert model.family in (PAPER, BRAIN)
        assert model.revision is None or re.fullmatch("[0-9a-f]{40}", model.revision)
        assert (model.ids is None) == (model.ids_from == "")
        assert model.asset == RELEASED_MODELS.get(name)
        assert model.gene_data is None or model.gene_data in ASSETS
        assert len(set(model.species)) == len(model.species)


def test_both_known_token_tensors_and_the_real_files_are_within_their_bounds(test_data):
    sizes = {name: [(test_data / "uce" / name).stat().st_size] for name in ("species_chrom.csv", "species_offsets.pkl")}
    for name, found in (sizes | {"all_tokens.torch": [rows * 5120 * 4 + 1000 for rows in (143_574, 145_469)]}).items():
        assert all(ASSETS[name].min_bytes <= size <= ASSETS[name].max_bytes for size in found)


def test_an_unknown_species_is_refused_with_the_known_ones():
    assert protein_file("human") == "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt"
    with pytest.raises(ValueError, match=f"'rat' was not released.*{', '.join(RELEASED_SPECIES)}"):
        protein_file("rat")


def test_tables_are_listed_by_species_and_an_h5ad_wins_over_a_packed_table(tmp_path):
    for name in ("mouse.h5ad", "human.zarr.zip", "human.h5ad", ".pig.h5ad", "notes.txt", "rat.zarr.zip"):
        (tmp_path / name).touch()
    assert list_tables(tmp_path) == {
        "human": tmp_path / "human.h5ad",
        "mouse": tmp_path / "mouse.h5ad",
        "rat": tmp_path / "rat.zarr.zip",
    }
    assert list_tables(tmp_path / "nowhere") == {}
