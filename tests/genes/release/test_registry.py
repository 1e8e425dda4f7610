from __future__ import annotations

import pytest

from univerce.genes.release.registry import (
    ASSETS,
    MAGIC,
    RELEASED_MODELS,
    RELEASED_SPECIES,
    list_tables,
    protein_file,
)


def test_every_asset_has_bounds_that_include_its_published_size_and_a_figshare_address():
    for asset in ASSETS.values():
        assert asset.min_bytes <= (asset.size or asset.min_bytes) <= asset.max_bytes
        assert asset.kind in MAGIC
        assert asset.urls[0].startswith("https://figshare.com/ndownloader/files/")
        assert len({url.rsplit("/")[-1] for url in asset.urls}) == 1
    assert set(RELEASED_MODELS.values()) <= set(ASSETS)


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
