"""Gene features from text, and those of the bundled tables."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from univerce.genes import TextEncoder, load_table
from univerce.genes.fasta import Protein
from univerce.genes.hashed import hashed_tokens, identity_signs, quantize

GENES = pd.DataFrame(
    [
        ("SLC2A1", "solute carrier family 2 member 1"),
        ("SLC2A3", "solute carrier family 2 member 3"),
        ("SLC6A4", "solute carrier family 6 member 4"),
        ("COL1A1", "collagen type I alpha 1 chain"),
        ("COL3A1", "collagen type III alpha 1 chain"),
        ("COL4A2", "collagen type IV alpha 2 chain"),
        ("KRT5", "keratin 5"),
        ("KRT14", "keratin 14"),
        ("INS", "insulin"),
        ("GCG", "glucagon"),
        ("SST", "somatostatin"),
        ("", ""),
        ("ORF9", ""),
        ("", "uncharacterised protein"),
    ],
    columns=["symbol", "description"],
)
N_SEMANTIC, N_IDENTITY = 5, 32


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(N_SEMANTIC, N_IDENTITY).fit(GENES)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# The encoder


def test_the_same_genes_and_seed_give_the_same_features_and_name(encoder):
    again = TextEncoder(N_SEMANTIC, N_IDENTITY).fit(GENES)
    np.testing.assert_array_equal(again.encode(GENES), encoder.encode(GENES))
    assert again.name == encoder.name
    other = TextEncoder(N_SEMANTIC, N_IDENTITY, seed=7).fit(GENES)
    assert abs(other.encode(GENES) - again.encode(GENES))[:, N_SEMANTIC:].max() > 0.1
    assert other.name.startswith("text-svd5-sign32-s7-")
    assert TextEncoder(N_SEMANTIC, N_IDENTITY).fit(GENES.iloc[1:]).name != again.name


def test_an_unfitted_encoder_is_an_error():
    with pytest.raises(ValueError, match=r"call fit\(genes\)"):
        TextEncoder().name  # noqa: B018
    with pytest.raises(ValueError, match=r"not fitted; call fit\(genes\)"):
        TextEncoder().encode(GENES)


def test_proteins_are_encoded_by_the_names_of_their_gene(encoder):
    proteins = [Protein("P1", symbol="INS", description="insulin"), Protein("P2", gene="ENSG1")]
    genes = pd.DataFrame({"symbol": ["INS", ""], "description": ["insulin", ""], "ensembl_id": ["", "ENSG1"]})
    np.testing.assert_array_equal(encoder.encode(proteins), encoder.encode(genes))


def test_a_gene_is_encoded_the_same_in_any_case_and_alone_as_among_others(encoder):
    together = encoder.encode(GENES)
    mouse = pd.DataFrame({"symbol": ["Slc2a1"], "description": ["Solute carrier family 2, member 1"]})
    np.testing.assert_array_equal(encoder.encode(mouse)[0], together[0])
    for i in (0, 8, 12):
        np.testing.assert_allclose(encoder.encode(GENES.iloc[[i]])[0], together[i], atol=1e-6)


def test_both_parts_are_zero_without_text(encoder):
    features = encoder.encode(GENES)
    assert features.dtype == np.int8
    assert features.shape == (len(GENES), N_SEMANTIC + N_IDENTITY)
    written = (GENES["symbol"] + GENES["description"]).to_numpy() != ""
    np.testing.assert_array_equal(features[:, :N_SEMANTIC].any(axis=1), written)
    named = (GENES["symbol"] != "").to_numpy()
    assert set(np.unique(features[named, N_SEMANTIC:])) == {-2, 2}
    assert not features[~named, N_SEMANTIC:].any()


def test_related_genes_are_close_in_the_semantic_part_and_separate_in_the_other(encoder):
    semantic = dict(zip(GENES["symbol"], encoder.encode(GENES)[:, :N_SEMANTIC], strict=True))
    assert cosine(semantic["SLC2A1"], semantic["SLC2A3"]) > 0.8
    assert cosine(semantic["COL1A1"], semantic["COL3A1"]) > 0.8
    assert cosine(semantic["SLC2A1"], semantic["COL1A1"]) < 0.3
    twins = pd.DataFrame({"symbol": ["AAA1", "AAA2"], "description": ["the same words"] * 2})
    assert abs(cosine(*encoder.encode(twins)[:, N_SEMANTIC:])) < 0.5


def test_a_gene_without_a_symbol_goes_by_its_identifier():
    genes = pd.DataFrame({"symbol": ["", "ENSG1", "INS"], "ensembl_id": ["ensg1", "ENSG9", "ENSG1"]})
    signs = identity_signs(genes, 64)
    np.testing.assert_array_equal(signs[0], signs[1])
    assert abs(cosine(signs[1], signs[2])) < 0.5


def test_signs_are_the_bits_of_a_keyed_hash_of_the_name():
    bits = b"".join(hashlib.blake2b(b"CD3E", salt=b"7", person=block).digest() for block in (b"0", b"1"))
    expected = [2 if byte >> (7 - k) & 1 else -2 for byte in bits for k in range(8)][:1000]
    np.testing.assert_array_equal(identity_signs(pd.DataFrame({"symbol": ["Cd3e"]}), 1000, seed=7)[0], expected)
    with pytest.raises(ValueError, match="multiple of 8, not 12"):
        identity_signs(GENES, 12)


# Rounding and hashing


def test_rounding_keeps_the_direction_in_the_given_levels():
    x = np.random.default_rng(0).normal(size=(50, 128)) * 10.0 ** np.arange(-25, 25)[:, None]
    rounded = quantize(x)
    assert rounded.dtype == np.int8
    assert (abs(rounded).max(axis=1) == 15).all()
    assert min(cosine(a, b) for a, b in zip(x, rounded, strict=True)) > 0.99
    assert (abs(quantize(x, levels=127)).max(axis=1) == 127).all()
    np.testing.assert_array_equal(quantize(np.array([[0.0, 0.0], [1.0, -0.5]])), [[0, 0], [15, -8]])


def test_a_token_is_standard_normal_and_depends_on_its_name_and_the_seed_alone():
    alone, among = hashed_tokens(["human_7"], 64), hashed_tokens(["a", "human_7", "b"], 64)
    np.testing.assert_array_equal(alone[0], among[1])
    assert abs(cosine(among[0], among[1])) < 0.5
    assert abs(cosine(hashed_tokens(["human_7"], 64, seed=1)[0], alone[0])) < 0.5
    tokens = hashed_tokens([f"chromosome {i}" for i in range(200)], 100)
    assert tokens.mean() == pytest.approx(0, abs=0.03)
    assert tokens.std() == pytest.approx(1, abs=0.03)


# The bundled tables


@pytest.fixture(scope="module")
def bundled() -> dict[str, pd.DataFrame]:
    """Unit features by symbol, of symbols that occur once."""
    out = {}
    for species in ("human", "mouse"):
        table = load_table(species)
        symbol = table.obs["symbol"].str.upper()
        features = pd.DataFrame(table.X[:].astype(np.float32), index=symbol)
        features = features[(symbol != "").to_numpy() & ~symbol.duplicated(keep=False).to_numpy()]
        out[species] = features.div(np.linalg.norm(features, axis=1), axis=0)
    return out


def test_the_nearest_gene_of_the_other_species_has_the_same_name(bundled):
    for query, target in (("human", "mouse"), ("mouse", "human")):
        shared = bundled[query].index.intersection(bundled[target].index)
        sample = np.random.default_rng(0).choice(shared, size=300, replace=False)
        similarity = bundled[query].loc[sample].to_numpy() @ bundled[target].to_numpy().T
        assert np.mean(bundled[target].index[similarity.argmax(axis=1)] == sample) > 0.9


def test_hormones_of_the_islet_are_separate(bundled):
    hormones = bundled["human"].loc[["INS", "GCG", "SST"]].to_numpy()
    for one, other in combinations(hormones, 2):
        assert cosine(one, other) < 0.9
        assert cosine(one[64:], other[64:]) < 0.5
