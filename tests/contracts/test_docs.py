"""The pages of the documentation, the README and the tutorials are true."""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import json
import operator
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

import univerce as uc

ROOT = Path(__file__).parents[2]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))


def _blocks(page: Path) -> list[str]:
    return re.findall(r"^```python[^\n]*\n(.+?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="one answer shows the output on a machine without a GPU")
def test_the_answers_print_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n".join(_blocks(ROOT / "docs/faq.md"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "faq.md", "docs/faq.md", 0)
    assert len(examples.examples) > 20
    assert doctest.DocTestRunner(optionflags=OPTIONS).run(examples).failed == 0


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")  # of scanpy
@pytest.mark.parametrize("page", ["README.md", "docs/analyses.md"])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    exec(compile("\n".join(_blocks(ROOT / page)), page, "exec"), {})


def test_the_page_of_new_species_runs_and_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/new-species.md"
    assert set(re.findall(r"^```(.+)$", page.read_text(), re.MULTILINE)) == {"python", "python skip", "bash", "text"}
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    printed = capsys.readouterr().out
    assert shown.strip() in printed
    assert "reads 'text-" in printed
    assert names["cells"].obsm["X_uce"].shape == (20, 16)
    assert set(uc.genes.available_species("random")) >= {"newt", "toad"}
    for table in (names["newt"], names["toad"]):
        table.file.close()


def _calls(code: str) -> Iterator[tuple[str, list[str]]]:
    """Dotted name below ``uc`` and keywords of each call; shell lines and fragments of code are skipped."""
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and re.fullmatch(r"uc(\.\w+)+", name := ast.unparse(node.func)):
                yield name.removeprefix("uc."), [keyword.arg for keyword in node.keywords if keyword.arg]


def test_the_code_of_all_pages_and_notebooks_calls_functions_with_parameters_that_exist():
    codes = []
    for page in PAGES:
        inline = re.findall(r"`(uc\.[^`]+\))`", page.read_text())
        plain = [re.sub(r"^(>>>|\.\.\.) ?", "", block, flags=re.MULTILINE) for block in _blocks(page)]
        codes += [(page.name, code) for code in (*(line.replace("…", "...") for line in inline), *plain)]
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        codes += [(path.name, "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    wrong, n_calls = [], 0
    for where, code in codes:
        for name, keywords in _calls(code):
            n_calls += 1
            try:
                parameters = inspect.signature(operator.attrgetter(name)(uc)).parameters
            except AttributeError:
                wrong.append(f"{where}: uc.{name}")
                continue
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                wrong += [f"{where}: uc.{name}({keyword}=)" for keyword in keywords if keyword not in parameters]
    assert wrong == []
    assert n_calls > 150


def test_names_in_the_text_exist():
    """The pages link them, see ``docs/conf.py``."""
    wrong = []
    for page in PAGES:
        names = re.findall(
            r"`uc\.([a-z]+(?:\.\w+)+)|`((?:pp|tl|pl|atlas|bench|genes|datasets|get)(?:\.(?!tsv)\w+)+)", page.read_text()
        )
        for name in {name or short for name, short in names if not name.startswith("settings")}:
            try:
                operator.attrgetter(name)(uc)
            except AttributeError:
                wrong.append(f"{page.name}: {name}")
    assert wrong == []


FORGE = ["README.md", "tutorials/README.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"]


@pytest.mark.parametrize("page", [*FORGE, *(f"tutorials/{path.name}" for path in NOTEBOOKS)])
def test_links_of_a_page_on_a_forge_lead_somewhere(page):
    """Files exist, and their headings; Sphinx checks the links of its own pages."""
    links = re.findall(r"\]\(([^)\s]+)", _text(ROOT / page))
    dead = []
    for link in (link for link in links if "://" not in link):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def _text(page: Path) -> str:
    """Text of a page, or of the cells of a notebook that are text."""
    if page.suffix != ".ipynb":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _anchors(page: Path) -> set[str]:
    """Anchors that a forge gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


GUIDE = "install tutorials faq concepts analyses new-species scaling pretraining coming-from models uce-mini cli"


def test_the_user_guide_is_short():
    text = "\n".join((ROOT / f"docs/{name}.md").read_text() for name in GUIDE.split())
    prose = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert sum(bool(re.search(r"\w", word)) for word in prose.split()) <= 9_000


def test_every_tutorial_is_in_the_documentation_and_shows_a_figure():
    listed = re.findall(r"^tutorials/(\S+)$", (ROOT / "docs/tutorials.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [path.stem for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"], path.name
        figures = [len(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
        assert 0 < max(figures, default=0) < 400_000, path.name  # bytes of base64


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_tutorial_are_short(path):
    cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert max(map(len, cells)) <= 8
    assert "environ" not in "".join(line for cell in cells for line in cell)
