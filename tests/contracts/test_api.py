"""The public contract, read from the code itself: signatures, docstrings, examples, documentation."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

import univerce as uc

ROOT = Path(__file__).parents[2]
ROOMS = [name for name in uc.__all__ if name != "settings"]
VERBS = [room for room in ("pp", "tl", "pl", "atlas", "bench") if room in ROOMS]  # rooms whose functions act on data
FIRST = {  # "room.name": first parameter of a function of these rooms that does not act on one data set
    "atlas.append": "path",
    "atlas.build": "data",
    "atlas.open": "path",
    "atlas.subset": "atlas",
    "bench.list_methods": None,
    "bench.method": "name",
    "bench.published": None,
    "bench.run_transfer": "query",
    "pl.transfer_table": "scores",
    "tl.centroid_alignment": "query",
    "tl.gene_network": "genes",
    "tl.read_ontology": "path",
}


def _public(rooms: list[str]) -> Iterator[tuple[str, object]]:
    for room in rooms:
        module = importlib.import_module(f"univerce.{room}")
        for name in module.__all__:
            yield f"{room}.{name}", getattr(module, name)


OBJECTS = dict(_public(ROOMS))
CALLABLES = {name: obj for name, obj in OBJECTS.items() if callable(obj)}
FUNCTIONS = {name: obj for name, obj in OBJECTS.items() if inspect.isfunction(obj)}
CLASSES = {name: obj for name, obj in OBJECTS.items() if inspect.isclass(obj)}
METHODS = {
    f"{name}.{attribute}": member
    for name, cls in CLASSES.items()
    for attribute, member in vars(cls).items()
    if inspect.isfunction(member) and not attribute.startswith("_")
}
ACTIONS = {name: f for name, f in FUNCTIONS.items() if name.split(".")[0] in VERBS}
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def each(objects: dict[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("obj", objects.values(), ids=objects.keys())


def _parameters(obj: Callable) -> dict[str, inspect.Parameter]:
    return {n: p for n, p in inspect.signature(obj).parameters.items() if n not in ("self", "cls")}


def _documented(obj: Callable) -> set[str]:
    """Parameters of the docstring, and fields of a dataclass with a docstring of their own."""
    entries = NumpyDocString(inspect.getdoc(obj))["Parameters"]
    names = {name.strip().lstrip("*") for entry in entries for name in entry.name.split(",")}
    return names | (_documented_fields(obj) if dataclasses.is_dataclass(obj) else set())


def _documented_fields(cls: type) -> set[str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    return {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def test_the_package_has_functions_to_check():
    assert {"pp.map_genes", "tl.uce_embed"} <= set(FUNCTIONS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_what_it_lists_in_order_and_nothing_private(room):
    module = importlib.import_module(f"univerce.{room}")
    assert sorted(module.__all__) == list(dict.fromkeys(sorted(module.__all__)))
    assert not [name for name in module.__all__ if name.startswith("_")]
    assert inspect.getdoc(module)
    loose = {
        name
        for name, obj in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(obj) or inspect.isclass(obj))
        and obj.__module__.startswith("univerce.")
    }
    assert loose <= set(module.__all__)


def test_a_public_name_is_not_a_module():
    """A module ``room/thing.py`` and a lazily imported ``thing`` in it fight for one name."""
    assert not [name for name, obj in OBJECTS.items() if inspect.ismodule(obj)]


@each(ACTIONS)
def test_the_first_parameter_is_the_data(obj):
    name = f"{obj.__module__.split('.')[1]}.{obj.__name__}"
    assert next(iter(_parameters(obj)), None) == FIRST.get(name, "adata")


@each(ACTIONS)
def test_an_action_has_at_most_three_positional_parameters(obj):
    assert sum(p.kind in POSITIONAL for p in _parameters(obj).values()) <= 3


@each(CALLABLES)
def test_switches_are_keyword_only(obj):
    """``f(adata, True)`` says nothing to a reader."""
    flags = [n for n, p in _parameters(obj).items() if isinstance(p.default, bool) and p.kind in POSITIONAL]
    if inspect.isclass(obj):  # dataclass fields are named where they are used
        flags = [f for f in flags if f == "copy"]
    assert flags == []


@each(ACTIONS)
def test_copy_defaults_to_writing_in_place(obj):
    copy = _parameters(obj).get("copy")
    if copy is not None:
        assert (copy.kind, copy.default) == (inspect.Parameter.KEYWORD_ONLY, False)


@each(FUNCTIONS | METHODS)
def test_annotations_are_complete(obj):
    missing = [n for n, p in _parameters(obj).items() if p.annotation is inspect.Parameter.empty]
    if inspect.signature(obj).return_annotation is inspect.Signature.empty:
        missing.append("return")
    assert missing == []


@each(CALLABLES | METHODS)
def test_every_parameter_is_documented_and_no_other(obj):
    assert _documented(obj) == set(_parameters(obj))


@each(FUNCTIONS | METHODS)
def test_the_docstring_says_what_comes_back_or_what_is_written(obj):
    doc = NumpyDocString(inspect.getdoc(obj))
    returns = inspect.signature(obj).return_annotation
    assert doc["Summary"]
    assert doc["Returns"] or doc["Yields"] or returns in (None, "None")


@each(ACTIONS)
def test_an_action_that_writes_in_place_names_the_keys_it_writes(obj):
    if "copy" in _parameters(obj):
        text = " ".join(
            line for entry in NumpyDocString(inspect.getdoc(obj))["Returns"] for line in [entry.type, *entry.desc]
        )
        assert re.search(r"\b(obs|obsm|var|varm|uns|layers)\[", text), "Returns must list the fields written"


@each(CALLABLES)
def test_a_public_object_has_an_example(obj):
    assert doctest.DocTestParser().get_examples(inspect.getdoc(obj))


def _modules(package: types.ModuleType) -> list[str]:
    return [package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))]


@pytest.mark.parametrize("module", [m for m in _modules(uc) if not m.endswith("__main__")])
def test_the_examples_run(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    result = doctest.testmod(
        importlib.import_module(module), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0


def test_the_reference_lists_the_public_names_and_no_other():
    listed = re.findall(r"^ {3}((?:%s)\.\w+)$" % "|".join(ROOMS), (ROOT / "docs/api.md").read_text(), re.MULTILINE)  # noqa: UP031
    assert sorted(listed) == sorted(OBJECTS)


def test_the_version_is_the_same_everywhere():
    version = re.escape(uc.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"^## \[(Unreleased|{version})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
