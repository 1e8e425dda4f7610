"""The methods by name, and the controls."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import univerce as uc
from tests.helpers.bench_cells import counted_cells
from univerce.bench.method import find_method, known_methods


def test_every_module_of_methods_gives_methods_and_none_is_heavy():
    code = (
        "import sys; from univerce.bench.method import known_methods; known_methods();"
        "print([m for m in ('scvi', 'transformers', 'harmonypy', 'scib_metrics', 'jax') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    expected = {"log-norm", "HVG", "PCA", "Harmony", "scVI", "scANVI", "scArches", "UCE", "precomputed", "cell types"}
    assert expected <= set(known_methods())


def test_the_list_says_what_a_reader_of_a_table_must_know():
    table = uc.bench.list_methods().set_index("name")
    seen = table[["zero_shot", "uses_batch", "uses_labels", "control"]]
    assert seen.loc["scANVI"].tolist() == [False, True, True, False]
    assert seen.loc["UCE"].tolist() == [True, False, False, False]
    assert table["control"].iloc[-1]
    assert table["citation"].str.len().gt(0).all()


def test_options_are_bound_and_checked():
    method = uc.bench.method("pca", rename="PCA 5", n_comps=5)
    adata = counted_cells()
    uc.bench.run(adata, groupby="type", methods=[method], scib=False, n_bootstrap=0)
    assert adata.obsm["X_PCA_5"].shape == (120, 5)
    assert uc.bench.method("UCE", pretrained_on=["a"]).pretrained_on == ["a"]
    assert "CELLxGENE" in uc.bench.method("UCE").pretrained_on
    with pytest.raises(TypeError, match="PCA has no option 'n_components'; its options are: n_top_genes, n_comps"):
        uc.bench.method("PCA", n_components=3)
    with pytest.raises(ValueError, match="Unknown method 'XYZ'; the methods are 'Geneformer'"):
        uc.bench.method("XYZ")


def embed(name, adata, **changes):
    return find_method(name).embed(adata.copy(), **({"batch_key": "batch", "groupby": "type", "rng": 0} | changes))


@pytest.mark.parametrize("name", ["shuffled", "shuffled in batch", "shuffled in type"])
def test_shuffling_moves_components_between_cells_of_one_group_alone(name):
    adata = counted_cells()
    whole, moved = embed("PCA", adata), embed(name, adata)
    order = np.array([np.flatnonzero((whole == row).all(axis=1)).item() for row in moved])
    assert sorted(order) == list(range(120))
    assert (order != np.arange(120)).mean() > 0.9
    columns = {"shuffled in batch": "batch", "shuffled in type": "type"}
    for column in ("batch", "type"):
        values = adata.obs[column].to_numpy()
        kept = bool((values[order] == values).all())
        assert kept == (columns.get(name) == column)
    assert not np.array_equal(embed(name, adata, rng=1), moved)


def test_cell_types_are_one_column_each_and_a_missing_label_is_no_cell():
    adata = counted_cells()
    adata.obs.iloc[0, 0] = np.nan
    x = embed("cell types", adata)
    assert np.isnan(x[0]).all()
    np.testing.assert_array_equal(x[1:].argmax(axis=1), adata.obs["type"].cat.codes[1:])
    np.testing.assert_array_equal(x[1:].sum(axis=1), 1)


def test_controls_without_what_they_need_say_so():
    adata = counted_cells()
    with pytest.raises(ValueError, match="pass groupby="):
        embed("cell types", adata, groupby=None)
    with pytest.raises(ValueError, match="pass batch_key="):
        embed("shuffled in batch", adata, batch_key=None)
