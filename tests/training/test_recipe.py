"""A pretraining as TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny import tiny_table
from univerce.genes import read_table, write_table
from univerce.model import PretrainConfig, UCEConfig, save_model
from univerce.model.config import UCE_TINY
from univerce.model.network import UCE
from univerce.training.recipe import DataEntry, place_tables, read_recipe

FULL = """
out = "run"
tables = "space"
devices = 2
tensorboard = true

[model]
model_id = "mine"
n_layers = 1
head_dims = [8, 6]

[pretrain]
steps = 10
frequency_offset = false
held_out_sets = ["b"]

[[data]]
path = "a.h5ad"
species = "human"
layer = "counts"
gene_key = "id"

[[data]]
path = "sub/b.zarr"

[[data]]
path = "a.h5ad"
name = "again"
held_out = true
species = "own.zarr.zip"
"""
SMALL = 'out = "run"\n[[data]]\npath = "a.h5ad"\n'


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "a.h5ad").touch()
    (tmp_path / "sub/b.zarr").mkdir(parents=True)
    (tmp_path / "space").mkdir()
    return tmp_path


def read(here: Path, text: str):
    (here / "recipe.toml").write_text(text)
    return read_recipe(here / "recipe.toml")


def test_a_recipe_is_read_and_its_paths_are_relative_to_its_directory(here):
    recipe = read(here, FULL)
    assert (recipe.out, recipe.tables) == (here / "run", str(here / "space"))
    assert (recipe.devices, recipe.tensorboard) == (2, True)
    assert recipe.pretrain == PretrainConfig(steps=10, frequency_offset=False, held_out_sets=("b", "again"))
    assert recipe.data == (
        DataEntry(here / "a.h5ad", "a", "human", "counts", "id"),
        DataEntry(here / "sub/b.zarr", "b"),
        DataEntry(here / "a.h5ad", "again", here / "own.zarr.zip", held_out=True),
    )
    model = recipe.model_config(tiny_table("human"))
    assert model == UCEConfig(model_id="mine", n_layers=1, head_dims=(8, 6), token_dim=12, token_encoder="generated")


def test_missing_entries_have_defaults(here):
    recipe = read(here, SMALL)
    assert (recipe.tables, recipe.devices, recipe.tensorboard) == ("uce-mini", 1, False)
    assert recipe.pretrain == PretrainConfig()
    assert recipe.model_config(tiny_table("human")).model_id == "run"


def test_a_model_may_be_like_another_with_changes(here):
    recipe = read(here, SMALL + '[model]\nlike = "uce-tiny"\nn_layers = 3\n')
    model = recipe.model_config(tiny_table("human"))
    changes = {"model_id": "run", "n_layers": 3, "token_dim": 12, "token_encoder": "generated"}
    assert model.to_dict() == UCE_TINY.to_dict() | changes


def test_a_continued_model_has_the_architecture_of_its_source(here, tiny_model):
    (here / "source").symlink_to(tiny_model)
    recipe = read(here, SMALL + '[pretrain]\ncontinue_from = "source"\n')
    assert recipe.pretrain.continue_from == str(here / "source")
    model = recipe.model_config(tiny_table("human"))
    assert (model.model_id, model.d_model, model.n_layers) == ("run", 16, 2)
    assert read(here, SMALL + '[pretrain]\ncontinue_from = "uce-4l"\n').pretrain.continue_from == "uce-4l"


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param("out = ", "is not valid TOML", id="no TOML"),
        pytest.param('[[data]]\npath = "a.h5ad"', 'needs out = "DIRECTORY" and at least one', id="no out"),
        pytest.param('out = "run"', "and at least one", id="no data"),
        pytest.param('out = "run"\nseed = 1\n[[data]]\npath = "a.h5ad"', "has unknown entries: seed", id="top"),
        pytest.param(
            SMALL + "[model]\nlayers = 2", r"\[model\] has unknown entries: layers", id="unknown of the model"
        ),
        pytest.param(SMALL + "[pretrain]\nlr = 2", r"\[pretrain\] has unknown entries: lr", id="unknown of the recipe"),
        pytest.param(SMALL + "shape = 2", r"\[\[data\]\] has unknown entries: shape", id="unknown of the data"),
        pytest.param(SMALL + '[model]\nlike = "x"', "like='x' is not known; use one of uce-tiny", id="like"),
        pytest.param('out = "run"\n[[data]]\nname = "a"', r"a \[\[data\]\] has no path", id="no path"),
        pytest.param(SMALL + "[pretrain]\nsteps = 0", "steps=0 must be at least 1", id="a value that cannot be"),
    ],
)
def test_an_invalid_recipe_raises(here, text, message):
    with pytest.raises(ValueError, match=message):
        read(here, text)


def test_missing_data_raise(here):
    with pytest.raises(FileNotFoundError, match=r"there is no .*b.h5ad"):
        read(here, SMALL.replace("a.h5ad", "b.h5ad"))


def test_gene_tables_are_placed_with_the_model(here, tiny_model):
    own = tiny_table("mouse", seed=7)
    write_table(own, here / "own.zarr.zip")
    recipe = read(here, SMALL.replace('path = "a.h5ad"', 'path = "a.h5ad"\nspecies = "own.zarr.zip"'))
    recipe = type(recipe)(**{**vars(recipe), "tables": str(tiny_model)})
    place_tables(recipe, here / "tables")
    assert sorted(p.name for p in (here / "tables").iterdir()) == [
        "human.zarr.zip", "mouse.zarr.zip", "zebrafish.zarr.zip",
    ]  # fmt: skip
    digests = {p.name: read_table(p).uns["gene_table"]["digest"] for p in (here / "tables").iterdir()}
    assert digests["mouse.zarr.zip"] == own.uns["gene_table"]["digest"]
    assert digests["human.zarr.zip"] == tiny_table("human").uns["gene_table"]["digest"]


def test_tables_of_a_directory_with_a_model_are_found(here):
    config = UCEConfig(token_dim=12, token_encoder="generated", d_model=8, n_heads=2, d_hidden=8, output_dim=8)
    save_model(UCE(config), here / "space")
    write_table(tiny_table("human"), here / "space/tables/human.zarr.zip")
    place_tables(read(here, 'tables = "space"\n' + SMALL), here / "tables")
    assert [p.name for p in (here / "tables").iterdir()] == ["human.zarr.zip"]
