"""Sphinx configuration. `nox -s docs` builds the pages, with or without a network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import docstring
from sphinx.util.nodes import make_refnode

import univerce

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "univerce"
author = "The univerce developers"
copyright = "2026, the univerce developers"  # noqa: A001
version = release = univerce.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "scanpydoc.theme",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = [
    "_build",
    "benchmark/tables.md",
    "generated/gallery.md",
    "jupyter_execute",
    "measured",
    "**.ipynb_checkpoints",
]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `nox -s tutorials` executes them
nb_merge_streams = True

# Sphinx reads only files in its directory.
shutil.rmtree(HERE / "tutorials", ignore_errors=True)
shutil.copytree(HERE.parent / "tutorials", HERE / "tutorials", ignore=shutil.ignore_patterns("README.md", ".*"))
for notebook in (HERE / "tutorials").glob("*.ipynb"):  # in a checkout the links lead to docs/
    notebook.write_text(notebook.read_text().replace("](../docs/", "](../"))

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # types are in the signatures
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = False
napoleon_use_rtype = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links into other projects need their inventories, which a build without a network does not have.
intersphinx_mapping = {}
if os.environ.get("READTHEDOCS"):
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "mudata": ("https://mudata.readthedocs.io/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

html_theme = "scanpydoc"
html_title = "univerce"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True, "navbar_persistent": [], "accent_color": "#0072B2"}


def _prose(self: docstring.NumpyDocstring, section: str) -> list[str]:
    """Keep Returns and Yields as prose; napoleon would read the first line as a type."""
    lines = self._dedent(self._consume_to_next_section())
    return self._format_block(f":{section}: ", lines)


docstring.NumpyDocstring._parse_returns_section = lambda self, _: _prose(self, "returns")
docstring.NumpyDocstring._parse_yields_section = lambda self, _: _prose(self, "yields")
# Attributes, too: napoleon would read what precedes a colon as the type.
docstring.NumpyDocstring._consume_inline_attribute = lambda self: ("", self._dedent(self._consume_to_end()))


def _link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link public names in literals, ``uc.tl.uce_embed(adata)`` or ``tl.uce_embed``, to their page."""
    objects = app.env.domains["py"].objects
    for literal in list(doctree.findall(nodes.literal)):
        found = re.match(
            r"(?:uc\.|univerce\.)?((?:pp|tl|pl|atlas|bench|genes|model|datasets|get|settings)\b[\w.]*)",
            literal.astext(),
        )
        target = found and objects.get(f"univerce.{'settings' if found[1].startswith('settings') else found[1]}")
        if target and target.docname != page and not _is_inside(literal, nodes.reference | nodes.title):
            parent, index = literal.parent, literal.parent.index(literal)
            parent[index] = make_refnode(app.builder, page, target.docname, target.node_id, literal)


def _is_inside(node: nodes.Node, kinds: object) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def _keep_together(app: Sphinx, doctree: nodes.document) -> None:
    """Keep numbers that belong together on one line of a table: ``0.8 ± 0.1``, ``4 and 4``, ``0.1–0.2``."""
    for entry in doctree.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            joined = re.sub(r"(?<=\d) (±|and|×) (?=\d)", "\u00a0\\1\u00a0", text)
            joined = re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", joined)
            if joined != text:
                text.parent.replace(text, nodes.Text(joined))


def setup(app: Sphinx) -> None:
    import _figures

    _figures.draw()
    _figures.write_gallery()
    app.connect("autodoc-process-docstring", _figures.insert)
    app.connect("doctree-read", _keep_together)
    app.connect("doctree-resolved", _link_names)
