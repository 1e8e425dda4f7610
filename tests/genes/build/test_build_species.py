from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import univerce as uc
from tests.helpers.proteomes import LETTERS, Record, gene_id, random_records, random_sequence, relative, write_fasta
from univerce.genes import Precomputed, TextEncoder, build_species, convert_tables, read_table, text_tables
from univerce.genes.build.gene_features import block_edges, encode_genes
from univerce.genes.hashed import hashed_tokens
from univerce.genes.release.registry import RELEASED_SPECIES
from univerce.genes.table import table_digest

DIM = 6


def count(sequence: str) -> list[int]:
    return [sequence.count(letter) for letter in "ACDEFG"]


class Composition:
    """Counts of six amino acids as features."""

    reads, name, dim = "sequences", "composition", DIM

    def encode(self, proteins):
        return np.array([count(p.sequence) for p in proteins], np.float32)


def build(tmp_path, records, species="axolotl", **options):
    if isinstance(records, list):
        options["fasta"] = write_fasta(tmp_path / "pep.fa", records)
    options = {"taxonomy_id": 8296, "encoder": Composition(), "dtype": "float32"} | options
    return build_species(species, **options)


def means_by_gene(records) -> dict[str, np.ndarray]:
    """Directly from the records."""
    rows = [(r.gene, *count(r.sequence)) for r in records if "*" not in r.sequence]
    means = pd.DataFrame(rows).groupby(0, sort=False).mean()
    return {gene: row.to_numpy(np.float32) for gene, row in means.iterrows()}


# Content


def test_a_table_holds_the_mean_of_the_proteins_of_each_gene(tmp_path):
    records = random_records()
    table = build(tmp_path, records)
    expected = means_by_gene(records)
    assert table.obs_names.tolist() == list(expected)
    np.testing.assert_allclose(table.X[:], np.stack(list(expected.values())), rtol=1e-5)
    first = {r.gene: r for r in reversed(records)}
    assert table.obs["symbol"].tolist() == [first[g].symbol for g in expected]
    assert table.obs["chromosome"].tolist() == [first[g].chromosome for g in expected]
    assert table.obs["start"].tolist() == [first[g].start for g in expected]
    assert "" in table.obs["symbol"].tolist(), "genes without a symbol are kept"


GENES = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.text(alphabet=LETTERS + "X", min_size=1, max_size=12) | st.sampled_from(["M*K", "*"]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=20)
@given(GENES, st.sampled_from(["mean", "longest"]))
def test_rows_are_aligned_for_any_proteome(tmp_path_factory, genes, isoforms):
    tmp_path = tmp_path_factory.mktemp("build")
    records = [Record(gene_id(g), s, f"S{g % 4}", str(g % 3), 10 * g + 1) for g, s in genes]
    kept = [r for r in records if "*" not in r.sequence]
    options = {"isoforms": isoforms, "work_dir": tmp_path, "out": tmp_path / "t.h5ad"}
    if not kept:
        with pytest.raises(ValueError, match="No protein of"):
            build(tmp_path, records, **options)
        return
    table = build(tmp_path, records, **options)
    if isoforms == "longest":
        longest = {r.gene: max(len(o.sequence) for o in kept if o.gene == r.gene) for r in kept}
        kept = [next(o for o in kept if o.gene == g and len(o.sequence) == n) for g, n in longest.items()]
    expected = means_by_gene(kept)
    assert table.obs_names.tolist() == list(expected)
    np.testing.assert_array_equal(table.X[:], np.stack(list(expected.values())))
    assert table.uns["build"].get("proteins with a stop", 0) == sum("*" in r.sequence for r in records)


def test_a_table_built_from_fasta_is_the_one_converted_from_the_layout_of_the_release(tmp_path):
    """The released files of a species: a dictionary in the order of the FASTA file, positions, tokens."""
    records = [r for r in random_records(30) if r.symbol]
    seen: dict[str, Record] = {}
    for r in records:
        seen.setdefault(r.symbol, r)
    names = [r.symbol for r in seen.values()]
    vectors = dict(zip(names, map(torch.tensor, means_by_gene(records).values()), strict=True))
    chromosomes = sorted({r.chromosome for r in seen.values()})
    in_file = sorted(seen.values(), key=lambda r: str(r.start))
    rows = [f"{r.symbol.upper()},{r.chromosome},{r.start},human" for r in in_file]
    (tmp_path / "species_chrom.csv").write_text("\n".join(["gene_symbol,chromosome,start,species", *rows]))
    torch.save(vectors, tmp_path / f"{RELEASED_SPECIES['human']}.gene_symbol_to_embedding_ESM2.pt")
    special = torch.from_numpy(hashed_tokens([f"special_{i}" for i in range(4)], DIM))
    special[0] = 0
    with torch.random.fork_rng():
        torch.manual_seed(9606)
        tokens = torch.normal(mean=0, std=1, size=(len(chromosomes), DIM))
    torch.save(torch.vstack([special, *vectors.values(), tokens]), tmp_path / "all_tokens.torch")
    path = convert_tables(
        tmp_path / "species_chrom.csv", {"human": 4}, tokens=tmp_path / "all_tokens.torch", protein_embeddings=tmp_path,
        out_dir=tmp_path / "tables", dtype="float32", annotation={},
        chrom_token_offset=4 + len(vectors),
    )["human"]  # fmt: skip

    converted, built = read_table(path), build(tmp_path, records, "human", taxonomy_id=9606)
    assert built.obs["symbol"].str.upper().tolist() == converted.obs["symbol"].tolist()
    for column in ("chromosome", "start", "chromosome_code"):
        assert built.obs[column].tolist() == converted.obs[column].tolist()
    np.testing.assert_array_equal(built.X[:], converted.X[:])
    for key in ("special_features", "chromosome_names", "chromosome_codes", "chromosome_features"):
        np.testing.assert_array_equal(built.uns[key], converted.uns[key])


def test_the_released_vectors_of_a_species_give_its_features_with_an_annotation_alone(tmp_path):
    vectors = {"INS": torch.ones(DIM), "Gcg": torch.arange(DIM) * 1.0, "NOPOS": torch.zeros(DIM)}
    torch.save(vectors, tmp_path / "X.gene_symbol_to_embedding_ESM2.pt")
    rows = ["E1\tINS\t11\t50\t", "E2\tGcg\t2\t9\t", "E3\tSST\t2\t4\t"]
    (tmp_path / "genes.tsv").write_text("\n".join(["ensembl_id\tsymbol\tchromosome\tstart\tdescription", *rows]))
    like = build(tmp_path, random_records(5), out=tmp_path / "like.h5ad")
    like.uns["gene_table"]["encoder"] = "esm2_t48_15B_UR50D"
    encoder = tmp_path / "X.gene_symbol_to_embedding_ESM2.pt"
    table = build(tmp_path, None, encoder=str(encoder), annotation=tmp_path / "genes.tsv", like=like)
    assert table.obs_names.tolist() == ["E1", "E2"]
    np.testing.assert_array_equal(table.X[:], [np.ones(DIM), np.arange(DIM)])
    assert table.uns["build"]["genes without a vector"] == 1
    assert table.uns["gene_table"]["encoder"] == "esm2_t48_15B_UR50D"


def test_a_text_table_equals_that_of_text_tables(tmp_path):
    frame = pd.DataFrame(
        [("E1", "INS", "11", 50, "insulin"), ("E2", "", "2", 9, "glucagon"), ("E3", "SST", "2", 4, "")],
        columns=["ensembl_id", "symbol", "chromosome", "start", "description"],
    )
    frame.to_csv(tmp_path / "human.tsv", sep="\t", index=False)
    encoder = TextEncoder(2, 16)
    expected = text_tables({"human": frame}, encoder, source="x")["human"]
    options = {"annotation": tmp_path / "human.tsv", "out": tmp_path / "t.zarr.zip", "taxonomy_id": None}
    table = build(tmp_path, None, "human", encoder=encoder, **options)
    assert table_digest(table) == table_digest(expected)
    assert table.X.dtype == np.int8
    assert table.uns["gene_table"]["encoder"] == encoder.name


def test_a_table_records_its_inputs_and_what_was_left_out(tmp_path, caplog):
    records = [*random_records(8), Record(gene_id(0), "MK*", "Sym0"), Record(gene_id(90), "M*", "Gone")]
    with caplog.at_level(logging.INFO, "univerce"):
        table = build(tmp_path, records)
    info, noted = dict(table.uns["gene_table"]), dict(table.uns["build"])
    expected = {"species": "axolotl", "encoder": "composition", "taxonomy_id": 8296, "isoforms": "mean"}
    assert expected.items() <= info.items()
    assert list(info["files"]) == [info["source"]] == ["pep.fa"]
    assert info["digest"] == table_digest(table)
    assert noted["proteins"] == len(records) - 2
    assert noted["proteins with a stop"] == 2
    assert table.uns["species_report"]["text"] in caplog.text
    assert "proteins with a stop" in caplog.text


def test_many_scaffolds_are_pooled_to_fit_into_a_sentence(tmp_path, tiny_model):
    rng = np.random.default_rng(0)
    places = [(f"scaffold_{rng.integers(0, 400)}", int(rng.integers(1, 9999))) for _ in range(600)]
    records = [Record(gene_id(i), random_sequence(rng, 9), f"S{i}", *at, "scaffold") for i, at in enumerate(places)]
    table = build(tmp_path, records, encoder=Generated())
    assert len(table.uns["chromosome_codes"]) == 255
    n = len({r.chromosome for r in records})
    assert table.uns["gene_table"]["n_scaffolds_pooled"] == n - 254
    assert table.obs["scaffold"].tolist() == [r.chromosome for r in records]
    assert table.obs["scaffold_start"].tolist() == [r.start for r in records]
    np.testing.assert_allclose(table.X[:, :DIM], np.stack(list(means_by_gene(records).values())), rtol=1e-5)
    adata = cells("axolotl", [f"S{i}" for i in range(400)], n=4)
    uc.tl.uce_embed(adata, model=tiny_model, species=table)
    assert np.isfinite(adata.obsm["X_uce"]).all()


def test_no_code_or_token_of_another_species_moves(tmp_path):
    first = build(tmp_path, random_records(9), "axolotl", taxonomy_id=8296, out=tmp_path / "a.zarr.zip")
    build(tmp_path, random_records(20, 7, seed=1), "aardvark", taxonomy_id=9818)
    again = build(tmp_path, random_records(9), "axolotl", taxonomy_id=8296, out=tmp_path / "b.zarr.zip")
    assert first.uns["gene_table"]["digest"] == again.uns["gene_table"]["digest"]
    other = build(tmp_path, random_records(9), "newt", taxonomy_id=8316, out=tmp_path / "c.zarr.zip")
    np.testing.assert_array_equal(first.uns["special_features"], other.uns["special_features"])
    assert not np.isclose(first.uns["chromosome_features"], other.uns["chromosome_features"]).any()


# Resuming, and the path


class Interrupted(Composition):
    def __init__(self, calls):
        self.calls = calls

    def encode(self, proteins):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return super().encode(proteins)


def test_an_interrupted_call_is_resumed_and_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.setitem(encode_genes.__kwdefaults__, "block_proteins", 16)
    records, options = random_records(), {"out": tmp_path / "t.h5ad", "work_dir": tmp_path / "work"}
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, records, encoder=Interrupted(2), **options)
    assert not (tmp_path / "t.h5ad").exists()
    assert len(list((tmp_path / "work").rglob("*.npz"))) == 2
    left = Interrupted(10**6)
    table = build(tmp_path, records, encoder=left, **options)
    counts = pd.Series([r.gene for r in records]).value_counts(sort=False).to_numpy()
    assert 10**6 - left.calls + 2 == len(list(block_edges(counts, 16)))
    np.testing.assert_allclose(table.X[:], np.stack(list(means_by_gene(records).values())), rtol=1e-5)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["pep.fa", "t.h5ad", "work"]


class Generated(Composition):
    """Of the encoder and width that ``tests/helpers/tiny.py`` trains on."""

    name, dim = "generated", 12

    def encode(self, proteins):
        return np.hstack([super().encode(proteins), super().encode(proteins)[:, ::-1] + 0.1])


def cells(species: str, symbols: list[str], n: int = 12) -> ad.AnnData:
    X = np.random.default_rng(0).poisson(1.0, (n, len(symbols))).astype(np.float32)
    return ad.AnnData(X, var=pd.DataFrame(index=symbols), obs=pd.DataFrame(index=[f"{species} {i}" for i in range(n)]))


def test_a_table_in_the_cache_is_found_by_models_of_its_encoder_and_by_no_other(tmp_path, tiny_model):
    build(tmp_path, random_records(), encoder=Generated())
    assert "axolotl" in uc.genes.available_species(tiny_model)
    assert uc.genes.load_table("axolotl", model=tiny_model).n_obs == 40
    assert "axolotl" not in uc.genes.available_species()
    with pytest.raises(ValueError, match="no gene table of 'axolotl' for the model 'uce-mini'"):
        uc.genes.load_table("axolotl")


def test_one_call_builds_what_the_next_embeds(tmp_path, tiny_model):
    build(tmp_path, random_records(), "chicken", taxonomy_id=None, encoder=Generated())
    adata = cells("chicken", [f"Sym{i}" for i in range(40)])
    handed = adata.copy()
    uc.tl.uce_embed(adata, species="chicken", model=tiny_model)
    np.testing.assert_allclose(np.linalg.norm(adata.obsm["X_uce"], axis=1), 1, atol=1e-5)
    out = tmp_path / "chicken.h5ad"
    table = build(tmp_path, random_records(), "chicken", taxonomy_id=None, encoder=Generated(), out=out)
    uc.tl.uce_embed(handed, model=tiny_model, species=out)
    np.testing.assert_array_equal(handed.obsm["X_uce"], adata.obsm["X_uce"])
    assert handed.uns["univerce"]["X_uce"]["table_digest"] == {"chicken": table.uns["gene_table"]["digest"]}


def test_a_model_refuses_a_table_of_another_encoder_or_width(tmp_path, tiny_model):
    table = build(tmp_path, random_records())
    adata = cells("axolotl", [f"Sym{i}" for i in range(40)])
    for model in (None, tiny_model):
        with pytest.raises(ValueError, match=r"'axolotl' holds 'composition' features of width 6; the model .* reads"):
            uc.tl.uce_embed(adata, model=model, species=table)
    wide = Generated()
    wide.dim, wide.encode = 11, lambda proteins: Generated().encode(proteins)[:, :11]
    narrow = build(tmp_path, random_records(), "newt", encoder=wide, out=tmp_path / "n.h5ad")
    with pytest.raises(ValueError, match="holds 'generated' features of width 11; the model 'tiny' reads"):
        uc.tl.uce_embed(adata, model=tiny_model, species=narrow)


# Refusals


@pytest.mark.parametrize(
    "options, said",
    [
        ({"species": "axolotl", "taxonomy_id": None}, "taxonomy_id= is needed for 'axolotl'"),
        ({"species": "chicken", "taxonomy_id": 9606}, "chicken has the taxonomy identifier 9031, not 9606"),
        ({"species": "My Newt!"}, "lower-case letters, digits and underscores: 'my_newt'"),
        ({"taxonomy_id": -1}, "taxonomy_id=-1 must be an integer >= 1"),
        ({"dtype": "int8"}, "dtype='int8' is not supported"),
        ({"encoder": "esm3"}, "encoder='esm3' is not known; use one of esm2_t6_8M_UR50D"),
        ({"encoder": "uce-mini"}, r"cannot be encoded with it\. Fit a univerce\.genes\.TextEncoder"),
        ({"out": "table.csv"}, r"must end in \.h5ad or \.zarr\.zip"),
        ({"encoder": "esm2_t48_15B_UR50D"}, r"none is on disk\. Convert one first: uc\.genes\.convert_released"),
        ({"species": "pig", "taxonomy_id": None, "encoder": "esm2_t48_15B_UR50D"}, "their own table of 'pig'"),
        ({"isoforms": "canonical"}, "needs annotation= with a GTF"),
        ({"max_chromosomes": 0}, "max_chromosomes=0 must be an integer >= 1"),
        ({"encoder": Precomputed({"nothing": np.ones(3)}, name="mine")}, "No protein has features: mine knows none"),
    ],
    ids=lambda o: ", ".join(o) if isinstance(o, dict) else "",
)  # fmt: skip
def test_unusable_options_are_refused_and_nothing_is_written(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        build(tmp_path, random_records(5), **options)
    assert not list(uc.settings.cache_dir.glob("tables/*/*"))


def test_sequences_are_needed_by_an_encoder_that_reads_them(tmp_path):
    (tmp_path / "genes.gtf").write_text('1\tx\tgene\t5\t9\t.\t+\t.\tgene_id "G";\n')
    for annotation in (None, tmp_path / "genes.gtf"):
        with pytest.raises(ValueError, match="fasta= is needed: the encoder reads protein sequences"):
            build(tmp_path, None, annotation=annotation)


def test_an_existing_table_is_replaced_only_on_request(tmp_path):
    build(tmp_path, random_records(5))
    with pytest.raises(FileExistsError, match="pass overwrite=True, or another out="):
        build(tmp_path, random_records(9))
    table = build(tmp_path, random_records(9), overwrite=True)
    assert table.n_obs == 9


def test_special_tokens_come_from_a_table_of_the_same_encoder(tmp_path):
    like = build(tmp_path, random_records(5), out=tmp_path / "like.zarr.zip")
    like.uns["special_features"] = np.vstack([np.zeros(DIM), np.ones((3, DIM))]).astype(np.float32)
    table = build(tmp_path, random_records(5), like=like)
    np.testing.assert_array_equal(table.uns["special_features"], like.uns["special_features"])
    with pytest.raises(ValueError, match="like= is a table of 'composition' of width 6; one of 'generated'"):
        build(tmp_path, random_records(5), encoder=Generated(), like=like)


def test_features_that_overflow_and_objects_without_encode_are_refused(tmp_path):
    class Huge(Composition):
        def encode(self, proteins):
            return super().encode(proteins) + 1e6

    with pytest.raises(ValueError, match="do not fit float16; use dtype='float32'"):
        build(tmp_path, random_records(5), encoder=Huge(), dtype="float16")
    with pytest.raises(TypeError, match=r"encoder is a int; it needs reads, name, dim and encode"):
        build(tmp_path, random_records(5), encoder=5)


# Checks


class Pairs:
    """Square roots of the counts of pairs of amino acids, centered."""

    reads, name, dim = "sequences", "pairs", len(LETTERS) ** 2

    def encode(self, proteins):
        counts = [[p.sequence.count(a + b) for a in LETTERS for b in LETTERS] for p in proteins]
        return (np.sqrt(counts) - 0.4).astype(np.float32)


def relatives(tmp_path):
    """Build the table of one species and return the records of another."""
    rng = np.random.default_rng(0)
    records = [r for r in random_records(80) if r.symbol]
    build(tmp_path, records, "human", taxonomy_id=None, encoder=Pairs())
    return [Record(r.gene, relative(r.sequence, rng), r.symbol.upper(), r.chromosome, r.start) for r in records]


def test_orthologs_are_nearest_by_feature_and_reported(tmp_path):
    table = build(tmp_path, relatives(tmp_path), encoder=Pairs())
    row = table.uns["species_report"]["orthologs"].loc["human"]
    assert row["rate"] > 0.8
    assert row["n"] == table.n_obs
    assert len(table.uns["species_report"]["suspicions"]) == 0


def test_a_misaligned_table_is_detected(tmp_path):
    class Shifted(Pairs):
        def encode(self, proteins):
            return np.roll(super().encode(proteins), 5, axis=0)

    with pytest.warns(UserWarning, match=r"axolotl\.h5ad: Genes are nearest to the human gene of their symbol no more"):
        build(tmp_path, relatives(tmp_path), encoder=Shifted())


def test_the_names_of_a_data_set_are_compared_with_the_table(tmp_path):
    adata = cells("axolotl", [f"Sym{i}" for i in range(20)])
    table = build(tmp_path, random_records(), adata=adata)
    covered = table.uns["species_report"]["coverage"]
    assert covered["n_mapped"] == sum(i % 7 != 6 for i in range(20))
    with pytest.warns(UserWarning, match=r"Only 0\.0% of the counts of the data belong to genes of the table"):
        build(tmp_path, random_records(), adata=cells("axolotl", ["a", "b"]), overwrite=True)
