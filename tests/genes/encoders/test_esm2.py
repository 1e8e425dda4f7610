from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from transformers import EsmConfig, EsmForMaskedLM, EsmModel, EsmTokenizer

import univerce as uc
from tests.helpers.proteomes import random_sequence
from univerce.genes import ESM2
from univerce.genes.encoders import esm2
from univerce.genes.fasta import Protein

WORDS = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
LENGTHS = [5, 300, 1, 64, 1021, 1022, 1023, 1500, 64, 7]


def write_checkpoint(directory, *, head: bool = False, seed: int = 0, **changes):
    """A checkpoint of random weights in the architecture of ESM2, rotary positions and token dropout included."""
    options = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32} | changes
    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, max_position_embeddings=1026, token_dropout=True,
        position_embedding_type="rotary", emb_layer_norm_before=False, initializer_range=0.4, **options,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = EsmForMaskedLM(config) if head else EsmModel(config, add_pooling_layer=False)
    model.save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(WORDS))
    EsmTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    return directory


@pytest.fixture(autouse=True)
def _cpu():
    with uc.settings.override(device="cpu", precision="float32"):
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with torch.random.fork_rng():
        return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def proteins():
    rng = np.random.default_rng(0)
    return [Protein(f"P{i}", random_sequence(rng, n)) for i, n in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def one_by_one(checkpoint, proteins):
    """The plain loop: one sequence at a time through the tokenizer and the model of transformers, last layer."""
    tokenizer = EsmTokenizer.from_pretrained(checkpoint)
    model = EsmModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    means = []
    for protein in proteins:
        inputs = tokenizer(protein.sequence[:1022], return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[3][0]
        means.append(hidden[1:-1].mean(dim=0).numpy())
    return np.stack(means)


def test_features_are_those_of_a_plain_loop_in_batches_of_any_size(checkpoint, proteins, one_by_one):
    for budget in (1, 2000, 10**6):
        encoder = ESM2(checkpoint, batch_tokens=budget)
        np.testing.assert_allclose(encoder.encode(proteins), one_by_one, rtol=1e-4, atol=2e-5)


def test_a_protein_counts_up_to_its_1022nd_residue(checkpoint, proteins):
    long = proteins[7].sequence
    same = [long, long[:1022], long[:1022] + "W" * 300]
    a, b, c, d = ESM2(checkpoint).encode([Protein(s, s) for s in (*same, long[:1021])])
    np.testing.assert_allclose(b, a, atol=1e-5)
    np.testing.assert_allclose(c, a, atol=1e-5)
    assert np.abs(d - a).max() > 1e-4


def test_a_checkpoint_with_a_language_head_gives_the_features_of_its_body(tmp_path, proteins):
    with torch.random.fork_rng():
        path = write_checkpoint(tmp_path / "with_head", head=True)
    body = EsmForMaskedLM.from_pretrained(path).esm
    body.save_pretrained(tmp_path / "body")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / "body" / name).write_bytes((path / name).read_bytes())
    first, second = (ESM2(p).encode(proteins[:3]) for p in (path, tmp_path / "body"))
    np.testing.assert_array_equal(first, second)


def test_bfloat16_stays_close(checkpoint, proteins, one_by_one):
    with uc.settings.override(precision="bfloat16"):
        encoder = ESM2(checkpoint)
        assert encoder.precision == "bfloat16"
        x = encoder.encode(proteins)
    assert x.dtype == np.float32
    cosine = (x * one_by_one).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(one_by_one, axis=1)
    assert 0.99 < cosine.min() < 1


def test_unknown_letters_are_unknown_residues(checkpoint):
    features = ESM2(checkpoint).encode([Protein(s, s) for s in ("MKJJL", "MKJL", "MKXXL")])
    assert (np.abs(features[1:] - features[0]).max(axis=1) > 1e-4).all()


def test_batches_hold_proteins_of_similar_length_and_no_more_than_the_budget():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 900, 200).tolist()
    batches = list(esm2._batches(lengths, 2000))
    assert sorted(i for batch in batches for i in batch) == list(range(200))
    assert all(len(b) * (max(lengths[i] for i in b) + 2) <= 2000 for b in batches)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert padded < 1.1 * sum(lengths)


def test_a_published_checkpoint_is_known_without_being_loaded():
    for name, dim in (("esm2_t6_8M_UR50D", 320), ("esm2_t48_15B_UR50D", 5120)):
        for encoder in (ESM2(name), ESM2(f"facebook/{name}")):
            assert (encoder.name, encoder.checkpoint, encoder.dim) == (name, f"facebook/{name}", dim)


def test_a_directory_is_named_after_its_weights_unless_it_is_a_published_checkpoint(tmp_path):
    with torch.random.fork_rng():
        write_checkpoint(tmp_path / "a" / "mine")
        write_checkpoint(tmp_path / "b" / "mine", seed=1)
        write_checkpoint(tmp_path / "esm2_t6_8M_UR50D")
        published = {"hidden_size": 320, "num_hidden_layers": 6, "num_attention_heads": 20, "intermediate_size": 40}
        write_checkpoint(tmp_path / "c" / "esm2_t6_8M_UR50D", **published)
    names = [ESM2(tmp_path / p).name for p in ("a/mine", "b/mine", "esm2_t6_8M_UR50D", "c/esm2_t6_8M_UR50D")]
    assert [name.rpartition("-")[0] for name in names] == ["mine", "mine", "esm2_t6_8M_UR50D", ""]
    assert len(set(names)) == 4
    assert names[3] == "esm2_t6_8M_UR50D"


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    with torch.random.fork_rng():
        path = write_checkpoint(tmp_path / "tiny")
    state = load_file(path / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks the weights encoder\.layer\.1\.output\.dense\.weight"):
        ESM2(path).encode([Protein("a", "MKL")])


def test_features_that_are_not_finite_are_refused_with_the_protein(checkpoint):
    encoder = ESM2(checkpoint)
    encoder.encode([Protein("a", "MKL")])
    encoder._model.embeddings.word_embeddings.weight.data[WORDS.index("W")] = torch.inf
    with pytest.raises(ValueError, match="features of 'bad' are not finite"):
        encoder.encode([Protein("a", "MKL"), Protein("bad", "MWL")])


def test_a_directory_without_esm2_is_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no ESM2 checkpoint"):
        ESM2(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="a model of type 'bert'"):
        ESM2(tmp_path)


def test_offline_a_checkpoint_is_taken_from_the_cache_of_transformers_or_named(monkeypatch, tmp_path, checkpoint):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = ESM2("esm2_t6_8M_UR50D")
    with uc.settings.override(offline=True):
        with pytest.raises(FileNotFoundError, match=r"'facebook/esm2_t6_8M_UR50D' is not in the cache .*hf download"):
            encoder.encode([Protein("a", "MKL")])
        repository = tmp_path / "models--facebook--esm2_t6_8M_UR50D"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc")
        shutil.copytree(checkpoint, repository / "snapshots" / "abc")
        encoder._load()
    assert encoder._model.config.hidden_size == 16


def test_without_transformers_the_extra_is_named(monkeypatch, checkpoint):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[species\]"'):
        ESM2(checkpoint).encode([Protein("a", "MKL")])
