"""Row labels, legends and color bars of all plots."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from univerce.pl._figure import DOUBLE, MM, SINGLE, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW, _MANY = 12, 25  # labels that may take several lines, that have the usual size
_SHORT, _LONG = 32, 72  # characters of a line
_LINE, _CHARACTER = 0.46 * MM, 0.186 * MM  # height and width at a font size of one point
_SMALLEST = 4.0  # font size in points
_RIGHT = 24 * MM  # of a heat map: its color bar
_BAR = 30 * MM  # length of a color bar


class Labels(NamedTuple):
    """Labels of rows or columns with the space that they need, in inches."""

    texts: list[str]
    size: float
    """Font size in points."""
    pitch: float
    """From one label to the next."""
    length: float
    """Of the longest line."""

    @property
    def extent(self) -> float:
        """Of all rows or columns."""
        return self.pitch * len(self.texts)


def fit_labels(labels: Collection[object], *, least: float = 0.0, width: int | None = None) -> Labels:
    """Break a few long labels into lines; leave many on one line each, and make very many small.

    ``least`` is the smallest pitch, and ``width`` the characters of a line.
    """
    n = len(labels)
    few, some, many = (_SHORT, 6.5), (_LONG, 6.5), (_LONG * 1.3, 5.0)  # of one length
    chosen, size = few if n <= _FEW else some if n <= _MANY else many
    return _fit(wrap(labels, width or int(chosen)), size, least)


def fit_grid(rows: Collection[object], columns: Collection[object], *, cell: float) -> tuple[Labels, Labels]:
    """Labels of a heat map that fits a page, of the same size for rows and columns; ``cell`` is the usual pitch."""
    sides = [wrap(names, _SHORT if len(names) <= _FEW else int(1.3 * _LONG)) for names in (rows, columns)]
    left, below = (_fit(texts, 1.0, 0.0) for texts in sides)
    size = min(6.5, max(_SMALLEST, (DOUBLE - _RIGHT) / (left.length + below.extent)))
    width = DOUBLE - _RIGHT - size * left.length
    left, below = (_fit(texts, size, min(cell, width / max(len(texts), 1))) for texts in sides)
    return left, below


def _fit(texts: list[str], size: float, least: float) -> Labels:
    lines = [text.count("\n") + 1 for text in texts]
    most = max(((a + b) / 2 for a, b in pairwise(lines)), default=max(lines, default=1))
    longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    return Labels(texts, size, max(least, _LINE * size * most), _CHARACTER * size * longest)


def row_width(labels: Labels, body: float = 45 * MM) -> float:
    """Width of a figure with these labels at the left: a column of a page, or as much as they need."""
    return min(max(SINGLE, labels.length + body), DOUBLE)


def set_rows(ax: Axes, labels: Labels, *, n_rows: int | None = None, italic: bool = False) -> None:
    """Label the rows of the vertical axis, the first one on top; ``n_rows`` leaves space for more."""
    n = len(labels.texts)
    ax.set_yticks(range(n), labels.texts, size=labels.size, fontstyle="italic" if italic else "normal")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim((n_rows or n) - 0.4, -0.6)


def set_columns(ax: Axes, labels: Labels, *, italic: bool = False) -> None:
    """Label the columns of the horizontal axis, upright."""
    ax.set_xticks(
        range(len(labels.texts)), labels.texts, rotation=90, size=labels.size,
        fontstyle="italic" if italic else "normal",
    )  # fmt: skip
    ax.tick_params(axis="x", length=0)


def grid_size(labels: tuple[Labels, Labels], *, above: float = 8 * MM) -> tuple[float, float]:
    """Width and height of a heat map with these labels, a color bar at the right and a legend above."""
    rows, columns = labels
    return max(SINGLE, rows.length + columns.extent + _RIGHT), columns.length + body_height(rows) + above + 6 * MM


def body_height(rows: Labels) -> float:
    """Height of a heat map, at least that of its color bar."""
    return max(rows.extent, _BAR)


def add_legend(ax: Axes, **options: Any) -> None:
    """Add a legend above the axes, at the right; it may extend over the labels of the rows."""
    options = {"borderaxespad": 0.2, "labelspacing": 0.3} | options
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), **options)


def add_colorbar(ax: Axes, image: Any, label: str, *, height: float, **options: Any) -> None:
    """Add a color bar of one size, level with the top of axes of this height in inches."""
    share = min(1.0, _BAR / height)
    bar = ax.figure.colorbar(
        image, ax=ax, fraction=0.05, pad=0.02, shrink=share, aspect=12, anchor=(0, 1), panchor=False, **options
    )
    bar.set_label("\n".join(wrap(label.split("\n"), 22)), size=6.5)
    bar.outline.set_visible(False)


def mark(label: str, **look: Any) -> Any:
    """Entry of a legend for a mark."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"linestyle": "none"} | look))


def named(entries: Sequence[str]) -> list[str]:
    """Entries of a legend above the axes, broken where a page would end."""
    return wrap(entries, 70)
