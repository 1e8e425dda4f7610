from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from tests.helpers.proteomes import LETTERS, random_sequence, relative
from univerce.genes import KmerEncoder
from univerce.genes.fasta import Protein


@pytest.fixture
def proteins():
    rng = np.random.default_rng(0)
    return [Protein(f"P{i}", random_sequence(rng, rng.integers(30, 300))) for i in range(60)]


def by_counting(sequence: str, k: int) -> np.ndarray:
    words = ["".join(w) for w in itertools.product(LETTERS, repeat=k)]
    n = np.array([sum(sequence[i : i + k] == w for i in range(len(sequence))) for w in words], float)
    return np.sqrt(n / max(n.sum(), 1))


def test_frequencies_are_those_of_counting(proteins):
    sequences = [proteins[0].sequence, "MKXXKM", "", "A", "AAAA"]
    found = KmerEncoder(2, k=2)._frequencies([Protein(s, s) for s in sequences]).toarray()
    expected = [np.concatenate([by_counting(s, 1), by_counting(s, 2)]) for s in sequences]
    np.testing.assert_allclose(found, expected)


def test_features_are_the_projection_on_the_leading_singular_vectors_centered(proteins):
    encoder = KmerEncoder(5, k=2).fit(proteins)
    x = encoder._frequencies(proteins).toarray()
    _, _, v = np.linalg.svd(x, full_matrices=False)
    expected = x @ v[:5].T
    expected -= expected.mean(axis=0)
    found = encoder.encode(proteins)
    np.testing.assert_allclose(np.abs(cosine_similarity(found.T, expected.T)).diagonal()[:2], 1, atol=1e-2)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)


def test_orthologues_find_each_other(proteins):
    rng = np.random.default_rng(1)
    others = [Protein(p.id, relative(p.sequence, rng)) for p in proteins]
    encoder = KmerEncoder(40).fit(proteins)
    nearest = cosine_similarity(encoder.encode(others), encoder.encode(proteins)).argmax(axis=1)
    assert np.mean(nearest == np.arange(len(proteins))) > 0.9


def test_a_saved_encoder_is_the_same_encoder(tmp_path, proteins):
    encoder = KmerEncoder(8, k=2, seed=3).fit(proteins)
    path = encoder.save(tmp_path / "birds.kmer.npz")
    again = KmerEncoder.load(path)
    assert (again.name, again.dim, again.k) == (encoder.name, 8, 2)
    np.testing.assert_array_equal(again.encode(proteins), encoder.encode(proteins))
    assert [p.name for p in tmp_path.iterdir()] == ["birds.kmer.npz"]


def test_the_name_tells_what_it_was_fitted_to(proteins):
    names = {KmerEncoder(d, k=2, seed=s).fit(p).name for d in (4, 5) for s in (0, 1) for p in (proteins, proteins[:50])}
    assert len(names) == 8
    assert KmerEncoder(4, k=2).fit(proteins).name in names


def test_unfitted_encoders_and_too_few_proteins_are_refused(tmp_path, proteins):
    for use in (lambda e: e.name, lambda e: e.encode(proteins), lambda e: e.save(tmp_path / "x.kmer.npz")):
        with pytest.raises(ValueError, match="not fitted"):
            use(KmerEncoder(4))
    with pytest.raises(ValueError, match=r"60 proteins are too few for 256 dimensions; pass KmerEncoder\(dim=\.\.\.\)"):
        KmerEncoder().fit(proteins)
    with pytest.raises(ValueError, match="k=4 must be 1, 2 or 3"):
        KmerEncoder(k=4)
    with pytest.raises(ValueError, match=r"let it end in \.kmer\.npz"):
        KmerEncoder(4).fit(proteins).save(tmp_path / "x.npz")
