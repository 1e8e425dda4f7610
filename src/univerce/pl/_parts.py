"""Row labels, legends and color bars of all plots."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from univerce.pl._figure import wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def set_rows(
    ax: Axes, labels: Collection[object], *, n_rows: int | None = None, width: int = 32, italic: bool = False
) -> None:
    """Label the rows of the vertical axis, the first one on top; ``n_rows`` leaves space for more."""
    texts = list(map(str, labels)) if italic else wrap(labels, width)
    ax.set_yticks(range(len(labels)), texts, fontstyle="italic" if italic else "normal")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim((n_rows or len(labels)) - 0.4, -0.6)


def add_legend(ax: Axes, **options: Any) -> None:
    """Add a legend above the axes, at the right; it may extend over the labels of the rows."""
    options = {"borderaxespad": 0.2, "labelspacing": 0.3} | options
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), **options)


def add_colorbar(ax: Axes, image: Any, label: str, **options: Any) -> None:
    """Add a color bar without an outline."""
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=12, **options)
    bar.set_label(label)
    bar.outline.set_visible(False)
