"""What the pages show is what happens."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from tests.helpers.obo import write_obo

ROOT = Path(__file__).parents[2]
# What the pages take from the Cell Ontology, whose file they ask for.
TERMS = {
    "CL:0": ("cell", []),
    "CL:1": ("lymphocyte", ["CL:0"]),
    "CL:2": ("myeloid leukocyte", ["CL:0"]),
    "CL:3": ("B cell", ["CL:1"]),
    "CL:4": ("natural killer cell", ["CL:1"]),
    "CL:5": ("T cell", ["CL:1"]),
    "CL:6": ("CD8-positive, alpha-beta T cell", ["CL:5"]),
    "CL:7": ("regulatory T cell", ["CL:5"]),
    "CL:8": ("monocyte", ["CL:2"]),
    "CL:9": ("dendritic cell", ["CL:2"]),
}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.+?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="one answer shows what a machine without a GPU says")
def test_the_answers_print_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest("\n".join(_blocks("docs/faq.md")), {}, "faq.md", "docs/faq.md", 0)
    assert len(examples.examples) > 20
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(examples).failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/analyses.md"])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    write_obo(tmp_path / "cl.obo", TERMS)
    blocks = _blocks(page)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})


@pytest.mark.parametrize("page", ["README.md", "tutorials/README.md", "CODE_OF_CONDUCT.md"])
def test_links_into_the_repository_lead_somewhere(page):
    """Sphinx checks those of its own pages."""
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
    inside = [link for link in links if "://" not in link]
    assert len(links) > 0
    assert [link for link in inside if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_every_tutorial_is_in_the_documentation_and_shows_a_figure():
    listed = re.findall(r"^tutorials/(\S+)$", (ROOT / "docs/tutorials.md").read_text(), re.MULTILINE)
    notebooks = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tutorials").glob("*.ipynb")}
    assert sorted(listed) == sorted(notebooks)
    for name, notebook in notebooks.items():
        outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"], name
        figures = [len(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
        assert figures, name
        assert max(figures) < 400_000, name  # bytes of base64
