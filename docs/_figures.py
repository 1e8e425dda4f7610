"""Figures of the API pages, drawn by the examples of ``univerce.pl``."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import tempfile
from pathlib import Path

import matplotlib as mpl

import univerce as uc

FIGURES = Path(__file__).parent / "generated" / "figures"


def draw() -> None:
    """Run the example of each plot and save its last figure, unless it is newer than the package."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    FIGURES.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in Path(uc.__file__).parent.rglob("*.py"))
    for name in uc.pl.__all__:
        path = FIGURES / f"{name}.png"
        if path.exists() and path.stat().st_mtime > newest:
            continue
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(uc.pl, name)))
        with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # an example may write a file
            exec("".join(example.source for example in examples), {})
        plt.gcf().savefig(path, dpi=200)
        plt.close("all")


def insert(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Insert the figure of a plot below the first paragraph of its description."""
    subpackage, _, function = name.rpartition(".")
    if subpackage == "univerce.pl" and function in uc.pl.__all__:
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", f".. image:: figures/{function}.png", f"   :alt: example of univerce.pl.{function}", ""]
