"""The page on the command line shows what its commands print."""

from __future__ import annotations

import doctest
import re
import shlex
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from mudata import MuData

import univerce as uc
from tests.helpers.market import market
from univerce.cli import _parser, main
from univerce.cli._files import pulling_nothing

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_commands_of_the_page_print_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uc.settings, "progress", False)
    cells = uc.datasets.pbmc68k_reduced()[:60].copy()
    del cells.uns, cells.obsm, cells.varm, cells.obsp, cells.raw
    cells.obs = cells.obs[[]].assign(organism="human")
    cells.var = cells.var[[]].assign(gene_ids="")
    cells.write_h5ad("cells.h5ad")
    Path("filtered_feature_bc_matrix").mkdir()
    market("", ".gz")(cells, Path("filtered_feature_bc_matrix"))
    with pulling_nothing():
        proteins = ad.AnnData(np.ones((60, 2)), obs=cells.obs[[]], var={"kind": ["a", "b"]})
        MuData({"rna": cells, "prot": proteins}).write_h5mu("multiome.h5mu")
    shown = [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in _blocks(ROOT / "docs/cli.md", "console")]
    for command, _, expected in (one.partition("\n") for block in shown for one in block):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            status = main(shlex.split(command)[1:])
        said = capsys.readouterr()
        assert status == (2 if "univerce: error" in expected else 0), command
        assert doctest.OutputChecker().check_output(expected, said.err + said.out, OPTIONS), (command, said)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_all_pages_parse(page):
    for block in _blocks(page, "bash"):
        for line in re.sub(r"\\\n", "", block).splitlines():
            if line.startswith("univerce ") and "[" not in line:
                _parser().parse_args(shlex.split(line, comments=True)[1:])
