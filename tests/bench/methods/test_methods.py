"""What holds for every method."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.bench.methods import test_geneformer, test_tgpt
from tests.helpers.typed_cells import typed_cells
from univerce.bench.method import known_methods

METHODS = {name: m for name, m in known_methods().items() if not m.control}
OPTIONS = {"scVI": {"max_epochs": 1}, "scANVI": {"max_epochs": 1}, "scArches": {"max_epochs": 1}}
BY_COUNTS = ["log-norm", "HVG", "PCA", "Harmony", *OPTIONS]


def test_what_a_method_sees_is_stated():
    assert {name for name, m in METHODS.items() if m.uses_labels} == {"linear", "scANVI"}
    assert all(len(m.citation) > 10 and m.license for m in METHODS.values())
    assert {name for name, m in METHODS.items() if m.uses_batch} == {"Harmony", *OPTIONS}
    fitted = {name for name, m in METHODS.items() if not m.zero_shot}
    assert fitted == {"HVG", "PCA", "Harmony", "linear", *OPTIONS}


SLOW = [pytest.param(name, marks=pytest.mark.slow) if name in OPTIONS else name for name in BY_COUNTS]


@pytest.mark.parametrize("name", SLOW)
def test_other_names_of_the_genes_do_not_matter(name):
    call = {"batch_key": "batch", "groupby": "type", "rng": 0} | OPTIONS.get(name, {})
    cells, renamed = typed_cells(), typed_cells(names=[f"x{j}" for j in range(60)])
    first, second = (METHODS[name].embed(c, **call) for c in (cells, renamed))
    np.testing.assert_array_equal(first, second)


MODULES = {
    "Harmony": "harmonypy",
    "scVI": "scvi",
    "scANVI": "scvi",
    "Geneformer": "transformers",
    "tGPT": "transformers",
}


@pytest.mark.parametrize("name, module", MODULES.items())
def test_a_missing_package_is_named_with_the_line_that_installs_it(name, module, monkeypatch, tmp_path):
    names = {"tGPT": test_tgpt.GENES, "Geneformer": test_geneformer.SYMBOLS}.get(name)
    if name == "tGPT":
        test_tgpt.save_model(tmp_path)
    elif name == "Geneformer":
        test_geneformer.save_model(tmp_path, ends=False)
    monkeypatch.setitem(sys.modules, module, None)
    options = {} if names is None else {"model": tmp_path}
    with pytest.raises(ImportError, match=r'pip install "univerce\[bench\]"'):
        METHODS[name].embed(typed_cells(n_genes=20, names=names), batch_key="batch", groupby="type", rng=0, **options)
