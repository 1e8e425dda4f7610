"""How every figure begins and ends."""

from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import univerce as uc
from univerce.pl._figure import finish, get_axes, get_result, new_figure, style, wrap


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(True))
    return calls


@pytest.mark.parametrize(
    ("own", "show", "return_fig", "expected", "n_shown"),
    [
        pytest.param(True, None, False, "nothing", 1, id="our_figure_is_shown"),
        pytest.param(False, None, False, "axes", 0, id="the_callers_axes_are_left_to_the_caller"),
        pytest.param(True, False, False, "axes", 0, id="show_false_returns_the_axes"),
        pytest.param(False, True, False, "nothing", 1, id="show_true_shows_the_callers_axes"),
        pytest.param(True, None, True, "figure", 0, id="return_fig_returns_the_figure_unshown"),
    ],
)
def test_a_figure_ends_as_asked(shown, own, show, return_fig, expected, n_shown):
    figure, axes = new_figure(2, 1)
    result = finish(figure, axes, own=own, show=show, return_fig=return_fig)
    assert result is {"nothing": None, "axes": axes, "figure": figure}[expected]
    assert len(shown) == n_shown


def test_given_axes_are_used_and_a_missing_one_is_made():
    figure, axes = plt.subplots()
    assert get_axes(axes, 3, 2) == (figure, axes)
    made, _ = get_axes(None, 3, 2)
    assert made is not figure
    np.testing.assert_allclose(made.get_size_inches(), (3, 2))


def test_the_style_ends_with_its_block():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.size"] == 7
    assert mpl.rcParams["font.size"] == before


def test_a_missing_result_names_the_function_to_call():
    adata = ad.AnnData(np.ones((2, 2)))
    adata.uns["other"] = {"params": {}}
    with pytest.raises(KeyError, match=r"uns\['x'\] does not exist.*'other'.*Call uc\.tl\.x first"):
        get_result(adata, "x", made_by="uc.tl.x")
    with pytest.raises(KeyError, match=r"is not a result of uc\.tl\.x"):
        get_result(adata, "other", made_by="uc.tl.x", needs=["scores"])
    assert get_result(adata, "other", made_by="uc.tl.x", needs=["params"]) == {"params": {}}


@pytest.mark.parametrize(
    "name", sorted(set(uc.pl.__all__) - {"benchmark_confusion", "embedding_grid", "transfer_table"})
)
def test_every_plot_names_the_function_to_call(name):
    made_by = r"uc\.bench\.run" if name.startswith("benchmark") else rf"uc\.tl\.({name}|transfer_labels)"
    with pytest.raises(KeyError, match=f"Call {made_by} first"):
        getattr(uc.pl, name)(ad.AnnData(np.ones((2, 2))), key="lost")


def test_wrapping_loses_no_word():
    label = "CD4-positive, CD25-positive, alpha-beta regulatory T cell"
    (wrapped,) = wrap([label], 20)
    assert max(map(len, wrapped.split("\n"))) <= 20
    assert wrapped.replace("-\n", "-").replace("\n", " ") == label
    assert wrap([""]) == [""]
