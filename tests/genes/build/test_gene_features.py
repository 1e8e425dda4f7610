from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from univerce.genes.build.gene_features import block_edges, encode_genes, gene_means, read_block
from univerce.genes.build.proteome import Proteome
from univerce.genes.fasta import Protein


class Counting:
    """Features that follow from a protein's sequence alone, and what was asked for."""

    reads, name, dim = "sequences", "counting", 3

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, proteins) -> np.ndarray:
        self.calls.append(len(proteins))
        return np.array([[len(p.sequence), p.sequence.count("A"), 1] for p in proteins], dtype=np.float32)


def proteome(*counts: int) -> Proteome:
    proteins = [
        Protein(f"g{g}p{p}", "A" * g + "C" * (p + 1), gene=f"g{g}") for g, n in enumerate(counts) for p in range(n)
    ]
    return Proteome(pd.DataFrame(), proteins, np.array(counts), {})


def expected(found: Proteome) -> np.ndarray:
    frame = pd.DataFrame([(p.gene, len(p.sequence), p.sequence.count("A"), 1.0) for p in found.proteins])
    return frame.groupby(0, sort=False).mean().to_numpy()


def values(paths) -> np.ndarray:
    return np.concatenate([read_block(path)[0] for path in paths])


@settings(max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=15), st.integers(1, 20))
def test_the_feature_of_a_gene_is_always_the_mean_of_its_own_proteins(tmp_path_factory, counts, size):
    found = proteome(*counts)
    paths = encode_genes(found, Counting(), tmp_path_factory.mktemp("blocks"), block_proteins=size)
    np.testing.assert_allclose(values(paths), expected(found), rtol=1e-6)


def test_blocks_hold_whole_genes():
    assert list(block_edges(np.array([1, 1, 5, 1, 2, 1]), 3)) == [(0, 3), (3, 5), (5, 6)]


def test_a_damaged_block_is_computed_again(tmp_path):
    found = proteome(2, 2, 2)
    paths = encode_genes(found, Counting(), tmp_path, block_proteins=2)
    whole = paths[1].read_bytes()
    flipped = bytearray(whole)
    flipped[flipped.index(b"\x93NUMPY") + 130] ^= 0xFF
    for damaged in (b"", b"PK", whole[:-40], bytes(flipped)):
        paths[1].write_bytes(damaged)
        assert read_block(paths[1]) is None
        again = Counting()
        paths = encode_genes(found, again, tmp_path, block_proteins=2)
        assert again.calls == [2]
        np.testing.assert_allclose(values(paths), expected(found))


def test_other_inputs_have_other_blocks(tmp_path):
    folders = {
        encode_genes(found, Counting(), tmp_path, **options)[0].parent
        for found in (proteome(2, 1), proteome(1, 2))
        for options in ({}, {"block_proteins": 2}, {"precision": "bfloat16"})
    }
    assert len(folders) == 6
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert {m["encoder"] for m in manifests} == {"counting"}
    assert {m["n_proteins"] for m in manifests} == {3}


def test_unknown_proteins_are_ignored():
    nan = [np.nan] * 2
    means, n_missing = gene_means(np.array([[1, 2], nan, [3, 6], nan, [5, 5]]), np.array([3, 1, 1]))
    np.testing.assert_array_equal(means, np.array([[2, 4], nan, [5, 5]], dtype=np.float32))
    assert n_missing == 2
    with pytest.raises(ValueError, match="returned 2 rows for 3 proteins"):
        gene_means(np.ones((2, 4)), np.array([1, 2]))
