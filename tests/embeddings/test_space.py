"""The record of what made an embedding survives what is done to an AnnData, or is missed."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from univerce.embeddings.space import Space

HUMAN = Space("m", "d", ("human",), {"human": "h"}, {"seed": 1})
MOUSE = Space("m", "d", ("mouse",), {"mouse": "x"}, {"seed": 2})
BOTH = {"human": "h", "mouse": "x"}
MERGES = [None, "same", "unique", "first", "only"]


def cells(space: Space, name: str, n: int = 3) -> ad.AnnData:
    adata = ad.AnnData(obs=pd.DataFrame(index=[f"{name}{i}" for i in range(n)]), obsm={"X": np.eye(n, 2)})
    space.write(adata, "X")
    return adata


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
@pytest.mark.parametrize("merge", MERGES)
def test_parts_of_two_species_keep_model_and_tables_through_concat_and_files(merge, tmp_path):
    joint = ad.concat([cells(HUMAN, "h"), cells(MOUSE, "m")], uns_merge=merge)
    joint.write_h5ad(tmp_path / "a.h5ad")
    joint.write_zarr(tmp_path / "a.zarr")
    for each in (joint, joint.copy(), ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        found = Space.find(each, "X")
        assert (found.model, found.model_digest, found.species) == ("m", "d", ("human", "mouse"))
        assert found.table_digest == BOTH
        assert Space.find(each[:3], "X").table_digest.items() >= HUMAN.table_digest.items()


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Space("m2", "d2", ("human",), {"human": "h"}), "come from two models, 'm' .*'m2'"),
        (Space("m", "d", ("human",), {"human": "another"}), "come from two gene tables of human"),
    ],
    ids=["model", "table"],
)
def test_parts_of_two_spaces_are_refused(merge, other, message):
    joint = ad.concat([cells(HUMAN, "a"), cells(other, "b")], uns_merge=merge)
    with pytest.raises(ValueError, match=message):
        Space.find(joint, "X")


@pytest.mark.parametrize("merge", MERGES)
def test_without_the_column_the_record_is_complete_or_missing(merge):
    parts = [cells(HUMAN, "h"), cells(MOUSE, "m")]
    for part in parts:
        del part.obs["X_space"]
    found = Space.find(ad.concat(parts, uns_merge=merge), "X")
    assert found is None or found.table_digest == BOTH


def test_cells_without_an_embedding_and_foreign_columns_say_nothing():
    bare = ad.AnnData(obs=pd.DataFrame({"X_space": ["living room", None, '{"model": 1}']}, index=list("abc")))
    assert Space.find(bare, "X") is None
    joint = ad.concat([cells(HUMAN, "h"), bare], join="outer")
    assert Space.find(joint, "X").table_digest == HUMAN.table_digest


def test_spaces_of_two_keys_do_not_touch_each_other():
    adata = cells(HUMAN, "h")
    MOUSE.write(adata, "Y")
    assert [Space.find(adata, key).record for key in "XY"] == [HUMAN.record, MOUSE.record]
