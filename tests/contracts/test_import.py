"""Cost of the import, and declared dependencies."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import univerce as uc

PACKAGE = Path(uc.__file__).parent
ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "matplotlib.pyplot", "scanpy", "numba", "sklearn", "dask.distributed", "transformers", "lightning")
MODULE_OF = {
    "faiss-cpu": "faiss", "pyyaml": "yaml", "scib-metrics": "scib_metrics", "scikit-learn": "sklearn",
    "scvi-tools": "scvi",
}  # fmt: skip


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _loaded(statement: str, modules: Iterable[str]) -> list[str]:
    return json.loads(
        _python(f"{statement}\nimport json, sys\nprint(json.dumps([m for m in {modules!r} if m in sys.modules]))")
    )


def test_an_import_loads_nothing_heavy():
    assert _loaded("import univerce", HEAVY) == []
    assert _loaded("import univerce.genes, univerce.datasets, univerce.cli", ("torch", "matplotlib.pyplot")) == []


def test_uce_embed_loads_only_what_it_uses():
    embed = """
import anndata as ad, numpy as np, pandas as pd
import univerce as uc
cells = ad.AnnData(np.ones((2, 3), dtype="float32"), var=pd.DataFrame(index=["CD3E", "INS", "GCG"]))
uc.tl.uce_embed(cells, species="human")
"""
    # The compiler of torch alone takes more than a second to import, scipy.stats half a second.
    unused = ("sympy", "scipy.stats", "scanpy", "sklearn", "matplotlib.pyplot", "mudata", "requests")
    assert _loaded(embed, ("torch", *unused)) == []  # the bundled model is linear
    sentences = embed.replace('species="human"', 'species="human", model="uce-tiny"')
    assert _loaded(sentences, ("torch._dynamo", *unused)) == []


def test_an_import_changes_nothing_in_the_process():
    code = """
import logging, os, warnings
before = dict(os.environ), list(warnings.filters), os.listdir(".")
import anndata
filters = list(warnings.filters)
import univerce
assert dict(os.environ) == before[0]
assert warnings.filters == filters
assert os.listdir(".") == before[2]
assert not logging.getLogger("univerce").handlers
assert not univerce.settings.cache_dir.exists()
print("unchanged")
"""
    assert _python(code).strip() == "unchanged"


def test_every_subpackage_is_an_attribute_and_an_unknown_name_is_an_error_that_lists_them():
    code = "[getattr(uc, n).__name__ for n in uc.__all__ if n not in ('FileError', 'settings')]"
    out = _python(f"import univerce as uc\nprint({code})")
    assert ast.literal_eval(out) == [f"univerce.{name}" for name in uc.__all__ if name not in ("FileError", "settings")]
    assert set(uc.__all__) <= set(dir(uc))
    for name in set(uc.__all__) - {"FileError", "settings"}:
        package = getattr(uc, name)
        assert [public for public in dir(package) if not public.startswith("_")] == sorted(package.__all__)
    with pytest.raises(AttributeError, match="'nowhere'; it has FileError, atlas, bench, datasets"):
        uc.nowhere  # noqa: B018


def test_imports_and_declared_dependencies_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {_module(r) for r in project["dependencies"]}
    extras = {_module(r) for rs in project["optional-dependencies"].values() for r in rs} - {"univerce"}
    imported = set().union(*(_third_party(p) for p in PACKAGE.rglob("*.py")))
    assert imported - base - extras == set(), "imported but not declared"
    assert base - imported == set(), "declared but never imported"


def _module(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement).group()
    return MODULE_OF.get(name, name)


def _third_party(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"univerce"}
