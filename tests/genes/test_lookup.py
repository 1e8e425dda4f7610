"""From names to rows of a gene table."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from univerce.genes.gene_index import other_names
from univerce.genes.lookup import map_columns, map_names
from univerce.genes.spellings import make_names


def _table(symbols, ids=None, codes=None, species=None) -> ad.AnnData:
    ids = [f"ENSG{i:011d}" for i in range(len(symbols))] if ids is None else ids
    obs = pd.DataFrame(
        {"symbol": symbols, "ensembl_id": ids, "chromosome_code": 0 if codes is None else codes},
        index=ids if all(ids) and len(set(ids)) == len(ids) else [f"gene{i}" for i in range(len(ids))],
    )
    return ad.AnnData(obs=obs, uns={} if species is None else {"gene_table": {"species": species}})


HUMAN = _table(["TP53", "ACTB", "", "C1orf112"], [f"ENSG0000000000{i}" for i in range(4)])


NAMES = {
    "TP53": (0, "symbol"), "Tp53": (0, "symbol_case"), " TP53\t": (0, "symbol"), "C1ORF112": (3, "symbol_case"),
    "ENSG00000000002": (2, "ensembl"), "ensg00000000002": (2, "ensembl"), "ENSG00000000001.18": (1, "ensembl"),
    "ENSG00000000001.18_PAR_Y": (1, "ensembl"), "ENSG00000000001_PAR_Y": (1, "ensembl"),
    "ENSG00000000001.18-PAR-Y": (1, "ensembl"), "ENSG00000000001.18_5": (1, "ensembl"),
    "ENSG00000000009": (-1, ""),
    "TP53.1": (0, "suffix"), "TP5.1": (-1, ""),
    "TP53-201": (-1, ""), "RP11-34P13.7": (-1, ""), "ENST00000000001": (-1, ""),
    "": (-1, ""), "   ": (-1, ""), None: (-1, ""), float("nan"): (-1, ""), pd.NA: (-1, ""), 7157: (-1, ""),
}  # fmt: skip


def test_a_name_means_one_gene_or_none():
    for name, expected in NAMES.items():
        mapping = map_names([name], HUMAN)
        assert (mapping.rows[0], mapping.how[0]) == expected, name
        assert mapping.rows.dtype == np.int32
    together = map_names(list(NAMES), HUMAN)
    assert list(zip(together.rows, together.how, strict=True)) == list(NAMES.values())


def test_names_of_flies_and_worms():
    table = _table(["nan", "homt-1", "T28F2.1"], ["FBgn0036414", "WBGene00022277", "WBGene00000001"])
    names = ["FBgn0036414", "WBGene00022277", "T28F2.1", "T28F2.2", "T28F2", "nan"]  # nan is the fly gene nanchung
    assert map_names(names, table).rows.tolist() == [0, 1, 2, -1, -1, 0]


def test_same_case_wins_over_an_earlier_row():
    table = _table(["actb", "ActB", "ACTB"])
    mapping = map_names(["ACTB", "ActB", "actb", "aCTb"], table)
    assert mapping.rows.tolist() == [2, 1, 0, 0]
    assert mapping.how.tolist() == ["symbol", "symbol", "symbol", "symbol_case"]
    assert mapping.collisions["name"].tolist() == ["ACTB", "ActB", "actb", "aCTb"]
    assert mapping.collisions["row"].tolist() == [2, 1, 0, 0]
    assert mapping.collisions["others"].tolist()[0] == "ENSG00000000000; ENSG00000000001"


def test_of_equal_symbols_the_gene_on_the_fullest_chromosome_wins_and_then_the_first():
    table = _table(["BEX5", "BEX5", "BEX5", "A", "B"], codes=[9, 1, 1, 1, 1])
    mapping = map_names(["BEX5", "A"], table)
    assert mapping.rows.tolist() == [1, 3]
    assert mapping.collisions.to_dict("records") == [
        {"name": "BEX5", "gene_id": "ENSG00000000001", "row": 1, "others": "ENSG00000000000; ENSG00000000002"}
    ]


def test_names_of_one_gene_are_listed_together_and_missing_symbols_do_not_collide():
    mapping = map_names(["ACTB", "x", "Actb", "TP53", "ENSG00000000001.3"], HUMAN)
    assert mapping.rows.tolist() == [1, -1, 1, 0, 1]
    assert mapping.duplicates.to_dict("records") == [
        {"gene_id": "ENSG00000000001", "row": 1, "names": "ACTB; Actb; ENSG00000000001.3"}
    ]
    mapping = map_names(["", "ENSG00000000000"], _table(["", ""]))
    assert mapping.rows.tolist() == [-1, 0]
    assert mapping.collisions.empty
    assert mapping.duplicates.empty


def test_names_and_genes_may_come_in_any_container_or_be_none():
    for container in (list, np.array, pd.Index, pd.Series, pd.Categorical):
        assert map_names(container(["ACTB", "nothing", "ACTB"]), HUMAN).rows.tolist() == [1, -1, 1]
    table = HUMAN.copy()
    table.obs = table.obs.astype({"symbol": "category", "ensembl_id": "category"})
    assert map_names(["ACTB", "", "ENSG00000000002"], table).rows.tolist() == [1, -1, 2]
    assert map_names([], HUMAN).rows.shape == (0,)
    assert map_names(["ACTB"], HUMAN[:0]).rows.tolist() == [-1]


# Of MARCHF3 and MS4A1 the first table has old names, the second new ones.
OLD = _table(["MARCH3", "CD20", "SEPT2", "FAM63A", "NKX2-1", "MARC1"], species="human")
NEW = _table(["MARCHF3", "MS4A1", "SEPTIN2", "MINDY1", "NKX2-1", "MTARC1"], species="human")


def test_previous_symbols_and_aliases_are_found_in_old_and_new_tables():
    names = ["MARCH3", "MARCHF3", "CD20", "MS4A1", "march3", "Ms4a1"]
    rows = [0, 0, 1, 1, 0, 1]
    for table, how in (
        (OLD, ["symbol", "previous", "symbol", "previous", "symbol_case", "previous"]),
        (NEW, ["previous", "symbol", "previous", "symbol", "previous", "symbol_case"]),
    ):
        mapping = map_names(names, table)
        assert mapping.rows.tolist() == rows
        assert mapping.how.tolist() == how
        assert map_names(["BP35"], table).how.tolist() == ["alias"]
    strangers = [_table(NEW.obs["symbol"]), _table(NEW.obs["symbol"], species="rat")]
    assert [map_names(["MARCH3"], table).rows[0] for table in strangers] == [-1, -1]


def test_a_current_symbol_of_another_gene_is_no_alias():
    table = _table(["MARCHF3", "MARCH3"], species="human")
    mapping = map_names(["MARCH3", "MARCHF3"], table)
    assert mapping.rows.tolist() == [1, 0]
    assert mapping.how.tolist() == ["symbol", "symbol"]


def test_an_alias_beside_the_symbol_is_another_gene_and_a_previous_symbol_is_not():
    mapping = map_names(["MS4A1", "BP35", "CD20"], NEW)
    assert mapping.rows.tolist() == [1, -1, 1]
    assert mapping.ambiguous.to_dict("records") == [{"name": "BP35", "genes": "MS4A1"}]


def test_a_name_of_several_genes_is_reported_and_not_guessed():
    table = _table(["SEPTIN1", "SEPTIN2", "SEPTIN6"], species="human")
    assert other_names("human").ambiguous["PNUTL3"] == ("SEPTIN1", "SEPTIN2")
    mapping = map_names(["PNUTL3", "SEPTIN1"], table)
    assert mapping.rows.tolist() == [-1, 0]
    assert mapping.ambiguous["name"].tolist() == ["PNUTL3"]
    assert mapping.ambiguous["genes"].tolist() == ["SEPTIN1; SEPTIN2"]
    # a table with two old names of one gene
    table = _table(["FLJ11280", "FAM63A"], species="human")
    assert {other_names("human").symbols[name] for name in table.obs["symbol"]} == {"MINDY1"}
    mapping = map_names(["MINDY1", "FAM63A"], table)
    assert mapping.rows.tolist() == [-1, 1]
    assert mapping.ambiguous["genes"].tolist() == ["FAM63A; FLJ11280"]


def test_identifiers_find_genes_of_a_table_that_has_none():
    table = _table(["MARCH3", "CD20", "IGKC"], ["", "", ""], species="human")
    names = ["ENSG00000173926.7", "ensg00000156738", "ENSG00000211592", "ENSG00000141510"]
    mapping = map_names(names, table)
    assert mapping.rows.tolist() == [0, 1, 2, -1]
    assert mapping.how.tolist() == ["ensembl", "ensembl", "ensembl", ""]


def test_the_prefix_of_the_genome_of_the_species_is_removed():
    names = ["GRCh38_MARCHF3", "GRCh38______CD20", "hg19_ENSG00000000002", "mm10___Septin2", "GRCh38_x", "HUMAN_MINDY1"]
    mapping = map_names(names, NEW)
    assert mapping.rows.tolist() == [0, 1, 2, -1, -1, 3]
    assert mapping.how.tolist() == ["prefix", "prefix", "prefix", "", "", "prefix"]


def test_a_symbol_and_an_identifier_in_one_name_are_tried_in_turn():
    mapping = map_names(["x_ENSG00000000001.3", "ENSG00000999999|MARCH3", "x_ENSG00000999999"], NEW)
    assert mapping.rows.tolist() == [1, 0, -1]
    assert mapping.how.tolist() == ["joined", "joined", ""]


def test_symbols_with_dots_of_r_are_found_unless_two_become_the_same():
    table = _table(["HLA-A", "HLA-DRB1", "1110004F10Rik", "a:b-1", "a-b:1", "T28F2.1"])
    names = ["HLA.A", "hla.drb1", "X1110004F10Rik", "a.b.1", "T28F2.1", "HLA.B", "HLA.A.1"]
    mapping = map_names(names, table)
    assert mapping.rows.tolist() == [0, 1, 2, -1, 5, -1, 0]
    assert mapping.how.tolist() == ["dots", "dots", "dots", "", "symbol", "", "suffix"]


def test_the_suffix_of_a_repeated_name_is_removed_unless_the_whole_is_a_gene():
    names = ["NKX2-1", "NKX2-1-1", "MS4A1", "MS4A1-1", "CD20.2", "CD20", "MARCHF3.1", "MARCH3.1", "RP11-34P13.7"]
    mapping = map_names(names, NEW)
    # MARCH3.1 without MARCH3: not a symbol of the table as it is written
    assert mapping.rows.tolist() == [4, 4, 1, 1, 1, 1, 0, -1, -1]
    assert mapping.how.tolist()[:4] == ["symbol", "suffix", "symbol", "suffix"]
    assert mapping.duplicates["names"].tolist() == ["MS4A1; MS4A1-1; CD20.2; CD20", "NKX2-1; NKX2-1-1"]


def test_a_date_is_the_gene_that_it_was_unless_it_may_be_two():
    table = _table(["MARCHF1", "MTARC1", "MARCHF3", "SEPTIN2", "SELENOF"], species="human")
    mapping = map_names(["3-Mar", "2-Sep", "Sep-15", "1-Mar", "1-Apr"], table)
    assert mapping.rows.tolist() == [2, 3, 4, -1, -1]
    assert mapping.how.tolist() == ["date", "date", "date", "", ""]
    assert mapping.ambiguous.to_dict("records") == [{"name": "1-Mar", "genes": "MARCHF1; MTARC1"}]
    # a spreadsheet would have changed MARC1 as well
    assert map_names(["1-Mar", "MARC1"], table).rows.tolist() == [0, 1]
    assert map_names(["3-Mar", "2-Sep", "1-Mar"], OLD).rows.tolist() == [0, 2, 5]


def test_the_first_column_that_names_a_gene_counts():
    columns = {
        "gene_ids": ["ENSG00000000001", "ENSG00000009999", "", ""],
        "var_names": ["MARCHF3", "SEPTIN2", "MARCH3", "lnc1"],
        "symbol": ["x", "MS4A1", "x", "MINDY1"],
    }
    mapping, source = map_columns(columns, NEW)
    assert mapping.rows.tolist() == [1, 2, 0, 3]
    assert mapping.how.tolist() == ["ensembl", "symbol", "previous", "symbol"]
    assert source.tolist() == ["gene_ids", "var_names", "var_names", "symbol"]
    assert mapping.names == ["ENSG00000000001", "SEPTIN2", "MARCH3", "MINDY1"]


symbols = st.text(alphabet="aAbB1-.ßµ ", max_size=3)
numbers = st.integers(0, 12).map("ENSG{:011d}".format)


@st.composite
def _tables_and_names(draw):
    genes = draw(st.lists(st.tuples(symbols, st.one_of(st.just(""), numbers), st.integers(0, 2)), max_size=8))
    table = _table([g[0].strip() for g in genes], [g[1] for g in genes], [g[2] for g in genes])
    known = st.sampled_from([g[i] for g in genes for i in (0, 1)] or [""])
    changed = st.sampled_from(
        [str, str.upper, str.lower, str.swapcase, "{}.12".format, "{}_PAR_Y".format, " {} ".format]
    )
    name = st.one_of(symbols, numbers, st.tuples(known, changed).map(lambda t: t[1](t[0])), st.none())
    return table, draw(st.lists(name, max_size=12))


def _slow(name, table, names):
    """What a name means among others, by looking at every gene."""
    name = (name or "").strip()
    if not name or (row := _slow_found(name, table)) >= 0:
        return row if name else -1
    others = [(other or "").strip() for other in names]
    while match := re.fullmatch(r"(.+)([-._]\d{1,2}|[-_]PAR[-_]Y)", name, re.IGNORECASE):
        name = match[1]
        if name in others and (row := _slow_found(name, table)) >= 0:
            return row
        if name in list(table.obs["symbol"]):
            return _slow_row(name, table)
    return -1


def _slow_found(name, table):
    if (row := _slow_row(name, table)) >= 0 or ("." not in name and name[0] not in "Xx"):
        return row
    upper = {symbol.upper() for symbol in table.obs["symbol"]}
    dotted = [symbol for symbol in upper if re.sub(r"[^\w.]", ".", symbol) in (name.upper(), name.upper()[1:])]
    changed = [symbol for symbol in dotted if make_names(symbol) == name.upper()]
    return _slow_row(changed[0], table) if len(changed) == 1 else -1


def _slow_row(name, table):
    obs = table.obs.reset_index(drop=True)
    size = obs.groupby("chromosome_code")["symbol"].transform("size")
    rows = sorted(range(len(obs)), key=lambda i: (-size[i], i))
    stable = re.sub(r"(_PAR_Y|\.\d+|\.\d+_PAR_Y)$", "", name, flags=re.IGNORECASE)
    for matches in (
        lambda s, i: s == name,
        lambda s, i: i != "" and i.upper() == name.upper(),
        lambda s, i: s != "" and s.upper() == name.upper(),
        lambda s, i: i != "" and i.upper() == stable.upper(),
    ):
        for row in rows:
            if matches(obs["symbol"][row], obs["ensembl_id"][row]):
                return row
    return -1


@given(_tables_and_names())
def test_every_name_maps_as_a_search_through_all_genes_says(case):
    table, names = case
    mapping = map_names(names, table)
    assert mapping.rows.tolist() == [_slow(name, table, names) for name in names]
    counted = pd.Series(mapping.rows[mapping.rows >= 0], dtype=int).value_counts()
    assert sorted(mapping.duplicates["row"]) == sorted(counted[counted > 1].index)
    for name, row, how in zip(names, mapping.rows, mapping.how, strict=True):
        assert (row >= 0) == (how != "")
        if row < 0:
            continue
        symbol, identifier = table.obs["symbol"].iloc[row], table.obs["ensembl_id"].iloc[row]
        written = name.strip()
        if how == "symbol":
            assert written == symbol
        elif how == "symbol_case":
            assert written.upper() == symbol.upper()
        elif how == "dots":
            assert make_names(symbol.upper()) == written.upper() != symbol.upper()
        elif how == "suffix":
            assert len(written) > 1
        else:
            assert written.upper().startswith(identifier)
