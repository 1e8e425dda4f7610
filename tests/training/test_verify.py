"""The verdict of uc.model.verify; what it catches is in tests/model/test_mismatches.py."""

from __future__ import annotations

import warnings
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from mudata import MuData

import univerce as uc
from tests.helpers.trained import CONFIGS, genes_table, typed_counts, write_trained
from univerce.genes.table import write_table
from univerce.model import UCE, PretrainConfig, save_model
from univerce.training.verify import Verification

GOOD = Verification(
    model="m", species="human", n_cells=100, n_genes=50, fraction_counts=0.9, loss=0.4, loss_error=0.01, chance=0.693,
    other_loss=0.9, frequency_loss=0.5, cosine=0.2, rank=9.0,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes, ok, words",
    [
        ({}, True, "belong together: the model knows"),
        ({"loss": 0.67}, False, "do not belong together, the model does not know the genes of human, or 50 genes"),
        ({"chance": 0.42}, False, "do not belong together"),
        ({"loss": float("nan")}, False, "do not belong together"),
        ({"other_loss": 0.42}, False, "In doubt: the model knows which genes are common"),
        ({"fraction_counts": 0.31}, True, "Only 31% of the counts are mapped"),
        ({"cosine": 0.97}, True, "The embeddings collapse: two cells have a mean cosine of 0.97"),
        ({"rank": 2.0}, True, "the effective rank is 2.0"),
    ],
)
def test_the_verdict_says_what_the_numbers_mean(changes, ok, words):
    found = replace(GOOD, **changes)
    assert found.ok is ok
    assert words in repr(found)


def test_cells_and_their_order_in_the_file_do_not_matter_and_data_stay(tmp_path):
    model, cells = write_trained(tmp_path / "model", "uce"), typed_counts(80, seed=4)
    found = uc.model.verify(model, cells, n_cells=40)
    assert (found.n_cells, found.n_genes, found.fraction_counts) == (40, 240, 1)
    order = np.random.default_rng(0).permutation(80)
    again = uc.model.verify(uc.model.find_model(model), cells[order], n_cells=40)
    for field in ("loss", "other_loss", "cosine", "rank"):
        assert getattr(again, field) == pytest.approx(getattr(found, field), rel=1e-4)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert uc.model.verify(model, backed, n_cells=40).loss == pytest.approx(found.loss, rel=1e-5)
    backed.file.close()
    assert list(cells.obs) == ["cell_type"]
    assert list(cells.uns) == ["organism"]


def test_the_species_may_be_stated_by_a_mudata_or_a_table_and_must_be_one(tmp_path):
    model, cells = write_trained(tmp_path / "model", "uce"), typed_counts(40, seed=4)
    expected = uc.model.verify(model, cells)
    del cells.uns["organism"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata about names
        data = MuData({"rna": cells})
    data.uns["organism"] = "Homo sapiens"
    assert uc.model.verify(model, data, mod="rna") == expected
    assert uc.model.verify(model, cells, genes_table("simulated")) == expected
    cells.obs["species"] = ["human"] * 20 + ["mouse"] * 20
    with pytest.raises(ValueError, match="The cells are of human, mouse; verify one species at a time"):
        uc.model.verify(model, cells)


def test_cells_that_say_nothing_raise(tmp_path):
    model, cells = write_trained(tmp_path / "model", "uce"), typed_counts(4, seed=4)
    cells.X.data[:] = 0
    with pytest.raises(ValueError, match="Fewer than two cells can be scored"):
        uc.model.verify(model, cells)
    with pytest.raises(ValueError, match="n_cells=1 must be an integer >= 2"):
        uc.model.verify(model, cells, n_cells=1)


def test_a_network_trained_on_top_of_frequencies_has_to_beat_them(tmp_path):
    cells = typed_counts(80, seed=4)
    reset = UCE(CONFIGS["uce"])
    save_model(reset, tmp_path / "model", pretraining=PretrainConfig(frequency_offset=True))
    write_table(genes_table("simulated"), tmp_path / "model" / "tables" / "human.h5ad")
    found = uc.model.verify(tmp_path / "model", cells)
    assert found.chance == found.frequency_loss < 0.69
    assert not found.ok


def test_a_model_without_sentences_is_refused_by_name():
    cells = uc.datasets.pbmc68k_reduced()[:20].copy()
    for act in (lambda: uc.model.verify("uce-mini", cells), lambda: uc.tl.reconstruction_loss(cells)):
        with pytest.raises(ValueError, match="'uce-mini' sums all genes of a cell and reads no sentences"):
            act()
