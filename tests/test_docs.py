"""What the pages show is what happens."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

ROOT = Path(__file__).parents[1]
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
    blocks = _blocks(page)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {})
