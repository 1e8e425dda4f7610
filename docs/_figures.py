"""Figures of the API pages, drawn by the examples of ``univerce.pl``."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import re
import tempfile
import warnings
from pathlib import Path

import matplotlib as mpl
from PIL import Image

import univerce as uc

GENERATED = Path(__file__).parent / "generated"
FIGURES = GENERATED / "figures"
DPI = 200
BREAK = "\u200b"  # where a long name may break
PLOTS = {"transfer_labels": "label_transfer", "uce_embed": "embedding_grid"}
"""Plots of results whose function has another name."""
_CELLS = """\
import matplotlib.pyplot as plt
import scanpy as sc
import univerce as uc

cells = uc.datasets.pbmc68k_reduced()
uc.tl.uce_embed(cells)
sc.pp.neighbors(cells, use_rep="X_uce")
sc.tl.umap(cells)
"""
FURTHER = {
    "search_atlas": f"""\
{_CELLS}query, atlas = cells[::2].copy(), cells[1::2].copy()
uc.tl.search_atlas(query, atlas, n_neighbors=15)
palette = dict(zip(cells.obs["cell_type"].cat.categories, sc.pl.palettes.default_20))
with plt.rc_context({{"figure.figsize": (3, 3)}}):
    sc.pl.umap(query, color=["cell_type", "atlas_label"], palette=palette, wspace=0.9)
""",
    "predict_expression": f"""\
{_CELLS}genes = ["CD79A", "NKG7", "LYZ"]
probabilities = uc.tl.predict_expression(cells, genes)
probabilities.obsm["X_umap"] = cells.obsm["X_umap"]
with plt.rc_context({{"figure.figsize": (3, 3)}}):
    sc.pl.umap(probabilities, color=genes, vmin=0, vmax=1)
""",
    "reconstruction_loss": """\
import scanpy as sc
import univerce as uc

cells = uc.datasets.pbmc68k_reduced()[::5].copy()
uc.tl.reconstruction_loss(cells, model="uce-tiny")
sc.pl.violin(cells, "reconstruction_loss", groupby="cell_type", rotation=90)
""",
    "gene_network": """\
import seaborn as sns
import univerce as uc

cells = uc.datasets.pbmc68k_reduced()
genes = ["CD3D", "CD3E", "CD79A", "CD79B", "HLA-DRA", "HLA-DPB1", "LYZ", "S100A8", "S100A9", "GNLY", "NKG7"]
network = uc.tl.gene_network(cells, genes, threshold=-1)
similarity = network.obsp["similarity"].toarray()
sns.clustermap(similarity, xticklabels=genes, yticklabels=genes, cmap="viridis", figsize=(5, 5))
""",
}
"""Figures of results that other packages draw."""


def draw() -> None:
    """Run the example of each plot and save its last figure, unless it is newer than the package."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    FIGURES.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in Path(uc.__file__).parent.rglob("*.py"))
    parser = doctest.DocTestParser()
    examples = {name: parser.get_examples(inspect.getdoc(getattr(uc.pl, name))) for name in uc.pl.__all__}
    codes = {name: "".join(example.source for example in found) for name, found in examples.items()} | FURTHER
    for name, code in codes.items():
        path = FIGURES / f"{name}.png"
        if path.exists() and path.stat().st_mtime > newest:
            continue
        with (
            tempfile.TemporaryDirectory() as scratch,
            contextlib.chdir(scratch),  # an example may write a file
            warnings.catch_warnings(action="ignore"),  # of figures that are not shown
        ):
            exec(code, {})
        plt.gcf().savefig(path, dpi=DPI, bbox_inches="tight" if name in FURTHER else None)
        plt.close("all")


def write_gallery() -> None:
    """Write a grid of all figures, which ``gallery.md`` includes."""
    pages = [*((name, uc.pl) for name in uc.pl.__all__), *((name, uc.tl) for name in FURTHER)]
    cards = [
        f":::{{grid-item-card}} {name.replace('_', '_' + BREAK)}\n:link: {package.__name__}.{name}\n:link-type: any\n"
        f":img-top: generated/figures/{name}.png\n"
        f"{inspect.getdoc(getattr(package, name)).splitlines()[0]}\n:::\n"
        for name, package in pages
    ]
    (GENERATED / "gallery.md").write_text("::::{grid} 1 2 2 3\n:gutter: 3\n\n" + "\n".join(cards) + "::::\n")


def insert(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Insert the figure of a plot below the first paragraph, and of an analysis, with a link, below its description."""
    subpackage, _, function = name.rpartition(".")
    plot = PLOTS.get(function, function)
    if subpackage == "univerce.tl" and function in FURTHER:
        code = [f"   {line}" for line in FURTHER[function].splitlines()]
        lines += [
            "",
            ".. rubric:: Figure",
            "",
            ".. code-block:: python",
            "",
            *code,
            "",
            *_image(function, f"result of univerce.tl.{function}"),
            "",
        ]
    image = ["", *_image(plot, f"example of univerce.pl.{plot}"), ""] if plot in uc.pl.__all__ else []
    links = _related(name.removeprefix("univerce."), plot) if what in ("function", "class") else []
    also = ["", ".. seealso::", "", f"   {', '.join(links)}"] if links else []
    if subpackage == "univerce.pl":
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = image
        lines += [*also, ""]
    else:
        lines += [*also, *image]


def _related(name: str, plot: str) -> list[str]:
    """Links to the plot of an analysis, and to the other functions of its topic in ``api.md``."""
    api = (Path(__file__).parent / "api.md").read_text()
    topics = [re.findall(r"^   ((?:pp|tl|pl|atlas)\.\w+)$", topic, re.MULTILINE) for topic in api.split("\n## ")]
    topic = next((topic for topic in topics if name in topic), [])
    found = [other for other in topic if other != name and (not other.startswith("pl.") or other == f"pl.{plot}")]
    return [f":obj:`univerce.{other}`" for other in sorted(found, key=lambda other: not other.startswith("pl."))]


def _image(name: str, alt: str) -> list[str]:
    """An image of the size of the figure, enlarged by a tenth."""
    width = round(1.1 * Image.open(FIGURES / f"{name}.png").width * 96 / DPI)
    options = [f".. image:: figures/{name}.png", f"   :alt: {alt}", f"   :width: {width}px"]
    return [".. container:: scrolling", "", *(f"   {line}" for line in options)]
