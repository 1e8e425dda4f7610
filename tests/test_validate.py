"""The checks at the boundary."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mudata import MuData

from univerce._validate import (
    as_seed,
    check_adata,
    check_counts,
    check_key,
    counts_elsewhere,
    get_column,
    get_counts,
    get_layer,
    get_modality,
    layer_name,
)

COUNTS = np.array([[0, 3, 1], [7, 0, 0]])
FORMS = (np.asarray, sp.csr_matrix, sp.csr_array)


def _adata(X=COUNTS, names=("a", "b")) -> ad.AnnData:
    return ad.AnnData(np.asarray(X, dtype=np.float32), obs=pd.DataFrame(index=list(names)))


@pytest.mark.parametrize("key", ["a/b", "", " ", "univerce", "univerce_atlas", "a\0", 3, None])
def test_a_key_that_files_cannot_store_or_that_holds_records_is_refused(key):
    check_key("X_uce")
    with pytest.raises(ValueError, match="must be text without a slash"):
        check_key(key)


def test_a_layer_named_raw_wins_over_raw():
    adata = _adata()
    with pytest.raises(KeyError, match=r"adata\.raw is empty"):
        get_counts(adata, "raw")
    adata.raw = adata
    narrow = adata[:, :2].copy()
    X, var = get_counts(narrow, "raw")
    assert (X.shape, len(var)) == ((2, 3), 3)
    with pytest.raises(KeyError, match=r"pass adata\.raw\.to_adata\(\)"):  # of functions that read var_names
        get_layer(narrow, "raw")
    narrow.layers["raw"] = narrow.X + 1
    np.testing.assert_array_equal(get_counts(narrow, "raw")[0], narrow.layers["raw"])


def test_a_column_that_exists_twice_is_refused():
    obs = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
    assert get_column(obs, "b", name="adata.obs").tolist() == [2]
    with pytest.raises(ValueError, match=r"adata.obs has 2 columns named 'a'. Keep one: adata.obs = adata.obs.loc"):
        get_column(obs, "a", name="adata.obs")


def test_counts_of_any_type_pass():
    for form in FORMS:
        check_counts(form(np.zeros((0, 3))), where="X")
        for dtype in (bool, np.uint8, np.int32, np.int64, np.float32, np.float64):
            check_counts(form(COUNTS.astype(dtype)), where="X")


def test_values_that_are_not_counts_are_an_error_with_the_likely_cause():
    raw = np.random.default_rng(0).poisson(2.0, (20, 30)).astype(float) + np.eye(20, 30)
    normalized = raw / raw.sum(axis=1, keepdims=True) * 1e4
    for values, said in (
        (np.where(COUNTS == 7, np.nan, COUNTS), "1 values that are missing or infinite"),
        (np.where(COUNTS == 7, np.inf, COUNTS), "1 values that are missing or infinite"),
        (np.where(COUNTS == 7, -np.inf, COUNTS), "1 values that are missing or infinite"),
        ((raw - raw.mean(axis=0)) / (raw.std(axis=0) + 1), "negative values (lowest -"),
        (-COUNTS, "negative values (lowest -7)"),
        (normalized, "All cells sum to 10000: they look normalized per cell"),
        (np.log1p(normalized), "look log-transformed"),
        (np.log1p(raw), "look log-transformed"),
        (raw * 40 + 0.25, "expected counts (RSEM"),
    ):
        for form in FORMS:
            with pytest.raises(ValueError, match=re.escape(said)) as error:
                check_counts(form(values), where="adata.layers['x']")
            assert str(error.value).startswith("adata.layers['x'] holds")
            assert 'layer="counts"' in str(error.value)


def test_values_that_are_not_real_numbers_are_an_error():
    for dtype in (complex, object, "U3"):
        with pytest.raises(ValueError, match="not counts"):
            check_counts(COUNTS.astype(dtype), where="X")


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_a_block_passes_exactly_when_all_values_are_whole_and_none_is_negative(values):
    fine = all(np.isfinite(v) and v >= 0 and float(v).is_integer() for v in values.ravel())
    for block in (values, sp.csr_matrix(values)):
        if fine:
            check_counts(block, where="X")
        else:
            with pytest.raises(ValueError, match="X holds"):
                check_counts(block, where="X")


def test_x_and_layers_are_found_by_name():
    adata = _adata()
    adata.layers["counts"] = adata.X + 1
    assert get_layer(adata) is get_layer(adata, "X")
    assert np.array_equal(get_layer(adata), COUNTS)
    assert np.array_equal(get_layer(adata, "counts"), COUNTS + 1)
    assert (layer_name(None), layer_name("X"), layer_name("counts")) == ("adata.X", "adata.X", "adata.layers['counts']")


def test_a_missing_layer_is_an_error_that_lists_the_layers(monkeypatch):
    adata = _adata()
    with pytest.raises(KeyError, match="layer='spliced' is not in the AnnData; its layers are: none"):
        get_layer(adata, "spliced")
    adata.layers["counts"] = adata.layers["raw"] = adata.X
    with pytest.raises(KeyError, match="layer='spliced' is not in the AnnData; its layers are: 'counts', 'raw'"):
        get_layer(adata, "spliced")
    empty = ad.AnnData(obs=adata.obs, var=adata.var, layers={"counts": COUNTS})
    with pytest.raises(ValueError, match=r"adata.X is empty; pass layer= .* 'counts'"):
        get_layer(empty)
    monkeypatch.setattr(type(adata.layers), "__iter__", lambda self: iter([None]))  # X as a layer, as in anndata 0.13
    assert get_layer(adata) is adata.X
    with pytest.raises(KeyError, match="its layers are: none"):
        get_layer(adata, "spliced")


def test_cell_names_must_be_unique_and_names_of_variables_need_not():
    adata = ad.AnnData(np.ones((2, 2)), obs=pd.DataFrame(index=["a", "b"]))
    adata.var.index = pd.Index(["g", "g"])
    check_adata(adata)
    adata = ad.AnnData(np.ones((5, 1)))
    adata.obs.index = pd.Index(["a", "b", "a", "b", "c"])
    with pytest.raises(ValueError, match=r"2 obs_names .* \['a', 'b'\]\. .*adata.obs_names_make_unique\(\)"):
        check_adata(adata)


def test_empty_data_are_an_error():
    for shape in ((0, 3), (3, 0), (0, 0)):
        with pytest.raises(ValueError, match=f"empty: {shape[0]} cells and {shape[1]} variables"):
            check_adata(ad.AnnData(np.zeros(shape)))


def _mudata() -> MuData:
    return MuData({"rna": _adata(), "adt": _adata()})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_mod_selects_a_modality_of_a_mudata_and_of_nothing_else():
    data, adata = _mudata(), _adata()
    assert get_modality(data, "rna") is data.mod["rna"]
    assert get_modality(adata) is adata
    for wrong, mod, error, said in (
        (data, None, ValueError, "A MuData needs mod=.*'rna', 'adt'"),
        (data, "atac", KeyError, "mod='atac' is not in the MuData; it has 'rna', 'adt'"),
        (adata, "rna", ValueError, "mod='rna' chooses a modality of a MuData"),
        ({}, None, TypeError, "An AnnData or a MuData is needed, not builtins.dict"),
    ):
        with pytest.raises(error, match=said):
            get_modality(wrong, mod)


def test_a_seed_is_a_whole_number_of_63_bits_or_a_generator():
    for seed in (0, 5, np.int32(5), np.uint64(5), 2**63 - 1):
        assert (as_seed(seed), type(as_seed(seed))) == (int(seed), int)
    for wrong in (None, True, 1.0, "1", np.random.RandomState(0)):
        with pytest.raises(TypeError, match="rng="):
            as_seed(wrong)
    for wrong in (-1, 2**63, np.uint64(2**63)):
        with pytest.raises(ValueError, match="rng="):
            as_seed(wrong)


def test_a_generator_is_drawn_from_once():
    used, same = np.random.default_rng(1), np.random.default_rng(1)
    seed = as_seed(used)
    assert seed == same.integers(2**63 - 1, endpoint=True)
    assert used.bit_generator.state == same.bit_generator.state
    assert as_seed(used) != seed


def _normalized(layers: dict[str, np.ndarray], raw: np.ndarray | None = None) -> ad.AnnData:
    rng = np.random.default_rng(0)
    data = ad.AnnData(np.log1p(rng.random((300, 4), np.float32)), layers=dict(layers))
    data.raw = None if raw is None else ad.AnnData(raw)
    return data


def test_the_matrices_that_may_be_counts_are_named_with_their_argument():
    counts = np.random.default_rng(0).poisson(2.0, (300, 4)).astype(np.float32)
    late = np.where(np.arange(300)[:, None] < 100, counts, counts + 0.5)  # of which a sample looks whole
    others = {
        "zeros": 0 * counts,
        "log": np.log1p(counts),
        "signed": counts - 1,
        "mask": counts > 0,
        "nan": counts * np.nan,
    }
    for form in FORMS:
        layers = {name: form(layer) for name, layer in (others | {"counts": counts, "spliced": late}).items()}
        places = r"adata.layers['counts'] and adata.layers['spliced']"
        found = counts_elsewhere(_normalized(layers), None)
        assert found == f"Raw counts may be in {places}: pass layer='counts' or layer='spliced'."
        assert counts_elsewhere(_normalized(layers), "spliced").endswith(
            "in adata.layers['counts']: pass layer='counts'."
        )
    in_raw = _normalized(others, raw=counts)
    assert counts_elsewhere(in_raw, None) == "Raw counts may be in adata.raw: pass layer='raw'."
    assert counts_elsewhere(in_raw, None, raw=False) == "Raw counts may be in adata.raw: pass adata.raw.to_adata()."
    found = counts_elsewhere(_normalized(others, raw=np.log1p(counts)), "raw")
    assert found.startswith("No layer holds counts in the first 100 cells, nor does adata.raw: start from")
    in_x = ad.AnnData(counts, layers={"log": np.log1p(counts)})
    found = counts_elsewhere(in_x, "log", argument="baseline={{'layer': {!r}}}")
    assert found == "Raw counts may be in adata.X: pass baseline={'layer': 'X'}."


def test_the_sample_is_read_from_files_views_and_dask_arrays(tmp_path):
    import dask.array as da

    counts = sp.csr_matrix(np.random.default_rng(0).poisson(2.0, (300, 4)).astype(np.float32))
    for form in (sp.csr_matrix, sp.csc_matrix, sp.csr_matrix.toarray):
        data = _normalized({"counts": form(counts)}, raw=form(counts))
        data.write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        for one in (data, data[150:], backed, backed[150:]):
            assert counts_elsewhere(one, None).endswith("pass layer='counts' or layer='raw'.")
        backed.file.close()
    lazy = _normalized({"counts": da.from_array(counts.toarray(), chunks=(70, 4))})
    assert counts_elsewhere(lazy, None).endswith("pass layer='counts'.")
