"""What other registries are told agrees with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import univerce as uc

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


@pytest.fixture(scope="module")
def recipe() -> str:
    return (ROOT / "packaging/conda-forge/meta.yaml").read_text()


@pytest.fixture(scope="module")
def entry() -> dict:
    return yaml.safe_load((ROOT / "packaging/scverse-ecosystem/meta.yaml").read_text())


def test_the_recipe_needs_what_the_package_needs(recipe):
    expected = {"python": SpecifierSet(PROJECT["requires-python"])}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        expected[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    (minimum,) = re.findall(r'python_min = "(.+)"', recipe)
    lines = recipe.replace("{{ python_min }}", minimum).split("  run:\n")[1].split("\n\n")[0].splitlines()
    found = dict(re.fullmatch(r"    - (\S+) (\S+)", line).groups() for line in lines)
    assert {name: SpecifierSet(bounds) for name, bounds in found.items()} == expected


def test_the_recipe_builds_with_the_backend_and_the_command_of_the_package(recipe):
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [Requirement(line.strip(" -")) for line in re.findall(r"    - hatchling.*", recipe)] == [
        *map(Requirement, backend)
    ]
    assert re.findall(r"- univerce = (.+)", recipe) == [PROJECT["scripts"]["univerce"]]


def test_recipe_and_entry_have_version_and_license_of_the_package(recipe, entry):
    assert re.findall(r'set version = "(.+)"', recipe) == [uc.__version__] == [entry["version"]]
    assert re.findall(r"  license: (.+)", recipe) == [PROJECT["license"]] == [entry["license"]]


def test_addresses_are_those_of_the_package_and_what_a_person_fills_in_is_explained(recipe, entry):
    urls = set(PROJECT["urls"].values())
    assert set(re.findall(r"(?:home|doc_url|dev_url): (\S+)", recipe)) <= urls
    assert {entry["project_home"], entry["documentation_home"]} <= urls
    assert entry["tutorials_home"].startswith(PROJECT["urls"]["Documentation"])
    explained = (ROOT / "packaging/README.md").read_text()
    texts = recipe, (ROOT / "packaging/scverse-ecosystem/meta.yaml").read_text()
    placeholders = {word for text in texts for word in re.findall(r"(?:: |- )([A-Z0-9]{5,})\b", text)}
    placeholders.remove("LICENSE")  # the file
    assert placeholders == {"OWNER", "SHA256"}
    assert all(f"`{word}`" in explained for word in placeholders)


def test_the_entry_has_the_fields_that_the_registry_demands(entry):
    """Of version 2.0 of the schema of scverse/ecosystem-packages."""
    demanded = {
        "name", "description", "project_home", "documentation_home", "install", "license", "tags", "version",
        "category", "contact",
    }  # fmt: skip
    assert demanded <= set(entry)
    assert entry["name"] == entry["install"]["pypi"] == PROJECT["name"]
    assert len(entry["tags"]) == len(set(entry["tags"])) > 0
    assert all(re.fullmatch(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+", doi) for doi in entry["publications"])
    assert re.search(re.escape(entry["publications"][0]), (ROOT / "CITATION.cff").read_text())
