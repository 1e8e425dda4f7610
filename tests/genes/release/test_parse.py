from __future__ import annotations

import gzip
import io
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch

from univerce.genes.release.parse import (
    chromosome_codes,
    protein_files,
    read_positions,
    row_symbols,
    species_blocks,
    token_tensor,
)
from univerce.genes.release.unpickle import load_pickle_plain

HUMAN = "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt"
MOUSE = "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt"


@pytest.fixture
def csv(tmp_path):
    def write(text):
        (tmp_path / "species_chrom.csv").write_text("gene_symbol,chromosome,start,species\n" + text)
        return tmp_path / "species_chrom.csv"

    return write


@pytest.fixture(scope="module")
def real(test_data):
    return read_positions(test_data / "uce" / "species_chrom.csv")


def test_the_released_positions_are_read_as_pandas_reads_them(real, test_data):
    expected = pd.read_csv(test_data / "uce" / "species_chrom.csv", low_memory=False)
    assert len(real) == 143_884
    for column in ("gene_symbol", "chromosome", "start", "species"):
        assert (real[column] == expected[column]).all()
    assert real["start"].dtype == np.int64
    repeated = real.duplicated(["species", "gene_symbol"]).groupby(real["species"]).sum()
    assert repeated[["frog", "zebrafish"]].tolist() == [50, 151]


def test_the_released_chromosome_codes_are_those_of_a_pandas_categorical(real, test_data):
    reference = pd.read_csv(test_data / "uce" / "species_chrom.csv", low_memory=False)
    categorical = pd.Categorical(reference["species"] + "_" + reference["chromosome"])
    codes = chromosome_codes(real)
    assert len(codes) == 1895
    assert list(codes) == categorical.categories.tolist()
    assert np.array_equal((real["species"] + "_" + real["chromosome"]).map(codes), categorical.codes)


def test_the_released_blocks_are_in_sorted_order_and_hold_no_more_genes_than_have_positions(real, test_data):
    blocks = species_blocks(load_pickle_plain(test_data / "uce" / "species_offsets.pkl"), 143_574)
    assert list(blocks) == sorted(real["species"].unique())
    assert [a for a, _ in blocks.values()][1:] == [b for _, b in blocks.values()][:-1]
    unique = real.groupby("species")["gene_symbol"].nunique()
    sizes = pd.Series({name: b - a for name, (a, b) in blocks.items()})
    assert (unique[sizes.index] >= sizes).all()
    assert ((unique - sizes) / unique < 0.01).all()


def test_symbols_and_chromosomes_are_text_and_starts_are_numbers(csv):
    positions = read_positions(csv("NA,1,10,human\nnan,NA,9,human\nNull,X,007,human\n"))
    assert positions["gene_symbol"].tolist() == ["NA", "NAN", "NULL"]
    assert positions["chromosome"].tolist() == ["1", "NA", "X"]
    assert positions["start"].tolist() == [10, 9, 7]
    starts = read_positions(csv("A,1,10,human\nB,1,9,human\nC,1,100.0,human\nD,1,1e3,human\n"))["start"]
    assert starts.sort_values().tolist() == [9, 10, 100, 1000]


def test_a_bad_position_or_missing_column_is_named(csv, tmp_path):
    for text, said in (
        ("A,1,12a,human\n", r"the start '12a' of A \(human\) is not an integer"),
        ("A,1,1.5,human\n", r"the start '1\.5' of A \(human\)"),
        ("A,1,inf,human\n", r"the start 'inf' of A \(human\)"),
        ("A,1,2,human\nB,,3,human\n", "chromosome is empty in row 3"),
        ("A,1,2,human\n,1,3,human\n", "gene_symbol is empty in row 3"),
    ):
        with pytest.raises(ValueError, match=said):
            read_positions(csv(text))
    (tmp_path / "x.csv").write_text("gene_symbol,chromosome,species\nA,1,human\n")
    with pytest.raises(ValueError, match="has no column start; it has gene_symbol, chromosome, species"):
        read_positions(tmp_path / "x.csv")


def test_codes_count_text_not_numbers_and_over_all_species(csv):
    positions = read_positions(csv("A,2,1,mouse\nB,10,1,human\nC,2,1,human\nD,X,1,human\nE,2,5,mouse\n"))
    assert chromosome_codes(positions) == {"human_10": 0, "human_2": 1, "human_X": 2, "mouse_2": 3}


def test_offsets_that_are_not_blocks_are_refused():
    for offsets in ({}, {"human": 5}, {"human": 4, "mouse": 4}, {"human": 4, "mouse": 90}, {"human": "4"}, [4, 9]):
        with pytest.raises(ValueError, match="offsets"):
            species_blocks(offsets, 90)


def test_a_token_tensor_is_read_alone_or_from_a_checkpoint_with_or_without_chromosomes(tmp_path):
    for rows in (90, 93):
        tensor = torch.rand(rows, 5)
        torch.save(tensor, tmp_path / "all_tokens.torch")
        torch.save({"encoder.0.weight": torch.ones(1), "pe_embedding.weight": tensor}, tmp_path / "model.torch")
        for name in ("all_tokens.torch", "model.torch"):
            assert torch.equal(token_tensor(tmp_path / name, 90, 3), tensor)


def test_other_files_are_not_token_tensors(tmp_path):
    for stored, said in (
        (torch.rand(91, 5), r"has 91 token rows; 90 are expected, or 93"),
        ({"a": torch.rand(90, 5)}, r"has no 'pe_embedding\.weight'; it has a"),
        (torch.rand(90), "two dimensions"),
        (torch.ones(90, 5, dtype=torch.int32), "floating point"),
        ([torch.rand(90, 5)], "is not a state dict"),
    ):
        torch.save(stored, tmp_path / "x.torch")
        with pytest.raises(ValueError, match=said):
            token_tensor(tmp_path / "x.torch", 90, 3)


def test_rows_get_their_symbols():
    assert row_symbols("mouse", ["b", "A", "B", "c"], 3) == (["B", "A", "C"], [["b", "B"], ["A"], ["c"]])
    # not collapsed: the last spelling keeps the symbol
    assert row_symbols("mouse", ["b", "A", "B", "c"], 4) == (["", "A", "B", "C"], [["b"], ["A"], ["B"], ["c"]])
    with pytest.raises(ValueError, match=r"mouse: .* name 4 genes \(3 in upper case\), but its block .* has 5 rows"):
        row_symbols("mouse", ["b", "A", "B", "c"], 5)


def _archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def test_files_are_taken_out_of_an_archive_one_by_one_and_removed_again(tmp_path):
    members = [("x/y/" + MOUSE, b"mouse"), ("x/other.pt", b"?"), ("x/y/" + HUMAN, b"human")]
    archive = _archive(tmp_path / "p.tar.gz", members)
    (tmp_path / "scratch").mkdir()
    seen = []
    for species, path in protein_files(archive, ["human", "mouse"], tmp_path / "scratch"):
        seen.append((species, path.read_bytes(), [p.name for p in (tmp_path / "scratch").iterdir()]))
    assert seen == [("mouse", b"mouse", [MOUSE]), ("human", b"human", [HUMAN])]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_no_member_of_an_archive_leaves_the_scratch_directory_and_no_link_is_followed(tmp_path):
    members = [("../../" + HUMAN, b"human"), ("/" + MOUSE, b"mouse"), ("../evil", b"evil")]
    archive = _archive(tmp_path / "p.tar.gz", members)
    scratch = tmp_path / "deep" / "scratch"
    scratch.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for _, path in protein_files(archive, ["human", "mouse"], scratch):
        assert path.parent == scratch
    assert sorted(tmp_path.rglob("*")) == before
    archive = _archive(tmp_path / "p.tar.gz", [(HUMAN, None)])
    with pytest.raises(FileNotFoundError, match=HUMAN):
        list(protein_files(archive, ["human"], tmp_path))


def test_files_are_found_in_a_directory_also_below_it(tmp_path):
    (tmp_path / "protein_embeddings").mkdir()
    (tmp_path / "protein_embeddings" / HUMAN).touch()
    assert list(protein_files(tmp_path, ["human"], tmp_path)) == [("human", tmp_path / "protein_embeddings" / HUMAN)]
    with pytest.raises(FileNotFoundError, match=f"has no {MOUSE}"):
        list(protein_files(tmp_path, ["human", "mouse"], tmp_path))


def test_a_truncated_archive_is_a_value_error_that_names_it(tmp_path):
    noise = np.random.default_rng(0).bytes(100_000)
    content = _archive(tmp_path / "whole.tar.gz", [("x/other.pt", noise), (HUMAN, noise)]).read_bytes()
    for name, damaged in (("cut", content[:120_000]), ("page", b"<html>"), ("text", gzip.compress(b"?"))):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} is damaged or is not an archive"):
            list(protein_files(tmp_path / name, ["human"], tmp_path))
