"""Gene tables from annotation files."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
import zarr

from univerce.genes import TextEncoder, read_annotation, read_table, text_tables, write_table
from univerce.genes.hashed import hashed_tokens, quantize
from univerce.genes.table import gene_table_info, table_digest

HEADER = "ensembl_id\tsymbol\tchromosome\tstart\tdescription"
LINES = ["E1\tINS\t11\t2159779\tinsulin", "E2\t\tX\t5\t", "\tNAN\tMT\t7\tnot available"]
COLUMNS = HEADER.split("\t")


def write(path, *lines: str, header: str = HEADER):
    text = "\n".join([header, *lines]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def genes(*rows: tuple[str, str, str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


HUMAN = genes(
    ("H1", "INS", "11", 50, "insulin"), ("H2", "GCG", "2", 9, "glucagon"), ("H3", "SST", "2", 4, "somatostatin")
)
MOUSE = genes(("M1", "Ins2", "7", 8, "insulin II"), ("M2", "Gcg", "2", 1, "glucagon"))


def encoder() -> TextEncoder:
    return TextEncoder(2, 16)


# Reading


def test_a_file_is_read_as_it_is_written(tmp_path):
    expected = genes(
        ("E1", "INS", "11", 2159779, "insulin"), ("E2", "", "X", 5, ""), ("", "NAN", "MT", 7, "not available")
    )
    for name in ("human.tsv", "human.tsv.gz"):
        pd.testing.assert_frame_equal(read_annotation(write(tmp_path / name, *LINES)), expected)


def test_columns_may_come_in_any_order_beside_others(tmp_path):
    header = "strand\tstart\tdescription\tsymbol\tchromosome\tensembl_id"
    read = read_annotation(write(tmp_path / "a.tsv", "-\t9\tinsulin\tINS\t11\tE1", header=header))
    pd.testing.assert_frame_equal(read, genes(("E1", "INS", "11", 9, "insulin")))


def test_a_quote_in_a_description_is_text_and_several_identifiers_may_be_missing(tmp_path):
    lines = ['E1\tA\t1\t1\t"half quoted', "\tB\t1\t2\tplain", '\tC\t1\t3\tlast" one']
    assert read_annotation(write(tmp_path / "a.tsv", *lines))["symbol"].tolist() == ["A", "B", "C"]


@pytest.mark.parametrize(
    "lines, header, message",
    [
        pytest.param([], "ensembl_id\tsymbol\tstart", "has no column chromosome, description; it has", id="columns"),
        pytest.param(["E1\tA\t1\t1\tx", "E7\tB\t1\t\tx"], HEADER, "not an integer for gene 'E7'", id="no start"),
        pytest.param(["E7\tB\t1\t1e\tx"], HEADER, "not an integer for gene 'E7'", id="start in words"),
        pytest.param(["E1\tA\t1\t1\tx", "E1\tB\t1\t2\tx"], HEADER, "'E1' is repeated", id="repeated"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, lines, header, message):
    with pytest.raises(ValueError, match=message):
        read_annotation(write(tmp_path / "a.tsv", *lines, header=header))


# Tables


def test_every_species_gets_a_table_of_its_genes_with_features_fitted_to_all():
    tables = text_tables({"human": HUMAN, "mouse": MOUSE}, encoder(), source="simulated")
    fitted = encoder().fit(pd.concat([HUMAN, MOUSE]))
    assert list(tables) == ["human", "mouse"]
    for species, annotation in (("human", HUMAN), ("mouse", MOUSE)):
        table = tables[species]
        for column in ("ensembl_id", "symbol", "chromosome", "start"):
            assert table.obs[column].tolist() == annotation[column].tolist()
        assert table.X.dtype == table.uns["special_features"].dtype == np.int8
        info = gene_table_info(table)
        assert (info["species"], info["source"]) == (species, "simulated")
        assert info["encoder"].startswith("text-svd2-sign16-s0-")
        assert info["digest"] == table_digest(table)
        np.testing.assert_array_equal(table.X, fitted.encode(annotation))


def test_further_genes_follow_the_others_and_change_neither_the_encoder_nor_other_features():
    more = genes(("H4", "IGKC", "2", 1, "immunoglobulin kappa constant"))
    plain = text_tables({"human": HUMAN, "mouse": MOUSE}, encoder(), source="simulated")
    tables = text_tables({"human": HUMAN, "mouse": MOUSE}, encoder(), source="simulated", further={"human": more})
    assert tables["human"].obs["symbol"].tolist() == ["INS", "GCG", "SST", "IGKC"]
    np.testing.assert_array_equal(tables["human"].X[:3], plain["human"].X)
    np.testing.assert_array_equal(tables["human"].X[3:], encoder().fit(pd.concat([HUMAN, MOUSE])).encode(more))
    assert tables["human"].uns["gene_table"]["encoder"] == plain["human"].uns["gene_table"]["encoder"]
    assert tables["mouse"].uns["gene_table"] == plain["mouse"].uns["gene_table"]


def test_chromosome_codes_count_the_sorted_names_of_all_species():
    tables = text_tables({"mouse": MOUSE, "human": HUMAN}, encoder(), source="simulated")
    # human_11, human_2, mouse_2, mouse_7
    assert tables["human"].uns["chromosome_names"].tolist() == ["11", "2"]
    assert tables["human"].uns["chromosome_codes"].tolist() == [0, 1]
    assert tables["human"].obs["chromosome_code"].tolist() == [0, 1, 1]
    assert tables["mouse"].uns["chromosome_codes"].tolist() == [2, 3]
    assert tables["mouse"].obs["chromosome_code"].tolist() == [3, 2]


def test_special_and_chromosome_tokens_do_not_depend_on_the_other_species():
    alone = text_tables({"mouse": MOUSE}, encoder(), source="simulated")["mouse"]
    among = text_tables({"human": HUMAN, "mouse": MOUSE}, encoder(), source="simulated")
    for key in ("chromosome_features", "special_features"):
        np.testing.assert_array_equal(alone.uns[key], among["mouse"].uns[key])
    np.testing.assert_array_equal(among["human"].uns["special_features"], alone.uns["special_features"])
    assert not alone.uns["special_features"][0].any()
    expected = quantize(hashed_tokens(["mouse_2", "mouse_7"], 18))
    np.testing.assert_array_equal(alone.uns["chromosome_features"], expected)


@pytest.mark.parametrize("changed", [False, True])
def test_a_packed_table_omits_signs_unless_they_were_changed_and_is_read_whole(tmp_path, changed):
    table = text_tables({"human": HUMAN}, encoder(), source="simulated")["human"]
    if changed:
        table.X[0, -1] = 7
        table.uns["gene_table"]["digest"] = table_digest(table)
    path = write_table(table, tmp_path / "human.zarr.zip")
    with zarr.storage.ZipStore(path, mode="r") as store:
        assert zarr.open_array(store, path="X", mode="r").shape == (len(HUMAN), 18 if changed else 2)
    np.testing.assert_array_equal(read_table(path).X, table.X)
