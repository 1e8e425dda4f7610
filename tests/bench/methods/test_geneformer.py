"""Geneformer end to end, on small models saved as the released ones are, against a plain loop over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from tests.bench.methods.test_geneformer_tokens import SYMBOLS, dictionaries, plain_tokens, write_published
from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods.geneformer import METHOD

NONE = [f"none{i}" for i in range(5)]


def save_model(directory, *, ends: bool, safe: bool = True, length: int = 16) -> BertForMaskedLM:
    """A model of random weights and its dictionaries in one folder."""
    known = dictionaries(ends=ends)
    config = BertConfig(
        vocab_size=len(known.token), hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=length, pad_token_id=0, hidden_act="relu", initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config).eval()
    model.save_pretrained(directory)
    if not safe:
        (directory / "model.safetensors").unlink()
        torch.save(model.state_dict(), directory / "pytorch_model.bin")
    write_published(known, directory)
    return model


@pytest.fixture
def cells():
    return typed_cells(n=30, n_genes=25, names=[*SYMBOLS, *NONE], empty=(7,))


def embed(cells, **options):
    return METHOD.embed(cells, batch_key=None, groupby=None, rng=0, **options)


def plainly(model, cells, *, ends: bool, layer: int) -> np.ndarray:
    """One cell at a time, no pads, no masks."""
    known = dictionaries(ends=ends)
    length = model.config.max_position_embeddings
    out = np.full((cells.n_obs, model.config.hidden_size), np.nan)
    sentences = plain_tokens(cells.X.toarray(), cells.var_names, known, length - 2 if ends else length)
    for i, tokens in enumerate(sentences):
        if not tokens:
            continue
        ids = [known.token["<cls>"], *tokens, known.token["<eos>"]] if ends else tokens
        with torch.no_grad():
            hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        out[i] = (hidden[1:-1] if ends else hidden).mean(axis=0)
    return out


@pytest.mark.parametrize(
    "ends, safe, layer, index",
    [(False, True, "second to last", 2), (True, True, "last", 3), (True, False, "second to last", 2)],
)
def test_a_cell_is_the_mean_over_its_genes(tmp_path, cells, ends, safe, layer, index):
    model = save_model(tmp_path, ends=ends, safe=safe)
    got = embed(cells, model=tmp_path, layer=layer, batch_size=4)
    expected = plainly(model, cells, ends=ends, layer=index)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.isnan(got[7]).all()
    assert np.nanstd(got, axis=0).min() > 1e-2


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_batch_does_not_matter(tmp_path, cells, batch_size):
    save_model(tmp_path, ends=True)
    got = embed(cells, model=tmp_path, batch_size=batch_size)
    np.testing.assert_allclose(got, embed(cells, model=tmp_path, batch_size=4), atol=1e-5)


def test_identifiers_in_var_come_before_symbols(tmp_path, cells):
    save_model(tmp_path, ends=False)
    expected = embed(cells, model=tmp_path)
    cells.var["ensembl_id"] = [f"ENSG{i:05d}.1" for i in range(20)] + [""] * 5
    cells.var_names = [f"x{i}" for i in range(25)]
    np.testing.assert_array_equal(embed(cells, model=tmp_path), expected)
    assert 0.5 < cells.uns["details"]["coverage"] < 1


def test_dictionaries_may_lie_elsewhere_but_not_be_of_another_version(tmp_path, cells):
    save_model(tmp_path, ends=False)
    other = tmp_path / "other"
    other.mkdir()
    write_published(dictionaries(), other)
    assert embed(cells, model=tmp_path, dictionaries=other).shape == (30, 12)
    write_published(dictionaries(ends=True), other)
    with pytest.raises(ValueError, match=r"has 22 tokens .* the dictionary 24 .* of different versions"):
        embed(cells, model=tmp_path, dictionaries=other)


def test_cells_of_another_species_are_refused(tmp_path, cells):
    save_model(tmp_path, ends=False)
    cells.var_names = [f"mouse{i}" for i in range(25)]
    with pytest.raises(ValueError, match=r"Only 0\.0% of the counts are in genes that Geneformer knows"):
        embed(cells, model=tmp_path)


def test_weights_of_another_shape_are_refused_and_named(tmp_path, cells):
    save_model(tmp_path, ends=False, safe=False)
    state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    state["bert.encoder.layer.7.extra"] = torch.zeros(1)
    state["bert.embeddings.word_embeddings.weight"] = torch.zeros(3, 12)
    del state["bert.encoder.layer.0.output.dense.bias"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    message = (
        r"Missing key.*encoder\.layer\.0\.output\.dense\.bias.*Unexpected key.*encoder\.layer\.7\.extra.*"
        r"size mismatch for embeddings\.word_embeddings\.weight.*\[3, 12\].*\[22, 12\]"
    )
    with pytest.raises(ValueError, match=message):
        embed(cells, model=tmp_path)


def test_a_missing_model_or_an_unknown_layer_is_an_error_with_a_fix(tmp_path, cells):
    with pytest.raises(ValueError, match="layer='first' is not known; use one of 'second to last', 'last'"):
        embed(cells, model=tmp_path, layer="first")
    with pytest.raises(ValueError, match=r"needs the option model=.*config\.json.*huggingface\.co/ctheodoris"):
        embed(cells)
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        embed(cells, model=tmp_path)
