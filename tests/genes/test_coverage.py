"""The coverage report and its suspicions."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from univerce.genes.bundled_names import SpeciesNames
from univerce.genes.coverage import Coverage, coverage
from univerce.genes.load import available_species
from univerce.genes.lookup import map_names
from univerce.genes.species import SPECIES


def _table(species: str, symbols: list[str], ids: list[str] | None = None) -> ad.AnnData:
    prefix = SPECIES[species].id_prefix
    ids = [f"{prefix}{i:011d}" for i in range(len(symbols))] if ids is None else ids
    obs = pd.DataFrame({"symbol": symbols, "ensembl_id": ids, "chromosome_code": 0}, index=ids)
    return ad.AnnData(obs=obs, uns={"gene_table": {"species": species}})


HUMAN = _table("human", ["TP53", "ACTB", "CD3E", "C1orf112", "MS4A1", "CD3E"])
MOUSE = _table("mouse", ["Trp53", "Actb", "Cd3e", "Ms4a1", "Xkr4"])
FISH = _table("zebrafish", ["tp53", "actb1", "cd4-1", "si:ch73-252i11.1"])


def _coverage(names, counts=None, table=HUMAN, others=(HUMAN, MOUSE, FISH), **kwargs) -> Coverage:
    counts = np.ones(len(names)) if counts is None else np.asarray(counts)
    known = map(SpeciesNames.of, others)
    return coverage(map_names(names, table), counts, table, others=known, **kwargs)


def test_the_numbers_are_those_of_a_worked_example():
    report = _coverage(
        ["TP53", "ENSG00000000000.3", "actb", "CD3E", "MALAT1", "XIST", "C1orf112", "unseen"],
        [10, 20, 5, 15, 40, 10, 0, 0],
        gene_key="symbol",
        n_cells=7,
    )
    assert (report.species, report.gene_key, report.n_cells) == ("human", "symbol", 7)
    assert (report.n_vars, report.n_mapped, report.n_genes) == (8, 5, 4)
    assert report.fraction_mapped == 5 / 8
    assert report.fraction_counts == 0.5
    assert report.lost.to_dict("list") == {"name": ["MALAT1", "XIST"], "counts": [40, 10], "share": [0.4, 0.1]}
    assert report.duplicates["names"].tolist() == ["TP53; ENSG00000000000.3"]
    assert report.collisions["name"].tolist() == ["CD3E"]
    assert report.alternatives == pytest.approx({"human": 0.45, "mouse": 0, "zebrafish": 0})
    assert report.suspicion is None


def test_every_way_in_which_names_were_found_is_counted():
    names = ["TP53", "actb", "GRCh38_MS4A1", "TP53-1", "FIRRM", "mm10_Actb", "lnc"]  # FIRRM is C1orf112 today
    report = _coverage(names, [1, 2, 3, 4, 5, 6, 9])
    assert report.found.set_index("how").T.to_dict() == {
        "symbol": {"names": 1, "counts": 1, "share": 1 / 30}, "symbol_case": {"names": 1, "counts": 2, "share": 2 / 30},
        "prefix": {"names": 1, "counts": 3, "share": 3 / 30}, "suffix": {"names": 1, "counts": 4, "share": 4 / 30},
        "previous": {"names": 1, "counts": 5, "share": 5 / 30},
    }  # fmt: skip
    assert report.found["how"].tolist() == ["previous", "suffix", "prefix", "symbol_case", "symbol"]
    assert report.other_genomes == {"mouse": 6 / 30}
    assert "found by       previous 1 (5 counts), suffix 1 (4 counts)" in str(report)
    assert "other genomes  mouse 20.0%" in str(report)


def test_names_that_differ_in_case_alone_are_noticed_if_there_are_many():
    symbols = [f"GENE{i}" for i in range(40)]
    table = _table("human", symbols)
    for n, said in ((40, True), (10, True), (9, False)):
        report = _coverage(symbols + [name.capitalize() for name in symbols[:n]], table=table, others=())
        assert (
            (report.suspicion or "").startswith(f"{n} genes have names that differ in case alone (GENE0, Gene0)")
        ) is said


def test_the_twenty_greatest_losses_are_listed_and_names_without_counts_weigh_the_same():
    names = [f"lnc{i}" for i in range(30)]
    assert _coverage(names, np.arange(30)).lost["name"].tolist() == names[:9:-1]
    report = _coverage(["TP53", "ACTB", "lnc1", "lnc2"], np.zeros(4))
    assert report.fraction_counts == 0.5
    assert report.lost.empty


def test_the_report_reads_in_ten_lines_and_compares_names_without_case_ignoring_it():
    text = str(_coverage(["TP53", "ACTB", "MALAT1"], [60, 20, 20], n_cells=3))
    assert "species 'human', names from var_names" in text
    assert "names mapped   2 of 3 (66.7%)" in text
    assert "counts mapped  80.0% (over 3 cells)" in text
    assert "most lost      MALAT1 20.0%" in text
    assert "as written     human 80.0%, zebrafish 60.0%, mouse 20.0%" in text
    assert len(text.splitlines()) <= 10


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"1 names and counts of shape \(2,\)"):
        coverage(map_names(["TP53"], HUMAN), np.ones(2), HUMAN)


@pytest.mark.parametrize("names", [["TP53", "tp53", "CD3E", "MALAT1"], ["TP53"]], ids=["full", "with empty tables"])
@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_the_report_survives_a_file(tmp_path, kind, names):
    report = _coverage(names).to_uns()
    group = h5py.File(tmp_path / "x.h5", "w") if kind == "h5" else zarr.open_group(tmp_path / "x", zarr_format=2)
    ad.io.write_elem(group, "report", report)
    back = ad.io.read_elem(group["report"])
    assert back.keys() == report.keys()
    for key, value in report.items():
        if isinstance(value, pd.DataFrame):
            assert back[key].astype(object).to_dict("list") == value.to_dict("list")
        else:
            assert back[key] == value


SUSPICIONS = {
    "mouse called human": (["Trp53", "Actb", "Cd3e", "Ms4a1"], HUMAN, "species='mouse'"),
    "human called mouse": (["TP53", "ACTB", "C1orf112", "MS4A1"], MOUSE, "species='human'"),
    "fish called human": (["tp53", "actb1", "cd4-1", "Foo"], HUMAN, "species='zebrafish'"),
    "identifiers of a known table": (["ENSMUSG00000000000", "ENSMUSG00000000001.2"], HUMAN, "species='mouse'"),
    "identifiers of a known species": (["ENSRNOG00000000001", "ENSRNOG00000000002"], HUMAN, "species='rat'"),
    "identifiers of another species": (["ENSOCUG00000000001", "ENSOCUG00000000002"], HUMAN, "build a gene table"),
    "identifiers of another release": (["ENSG00000999999", "ENSG00000999998"], HUMAN, "compare its release"),
    "row numbers from zero": (["0", "1", "2", "3"], HUMAN, "row numbers"),
    "row numbers from one": (["1", "2", "3", "4"], HUMAN, "row numbers"),
    "Entrez": (["7157", "60", "916", "55732"], HUMAN, "NCBI (Entrez)"),
    "Affymetrix": (["1007_s_at", "1053_at", "117_at"], HUMAN, "microarray probes"),
    "Illumina": (["ILMN_1762337", "ILMN_2055271"], HUMAN, "microarray probes"),
    "transcripts": (["ENST00000269305.9", "ENST00000610292"], HUMAN, "transcript or protein"),
    "proteins": (["ENSMUSP00000104298"], HUMAN, "transcript or protein"),
    "RefSeq": (["NM_000546.6", "NM_001101"], HUMAN, "transcript or protein"),
    "mixed genomes": (["GRCh38_TP53", "GRCh38_ACTB", "mm10___Actb"], HUMAN, "prefix of mouse, which are not used"),
    "another genome": (["mm10_Trp53", "mm10_Actb"], HUMAN, "pass species='mouse'"),
    "joined names": (["FOO_ENSG00000999999", "ENSG00000999998|BAR"], HUMAN, "keep one"),
}
PLAUSIBLE = {
    "human": (["TP53", "ACTB", "C1orf112"], HUMAN),
    "mouse in upper case": (["TRP53", "ACTB", "XKR4"], MOUSE),
    "mouse in lower case": (["trp53", "actb", "xkr4"], MOUSE),
    "table in upper case": (["Trp53", "Actb", "Xkr4"], _table("mouse", ["TRP53", "ACTB", "XKR4"])),
    "unknown names": (["lnc1", "lnc2"], HUMAN),
    "one genome": (["GRCh38_TP53", "GRCh38_ACTB", "GRCh38_lnc"], HUMAN),
    "two names are not evidence": (["TP53", "ACTB", "Xkr4", "Actb"], HUMAN),
}


def test_the_suspicion_names_the_fix():
    for case, (names, declared, said) in SUSPICIONS.items():
        assert said in _coverage(names, table=declared).suspicion, case


def test_there_is_no_suspicion_without_a_reason():
    for case, (names, table) in PLAUSIBLE.items():
        assert _coverage(names, table=table).suspicion is None, case


def test_a_table_in_upper_case_leaves_the_verdict_to_those_with_case():
    shouting = _table("human", [s.upper() for s in HUMAN.obs["symbol"]])
    report = _coverage(["Trp53", "Actb", "Cd3e", "Ms4a1"], table=shouting)
    assert report.fraction_counts == 0.75
    assert report.alternatives == {"human": 0, "mouse": 1, "zebrafish": 0}
    assert "species='mouse'" in report.suspicion


def test_mouse_style_names_are_noticed_without_a_mouse_table():
    report = _coverage(["Tp53", "Actb", "Cd3e", "Ms4a1"], others=())
    assert "only if case is ignored, and are spelled as in mouse or rat" in report.suspicion


@pytest.mark.parametrize(
    "names, said",
    [
        (
            [f"lnc{i}" for i in range(6)],
            r"none of the 6 names .*'lnc0', 'lnc1', 'lnc2', 'lnc3', 'lnc4'\].*gene_key=",
        ),
        (["0", "1"], "row numbers"),
    ],
    ids=["first names", "suspicion"],
)
def test_nothing_mapped_is_an_error(names, said):
    with pytest.raises(ValueError, match=said):
        _coverage(names).check(names)


@pytest.mark.parametrize(
    "names, counts, said",
    [
        (["TP53", "MALAT1"], [49, 51], r"only 49.0% of the counts"),
        (["Actb", "Cd3e", "Ms4a1"], None, "species='mouse'"),
    ],
    ids=["low", "high but suspicious"],
)
def test_low_or_suspicious_coverage_warns(names, counts, said):
    with pytest.warns(UserWarning, match=said):
        _coverage(names, counts).check(names)


def test_good_coverage_is_silent():
    _coverage(["TP53", "MALAT1"], [50, 50]).check(["TP53", "MALAT1"])


@pytest.fixture(scope="module")
def annotations(test_data: Path) -> dict[str, ad.AnnData]:
    tables = {}
    for species in available_species():
        path = test_data / "gene_annotation" / f"{species}.tsv.gz"
        genes = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        codes = pd.factorize(genes["chromosome"])[0]
        tables[species] = ad.AnnData(
            obs=genes[["symbol", "ensembl_id"]].assign(chromosome_code=codes).set_axis(genes["ensembl_id"].array),
            uns={"gene_table": {"species": species}},
        )
    return tables


REAL = {
    "fly_gut_fca_scgoclust": 0.90,
    "human_cellines_sc_mixology": 0.82,
    "mouse_epidermis_joost_rsoptsc": 0.87,
    "zebrafish_hema_tang_escape": 0.90,
}


@pytest.mark.parametrize(("name", "least"), REAL.items(), ids=REAL)
def test_real_data_are_covered_and_a_wrong_species_is_detected(test_data, annotations, name, least):
    adata = ad.read_h5ad(test_data / "eval" / f"{name}.h5ad")
    species = name.split("_")[0]
    counts = np.asarray(adata.X.sum(axis=0)).ravel()
    others = [SpeciesNames.of(table) for table in annotations.values()]
    for declared, table in annotations.items():
        report = coverage(map_names(adata.var_names, table), counts, table, others=others)
        if declared == species:
            assert report.fraction_counts >= least
            assert report.suspicion is None
        else:
            assert f"If the cells are {species}, pass species={species!r}" in report.suspicion


def test_symbols_and_identifiers_of_a_data_set_cover_about_the_same(test_data, annotations):
    adata = ad.read_h5ad(test_data / "eval" / "zebrafish_hema_tang_escape.h5ad")
    by_symbol = map_names(adata.var_names, annotations["zebrafish"]).rows
    by_id = map_names(adata.var["ensembl_id"], annotations["zebrafish"]).rows
    both = (by_symbol >= 0) & (by_id >= 0)
    assert both.mean() > 0.5
    assert np.mean(by_symbol[both] == by_id[both]) > 0.95
