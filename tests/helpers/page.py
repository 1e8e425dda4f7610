"""Check the layout of figures."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from univerce.pl._figure import DOUBLE


def check_page(figure: Figure) -> None:
    """Fail if a figure is wider than a page, text leaves it or tick labels overlap."""
    assert figure.get_figwidth() <= DOUBLE + 1e-9, "wider than a page"
    figure.canvas.draw()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            boxes = [text.get_window_extent() for text in _ticks(axis)]
            assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]), "labels overlap"
        for text, box in _written(ax).items():
            assert Bbox.intersection(box, figure.bbox.padded(1)).bounds == box.bounds, f"{text!r} leaves the page"


def _ticks(axis: Axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    pairs = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [text for place, text in pairs if low <= place <= high and text.get_text()]


def _written(ax: Axes) -> dict[str, Bbox]:
    texts = [*_ticks(ax.xaxis), *_ticks(ax.yaxis), *ax.texts, ax.xaxis.label, ax.yaxis.label]
    texts += [ax.title, ax._left_title, ax._right_title]
    boxes = {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}
    if (legend := ax.get_legend()) is not None:
        boxes["legend"] = legend.get_window_extent()
    return boxes
