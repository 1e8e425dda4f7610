from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods.precomputed import METHOD

VALUES = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
ORDER = np.random.default_rng(1).permutation(120)
SUFFIXES = [".npy", ".csv", ".tsv", ".h5ad"]


def _save(path, values=VALUES, names=None, key="X_emb"):
    """Rows in another order than those of the cells, as other systems return them."""
    names = typed_cells().obs_names if names is None else names
    order = [i for i in ORDER if i < len(values)]
    values, names = values[order], np.asarray(names, dtype=object)[order]
    if path.suffix == ".npy":
        np.save(path, values)
        pd.Series(names).to_csv(path.with_suffix(".txt"), index=False, header=False)
    elif path.suffix == ".h5ad":
        ad.AnnData(obs=pd.DataFrame(index=names), obsm={key: values}).write_h5ad(path)
    else:
        pd.DataFrame(values, index=names).to_csv(path, sep="," if path.suffix == ".csv" else "\t")
    return path


def embed(cells, **options):
    return METHOD.embed(cells, batch_key=None, groupby=None, rng=0, **options)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_comes_in_the_order_of_the_cells_and_may_have_more(tmp_path, suffix):
    path = _save(tmp_path / f"method{suffix}")
    got = embed(typed_cells(), path=path)
    np.testing.assert_allclose(got, VALUES, rtol=1e-6)
    np.testing.assert_allclose(embed(typed_cells()[[7, 3]].copy(), path=path), VALUES[[7, 3]], rtol=1e-6)
    assert got.dtype == np.float32


def test_a_cell_that_the_file_lacks_is_named(tmp_path):
    path = _save(tmp_path / "method.csv", VALUES[:118], typed_cells().obs_names[:118])
    with pytest.raises(ValueError, match=r"lacks 2 of the 120 cells, such as 'cell118'; it has 118"):
        embed(typed_cells(), path=path)


def test_names_that_are_numbers_keep_their_zeros(tmp_path):
    cells = typed_cells()
    cells.obs_names = [f"{i:04d}" for i in range(120)]
    np.testing.assert_allclose(embed(cells, path=_save(tmp_path / "m.csv", names=cells.obs_names)), VALUES, rtol=1e-6)


def test_the_key_of_an_h5ad_can_be_chosen_and_an_unknown_one_is_answered_with_those_there_are(tmp_path):
    path = _save(tmp_path / "m.h5ad", key="embeddings")
    np.testing.assert_array_equal(embed(typed_cells(), path=path, key="embeddings"), VALUES)
    with pytest.raises(KeyError, match=r"key='X_emb' is not in obsm .* its keys are 'embeddings'"):
        embed(typed_cells(), path=path)


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    names = np.array(typed_cells().obs_names)
    names[5] = names[4]
    with pytest.raises(ValueError, match="names 'cell4' more than once"):
        embed(typed_cells(), path=_save(tmp_path / "m.csv", names=names))


def test_an_array_needs_as_many_names_as_rows(tmp_path):
    path = _save(tmp_path / "m.npy")
    path.with_suffix(".txt").write_text("cell0\n")
    with pytest.raises(ValueError, match="120 rows and 1 names"):
        embed(typed_cells(), path=path)
    path.with_suffix(".txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs .*m\.txt with the name of the cell of every row"):
        embed(typed_cells(), path=path)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    (tmp_path / "m.txt").write_text("cell0\n")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        embed(typed_cells(), path=tmp_path / "m.npy")


@pytest.mark.parametrize("values", [np.array([["a"] * 2] * 120), np.empty((120, 0))], ids=["text", "no column"])
def test_what_is_no_matrix_of_numbers_is_refused(tmp_path, values):
    with pytest.raises(ValueError, match="not a matrix of numbers"):
        embed(typed_cells(), path=_save(tmp_path / "m.csv", values))


@pytest.mark.parametrize(
    "name, error, message",
    [
        (None, ValueError, "needs the option path="),
        ("no.csv", FileNotFoundError, "does not exist"),
        ("m.pkl", ValueError, r"an unknown format; save it as one of \.npy"),
    ],
)
def test_a_missing_or_unknown_file_is_an_error(tmp_path, name, error, message):
    (tmp_path / "m.pkl").write_bytes(b"")
    with pytest.raises(error, match=message):
        embed(typed_cells(), path=name and tmp_path / name)
