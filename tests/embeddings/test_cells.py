"""Cells of an AnnData: labels, known cells, rows, and comparable spaces."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.helpers.blobs import blobs
from univerce.embeddings import cells as _cells
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.labels import get_labels


def labels_of(column) -> pd.Categorical:
    adata = ad.AnnData(obs=pd.DataFrame(index=[str(i) for i in range(len(column))]))
    adata.obs["type"] = pd.Series(column).set_axis(adata.obs_names)
    return get_labels(adata.obs, "type")


@pytest.mark.parametrize(
    ("column", "expected", "categories"),
    [
        ([10, 2, 10], ["10", "2", "10"], ["10", "2"]),
        ([10.0, np.nan, 2.0], ["10", None, "2"], ["10", "2"]),
        (np.array([1, 2], np.float32), ["1", "2"], ["1", "2"]),
        (pd.array([1, None], dtype="Int64"), ["1", None], ["1"]),
        (pd.array([1.0, None], dtype="Float64"), ["1", None], ["1"]),
        (pd.array([True, None], dtype="boolean"), ["True", None], ["True"]),
        ([True, False], ["True", "False"], ["False", "True"]),
        (pd.Categorical([2.0, 1.0, np.nan]), ["2", "1", None], ["1", "2"]),
        (pd.Categorical([1, "1"], [1, "1"]), ["1", "1"], ["1"]),
        (pd.Categorical(["b", "a", "b"], ["c", "b", "a"]), ["b", "a", "b"], ["b", "a"]),
        (["b", None, "a"], ["b", None, "a"], ["a", "b"]),
        (["nan", "a", "<NA>", "", "None"], [None, "a", None, None, "None"], ["None", "a"]),
    ],
)
def test_labels_are_text_whatever_they_are_stored_as(column, expected, categories):
    found = labels_of(column)
    assert [None if pd.isna(label) else label for label in found] == expected
    assert list(found.categories) == categories


@pytest.mark.parametrize(
    ("column", "message"),
    [
        pytest.param([0.5, 1.0], "holds fractions, not labels", id="fractions"),
        pytest.param([None, None], "no label at all; every cell is missing one", id="all missing"),
        pytest.param([], "no label at all; there is no cell", id="no cell"),
    ],
)
def test_other_columns_are_refused(column, message):
    with pytest.raises(ValueError, match=message):
        labels_of(column)


def pair() -> tuple[Cells, ad.AnnData, dict]:
    query, atlas = blobs({"a": 3}), blobs({"a": 3})
    return Cells.read(query, "X_toy", name="query"), atlas, atlas.uns["univerce"]["X_toy"]


def test_two_spaces_are_an_error_that_names_both_data():
    query, atlas, params = pair()
    query.check_comparable(Cells.read(atlas, "X_toy"))
    own = dict(params)
    params["table_digest"] = dict.fromkeys(own["table_digest"], "another")
    with pytest.raises(ValueError, match=r"two gene tables.*again with the table of the other, see [\w.]+\.$"):
        query.check_comparable(Cells.read(atlas, "X_toy"))
    params["model_digest"] = "another"
    with pytest.raises(ValueError, match=r"two models.*Embed one of the two again with the model= of the other\.$"):
        query.check_comparable(Cells.read(atlas, "X_toy"))
    query.check_comparable(Cells.read(atlas, "X_toy"), check_space=False)
    del atlas.uns["univerce"]
    with pytest.raises(KeyError, match=r"the_atlas.uns\['univerce'\]\['X_toy'\] .* says which.*check_space=False"):
        query.check_comparable(Cells.read(atlas, "X_toy", name="the_atlas"))
    atlas.obsm["X_toy"] = atlas.obsm["X_toy"][:, :5]
    with pytest.raises(ValueError, match="has 8 columns in query and 5 in adata"):
        query.check_comparable(Cells.read(atlas, "X_toy"), check_space=False)


def test_only_known_cells_have_an_embedding():
    adata = blobs({"a": 6})
    adata.obsm["X_toy"][1, 2], adata.obsm["X_toy"][2], adata.obsm["X_toy"][4] = np.nan, np.inf, 0
    adata.obsm["X_other"] = np.ones((6, 2))
    adata.obsm["X_other"][0] = np.nan
    cells = Cells.read(adata, "X_toy")
    assert cells.known.tolist() == [True, False, False, True, True, True]
    assert Cells.read(adata, "X_toy", metric="cosine").known.tolist() == [True, False, False, True, False, True]
    assert known_in_all(cells, Cells.read(adata, "X_other")).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("rep", [sp.csr_matrix(np.ones((3, 2))), np.ones((3, 0)), np.full((3, 2), "a")])
def test_only_a_dense_matrix_of_numbers_is_an_embedding(rep):
    adata = ad.AnnData(obs=pd.DataFrame(index=list("abc")))
    adata.obsm["X_bad"] = rep
    with pytest.raises(ValueError, match=r"adata.obsm\['X_bad'\] must be a dense matrix of numbers"):
        Cells.read(adata, "X_bad")
    with pytest.raises(KeyError, match=r"obsm\['X_uce'\] does not exist; its keys are: 'X_bad'"):
        Cells.read(adata)


class Recorded:
    """An embedding that remembers which rows were read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.read = values, values.shape, []

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.read.append((rows.start, rows.stop))
        return self.values[rows]


def test_rows_come_in_any_order_from_the_blocks_that_hold_them(monkeypatch):
    monkeypatch.setattr(_cells, "BLOCK_ROWS", 10)
    rep = Recorded(np.random.default_rng(0).normal(size=(95, 3)).astype(np.float16))
    rows = np.array([94, 3, 31, 3, 0, 39])
    cells = Cells(rep, pd.DataFrame(), None)
    found = cells.rows(rows)
    np.testing.assert_array_equal(found, rep.values[rows].astype(np.float32))
    assert rep.read == [(0, 10), (30, 40), (90, 100)]
    assert cells.rows(np.array([], dtype=int)).shape == (0, 3)
