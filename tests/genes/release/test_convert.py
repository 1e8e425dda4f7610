from __future__ import annotations

import hashlib
import logging
import pickle
import subprocess
import sys
import tarfile

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from univerce.genes.load import load_table
from univerce.genes.release.convert import convert_tables
from univerce.genes.release.registry import RELEASED_SPECIES
from univerce.genes.table import read_table, table_digest, validate_table

DIM = 12

# Keys of the protein dictionaries, in an order that is not sorted. "Abc", "ABC" and "abc" collide; NA and nan are
# genes; NOPOS and mt-nd1 have no position; GHOST and PHANTOM have one and no protein.
KEYS = {
    "frog": ["tp53", "Actb", "NA", "nan", "xbp1.L"],
    "human": ["TP53", "INS", "NOPOS", "CD3E", "GCG", "ACTB"],
    "mouse": ["Ins1", "Abc", "Tp53", "mt-nd1", "ABC", "Cd3e", "abc"],
}
POSITIONS = """gene_symbol,chromosome,start,species
GHOST,GL01.1,5,frog
TP53,2,900,frog
ACTB,10,70,frog
TP53,1,100,frog
TP53,2,901,frog
NA,10,9,frog
NAN,10,1000,frog
XBP1.L,1,44.0,frog
ACTB,7,5500000,human
TP53,17,7660000,human
INS,11,2150000,human
CD3E,11,118000000,human
GCG,2,162000000,human
ABC,X,12,mouse
INS1,19,52264323,mouse
TP53,11,69471185,mouse
PHANTOM,Y,3,mouse
CD3E,9,45000000,mouse
"""
NAMES = ["frog_1", "frog_10", "frog_2", "frog_GL01.1", "human_11", "human_17", "human_2", "human_7"]
NAMES += ["mouse_11", "mouse_19", "mouse_9", "mouse_X", "mouse_Y"]
N_GENES = 5 + 6 + 5
END = 4 + N_GENES


class Release:
    """A small release in the formats of the released files."""

    def __init__(self, directory, *, chromosomes=True, collapsed=True):
        rng = np.random.default_rng(3)
        self.directory = directory
        self.proteins = {s: {k: torch.from_numpy(rng.normal(size=DIM).astype("f4")) for k in KEYS[s]} for s in KEYS}
        blocks = {
            s: ({k.upper(): v for k, v in pe.items()} if collapsed else pe) for s, pe in sorted(self.proteins.items())
        }
        special = rng.normal(size=(4, DIM)).astype("f4")
        special[0] = 0
        rows = [torch.from_numpy(special)] + [torch.stack(list(block.values())) for block in blocks.values()]
        if chromosomes:
            rows.append(torch.from_numpy(rng.normal(size=(len(NAMES), DIM)).astype("f4")))
        self.tokens = torch.vstack(rows)
        self.end = 4 + sum(len(block) for block in blocks.values())
        self.offsets, at = {}, 4
        for species, block in blocks.items():
            self.offsets[species] = at
            at += len(block)
        self.positions = POSITIONS
        self.write()

    def write(self):
        self.directory.mkdir(exist_ok=True)
        (self.directory / "species_chrom.csv").write_text(self.positions)
        (self.directory / "species_offsets.pkl").write_bytes(pickle.dumps(self.offsets))
        torch.save(self.tokens, self.directory / "all_tokens.torch")
        torch.save({"pe_embedding.weight": self.tokens, "x": torch.ones(1)}, self.directory / "4layer_model.torch")
        (self.directory / "protein_embeddings").mkdir(exist_ok=True)
        for species, pe in self.proteins.items():
            name = f"{RELEASED_SPECIES[species]}.gene_symbol_to_embedding_ESM2.pt"
            torch.save(pe, self.directory / "protein_embeddings" / name)
        with tarfile.open(self.directory / "protein_embeddings.tar.gz", "w:gz") as archive:
            archive.add(self.directory / "protein_embeddings", "protein_embeddings")

    def convert(self, out="tables", *, tokens="all_tokens.torch", proteins="protein_embeddings", **kwargs):
        return convert_tables(
            self.directory / "species_chrom.csv",
            self.directory / "species_offsets.pkl",
            tokens=self.directory / tokens,
            protein_embeddings=self.directory / proteins,
            out_dir=self.directory / out,
            **{"chrom_token_offset": self.end, **kwargs},
        )

    def reference(self, species):
        """What the reference does with every gene of a species: token id, chromosome code, start."""
        pe = {key.upper(): vector for key, vector in self.proteins[species].items()}
        genes = list(pe)
        csv = pd.read_csv(self.directory / "species_chrom.csv", keep_default_na=False)
        csv["spec_chrom"] = pd.Categorical(csv["species"] + "_" + csv["chromosome"].astype(str))
        csv["code"] = csv["spec_chrom"].cat.codes
        csv = csv[csv["species"] == species]
        out = {}
        for gene in genes:
            rows = csv[csv["gene_symbol"] == gene]
            if len(rows):
                row = rows.iloc[0]
                out[gene] = (genes.index(gene) + self.offsets[species], int(row["code"]), int(row["start"]), pe[gene])
        return out


@pytest.fixture
def release(tmp_path):
    return Release(tmp_path / "release")


@pytest.mark.parametrize(
    "tokens, proteins, dtype",
    [
        ("all_tokens.torch", "protein_embeddings", "float32"),
        ("4layer_model.torch", "protein_embeddings.tar.gz", "float16"),
    ],
)
def test_tables_hold_what_the_reference_looks_up(release, tokens, proteins, dtype):
    paths = release.convert(tokens=tokens, proteins=proteins, dtype=dtype)
    assert list(paths) == ["frog", "human", "mouse"]
    for species, path in paths.items():
        table = read_table(path)
        expected = release.reference(species)
        assert table.obs["symbol"].tolist() == list(expected)
        ids, codes, starts, vectors = zip(*expected.values(), strict=True)
        assert table.obs["token_id"].tolist() == list(ids)
        assert table.obs["chromosome_code"].tolist() == list(codes)
        assert table.obs["start"].tolist() == list(starts)
        x = np.asarray(table.X[:])
        assert x.dtype == dtype
        assert np.array_equal(x, torch.stack(vectors).numpy().astype(dtype))
        assert np.array_equal(x, release.tokens[list(ids)].numpy().astype(dtype))


def test_the_known_answer_of_the_frog_table(release):
    table = read_table(release.convert(species=["frog"])["frog"])
    obs = table.obs[["symbol", "chromosome", "chromosome_code", "start", "token_id"]]
    assert obs.to_numpy().tolist() == [
        ["TP53", "2", 2, 900, 4],
        ["ACTB", "10", 1, 70, 5],
        ["NA", "10", 1, 9, 6],
        ["NAN", "10", 1, 1000, 7],
        ["XBP1.L", "1", 0, 44, 8],
    ]
    assert table.uns["chromosome_names"].tolist() == ["1", "10", "2", "GL01.1"]
    assert table.uns["chromosome_codes"].tolist() == [0, 1, 2, 3]


def test_chromosome_and_special_tokens_are_their_rows_of_the_tensor(release):
    for species, path in release.convert().items():
        table = ad.read_h5ad(path)
        own = [i for i, name in enumerate(NAMES) if name.startswith(species)]
        assert table.uns["chromosome_codes"].tolist() == own
        assert [f"{species}_{name}" for name in table.uns["chromosome_names"]] == [NAMES[i] for i in own]
        assert np.array_equal(table.uns["chromosome_features"], release.tokens[[END + i for i in own]].numpy())
        assert np.array_equal(table.uns["special_features"], release.tokens[:4].numpy())


def test_missing_chromosome_tokens_are_drawn_as_the_reference_draws_them(tmp_path):
    release = Release(tmp_path / "release", chromosomes=False)
    state = torch.random.get_rng_state()
    with torch.random.fork_rng():
        torch.manual_seed(23)
        drawn = torch.normal(mean=0, std=1, size=(len(NAMES), DIM))
    table = read_table(release.convert()["mouse"])
    assert np.array_equal(table.uns["chromosome_features"], drawn[8:].numpy())
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"


def test_a_table_says_where_it_comes_from_and_what_was_left_out(release, caplog):
    with caplog.at_level(logging.INFO, "univerce"):
        paths = release.convert(proteins="protein_embeddings.tar.gz")
    table = read_table(paths["mouse"])
    info = dict(table.uns["gene_table"])
    files = info.pop("files")
    digest = info.pop("digest")
    assert info == {
        "species": "mouse",
        "encoder": "esm2_t48_15B_UR50D",
        "source": "figshare article 24320806",
        "token_offset": release.offsets["mouse"],
        "n_without_position": 1,
        "n_repeated_positions": 0,
        "n_merged_symbols": 1,
        "pad_cleared": False,
    }
    assert digest == table_digest(table)
    assert table.uns["genes_without_position"].tolist() == ["MT-ND1"]
    mouse = "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt"
    assert set(files) == {"species_chrom.csv", "species_offsets.pkl", "all_tokens.torch", mouse}
    for name, sha in files.items():
        path = next(release.directory.rglob(name))
        assert sha == hashlib.sha256(path.read_bytes()).hexdigest()
    for line in (
        "frog: 1 genes with several positions, the first is used (TP53)",
        "human: 1 genes without a position left out (NOPOS)",
        "mouse: 1 genes without a position left out (MT-ND1)",
        "mouse: 1 genes with several spellings merged (ABC)",
    ):
        assert line in caplog.messages


def test_a_table_does_not_depend_on_the_source_of_the_tokens_or_on_the_block_size(release, monkeypatch):
    first = release.convert("a", proteins="protein_embeddings.tar.gz")
    monkeypatch.setattr("univerce.genes.release.convert._BLOCK", 2)
    second = release.convert("b", tokens="4layer_model.torch")
    for species in KEYS:
        with h5py.File(first[species]) as file:
            assert (file["X"].chunks, file["X"].compression) == (None, None)
        a, b = ad.read_h5ad(first[species]), ad.read_h5ad(second[species])
        validate_table(a)
        assert a.uns["gene_table"]["digest"] == b.uns["gene_table"]["digest"] == table_digest(a)
        assert np.array_equal(a.X, b.X)


def test_only_the_asked_species_are_converted_and_nothing_else_is_left_in_the_directory(release):
    paths = release.convert(species=["mouse", "frog"], proteins="protein_embeddings.tar.gz")
    assert list(paths) == ["mouse", "frog"]
    assert sorted(p.name for p in (release.directory / "tables").iterdir()) == ["frog.h5ad", "mouse.h5ad"]
    table = read_table(paths["mouse"])
    assert table.uns["chromosome_codes"].tolist() == [8, 9, 10, 11, 12]


def test_rows_that_were_not_collapsed_are_found_by_their_vectors(tmp_path):
    release = Release(tmp_path / "release", collapsed=False)
    table = read_table(release.convert()["mouse"])
    offset = release.offsets["mouse"]
    assert table.obs["symbol"].tolist() == ["INS1", "TP53", "CD3E", "ABC"]
    assert (table.obs["token_id"] - offset).tolist() == [0, 2, 5, 6]
    assert table.uns["gene_table"]["n_merged_symbols"] == 1
    assert np.array_equal(table.X[3], release.proteins["mouse"]["abc"].numpy().astype("f2"))


def test_a_pad_row_that_is_not_zero_is_cleared_and_noted(release, caplog):
    release.tokens[0, 3] = 1
    release.write()
    table = read_table(release.convert()["human"])
    assert not table.uns["special_features"][0].any()
    assert bool(table.uns["gene_table"]["pad_cleared"])
    assert "PAD row of the token tensor is not zero" in caplog.text


def _swap_rows(release):
    at = release.offsets["human"]
    release.tokens[[at, at + 1]] = release.tokens[[at + 1, at]]


def _other_width(release):
    release.proteins["human"] = {k: v[:-1] for k, v in release.proteins["human"].items()}


def _huge(release):
    release.tokens[release.offsets["human"]] *= 1e6
    release.proteins["human"]["TP53"] *= 1e6


def _more_chromosomes(release):
    release.positions += "NEW,30,5,zebrafish\n"


def _no_positions(release):
    release.positions = "\n".join(line for line in POSITIONS.splitlines() if not line.endswith("human"))
    release.tokens = torch.vstack([release.tokens[:END], release.tokens[-9:]])


def _nan_gene(release):
    release.tokens[release.offsets["human"] + 1, 0] = torch.nan


def _nan_chromosome(release):
    release.tokens[END + NAMES.index("human_7"), 0] = torch.inf


@pytest.mark.parametrize(
    "damage, said",
    [
        (_swap_rows, r"human: the protein embedding of TP53 differs from its row"),
        (lambda release: release.proteins.update(human=dict(reversed(release.proteins["human"].items()))),
         r"human: the protein embedding of ACTB differs from its row"),
        (lambda release: release.proteins["human"].pop("GCG"), r"human: .* name 5 genes .* has 6 rows"),
        (_other_width, r"human: the protein embedding of TP53 differs"),
        (_nan_gene, r"not finite among the genes of human"),
        (_nan_chromosome, r"not finite among the chromosome tokens"),
        (_huge, r"human: the features do not fit float16; use dtype='float32'"),
        (_more_chromosomes, r"14 chromosomes in the position table"),
        (lambda release: release.offsets.update(human=10, mouse=15), r"frog: .* name 5 genes .* has 6 rows"),
        (_no_positions, r"species_chrom\.csv has no genes of human"),
    ],
    ids=["rows swapped", "symbols reordered", "a gene removed", "another width", "a NaN", "an infinity", "overflow",
         "a species added to the positions", "other offsets", "a species without positions"],
)  # fmt: skip
def test_files_that_contradict_each_other_are_refused_and_leave_no_table(release, damage, said):
    damage(release)
    release.write()
    with pytest.raises(ValueError, match=said):
        release.convert()
    tables = release.directory / "tables"
    assert not (tables / "human.h5ad").exists()
    assert not tables.exists() or {p.name for p in tables.iterdir()} <= {"frog.h5ad"}


def test_unknown_options_and_protein_files_without_a_dictionary_are_refused(release):
    with pytest.raises(ValueError, match="No offset for rat; the species are frog, human, mouse"):
        release.convert(species=["human", "rat"])
    with pytest.raises(ValueError, match="dtype='int8' is not supported; use one of float16, float32"):
        release.convert(dtype="int8")
    path = next((release.directory / "protein_embeddings").glob("Homo*"))
    torch.save([torch.ones(DIM)], path)
    with pytest.raises(ValueError, match=r"Homo_sapiens.* must be a dictionary of gene symbol to vector"):
        release.convert(species=["human"])


def test_ensembl_ids_come_from_the_annotation_where_a_symbol_is_unambiguous(release):
    ids = {"Tp53": "ENSG1", "INS": "ENSG2", "ins": "ENSG3", "CD3E": "", "GCG": "ENSG5", "OTHER": "ENSG6"}
    annotation = pd.DataFrame({"symbol": list(ids), "ensembl_id": list(ids.values())})
    table = ad.read_h5ad(release.convert(annotation={"human": annotation})["human"])
    expected = {"TP53": "ENSG1", "INS": "", "CD3E": "", "GCG": "ENSG5", "ACTB": ""}
    assert dict(zip(table.obs["symbol"], table.obs["ensembl_id"], strict=True)) == expected
    assert table.obs_names.tolist() == ["ENSG1", "INS", "CD3E", "ENSG5", "ACTB"]
    assert (ad.read_h5ad(release.convert(annotation={})["human"]).obs["ensembl_id"] == "").all()


def test_ensembl_ids_come_from_the_bundled_table_by_default(release):
    table = ad.read_h5ad(release.convert(species=["human"])["human"])
    bundled = load_table("human").obs
    for symbol in ("TP53", "INS", "CD3E", "GCG", "ACTB"):
        expected = bundled.loc[bundled["symbol"] == symbol, "ensembl_id"].tolist()
        assert table.obs.loc[table.obs["symbol"] == symbol, "ensembl_id"].tolist() == expected


CONVERT = """
import sys
from pathlib import Path

from univerce.genes.release.convert import convert_tables
from univerce.genes.release.unpickle import load_torch

def kilobytes(key):  # getrusage would count what the parent held at the fork
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

directory = Path(sys.argv[1])
load_torch(directory / "tokens.torch")
resident = kilobytes("VmRSS")
convert_tables(
    directory / "species_chrom.csv", directory / "species_offsets.pkl", tokens=directory / "tokens.torch",
    protein_embeddings=directory / "proteins", out_dir=directory / "tables", chrom_token_offset=4 + 8 * 1750,
    annotation={},
)
print((kilobytes("VmHWM") - resident) * 1024 / (directory / "tokens.torch").stat().st_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_converting_a_large_token_tensor_needs_a_fraction_of_its_size_in_memory(tmp_path):
    n_genes, stems = 1750, dict(sorted(RELEASED_SPECIES.items()))
    block = torch.randn(n_genes, 5120)
    torch.save(torch.vstack([torch.zeros(4, 5120), block.repeat(len(stems), 1)]), tmp_path / "tokens.torch")
    symbols = [f"G{i}" for i in range(n_genes)]
    (tmp_path / "proteins").mkdir()
    torch.save(dict(zip(symbols, block.unbind(), strict=True)), tmp_path / "one.pt")
    for stem in stems.values():
        (tmp_path / "proteins" / f"{stem}.gene_symbol_to_embedding_ESM2.pt").hardlink_to(tmp_path / "one.pt")
    lines = [f"{symbol},{i % 20},{i},{species}" for species in stems for i, symbol in enumerate(symbols)]
    (tmp_path / "species_chrom.csv").write_text("\n".join([POSITIONS.splitlines()[0], *lines]) + "\n")
    offsets = {species: 4 + i * n_genes for i, species in enumerate(stems)}
    (tmp_path / "species_offsets.pkl").write_bytes(pickle.dumps(offsets))

    done = subprocess.run([sys.executable, "-c", CONVERT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tokens.torch").stat().st_size > 280e6
    assert len(list((tmp_path / "tables").glob("*.h5ad"))) == 8
    # A quarter are mapped pages of one species, which the system may take back; the rest does not grow with the files.
    assert float(done.stdout) < 0.7
