"""uc.genes.feature_report on simulated features, against a slow plain implementation."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from univerce.genes.build.feature_report import FAMILIES
from univerce.genes.table import make_table


def table_of(symbols: list[str], features, *, species: str = "human", encoder: str = "simulated") -> ad.AnnData:
    features = np.asarray(features, dtype=np.float32)
    n, dim = features.shape
    ids = [f"{species}{i}" for i in range(n)]
    genes = pd.DataFrame({"symbol": symbols, "ensembl_id": ids, "start": range(n)})
    genes = genes.assign(chromosome="1", chromosome_code=0)
    return make_table(
        genes, features, species=species, encoder=encoder, source="simulated", special_features=np.zeros((4, dim)),
        chromosome_names=["1"], chromosome_codes=[0], chromosome_features=np.ones((1, dim)),
    )  # fmt: skip


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def plain_report(table: ad.AnnData, reference: ad.AnnData) -> dict[str, float]:
    """The columns by loops over pairs."""
    X, R = (np.asarray(t.X, dtype=np.float64) for t in (table, reference))
    names, known = ([s.upper() for s in t.obs["symbol"]] for t in (table, reference))
    nearest, hits = [], []
    for i, name in enumerate(names):
        others = [j for j, n in enumerate(names) if j != i and (n != name or not name)]
        nearest.append(max(cosine(X[i], X[j]) for j in others))
        if name and name in known:
            same = max(cosine(X[i], R[j]) for j, n in enumerate(known) if n == name)
            hits.append(same > max(cosine(X[i], R[j]) for j, n in enumerate(known) if n != name))
    pairs = [cosine(X[i], X[j]) for i in range(len(X)) for j in range(i)]
    families = []
    for pattern in FAMILIES.values():
        rows = [i for i, n in enumerate(names) if re.match(pattern, n)]
        if len(rows) >= 5:
            families.append(np.mean([cosine(X[i], X[j]) for i in rows for j in rows if i > j]))
    return {
        "n_genes": len(X),
        "orthologs": np.mean(hits),
        "n_orthologs": len(hits),
        "separate": np.mean(np.array(nearest) < 0.95),
        "nearest_cosine": np.mean(nearest),
        "family_cosine": np.mean(families),
        "random_cosine": np.mean(pairs),
        "family_coherence": np.mean(families) - np.mean(pairs),
    }


def test_every_column_is_what_loops_over_pairs_give():
    rng = np.random.default_rng(0)
    names = [*(f"RPL{i}" for i in range(6)), *(f"SLC{i}A1" for i in range(5)), "KRT1", "", "", "TP53", "ACTB", "GCG"]
    human = table_of(names, rng.normal(size=(len(names), 6)))
    others = [name.capitalize() for name in names[2:]] + ["Tp53", "Xkr4"]
    noisy = np.concatenate([human.X[2:], rng.normal(size=(2, 6))]) + rng.normal(scale=0.6, size=(len(others), 6))
    mouse = table_of(others, noisy, species="mouse")
    report = uc.genes.feature_report({"human": human, "mouse": mouse})
    expected = plain_report(mouse, human)
    assert 0 < expected["orthologs"] < 1
    assert report.loc["mouse"].to_dict() == pytest.approx(expected, rel=1e-5)
    alone = plain_report(human, human) | {"orthologs": np.nan, "n_orthologs": 0}
    assert report.loc["human"].to_dict() == pytest.approx(alone, rel=1e-5, nan_ok=True)


def test_a_gene_whose_twin_is_nearest_is_found_and_a_tie_is_not():
    human = table_of(["A", "B", "C", "D"], np.eye(4)[[0, 1, 2, 2]])
    mouse = table_of(["a", "b", "c", "only mouse"], 9 * np.eye(4)[[0, 0, 2, 3]], species="mouse")
    report = uc.genes.feature_report({"human": human, "mouse": mouse})
    # a is found; b is nearest to A; c is as near to D as to C
    assert report.loc["mouse", "orthologs"] == pytest.approx(1 / 3)
    assert report.loc["mouse", "n_orthologs"] == 3


def test_genes_of_one_symbol_are_one_gene_and_genes_without_are_not():
    twice = table_of(["A", "a", "B"], np.eye(3)[[0, 0, 1]])
    nameless = table_of(["", "", "B"], np.eye(3)[[0, 0, 1]], species="mouse")
    report = uc.genes.feature_report({"human": twice, "mouse": nameless})
    assert report.loc["human", "separate"] == 1
    assert report.loc["mouse", "separate"] == pytest.approx(1 / 3)
    assert report.loc["mouse", "n_orthologs"] == 1


def test_a_family_that_points_one_way_is_coherent():
    names = [*(f"KRT{i}" for i in range(5)), *"VWXYZ"]
    table = table_of(names, np.eye(6)[[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]])
    row = uc.genes.feature_report({"human": table}).loc["human"]
    assert row["family_cosine"] == pytest.approx(1)
    assert row["random_cosine"] == pytest.approx(10 / 45)  # 10 of 45 pairs are two keratins
    small = uc.genes.feature_report({"human": table[1:].copy()}).loc["human"]
    assert np.isnan(small["family_cosine"])
    assert np.isnan(small["family_coherence"])


def test_a_symbol_has_its_family_and_no_other():
    expected = {
        "RPL13A": "ribosomal proteins", "RPS-6": "ribosomal proteins", "KRT8": "keratins", "HLA-DRA": "HLA",
        "COL1A1": "collagens", "OR4F5": "olfactory receptors", "SLC2A1": "solute carriers",
        "CCL5": "C-C and C-X-C chemokines", "CXCL8": "C-C and C-X-C chemokines", "CYP-14A1": "cytochromes P450",
    } | dict.fromkeys(("ORC1", "COLEC10", "PSME1", "RPLP0", "KRTAP1", "CLEC4A"))  # fmt: skip
    for symbol, family in expected.items():
        found = [name for name, pattern in FAMILIES.items() if re.match(pattern, symbol)]
        assert found == ([family] if family else [])


def test_a_sample_repeats_with_its_seed():
    tables = {"human": uc.genes.load_table("human"), "fly": uc.genes.load_table("fly")}
    a, b, c = (uc.genes.feature_report(tables, n_sample=40, rng=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(a, b)
    assert not a["nearest_cosine"].equals(c["nearest_cosine"])
    assert a.loc["fly", "n_orthologs"] == 40
    fly_alone = uc.genes.feature_report(dict(reversed(tables.items())), n_sample=40)
    pd.testing.assert_frame_equal(a, fly_alone.loc[a.index])


def test_a_table_on_disk_gives_the_same(tmp_path):
    table = uc.genes.load_table("worm")
    opened = uc.genes.read_table(uc.genes.write_table(table, tmp_path / "worm.h5ad"))
    assert opened.isbacked
    reports = [uc.genes.feature_report({"worm": t}, reference="worm", n_sample=30) for t in (table, opened)]
    pd.testing.assert_frame_equal(*reports)


def test_unusable_tables_are_refused():
    human, mouse = (table_of(["A", "B"], np.eye(2), species=species) for species in ("human", "mouse"))
    for tables, options, said in (
        ({}, {}, "reference='human' .* none"),
        ({"mouse": mouse}, {}, "reference='human' is not among the tables: mouse"),
        ({"human": human}, {"n_sample": 0}, "n_sample=0 must"),
        (
            {"human": human, "mouse": table_of(["A", "B"], np.eye(2), species="mouse", encoder="another")}, {},
            r"several encoders \('another' of width 2, 'simulated' of width 2\)",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            uc.genes.feature_report(tables, **options)
