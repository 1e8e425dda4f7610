"""The public contract, read from the code: names, signatures, docstrings, documentation, size of files."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import itertools
import re
import textwrap
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import univerce as uc

ROOT = Path(__file__).parents[2]
SUBPACKAGES = [name for name in uc.__all__ if name not in ("FileError", "settings")]
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
MAX_PARAMETERS, MAX_POSITIONAL, MAX_LINES = 16, 3, 400
FIRST = {  # first parameter of functions of atlas, bench and pl that do not act on one AnnData
    "atlas.append": "path",
    "atlas.build": "data",
    "atlas.open": "path",
    "atlas.read_precomputed": "path",
    "atlas.subset": "atlas",
    "bench.list_methods": None,
    "bench.method": "name",
    "bench.published": None,
    "pl.transfer_table": "scores",
}
TAKE_PATHS = {"bench.read_open_problems", "pp.training_set"}
SETTINGS = {"progress", "device", "precision", "batch_size"}
OTHER_WORDS = {"labels", "batch", "donor", "tissue", "condition"}  # ours: groupby, batch_key, donor_key, ...
NO_VERB = r"|The|An?|Some|All|Each|What|Which|How|Whether|Data|Logit|Inverse|Calibrated|Token|\w+[^s]s"  # first words


def _public() -> Iterator[tuple[str, Any]]:
    for subpackage in SUBPACKAGES:
        module = importlib.import_module(f"univerce.{subpackage}")
        for name in module.__all__:
            yield f"{subpackage}.{name}", getattr(module, name)


def _methods(name: str, cls: type) -> Iterator[tuple[str, Callable]]:
    ours = [vars(base) for base in cls.__mro__ if base.__module__.startswith("univerce.")]
    for attribute, member in ChainMap(*ours).items():
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member) and not attribute.startswith("_"):
            yield f"{name}.{attribute}", member


OBJECTS = dict(_public())
CALLABLES = {name: obj for name, obj in OBJECTS.items() if callable(obj)}
CLASSES = {name: obj for name, obj in OBJECTS.items() if inspect.isclass(obj)}
METHODS = dict(itertools.chain.from_iterable(_methods(*item) for item in CLASSES.items()))
FUNCTIONS = {name: obj for name, obj in OBJECTS.items() if inspect.isfunction(obj)}
CALLS = FUNCTIONS | METHODS | {n: c for n, c in CLASSES.items() if not dataclasses.is_dataclass(c)}
ACTIONS = {n: f for n, f in FUNCTIONS.items() if n.split(".")[0] in ("pp", "tl", "pl", "atlas", "bench")}
ANALYSES = {n: f for n, f in ACTIONS.items() if n.split(".")[0] in ("pp", "tl")}


def _parameters(obj: Callable) -> dict[str, inspect.Parameter]:
    return {n: p for n, p in inspect.signature(obj).parameters.items() if n not in ("self", "cls")}


def _returns(obj: Callable) -> str:
    return str(inspect.signature(obj).return_annotation)


def _docstring(obj: Any) -> NumpyDocString:
    return NumpyDocString(inspect.getdoc(obj) or "")


def _documented(obj: Callable) -> set[str]:
    """Parameters of the docstring, and fields of a dataclass that have their own."""
    names = {name.strip().lstrip("*") for entry in _docstring(obj)["Parameters"] for name in entry.name.split(",")}
    return names | (_documented_fields(obj) if dataclasses.is_dataclass(obj) else set())


def _documented_fields(cls: type) -> set[str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    return {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def check(rule: str, offenders: Iterable[str]) -> None:
    assert not (found := sorted(set(offenders))), f"{rule}: {found}"


def test_a_subpackage_exports_its_functions_and_classes_once_and_nothing_private():
    offenders = []
    for name in SUBPACKAGES:
        module = importlib.import_module(f"univerce.{name}")
        names = {n for n, obj in vars(module).items() if inspect.isfunction(obj) or inspect.isclass(obj)}
        own = {n for n in names if n[0] != "_" and getattr(module, n).__module__.startswith(f"univerce.{name}")}
        if own - set(module.__all__) or len(set(module.__all__)) < len(module.__all__) or not inspect.getdoc(module):
            offenders.append(name)
        offenders += [f"{name}.{n}" for n in module.__all__ if n.startswith("_")]
    check("exports", offenders)
    check("is a module", (n for n, obj in OBJECTS.items() if inspect.ismodule(obj)))


def test_the_first_parameter_is_the_data():
    check("first", (n for n, f in ACTIONS.items() if next(iter(_parameters(f)), None) != FIRST.get(n, "adata")))
    first = {n: str(next(iter(_parameters(f).values())).annotation) for n, f in ANALYSES.items()}
    check("AnnData | MuData", (n for n, annotation in first.items() if "AnnData | MuData" not in annotation))


def test_signatures_are_short():
    check("parameters", (n for n, f in CALLS.items() if len(_parameters(f)) > MAX_PARAMETERS))
    count = {n: sum(p.kind in POSITIONAL for p in _parameters(f).values()) for n, f in ACTIONS.items()}
    check("positional", (n for n, number in count.items() if number > MAX_POSITIONAL))


def test_switches_are_keyword_only():
    """``f(adata, True)`` says nothing to a reader."""
    check(
        "switches",
        (
            f"{name}: {p.name}"
            for name, f in CALLS.items()
            for p in _parameters(f).values()
            if isinstance(p.default, bool) and p.kind in POSITIONAL
        ),
    )


def test_what_a_setting_decides_is_no_parameter():
    check("settings", (f"{n}: {p}" for n, f in CALLS.items() for p in SETTINGS & set(_parameters(f))))


def test_one_thing_has_one_name_and_one_default():
    check("words", (f"{n}: {p}" for n, f in CALLS.items() for p in OTHER_WORDS & set(_parameters(f))))
    defaults = {n: _parameters(f)["min_cells"].default for n, f in CALLS.items() if "min_cells" in _parameters(f)}
    check("min_cells", (n for n, default in defaults.items() if default != 10))


def test_an_analysis_writes_in_place_or_returns_a_table_or_a_new_object():
    """Per-cell results are written, with ``copy=`` and ``None``; a table is returned as a DataFrame and written too."""
    for f in CALLS.values():
        if copy := _parameters(f).get("copy"):
            assert (copy.kind, copy.default) == (inspect.Parameter.KEYWORD_ONLY, False), f
    writes = {n for n, f in ANALYSES.items() if "key_added" in _parameters(f)}
    tables = {n for n, f in ANALYSES.items() if _returns(f) == "pd.DataFrame"}
    copies = {
        n for n, f in ANALYSES.items() if "copy" in _parameters(f) and _returns(f).endswith("AnnData | MuData | None")
    }
    new = {n for n, f in ANALYSES.items() if _returns(f) == "ad.AnnData"}
    check("copy", writes - tables - copies)
    check("key_added", (tables | copies) - writes)
    check("results", set(ANALYSES) - writes - new - {"tl.check_same_space", "pp.training_set"})


def test_the_docstring_names_the_keys_that_are_written():
    def returns(f: Callable) -> str:
        return " ".join(line for entry in _docstring(f)["Returns"] for line in [entry.type, *entry.desc])

    writers = {n: f for n, f in ANALYSES.items() if "key_added" in _parameters(f)}
    check("keys", (n for n, f in writers.items() if not re.search(r"\b(obs|obsm|var|varm|uns|layers)\[", returns(f))))


def test_annotations_are_complete():
    functions = FUNCTIONS | METHODS
    missing = (p for f in functions.values() for p in _parameters(f).values() if p.annotation is p.empty)
    check("annotations", map(str, missing))
    check(
        "return", (n for n, f in functions.items() if inspect.signature(f).return_annotation is inspect.Signature.empty)
    )


def test_docstrings_are_complete():
    described = CALLABLES | METHODS
    check("documented", (n for n, f in described.items() if _documented(f) != set(_parameters(f))))
    first = {n: (_docstring(f)["Summary"] or [""])[0].split(" ")[0] for n, f in (FUNCTIONS | METHODS).items()}
    check("imperative", (n for n, word in first.items() if re.fullmatch(NO_VERB, word)))
    check(
        "Returns",
        (
            n
            for n, f in (FUNCTIONS | METHODS).items()
            if not (_docstring(f)["Returns"] or _docstring(f)["Yields"] or _returns(f) == "None")
        ),
    )
    check("example", (n for n, f in CALLABLES.items() if not doctest.DocTestParser().get_examples(inspect.getdoc(f))))


def test_the_documentation_lists_the_public_names_and_no_other():
    pattern = rf"^ {{3}}((?:{'|'.join(SUBPACKAGES)})\.\w+)$"
    listed = re.findall(pattern, (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(OBJECTS)


def test_the_version_is_the_same_everywhere():
    version = re.escape(uc.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"^## \[(Unreleased|{version})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if next(iter(_parameters(f)), None) == "adata"])
@pytest.mark.parametrize("path", ["cells.h5ad", Path("cells.h5ad")], ids=["str", "Path"])
def test_a_path_in_place_of_the_data_is_an_error_that_says_how_to_read_it(name, path):
    if name in TAKE_PATHS:
        pytest.skip("takes paths")
    required = [p.name for p in _parameters(FUNCTIONS[name]).values() if p.default is p.empty][1:]
    with pytest.raises(TypeError, match=r"'cells.h5ad' is a path.*anndata.read_h5ad\(path\)"):
        FUNCTIONS[name](path, **dict.fromkeys(required, "x"))


def test_files_are_short():
    lines = {p.relative_to(ROOT).as_posix(): p.read_text().count("\n") for p in (ROOT / "src").rglob("*.py")}
    check("lines", (path for path, number in lines.items() if number > MAX_LINES))
