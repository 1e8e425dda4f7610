from __future__ import annotations

import importlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from univerce._settings import settings
from univerce.genes.load import available_species, convert_released, load_table
from univerce.genes.release.registry import ASSETS, RELEASED_SPECIES, protein_file
from univerce.genes.table import make_table, table_digest, write_table

module = importlib.import_module("univerce.genes.release.tables")


def small_table(species="human", dim=4):
    genes = pd.DataFrame(
        {"symbol": ["INS", "GCG"], "ensembl_id": ["E1", "E2"], "chromosome": ["1", "2"], "start": [5, 9]}
    ).assign(chromosome_code=[0, 1])
    return make_table(
        genes,
        np.arange(2 * dim, dtype="i1").reshape(2, dim),
        species=species,
        encoder="example",
        source="example",
        special_features=np.eye(4, dim, k=-1, dtype="i1"),
        chromosome_names=["1", "2"],
        chromosome_codes=[0, 1],
        chromosome_features=np.ones((2, dim), dtype="i1"),
    )


def digest(species, model):
    return load_table(species, model=model).uns["gene_table"]["digest"]


@pytest.fixture
def model(tmp_path):
    """A model's directory with a packed and an open table."""
    (tmp_path / "model" / "tables").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    write_table(small_table("human"), tmp_path / "model" / "tables" / "human.zarr.zip")
    write_table(small_table("mouse"), tmp_path / "model" / "tables" / "mouse.h5ad")
    return tmp_path / "model"


@pytest.mark.parametrize("species", ["human", "zebrafish"])
def test_the_bundled_tables_load_offline_and_match_their_digest(species):
    with settings.override(offline=True, cache_dir="nowhere"):
        table = load_table(species)
    assert table.uns["gene_table"]["species"] == species
    assert table.uns["gene_table"]["digest"] == table_digest(table)
    assert table.n_obs > 10_000


def test_a_loaded_table_is_a_copy():
    first = load_table("fly")
    first.obs["symbol"] = "changed"
    first.X[0] = 0
    first.uns["special_features"][:] = 1
    first.uns["gene_table"]["species"] = "changed"
    second = load_table("fly")
    assert second.uns["gene_table"]["digest"] == table_digest(second)
    assert second.uns["gene_table"]["species"] == "fly"


def test_tables_of_a_models_directory_load_by_species(model):
    assert available_species(str(model)) == available_species(model) == ["human", "mouse"]
    for species, name in (("human", str(model)), ("mouse", model)):
        table = load_table(species, model=name)
        assert table.uns["gene_table"]["species"] == species
        assert table.isbacked == (species == "mouse")


def test_tables_may_lie_beside_the_config(model):
    for table in (model / "tables").iterdir():
        shutil.move(table, model)
    (model / "tables").rmdir()
    assert available_species(model) == ["human", "mouse"]
    assert digest("human", model) == small_table("human").uns["gene_table"]["digest"]


def test_a_table_that_was_replaced_is_read_again(model):
    before = digest("human", model)
    write_table(small_table("human", dim=6), model / "tables" / "human.zarr.zip")
    assert digest("human", model) != before


def test_an_unknown_species_lists_those_there_are(model):
    with pytest.raises(
        ValueError, match=r"no gene table of 'unicorn' for the model 'uce-mini'; its species are .*human.*mouse"
    ):
        load_table("unicorn")
    with pytest.raises(ValueError, match=r"no gene table of 'rat' for the model .*; its species are human, mouse\."):
        load_table("rat", model=model)
    with pytest.raises(ValueError, match=f"'rat' .* 'uce-4l'; its species are {', '.join(RELEASED_SPECIES)}"):
        load_table("rat", model="uce-4l")


def test_an_unknown_model_lists_those_there_are(tmp_path):
    for name in ("uce-5l", tmp_path):
        with pytest.raises(ValueError, match=r"uce-mini, .*uce-4l, uce-33l, .*hf://owner/name, or a directory with a"):
            load_table("human", model=name)
    with pytest.raises(ValueError, match="model='uce-mini' is not a released model; use one of uce-4l, uce-33l"):
        convert_released(model="uce-mini")


@pytest.mark.parametrize(
    ("model", "cached", "expected"),
    [
        pytest.param("uce-33l", [], "33l_8ep_1024t_1280.torch", id="nothing: the checkpoint of the model"),
        pytest.param("uce-33l", ["4layer_model.torch"], "4layer_model.torch", id="the other checkpoint"),
        pytest.param("uce-4l", ["all_tokens.torch"], "all_tokens.torch", id="the tokens alone"),
    ],
)
def test_released_tables_are_converted_once_from_what_the_cache_holds(monkeypatch, tmp_path, model, cached, expected):
    fetched, converted = [], []

    def fetch(name):
        fetched.append(name)
        return settings.cache_dir / name

    def convert(positions, offsets, *, tokens, protein_embeddings, out_dir, species):
        converted.append((positions.name, offsets.name, tokens[0].name, protein_embeddings["pig"].name, species))
        return {name: write_table(small_table(name), out_dir / f"{name}.h5ad") for name in species}

    monkeypatch.setattr(module, "fetch", fetch)
    monkeypatch.setattr(module, "convert_tables", convert)
    with settings.override(cache_dir=tmp_path):
        for name in cached:
            (tmp_path / name).touch()
        for _ in range(2):
            table = load_table("pig", model=model)
            assert table.uns["gene_table"]["species"] == "pig"
        assert (tmp_path / "tables" / "esm2-15b" / "pig.h5ad").is_file()
        assert available_species(model) == sorted(RELEASED_SPECIES)
    assert converted == [("species_chrom.csv", "species_offsets.pkl", expected, protein_file("pig"), ["pig"])]
    assert sorted(fetched) == sorted(converted[0][:4]), "the proteins of one species, not of all"


@pytest.mark.parametrize(
    ("model", "cached", "missing"),
    [
        ("uce-33l", [], {
            "species_chrom.csv": "4.1 MB", "species_offsets.pkl": "139 bytes", "33l_8ep_1024t_1280.torch": "5.7 GB",
            protein_file("human"): "405 MB",
        }),
        ("uce-4l", ["species_chrom.csv", "species_offsets.pkl", "all_tokens.torch"], {protein_file("human"): "405 MB"}),
    ],
    ids=["all missing", "one missing"],
)  # fmt: skip
def test_a_released_table_offline_names_every_missing_file_and_how_to_get_them(tmp_path, model, cached, missing):
    for name in cached:
        (tmp_path / name).touch()
    with settings.override(offline=True, cache_dir=tmp_path), pytest.raises(FileNotFoundError) as error:
        load_table("human", model=model)
    text = str(error.value)
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    sources = {name: (*ASSETS[name].urls, *map(str, ASSETS[name].hub))[0] for name in missing}
    assert listed == [f"- {name} ({size}), {sources[name]}" for name, size in missing.items()]
    assert f"`univerce assets fetch {' '.join(missing)}`" in text
    assert f"UNIVERCE_CACHE={tmp_path}" in text


def test_callers_that_want_a_released_table_at_the_same_time_convert_it_once(monkeypatch, tmp_path):
    both, waited = threading.Barrier(2, timeout=60), threading.local()
    converted = []

    def fetch(name):
        return settings.cache_dir / name

    def require(names):
        if not hasattr(waited, "done"):
            waited.done = True
            both.wait()  # both have seen that there is no table before either converts it

    def convert(*_, out_dir, species, **__):
        converted.append(species)
        time.sleep(0.2)
        return {name: write_table(small_table(name), out_dir / f"{name}.h5ad") for name in species}

    for name, stand_in in (("fetch", fetch), ("require", require), ("convert_tables", convert)):
        monkeypatch.setattr(module, name, stand_in)
    with settings.override(cache_dir=tmp_path), ThreadPoolExecutor(2) as pool:
        for table in pool.map(lambda _: load_table("pig", model="uce-4l"), range(2)):
            assert table.uns["gene_table"]["species"] == "pig"
    assert converted == [["pig"]]


def test_listing_the_released_species_creates_nothing(tmp_path):
    with settings.override(cache_dir=tmp_path / "cache"):
        available_species("uce-33l")
    assert not (tmp_path / "cache").exists()


def test_the_bundled_tables_have_immune_receptor_genes():
    wanted = ["IGHM", "IGHG1", "IGHA", "IGKC", "IGLC2", "TRAC", "TRBC1", "TRBC2", "TRDC", "TRGC1"]
    for species in ("human", "mouse"):
        obs = load_table(species).obs
        found = obs[obs["symbol"].str.upper().isin([*wanted, "IGHA1"])]
        assert len(found) == len(wanted)
        assert (found["start"] > 0).all()
    assert load_table("zebrafish").obs["symbol"].eq("trdc").any()
