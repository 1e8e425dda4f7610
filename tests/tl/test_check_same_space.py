"""uc.tl.check_same_space: comparable embeddings, and the errors for others."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table, write_tiny_model


def embedded(model: Path, species: str = "human", **options) -> ad.AnnData:
    adata = tiny_cells(species, 4)
    uc.tl.uce_embed(adata, model=model, **options)
    return adata


@pytest.fixture
def mine(tiny_model) -> ad.AnnData:
    return embedded(tiny_model)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"rng": 5, "n_draws": 2, "sampling": "systematic"}, id="another sampling"),
        pytest.param({"padding": "official", "precision": "bfloat16"}, id="another padding and precision"),
        pytest.param({"species": "mouse"}, id="another species"),
    ],
)
def test_embeddings_of_one_model_may_be_compared(mine, tiny_model, options):
    options = dict(options)
    with uc.settings.override(precision=options.pop("precision", "auto")):
        other = embedded(tiny_model, **options)
    assert uc.tl.check_same_space(mine, other) is None
    assert uc.tl.check_same_space(other, mine) is None


def test_a_model_is_known_by_its_weights_and_not_by_its_name(mine, tmp_path):
    renamed = write_tiny_model(tmp_path / "renamed", tables=[tiny_table("human")], model_id="another name")
    uc.tl.check_same_space(mine, embedded(renamed.path))
    impostor = write_tiny_model(tmp_path / "impostor", seed=1, tables=[tiny_table("human")])
    other = embedded(impostor.path)
    digests = [a.uns["univerce"]["X_uce"]["model_digest"][:12] for a in (mine, other)]
    message = rf"come from two models, 'tiny' \({digests[0]}\) and 'tiny' \({digests[1]}\).*model= of the other"
    with pytest.raises(ValueError, match=message):
        uc.tl.check_same_space(mine, other)


def test_two_gene_tables_of_a_shared_species_are_refused(mine, tiny_model, tmp_path):
    model = write_tiny_model(tmp_path / "m", tables=[tiny_table("human", seed=1), tiny_table("mouse")])
    with pytest.raises(ValueError, match=r"models 'tiny' .* and 'tiny' .* two gene tables of human\. Embed one"):
        uc.tl.check_same_space(mine, embedded(model.path))
    uc.tl.check_same_space(embedded(tiny_model, "mouse"), embedded(model.path, "mouse"))
    uc.tl.check_same_space(embedded(tiny_model, "mouse"), embedded(model.path))


@pytest.mark.parametrize("side", ["adata", "other"])
def test_a_side_without_embedding_or_parameters_is_named(mine, side):
    def check(bad: ad.AnnData, **options) -> None:
        uc.tl.check_same_space(*((bad, mine) if side == "adata" else (mine, bad)), **options)

    bare = tiny_cells(n=4)
    bare.obsm["X_pca"] = np.zeros((4, 2))
    with pytest.raises(KeyError, match=rf"{side}\.obsm\['X_uce'\].*'X_pca'.*uc\.tl\.uce_embed\({side}"):
        check(bare)
    for records in ({}, {"X_uce": {}}, {"X_uce": {"model": "m"}}, "text"):
        bare = mine.copy()
        del bare.obs["X_uce_space"]
        bare.uns["univerce"] = records
        with pytest.raises(KeyError, match=rf"{side}\.uns\['univerce'\]\['X_uce'\].*uc\.tl\.uce_embed\({side}"):
            check(bare)


def test_another_key_is_looked_up_on_both_sides(tiny_model):
    a, b = embedded(tiny_model, key_added="here"), embedded(tiny_model, key_added="here")
    uc.tl.check_same_space(a, b, use_rep="here")
    with pytest.raises(KeyError, match=r"obsm\['X_uce'\] does not exist; its keys are: 'here'"):
        uc.tl.check_same_space(a, b)
