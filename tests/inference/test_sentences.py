"""Cell sentences against a tokenizer in plain Python, and against the reference's in distribution."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.helpers.toy import toy_counts
from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT
from univerce.inference.sentences import GenomeOrder, Sentences, cell_keys, max_sentence_length, tokenize
from univerce.model.config import SAMPLINGS

N_GENES, N_CHROMOSOMES = 60, 7
RNG = np.random.default_rng(0)
CHROMOSOME = RNG.permutation(np.concatenate([np.arange(N_CHROMOSOMES), RNG.integers(0, 3, N_GENES - N_CHROMOSOMES)]))
START = RNG.integers(1, 25, N_GENES)  # several genes share a start
ORDER = GenomeOrder.build(CHROMOSOME, START)
ROWS = np.arange(N_GENES)
P_VALUE = 1e-4  # the seeds are fixed: a test that passes once passes always


class Stream:
    """splitmix64 in Python integers."""

    def __init__(self, key: int) -> None:
        self.state = int(key)

    def uniform(self) -> float:
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return ((z ^ (z >> 31)) >> 11) / 2**53

    def below(self, n: int) -> int:
        return int(self.uniform() * n)


def genome_order(chromosome: np.ndarray, start: np.ndarray) -> list[int]:
    """Rows by chromosome, larger ones first, then by start, then by row."""
    size = Counter(chromosome.tolist())
    return sorted(range(len(start)), key=lambda g: (-size[chromosome[g]], chromosome[g], start[g], g))


def slow_sentence(
    counts: dict[int, float], key: int, *, chromosome=CHROMOSOME, start=START, n_sample=100, sampling="multinomial",
    max_length=1536,
) -> tuple[list[int], bool]:  # fmt: skip
    """The sentence of one cell, slow and plain."""
    genes = [g for g in genome_order(chromosome, start) if counts.get(g, 0) > 0]
    if not genes:
        return [], False
    cumulative = np.cumsum([math.log1p(counts[g]) for g in genes]).tolist()
    stream, total = Stream(key), cumulative[-1]
    if sampling == "systematic":
        offset = stream.uniform()
        points = [(i + offset) / n_sample * total for i in range(n_sample)]
    else:
        spacings = [-math.log(1 - stream.uniform()) for _ in range(n_sample + 1)]
        points = [s / sum(spacings) * total for s in np.cumsum(spacings[:-1])]
    drawn = [genes[min(bisect_right(cumulative, p), len(genes) - 1)] for p in points]
    chromosomes = list(dict.fromkeys(chromosome[g] for g in drawn))
    room = (max_length - 1 - n_sample) // 2
    group_of = {c: min(i, room - 1) for i, c in enumerate(chromosomes)}
    groups = [[g for g in drawn if group_of[chromosome[g]] == i] for i in range(min(room, len(chromosomes)))]
    sentence = [CLS]
    while groups:
        other = stream.below(len(groups))
        groups[0], groups[other] = groups[other], groups[0]
        group = groups.pop(0)
        sentence += [N_SPECIAL + len(start) + chromosome[group[0]], *(N_SPECIAL + g for g in group), RIGHT]
    return [int(token) for token in sentence], len(chromosomes) > room


def parse(sentence: np.ndarray, n_genes: int = N_GENES) -> list[tuple[int, list[int]]]:
    """Chromosome and rows of every group; anything out of place raises."""
    first, *rest = sentence.tolist()
    if first != CLS:
        raise ValueError("no CLS")
    groups: list[tuple[int, list[int]]] = []
    inside = False
    for token in rest:
        if not inside:
            if token < N_SPECIAL + n_genes:
                raise ValueError(f"{token} stands where a chromosome should")
            groups.append((token - N_SPECIAL - n_genes, []))
            inside = True
        elif token == RIGHT:
            inside = False
        elif N_SPECIAL <= token < N_SPECIAL + n_genes:
            groups[-1][1].append(token - N_SPECIAL)
        else:
            raise ValueError(f"{token} stands where a gene should")
    if inside:
        raise ValueError("the last group is open")
    return groups


def reference_draw(counts: np.ndarray, rng: np.random.Generator, n_sample: int) -> list[tuple[int, list[int]]]:
    """The reference's tokenizer: choice with replacement, grouped by chromosome, chromosomes shuffled."""
    weight = np.log1p(counts)
    drawn = rng.choice(N_GENES, size=n_sample, p=weight / weight.sum())
    groups = []
    for c in rng.permutation(np.unique(CHROMOSOME[drawn])):
        mine = drawn[CHROMOSOME[drawn] == c]
        groups.append((int(c), mine[np.argsort(START[mine], kind="stable")].tolist()))
    return groups


def keys_of(n: int, seed: int = 0) -> np.ndarray:
    return cell_keys([f"cell {i}" for i in range(n)], seed)


def cut(sentences: Sentences) -> list[list[int]]:
    return [ids[:n].tolist() for ids, n in zip(sentences.ids, sentences.lengths, strict=True)]


def gene_counts(sentences: Sentences, n_genes: int = N_GENES) -> np.ndarray:
    """``[n_cells, n_genes]`` copies of every gene."""
    ids = sentences.ids[:, :, None] == np.arange(N_SPECIAL, N_SPECIAL + n_genes)
    return ids.sum(axis=1)


# Genome order


def test_genes_are_ranked_by_size_of_chromosome_then_start_then_row():
    order = GenomeOrder.build(np.array([2, 0, 2, 1, 2, 0]), np.array([9, 4, 3, 1, 3, 2]))
    # chromosome 2 has three genes (rows 2 and 4 share a start), 0 has two, 1 has one
    assert (order.gene_token - N_SPECIAL).tolist() == [2, 4, 0, 5, 1, 3]
    assert order.rank.tolist() == [2, 4, 0, 5, 1, 3]  # by chance its own inverse here
    assert order.chromosome.tolist() == [0, 0, 0, 1, 1, 2]
    assert order.chromosome_token.tolist() == [N_SPECIAL + 6 + c for c in (2, 0, 1)]


def test_genome_order_agrees_with_a_sort_of_tuples():
    assert (ORDER.gene_token - N_SPECIAL).tolist() == genome_order(CHROMOSOME, START)
    np.testing.assert_array_equal(ORDER.gene_token[ORDER.rank] - N_SPECIAL, ROWS)
    equal = GenomeOrder.build(np.array([1, 0, 1, 0]), np.array([1, 1, 2, 2]))
    assert equal.chromosome_token.tolist() == [8, 9]


# One sentence


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_sentences_equal_those_of_the_plain_implementation(sampling):
    counts = toy_counts(40, N_GENES, seed=3).toarray()
    counts[5] = 0
    counts[6, 0] = 10_000  # beyond the table of logarithms
    counts[7, [3, 9, 20]] = 0.5, 2.5, 17.25
    keys = keys_of(40)
    # places for all chromosomes, for four, for four and a half, for one; one draw
    for n_sample, max_length in ((100, 1536), (20, 29), (20, 30), (50, 53), (1, 1536)):
        options = {"n_sample": n_sample, "sampling": sampling, "max_length": max_length}
        sentences = tokenize(sp.csr_matrix(counts), ROWS, ORDER, keys, **options)
        slow = [
            slow_sentence(dict(enumerate(row)), key, **options) for row, key in zip(counts.tolist(), keys, strict=True)
        ]
        assert cut(sentences) == [sentence for sentence, _ in slow]
        assert sentences.pooled.tolist() == [pooled for _, pooled in slow]
        assert (max_length < 60) == sentences.pooled.any()


def test_the_matrix_of_ids_is_as_wide_as_the_longest_possible_sentence():
    sentences = tokenize(toy_counts(3, N_GENES), ROWS, ORDER, keys_of(3), n_sample=80)
    assert sentences.ids.shape == (3, 1 + 80 + 2 * N_CHROMOSOMES)
    assert sentences.ids.dtype == sentences.lengths.dtype == np.int32
    assert max_sentence_length(1024, 25, 1536) == 1075
    assert max_sentence_length(1024, 2000, 1536) == 1536
    assert max_sentence_length(3, 25, 1536) == 10


# Counts


def same(one: Sentences, other: Sentences) -> bool:
    return all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("ids", "lengths", "pooled"))


def test_shared_genes_are_added_and_order_type_and_storage_do_not_matter():
    counts = toy_counts(20, N_GENES, seed=5)
    dense, keys = counts.toarray(), keys_of(20)
    expected = tokenize(counts, ROWS, ORDER, keys, n_sample=50)
    split = np.hstack([dense - dense // 2, dense // 2, np.full((20, 3), 7.0)]).astype(np.float32)
    rows = np.concatenate([ROWS, ROWS, [-1, -1, -1]])
    assert same(tokenize(sp.csr_matrix(split), rows, ORDER, keys, n_sample=50), expected)
    shuffled = np.random.default_rng(1).permutation(N_GENES)
    assert same(tokenize(counts[:, shuffled].tocsr(), shuffled, ORDER, keys, n_sample=50), expected)
    for dtype in ("uint16", "int64", "float64"):
        assert same(tokenize(counts.astype(dtype), ROWS, ORDER, keys, n_sample=50), expected)
    coo = counts.tocoo()
    order = np.argsort(np.concatenate([coo.row, coo.row]), kind="stable")  # each entry twice, the second one zero
    data, columns = np.concatenate([coo.data, 0 * coo.data])[order], np.concatenate([coo.col, coo.col])[order]
    stored = sp.csr_matrix((data, columns, 2 * counts.indptr), shape=counts.shape)
    assert same(tokenize(stored, ROWS, ORDER, keys, n_sample=50), expected)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_cells_without_a_count_have_no_sentence(sampling):
    counts = sp.csr_matrix(np.array([[0, 0, 4], [1, 0, 4], [0, 0, 0]], dtype=np.float32))
    order, rows = GenomeOrder.build(np.array([0, 0]), np.array([1, 2])), np.array([0, 1, -1])
    sentences = tokenize(counts, rows, order, keys_of(3), n_sample=5, sampling=sampling)
    assert sentences.lengths.tolist() == [0, 8, 0]
    assert (sentences.ids[[0, 2]] == PAD).all()
    zeros = sp.csr_matrix((np.zeros(2, dtype=np.float32), [0, 1], [0, 2]), shape=(1, 3))
    assert tokenize(zeros, rows, order, keys_of(1), n_sample=5, sampling=sampling).lengths.tolist() == [0]
    no_genes = GenomeOrder.build(np.empty(0, dtype=int), np.empty(0, dtype=int))
    empty = tokenize(counts, np.full(3, -1), no_genes, keys_of(3), n_sample=5, sampling=sampling)
    assert empty.lengths.tolist() == [0, 0, 0]
    assert tokenize(toy_counts(0, N_GENES), ROWS, ORDER, keys_of(0), n_sample=5, sampling=sampling).ids.shape[0] == 0


# A sentence depends on the cell, its name and the seed alone


def test_uninitialized_memory_never_shows(monkeypatch):
    counts = sp.vstack([toy_counts(6, N_GENES), sp.csr_matrix((2, N_GENES), dtype=np.float32)], format="csr")
    keys = cell_keys([str(i) for i in range(8)], seed=0)
    expected = tokenize(counts, ROWS, ORDER, keys, n_sample=50)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 99, dtype=dtype))
    for threads in (1, 2):
        found = tokenize(counts, ROWS, ORDER, keys, n_sample=50, threads=threads)
        assert same(found, expected)
        for ids, length in zip(found.ids, found.lengths, strict=True):
            assert (ids[length:] == PAD).all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_order_subset_blocks_and_threads_do_not_change_a_sentence(sampling):
    counts, keys = toy_counts(31, N_GENES, seed=8), keys_of(31)
    every = tokenize(counts, ROWS, ORDER, keys, n_sample=50, sampling=sampling)
    cells = np.random.default_rng(2).permutation(31)[:17]
    assert same(tokenize(counts[cells], ROWS, ORDER, keys[cells], n_sample=50, sampling=sampling), every.take(cells))
    assert cut(every.take(np.array([4, 1]))) == [cut(every)[4], cut(every)[1]]
    for threads in (2, 3, 40):
        assert same(tokenize(counts, ROWS, ORDER, keys, n_sample=50, sampling=sampling, threads=threads), every)


def test_a_key_is_a_hash_of_seed_draw_and_name():
    keys = np.concatenate([cell_keys(["a", "b"], seed, draw=draw) for seed in range(3) for draw in range(3)])
    assert len(np.unique(keys)) == 18
    expected = hashlib.blake2b("Zelle ä".encode(), digest_size=8, key=b"3:1").digest()
    assert cell_keys(["x", "Zelle ä"], 3, draw=1)[1] == int.from_bytes(expected, "little")


# Distribution

CELL = toy_counts(1, N_GENES, seed=9, rate=3.0).toarray()[0].astype(float)
EXPECTED = np.log1p(CELL) / np.log1p(CELL).sum()
N_REPEATS = 500


def repeats(sampling: str, n_sample: int = 120, n: int = N_REPEATS) -> Sentences:
    """Sentences of one cell under many names."""
    counts = sp.csr_matrix(np.tile(CELL, (n, 1)))
    return tokenize(counts, ROWS, ORDER, keys_of(n, seed=11), n_sample=n_sample, sampling=sampling)


def test_multinomial_draws_follow_the_weights():
    seen = gene_counts(repeats("multinomial"))
    expressed = EXPECTED > 0
    assert (seen[:, ~expressed] == 0).all()
    expected = EXPECTED[expressed] * seen.sum()
    assert stats.chisquare(seen[:, expressed].sum(axis=0), expected).pvalue > P_VALUE
    # as spread as independent draws: the variance of a multinomial count is n p (1 - p)
    p = EXPECTED.max()
    assert seen[:, EXPECTED.argmax()].var() == pytest.approx(120 * p * (1 - p), rel=0.3)


def test_systematic_draws_have_the_same_expectation_and_less_variance():
    seen = gene_counts(repeats("systematic"))
    # a count is one of two neighboring whole numbers, so that its standard deviation is at most a half
    assert (abs(seen.mean(axis=0) - 120 * EXPECTED) < 4.5 * 0.5 / np.sqrt(N_REPEATS)).all()
    assert seen.var(axis=0).max() <= 0.25


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 5000), min_size=1, max_size=N_GENES).filter(any),
    key=st.integers(0, 2**64 - 1),
    n_sample=st.integers(1, 300),
)
def test_a_systematic_count_is_less_than_one_from_its_expectation(counts, key, n_sample):
    x = np.zeros((1, N_GENES), dtype=np.float32)
    x[0, : len(counts)] = counts
    keys = np.array([key], dtype=np.uint64)
    seen = gene_counts(tokenize(sp.csr_matrix(x), ROWS, ORDER, keys, n_sample=n_sample, sampling="systematic"))[0]
    assert seen.sum() == n_sample
    expected = n_sample * np.log1p(x[0]) / np.log1p(x[0]).sum()
    assert (abs(seen - expected) < 1 + 1e-6).all()


def test_genes_and_chromosomes_agree_with_the_reference_tokenizer_in_distribution():
    rng = np.random.default_rng(12)
    reference = [reference_draw(CELL, rng, 120) for _ in range(N_REPEATS)]
    ours = [parse(ids[:n]) for ids, n in zip(*_fields(repeats("multinomial")), strict=True)]
    assert same_distribution(_genes(ours), _genes(reference))
    assert same_distribution([c for s in ours for c, _ in s], [c for s in reference for c, _ in s])
    assert same_distribution([len(s) for s in ours], [len(s) for s in reference])


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_order_of_chromosomes_is_uniform(sampling):
    counts = sp.csr_matrix(np.ones((1200, 4), dtype=np.float32))
    order = GenomeOrder.build(np.array([0, 1, 1, 2]), np.arange(4))
    sentences = tokenize(counts, np.arange(4), order, keys_of(1200), n_sample=200, sampling=sampling)
    orders = Counter(tuple(c for c, _ in parse(ids[:n], 4)) for ids, n in zip(*_fields(sentences), strict=True))
    assert sum(map(len, orders)) == 18  # every order of three, and no chromosome is ever left out
    assert stats.chisquare(list(orders.values())).pvalue > P_VALUE


def _fields(sentences: Sentences) -> tuple[np.ndarray, np.ndarray]:
    return sentences.ids, sentences.lengths


def _genes(sentences: list[list[tuple[int, list[int]]]]) -> list[int]:
    return [gene for groups in sentences for _, genes in groups for gene in genes]


def same_distribution(one: list[int], other: list[int]) -> bool:
    """Chi-square test of homogeneity, rare values together."""
    counts = Counter(one), Counter(other)
    table = np.array([[c[value] for value in sorted({*one, *other})] for c in counts])
    rare = table.sum(axis=0) < 10
    table = np.hstack([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)])
    table = table[:, table.sum(axis=0) > 0]
    return table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > P_VALUE


def first_is_uniform(sentences: list[list[tuple[int, list[int]]]]) -> bool:
    """Test standardized deviations of every chromosome, a Bernoulli variable of 1 / groups in each sentence."""
    seen, expected, variance = Counter(), Counter(), Counter()
    for groups in sentences:
        seen[groups[0][0]] += 1
        for c, _ in groups:
            expected[c] += 1 / len(groups)
            variance[c] += (1 - 1 / len(groups)) / len(groups)
    z = np.array([(seen[c] - expected[c]) / np.sqrt(variance[c]) for c in expected if variance[c] > 0])
    return stats.norm.sf(abs(z).max()) * 2 * len(z) > P_VALUE


# More chromosomes than a sentence holds


def many_chromosomes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Chromosome ``c`` has ``1 + c % 3`` genes; the starts run backwards."""
    chromosome = np.repeat(np.arange(n), 1 + np.arange(n) % 3)
    return chromosome, np.arange(len(chromosome))[::-1]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_smallest_chromosomes_are_pooled_when_a_sentence_would_overflow(sampling):
    chromosome, start = many_chromosomes(600)
    order = GenomeOrder.build(chromosome, start)
    n_genes = len(start)
    counts = np.zeros((3, n_genes), dtype=np.float32)
    counts[0] = 1
    counts[1, np.isin(chromosome, np.arange(255))] = 5
    counts[2, np.isin(chromosome, np.arange(256))] = 5
    sentences = tokenize(sp.csr_matrix(counts), np.arange(n_genes), order, keys_of(3), sampling=sampling)
    groups = [parse(ids[:n], n_genes) for ids, n in zip(*_fields(sentences), strict=True)]
    n_drawn = [len({chromosome[g] for _, genes in s for g in genes}) for s in groups]
    assert sentences.ids.shape[1] == 1536
    assert sentences.pooled.tolist() == [n > 255 for n in n_drawn] == [True, False, n_drawn[2] > 255]
    assert [len(s) for s in groups] == [min(255, n) for n in n_drawn]
    size = Counter(chromosome.tolist())
    for s in groups:
        assert sum(len(genes) for _, genes in s) == 1024  # no draw is lost
        for c, genes in s:
            place = [(-size[chromosome[g]], chromosome[g], start[g]) for g in genes]
            assert place == sorted(place)
            assert chromosome[genes[0]] == c
        mixed = [genes for _, genes in s if len(set(chromosome[genes])) > 1]
        assert len(mixed) <= 1
        for genes in mixed:
            kept = {c for c, others in s if others is not genes}
            assert min(size[c] for c in kept) >= max(size[chromosome[g]] for g in genes)


# Arguments


def test_bad_arguments_are_refused():
    args = (toy_counts(1, N_GENES), ROWS, ORDER, keys_of(1))
    for n_sample in (0, -1, 98, 2000):
        with pytest.raises(ValueError, match=rf"n_sample={n_sample} must be between 1 and 97"):
            tokenize(*args, n_sample=n_sample, max_length=100)
    largest = tokenize(*args, n_sample=97, max_length=100)
    assert [len(genes) for _, genes in parse(largest.ids[0])] == [97]
    with pytest.raises(ValueError, match="sampling='stratified' is not known; use one of multinomial, systematic"):
        tokenize(*args, sampling="stratified")


# Recorded sentences of the reference implementation


@pytest.mark.parametrize(
    "name, n_sample, special",
    [
        pytest.param("sentences", 1024, {PAD: PAD, RIGHT: RIGHT, CLS: CLS}, id="UCE"),
        pytest.param("brain_sentences", 256, {0: PAD, 2000: RIGHT, 1: CLS}, id="UCE-brain"),
    ],
)
def test_sentences_agree_with_those_recorded_from_the_reference(parity: Path, name, n_sample, special):
    z = np.load(parity / f"{name}.npz")
    n_draws, n_cells = z["sentences"].shape[:2]
    lengths = z["lengths"] if "lengths" in z else np.count_nonzero(z["sentences"], axis=2)
    labels, chromosome = np.unique(z["chrom"], return_inverse=True)
    start, n_genes = z["start"], len(z["start"])
    order = GenomeOrder.build(chromosome, start)
    to_local = np.full(int(z["chrom_token_offset"]) + int(labels.max()) + max(special) + 1, -1)
    to_local[list(special)] = list(special.values())
    to_local[z["gene_token"]] = N_SPECIAL + np.arange(n_genes)
    to_local[int(z["chrom_token_offset"]) + labels] = N_SPECIAL + n_genes + np.arange(len(labels))
    counts = sp.csr_matrix(np.tile(z["counts"], (n_draws, 1)).astype(np.float32))
    names = [f"{d} {c}" for d in range(n_draws) for c in range(n_cells)]
    sentences = tokenize(counts, np.arange(n_genes), order, cell_keys(names, 0), n_sample=n_sample)
    ours = [parse(ids[:n], n_genes) for ids, n in zip(*_fields(sentences), strict=True)]
    recorded = z["sentences"].reshape(n_draws * n_cells, -1)
    theirs = [parse(to_local[ids[:n]], n_genes) for ids, n in zip(recorded, lengths.ravel(), strict=True)]
    for groups in (*ours, *theirs):
        assert sum(len(genes) for _, genes in groups) == n_sample
        for c, genes in groups:
            assert (chromosome[genes] == c).all()
            assert (np.diff(start[genes]) >= 0).all()
    assert same_distribution(_genes(ours), _genes(theirs))
    assert same_distribution([c for s in ours for c, _ in s], [c for s in theirs for c, _ in s])
    assert first_is_uniform(ours)
    assert first_is_uniform(theirs)
    for cell in range(n_cells):
        mine, recorded_ones = ours[cell::n_cells], theirs[cell::n_cells]
        assert same_distribution(_genes(mine), _genes(recorded_ones))
