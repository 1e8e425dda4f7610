"""The heat map of fold changes: drawn values are those of the table."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.page import check_page
from univerce.pl.discovery.marker_fold_changes import marker_fold_changes as draw
from univerce.tl.discovery.marker_fold_changes import marker_fold_changes


@pytest.fixture(scope="module")
def compared():
    out = uc.datasets.pbmc68k_reduced()
    out.obs["found"] = out.obs["cell_type"] == "CD19+ B"
    names = np.array(["a data set with a name that is rather long, of blood", "b", "rare"])
    out.obs["data_set"] = names[np.arange(700) % 3]
    rare = (out.obs["data_set"] == "rare") & out.obs["found"]
    out.obs.loc[rare, "data_set"] = "b"
    out.obs["donor"] = [f"donor {i // 3 % 4}" for i in range(700)]
    marker_fold_changes(out, donor_key="donor", min_cells=5)
    return out


@pytest.fixture
def adata(compared):
    return compared.copy()


def wide(adata, column, genes):
    table = adata.uns["marker_fold_changes"]["table"].pivot(index="data_set", columns="gene", values=column)
    return table.reindex(adata.uns["marker_fold_changes"]["data_sets"].index)[genes]


def test_colors_and_dots_are_those_of_the_table(adata):
    ax = draw(adata, limit=2, n_genes=12, show=False)
    genes = [t.get_text() for t in ax.get_xticklabels()]
    assert len(genes) == 12
    change, adjusted = (wide(adata, column, genes) for column in ("log2_fold_change", "p_adjusted"))
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array().filled(np.nan), change)
    assert image.get_clim() == (-2, 2)
    dots = {tuple(xy) for xy in ax.collections[0].get_offsets()}
    row, column = np.nonzero(adjusted.to_numpy() < 0.05)
    assert dots == set(zip(column.astype(float), row.astype(float), strict=True))
    assert dots
    assert [t.get_text() for t in ax.texts] == [adata.uns["marker_fold_changes"]["data_sets"].loc["rare", "status"]]
    n = adata.uns["marker_fold_changes"]["data_sets"]["n_found"]
    labels = [f"{k} ({v}, 4 donors)" if v else f"{k} ({v})" for k, v in n.items()]
    assert [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()] == labels


def test_genes_that_are_higher_in_most_data_sets_are_chosen(adata):
    genes = [t.get_text() for t in draw(adata, n_genes=5, show=False).get_xticklabels()]
    change, adjusted = (wide(adata, column, slice(None)) for column in ("log2_fold_change", "p_adjusted"))
    n = ((change > 0) & (adjusted < 0.05)).sum()
    ranked = sorted(change.columns, key=lambda gene: (-n[gene], -change[gene].sum()))
    assert genes == ranked[:5]
    ax = draw(adata, genes=["LYZ", "CD79A"], show=False)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["LYZ", "CD79A"]


def test_without_donors_the_largest_changes_have_no_dots(adata):
    marker_fold_changes(adata, min_cells=5)
    ax = draw(adata, n_genes=5, show=False)
    change = adata.uns["marker_fold_changes"]["table"].groupby("gene")["log2_fold_change"].sum()
    assert [t.get_text() for t in ax.get_xticklabels()] == change.nlargest(5).index.tolist()
    assert len(ax.collections[0].get_offsets()) == 0


@pytest.mark.parametrize("n_genes", [5, 25, 50])
@pytest.mark.parametrize("prefix", ["", "ENSMUSG00000100028."])
def test_the_figure_fits_the_page(adata, n_genes, prefix):
    result = adata.uns["marker_fold_changes"]
    result["table"] = result["table"].assign(gene=prefix + result["table"]["gene"])
    check_page(draw(adata, n_genes=n_genes, return_fig=True))


def test_one_data_set_without_any_change_is_drawn(adata):
    result = adata.uns["marker_fold_changes"]
    result["table"] = result["table"].query("data_set == 'b' and gene == 'CD79A'").assign(log2_fold_change=0.0)
    result["data_sets"] = result["data_sets"].loc[["b"]]
    assert draw(adata, show=False).images[0].get_clim() == (-1, 1)


def test_bad_input_is_an_error(adata):
    with pytest.raises(ValueError, match="limit=0"):
        draw(adata, limit=0)
    with pytest.raises(ValueError, match="n_genes=0"):
        draw(adata, n_genes=0)
    with pytest.raises(KeyError, match="1 genes were not compared: 'XIST'"):
        draw(adata, genes=["CD79A", "XIST"])
