"""tGPT end to end, on small models saved as the released one is, against the published loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods.tgpt import METHOD

GENES = [*(f"G{i}" for i in range(16)), "HLA-A", "MT-CO1", "RP11-1.2", "X.Y"]


def save_model(directory, *, safe: bool = True, names=GENES) -> GPT2LMHeadModel:
    """A model of random weights and a tokenizer of whole words that puts <s> and </s> around them."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *(n.replace("-", "_").replace(".", "_") for n in names)]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(words), n_positions=64, n_embd=12, n_layer=2, n_head=3, initializer_range=0.5,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    model.save_pretrained(directory)
    if not safe:
        (directory / "model.safetensors").unlink()
        buffers = {f"transformer.h.0.attn.{name}": torch.ones(1) for name in ("bias", "masked_bias")}  # of old versions
        torch.save(model.state_dict() | buffers, directory / "pytorch_model.bin")
    return model


@pytest.fixture
def cells():
    return typed_cells(n=30, n_genes=22, names=[*GENES, "none1", "none2"], empty=(7,))


def embed(cells, **options):
    return METHOD.embed(cells, batch_key=None, groupby=None, rng=0, **options)


def plainly(directory, model, cells, n_genes: int) -> np.ndarray:
    """The published example: a line of symbols for each cell, padded together."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    lines = []
    for row in cells.X.toarray():
        names = [n.replace("-", "_").replace(".", "_") for n in cells.var_names]
        ranked = sorted((-count, name) for count, name in zip(row, names, strict=True) if count)
        lines.append(" ".join(name for _, name in ranked[:n_genes]))
    batch = tokenizer(lines, max_length=n_genes, truncation=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.transformer(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
    ends = batch["attention_mask"].sum(dim=1) - 1
    return np.stack([h[1:end].mean(dim=0).numpy() for h, end in zip(hidden, ends, strict=True)])


@pytest.mark.parametrize("n_genes, safe", [(6, True), (64, False)], ids=["safetensors", "bin"])
def test_a_cell_is_the_mean_over_its_most_expressed_genes(tmp_path, cells, n_genes, safe):
    model = save_model(tmp_path, safe=safe)
    got = embed(cells, model=tmp_path, n_genes=n_genes, batch_size=4)
    filled = np.arange(30) != 7
    np.testing.assert_allclose(got[filled], plainly(tmp_path, model, cells, n_genes)[filled], atol=1e-5)
    assert np.isnan(got[7]).all()
    assert 0.5 < cells.uns["details"]["coverage"] < 1


@pytest.mark.parametrize("batch_size", [1, 100])
def test_neither_the_batch_nor_the_order_of_the_genes_matters(tmp_path, cells, batch_size):
    save_model(tmp_path)
    expected = embed(cells.copy(), model=tmp_path, n_genes=10)
    order = np.random.default_rng(0).permutation(22)
    got = embed(cells[:, order].copy(), model=tmp_path, n_genes=10, batch_size=batch_size)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_names_of_another_kind_are_refused(tmp_path, cells):
    save_model(tmp_path)
    cells.var_names = [f"ENSG{i}" for i in range(22)]
    with pytest.raises(ValueError, match=r"tGPT knows only 0\.0% of the most expressed genes"):
        embed(cells, model=tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, cells):
    save_model(tmp_path)
    other = tmp_path / "other"
    save_model(other, names=[*GENES, "more"])
    (other / "tokenizer.json").replace(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="has 25 tokens and the model 24"):
        embed(cells, model=tmp_path)


def test_unknown_weights_are_named(tmp_path, cells):
    save_model(tmp_path, safe=False)
    torch.save({"wte.weight": torch.zeros(24, 12), "extra": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r'Missing key.*"wpe\.weight".*Unexpected key.*"extra"'):
        embed(cells, model=tmp_path)


def test_without_a_model_it_says_what_to_download(tmp_path, cells):
    with pytest.raises(ValueError, match=r"needs the option model=.*tokenizer\.json.*transcriptome-gpt-1024-8-16-64"):
        embed(cells)
    save_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor pytorch_model\.bin"):
        embed(cells, model=tmp_path)
