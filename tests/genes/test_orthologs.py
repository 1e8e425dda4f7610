"""Gene tables in the tokens of another species."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table, write_tiny_model
from univerce.genes import from_orthologs

MOUSE = tiny_table("mouse")
SYMBOLS = MOUSE.obs["symbol"].tolist()


def pairs(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["rat", "mouse"])


def test_a_gene_has_the_features_and_the_position_of_its_ortholog():
    table = from_orthologs(
        pairs([("A1", SYMBOLS[7]), ("ENSRNOG00000012345", SYMBOLS[2].upper()), ("A2", SYMBOLS[7])]),
        MOUSE,
        species="rat",
    )
    assert table.obs["symbol"].tolist() == ["A1", "", "A2"]
    assert table.obs["ensembl_id"].tolist() == ["", "ENSRNOG00000012345", ""]
    np.testing.assert_array_equal(table.X, MOUSE.X[[7, 2, 7]])
    for column in ("chromosome", "start", "chromosome_code"):
        assert table.obs[column].tolist() == MOUSE.obs[column].iloc[[7, 2, 7]].tolist()
    for key in ("special_features", "chromosome_codes", "chromosome_features"):
        np.testing.assert_array_equal(table.uns[key], MOUSE.uns[key])
    info, known = table.uns["gene_table"], MOUSE.uns["gene_table"]
    assert (info["species"], info["encoder"], info["orthologs_of"]) == ("rat", known["encoder"], known["digest"])
    assert info["digest"] != known["digest"]


def test_genes_with_several_orthologs_and_unknown_ones_are_left_out_and_counted(caplog):
    rows = [("one", SYMBOLS[0]), ("one", SYMBOLS[0]), ("two", SYMBOLS[1]), ("two", SYMBOLS[2]), ("lost", "no gene")]
    with caplog.at_level(logging.INFO, "univerce"):
        table = from_orthologs(pairs([*rows, ("", SYMBOLS[3])]), MOUSE, species="rat")
    assert table.obs["symbol"].tolist() == ["one"]
    assert "rat: 6 pairs" in caplog.text
    assert "1 genes with several orthologs are left out" in caplog.text


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.tsv.gz"])
def test_a_file_of_pairs_is_read(tmp_path, name):
    pairs([("A1", SYMBOLS[7])]).to_csv(tmp_path / name, index=False, sep="," if ".csv" in name else "\t")
    assert from_orthologs(tmp_path / name, MOUSE, species="rat").obs["symbol"].tolist() == ["A1"]


def test_cells_are_embedded_as_those_of_the_known_species(tmp_path):
    """Sentences are the same but for the order of genes with one start, which these tables do not have."""
    model = write_tiny_model(tmp_path / "model").path
    mouse = tiny_cells("mouse", 12)
    rat = mouse.copy()
    rat.var_names = [f"Rat-{name}" for name in mouse.var_names]
    rat.uns["organism"] = "Rattus norvegicus"
    table = from_orthologs(pairs([(f"Rat-{name}", name) for name in SYMBOLS]), MOUSE, species="rat")
    uc.tl.uce_embed(mouse, model=model)
    uc.tl.uce_embed(rat, table, model=model)
    np.testing.assert_array_equal(rat.obsm["X_uce"], mouse.obsm["X_uce"])
    assert rat.uns["univerce"]["X_uce"]["species"] == ["rat"]


def test_pairs_that_do_not_fit_raise(tmp_path):
    with pytest.raises(ValueError, match="No pair of orthologs= is left for 'rat': its second column must hold genes"):
        from_orthologs(pairs([(SYMBOLS[0], "A1")]), MOUSE, species="rat")
    with pytest.raises(ValueError, match=r"must have two columns, .* it has 'rat', 'mouse', 'score'. Select"):
        from_orthologs(pairs([("A1", SYMBOLS[0])]).assign(score=1), MOUSE, species="rat")
    with pytest.raises(FileNotFoundError, match="no table of orthologs at"):
        from_orthologs(tmp_path / "nothing.tsv", MOUSE, species="rat")
