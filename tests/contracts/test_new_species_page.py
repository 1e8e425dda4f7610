"""The page "A new species in five minutes" does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import univerce as uc

PAGE = Path(__file__).parents[2] / "docs" / "new-species.md"


def test_the_page_runs_from_its_first_block_to_its_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    printed = capsys.readouterr().out
    # The name of the encoder holds a digest; figures of orthologues may differ in the last digit.
    assert re.sub(r"svd64\S+|\d+\.\d%", "", shown).strip() in re.sub(r"svd64\S+|\d+\.\d%", "", printed)
    assert "reads 'text-" in printed
    assert names["cells"].obsm["X_uce"].shape == (20, 16)
    assert set(uc.genes.available_species("stand-in")) >= {"newt", "toad"}
    for table in (names["newt"], names["toad"]):
        table.file.close()


def test_every_block_is_run_or_says_that_it_needs_files(tmp_path):
    fences = re.findall(r"^```(.+)$", PAGE.read_text(), re.MULTILINE)
    assert set(fences) == {"python", "python skip", "bash", "text"}
