"""Gene features from text: what they must be, and what the bundled tables achieve with them."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from univerce.genes import TextEncoder, load_table
from univerce.genes.encoders.text import quantise
from univerce.genes.hashed import hashed_tokens, identity_signs

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


def one_gene(symbol: str, description: str) -> pd.DataFrame:
    return pd.DataFrame({"symbol": [symbol], "description": [description]})


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# The encoder


def test_the_same_genes_and_seed_give_the_same_features(encoder):
    again = TextEncoder(N_SEMANTIC, N_IDENTITY).fit(GENES).encode(GENES)
    np.testing.assert_array_equal(again, encoder.encode(GENES))
    other = TextEncoder(N_SEMANTIC, N_IDENTITY, seed=1).fit(GENES).encode(GENES)
    assert abs(other - again)[:, N_SEMANTIC:].max() > 0.1


def test_the_name_tells_the_widths_the_seed_and_the_genes_it_was_fitted_to():
    names = [TextEncoder(3, 8, seed=7).fit(genes).name for genes in (GENES, GENES, GENES.iloc[1:])]
    assert names[0].startswith("text-svd3-sign8-s7-")
    assert names[0] == names[1] != names[2]
    assert TextEncoder(3, 8).dim == 11


def test_an_encoder_has_no_name_before_it_is_fitted():
    with pytest.raises(ValueError, match=r"call fit\(genes\)"):
        TextEncoder().name  # noqa: B018


def test_equal_words_in_any_case_give_equal_vectors(encoder):
    human = encoder.encode(one_gene("SLC2A1", "solute carrier family 2 member 1"))
    mouse = encoder.encode(one_gene("Slc2a1", "Solute carrier family 2, member 1"))
    np.testing.assert_array_equal(mouse, human)


def test_a_gene_is_encoded_the_same_alone_as_among_others(encoder):
    together = encoder.encode(GENES)
    for i in (0, 8, 12):
        np.testing.assert_allclose(encoder.encode(GENES.iloc[[i]])[0], together[i], atol=1e-6)


def test_both_parts_are_known_for_a_named_gene_and_zero_where_nothing_is_written(encoder):
    features = encoder.encode(GENES)
    assert features.dtype == np.int8
    assert features.shape == (len(GENES), N_SEMANTIC + N_IDENTITY)
    written = (GENES["symbol"] + GENES["description"]).to_numpy() != ""
    np.testing.assert_array_equal(features[:, :N_SEMANTIC].any(axis=1), written)
    named = (GENES["symbol"] != "").to_numpy()
    assert set(np.unique(features[named, N_SEMANTIC:])) == {-2, 2}
    assert not features[~named, N_SEMANTIC:].any()


def test_relatives_are_near_in_the_semantic_part(encoder):
    semantic = dict(zip(GENES["symbol"], encoder.encode(GENES)[:, :N_SEMANTIC], strict=True))
    assert cosine(semantic["SLC2A1"], semantic["SLC2A3"]) > 0.8
    assert cosine(semantic["COL1A1"], semantic["COL3A1"]) > 0.8
    assert cosine(semantic["SLC2A1"], semantic["COL1A1"]) < 0.3


def test_the_identity_part_keeps_genes_of_one_description_apart(encoder):
    twins = pd.DataFrame({"symbol": ["AAA1", "AAA2"], "description": ["the same words"] * 2})
    identity = encoder.encode(twins)[:, N_SEMANTIC:]
    assert abs(cosine(*identity)) < 0.5


def test_a_gene_without_a_symbol_goes_by_its_identifier():
    genes = pd.DataFrame({"symbol": ["", "ENSG1", "INS"], "ensembl_id": ["ensg1", "ENSG9", "ENSG1"]})
    signs = identity_signs(genes, 64)
    np.testing.assert_array_equal(signs[0], signs[1])
    assert abs(cosine(signs[1], signs[2])) < 0.5


def test_signs_are_the_bits_of_a_keyed_hash_of_the_name():
    bits = b"".join(hashlib.blake2b(b"CD3E", salt=b"7", person=block).digest() for block in (b"0", b"1"))
    expected = [2 if byte >> (7 - k) & 1 else -2 for byte in bits for k in range(8)][:1000]
    np.testing.assert_array_equal(identity_signs(pd.DataFrame({"symbol": ["Cd3e"]}), 1000, seed=7)[0], expected)


def test_signs_come_in_bytes():
    with pytest.raises(ValueError, match="multiple of 8, not 12"):
        identity_signs(GENES, 12)


def test_words_that_were_not_there_when_fitting_are_encoded(encoder):
    assert encoder.encode(one_gene("ZZZ9", "wholly unheard of"))[0, N_SEMANTIC:].any()


def test_an_unfitted_encoder_says_so():
    with pytest.raises(ValueError, match=r"not fitted; call fit\(genes\)"):
        TextEncoder().encode(GENES)


# Rounding and hashing


def test_rounding_keeps_the_direction_in_the_given_levels():
    x = np.random.default_rng(0).normal(size=(50, 128)) * 10.0 ** np.arange(-25, 25)[:, None]
    rounded = quantise(x)
    assert rounded.dtype == np.int8
    assert (abs(rounded).max(axis=1) == 15).all()
    assert min(cosine(a, b) for a, b in zip(x, rounded, strict=True)) > 0.99
    assert (abs(quantise(x, levels=127)).max(axis=1) == 127).all()


def test_a_row_of_zeros_stays_zero():
    np.testing.assert_array_equal(quantise(np.array([[0.0, 0.0], [1.0, -0.5]])), [[0, 0], [15, -8]])


def test_a_token_depends_on_its_name_and_the_seed_alone():
    alone, among = hashed_tokens(["human_7"], 64), hashed_tokens(["a", "human_7", "b"], 64)
    np.testing.assert_array_equal(alone[0], among[1])
    assert abs(cosine(among[0], among[1])) < 0.5
    assert abs(cosine(hashed_tokens(["human_7"], 64, seed=1)[0], alone[0])) < 0.5


def test_tokens_are_standard_normal():
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


@pytest.mark.parametrize("query, target", [("human", "mouse"), ("mouse", "human")])
def test_the_nearest_gene_of_the_other_species_is_the_one_of_the_same_name(bundled, query, target):
    shared = bundled[query].index.intersection(bundled[target].index)
    sample = np.random.default_rng(0).choice(shared, size=500, replace=False)
    similarity = bundled[query].loc[sample].to_numpy() @ bundled[target].to_numpy().T
    found = bundled[target].index[similarity.argmax(axis=1)]
    share = float((found == sample).mean())
    print(f"{query} to {target}: {share:.3f}")
    assert share > 0.9


def test_hormones_of_the_islet_are_told_apart(bundled):
    human = bundled["human"]
    for one, other in [("INS", "GCG"), ("INS", "SST"), ("GCG", "SST")]:
        assert cosine(human.loc[one].to_numpy(), human.loc[other].to_numpy()) < 0.9
        assert cosine(human.loc[one].to_numpy()[64:], human.loc[other].to_numpy()[64:]) < 0.5
