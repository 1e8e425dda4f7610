"""Figures of the API pages, drawn by the examples of ``univerce.pl``."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import tempfile
from pathlib import Path

import matplotlib as mpl

import univerce as uc

GENERATED = Path(__file__).parent / "generated"
FIGURES = GENERATED / "figures"
BREAK = "\u200b"  # where a long name may break
PLOTS = {"transfer_labels": "label_transfer", "uce_embed": "embedding_grid"}
"""Plots of results whose function has another name."""


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


def write_gallery() -> None:
    """Write a grid of all figures, which ``gallery.md`` includes."""
    cards = [
        f":::{{grid-item-card}} {name.replace('_', '_' + BREAK)}\n:link: univerce.pl.{name}\n:link-type: any\n"
        f":img-top: generated/figures/{name}.png\n"
        f"{inspect.getdoc(getattr(uc.pl, name)).splitlines()[0]}\n:::\n"
        for name in uc.pl.__all__
    ]
    (GENERATED / "gallery.md").write_text("::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n")


def insert(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Insert the figure of a plot below the first paragraph, and of an analysis, with a link, below its description."""
    subpackage, _, function = name.rpartition(".")
    plot = PLOTS.get(function, function)
    if plot not in uc.pl.__all__:
        return
    image = ["", f".. image:: figures/{plot}.png", f"   :alt: example of univerce.pl.{plot}", ""]
    if subpackage == "univerce.pl" and plot == function:
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = image
    elif subpackage == "univerce.tl":
        lines += ["", ".. seealso::", "", f"   :func:`univerce.pl.{plot}`", *image]
