"""Row labels, legends and color bars of all plots."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from univerce.pl._figure import DOUBLE, MM, SINGLE, wrap

_FEW, _MANY = 12, 25  # labels that may take several lines, that have the usual size
_SHORT, _LONG = 32, 72  # characters of a line
_LINE, _CHARACTER = 0.46 * MM, 0.186 * MM  # height and width at a font size of one point
_CLOSE = 0.42 * MM  # height of a line among labels of one line each
_SMALLEST, _USUAL = 5.0, 6.5  # font sizes in points
_RIGHT, _MARGIN = 24 * MM, 8 * MM  # right of a heat map with and without its color bar
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


class Grid(NamedTuple):
    """Labels of a heat map."""

    rows: Labels
    columns: Labels
    corner: bool
    """Whether the color bar is in the corner between the labels, else at the right."""

    @property
    def height(self) -> float:
        """Of the body, at least that of a color bar at the right."""
        return self.rows.extent if self.corner else max(self.rows.extent, _BAR)

    def size(self, above: float = 8 * MM) -> tuple[float, float]:
        """Width and height of the figure with a legend above."""
        right = _MARGIN if self.corner else _RIGHT
        width = max(SINGLE, self.rows.length + self.columns.extent + right)
        return width, self.columns.length + self.height + above + 6 * MM


def fit_labels(labels: Collection[object], *, least: float = 0.0, width: int | None = None) -> Labels:
    """Break a few long labels into lines; leave many on one line each, and make very many small.

    ``least`` is the smallest pitch, and ``width`` the characters of a line.
    """
    n = len(labels)
    few, some, many = (_SHORT, _USUAL), (_LONG, _USUAL), (_LONG * 1.3, _SMALLEST)  # of one length
    chosen, size = few if n <= _FEW else some if n <= _MANY else many
    return _fit(wrap(labels, width or int(chosen)), size, least)


def fit_grid(rows: Collection[object], columns: Collection[object], *, cell: float) -> Grid:
    """Labels of a heat map that fits a page, of the same size for rows and columns; ``cell`` is the usual pitch.

    Names too long for the smallest font are shortened. With many columns the color bar is in the corner between the
    labels of rows and columns, if it fits there.
    """
    n, names = max(len(columns), 1), [[str(name) for name in side] for side in (rows, columns)]
    corner = n > _MANY and _CHARACTER * _SMALLEST * max(map(len, names[0]), default=0) > _BAR
    space = DOUBLE - (_MARGIN if corner else _RIGHT)
    most = max(_SHORT, int((space / _SMALLEST - _CLOSE * n) / _CHARACTER))
    texts = [wrap(side, _SHORT) if len(side) <= _FEW else [shorten(name, most) for name in side] for side in names]
    left, below = (_fit(side, 1.0, 0.0, _CLOSE) for side in texts)
    size = min(max(space / (left.length + below.extent), _SMALLEST), _USUAL)
    width = space - size * left.length
    by_row, by_column = (_fit(side, size, min(cell, width / max(len(side), 1)), _CLOSE) for side in texts)
    return Grid(by_row, by_column, corner)


def shorten(text: str, n: int) -> str:
    """Leave out the middle of a text of more than ``n`` characters."""
    return text if len(text) <= n else f"{text[: n // 2]}…{text[len(text) - (n - 1) // 2 :]}"


def _fit(texts: list[str], size: float, least: float, line: float = _LINE) -> Labels:
    lines = [text.count("\n") + 1 for text in texts]
    most = max(((a + b) / 2 for a, b in pairwise(lines)), default=max(lines, default=1))
    longest = max((len(part) for text in texts for part in text.split("\n")), default=0)
    return Labels(texts, size, max(least, (line if most == 1 else _LINE) * size * most), _CHARACTER * size * longest)


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


def add_legend(ax: Axes, **options: Any) -> None:
    """Add a legend above the axes, at the right; it may extend over the labels of the rows."""
    options = {"borderaxespad": 0.2, "labelspacing": 0.3} | options
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), **options)


def add_colorbar(ax: Axes, image: Any, label: str, grid: Grid, **options: Any) -> None:
    """Add a color bar of one size, at the right and level with the top of a heat map, or in its corner."""
    text = "\n".join(wrap(label.split("\n"), 24))
    if grid.corner:
        width, height = grid.columns.extent, grid.rows.extent
        place = (-_BAR / width - 4 * MM / width, -6 * MM / height, _BAR / width, 2.5 * MM / height)
        bar = ax.figure.colorbar(image, cax=ax.inset_axes(place), orientation="horizontal", **options)
    else:
        look: dict[str, Any] = {"fraction": 0.05, "pad": 0.02, "shrink": min(1.0, _BAR / grid.height), "aspect": 12}
        bar = ax.figure.colorbar(image, ax=ax, anchor=(0, 1), panchor=False, **look, **options)
    bar.set_label(text, size=6.5)
    bar.outline.set_visible(False)


def mark(label: str, **look: Any) -> Any:
    """Entry of a legend for a mark."""
    return Line2D([], [], label=label, **({"linestyle": "none"} | look))


def named(entries: Sequence[str]) -> list[str]:
    """Entries of a legend above the axes, broken where a page would end."""
    return wrap(entries, 70)
