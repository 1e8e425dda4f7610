"""scGPT end to end, on small models saved as the released ones are, against loops and plain attention."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods.scgpt import METHOD, bin_values, sentences
from univerce.inference.sentences import cell_keys

D, HEADS, LAYERS = 12, 3, 2
GENES = [f"G{i}" for i in range(20)]
VOCABULARY = {g: i for i, g in enumerate([*np.random.default_rng(0).permutation(GENES).tolist(), "<pad>", "<cls>"])}
ARGS = {
    "embsize": D, "nheads": HEADS, "d_hid": 16, "nlayers": LAYERS, "n_layers_cls": 3, "dropout": 0.2,
    "pad_token": "<pad>", "pad_value": -2, "input_style": "binned", "input_emb_style": "continuous", "n_bins": 51,
}  # fmt: skip


def published_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Every weight that a released file holds, under the names of flash-attn."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 3)

    state = {"encoder.embedding.weight": random(23, D) * 3, "flag_encoder.weight": random(2, D)}
    linear = {"value_encoder.linear1": (D, 1), "value_encoder.linear2": (D, D), "decoder.fc.0": (D, D)}
    norms = ["encoder.enc_norm", "value_encoder.norm"]
    for i in range(LAYERS):
        layer = f"transformer_encoder.layers.{i}"
        linear |= {
            f"{layer}.self_attn.Wqkv": (3 * D, D), f"{layer}.self_attn.out_proj": (D, D),
            f"{layer}.linear1": (16, D), f"{layer}.linear2": (D, 16),
        }  # fmt: skip
        norms += [f"{layer}.norm1", f"{layer}.norm2"]
    linear |= {"cls_decoder.out_layer": (1, D), "mvc_decoder.gene2query": (D, D)}
    for name, shape in linear.items():
        state |= {f"{name}.weight": random(*shape), f"{name}.bias": random(shape[0])}
    for name in norms:
        state |= {f"{name}.weight": 1 + random(D), f"{name}.bias": random(D)}
    return state


def save(directory, state=None, vocabulary=VOCABULARY, args=ARGS):
    torch.save(published_state() if state is None else state, directory / "best_model.pt")
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    (directory / "args.json").write_text(json.dumps(args))
    return directory


@pytest.fixture
def cells():
    return typed_cells(n=30, n_genes=25, names=[*GENES, *(f"none{i}" for i in range(5))], empty=(7,))


def embed(cells, rng=0, **options):
    return METHOD.embed(cells, batch_key=None, groupby=None, rng=rng, **options)


def plainly(state: dict[str, torch.Tensor], tokens: list[int], values: list[float]) -> np.ndarray:
    """One cell through the formulas: numpy, one head after the other, no masks."""
    w = {k: v.double().numpy() for k, v in state.items()}

    def norm(x, name):
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = norm(w["encoder.embedding.weight"][tokens], "encoder.enc_norm")
    v = np.maximum(linear(np.array(values)[:, None], "value_encoder.linear1"), 0)
    x = x + norm(linear(v, "value_encoder.linear2"), "value_encoder.norm")
    for i in range(LAYERS):
        layer = f"transformer_encoder.layers.{i}"
        q, k, u = np.split(linear(x, f"{layer}.self_attn.Wqkv"), 3, axis=1)
        heads = []
        for h in range(HEADS):
            part = slice(h * D // HEADS, (h + 1) * D // HEADS)
            score = np.exp(q[:, part] @ k[:, part].T / np.sqrt(D // HEADS))
            heads.append(score / score.sum(axis=1, keepdims=True) @ u[:, part])
        x = norm(x + linear(np.concatenate(heads, axis=1), f"{layer}.self_attn.out_proj"), f"{layer}.norm1")
        x = norm(x + linear(np.maximum(linear(x, f"{layer}.linear1"), 0), f"{layer}.linear2"), f"{layer}.norm2")
    return x[0] / np.linalg.norm(x[0])


def tokens_of(cells, rng=0, max_length=1200):
    counts = sp.csr_matrix((cells.n_obs, 23)).tolil()
    for j, name in enumerate(cells.var_names):
        if name in VOCABULARY:
            counts[:, VOCABULARY[name]] = cells.X[:, [j]].toarray()
    return sentences(
        sp.csr_matrix(counts), cell_keys(cells.obs_names, rng), cls=21, cls_value=-2, max_length=max_length
    )


def test_bins_are_those_of_numpy_digitize_from_both_sides():
    rng = np.random.default_rng(0)
    values, uniform = rng.poisson(3.0, 200) + 1.0, rng.random(200)
    edges = np.quantile(values, np.linspace(0, 1, 50))
    left, right = np.digitize(values, edges), np.digitize(values, edges, right=True)
    expected = np.ceil(uniform * (right - left) + left)
    np.testing.assert_array_equal(bin_values(values, uniform), expected)


def test_equal_values_are_spread_over_all_bins_that_they_fill():
    values = np.repeat([1.0, 2.0], [4000, 4000])
    bins = bin_values(values, np.random.default_rng(0).random(8000))
    assert set(bins[:4000]) == set(range(1, 26))
    assert set(bins[4000:]) == set(range(26, 51))
    assert np.bincount(bins[:4000], minlength=26)[1:].min() > 100


def test_the_expressed_genes_follow_cls_each_with_its_bin(cells):
    tokens, values = tokens_of(cells)
    for i, name in enumerate(cells.obs_names):
        row = cells[name].X.toarray().ravel()
        expressed = {VOCABULARY[g]: c for g, c in zip(cells.var_names, row, strict=True) if c and g in VOCABULARY}
        if not expressed:
            assert len(tokens[i]) == 0
            continue
        assert (tokens[i][0], values[i][0]) == (21, -2)
        assert sorted(tokens[i][1:]) == sorted(expressed)
        order = np.argsort([expressed[t] for t in tokens[i][1:]], kind="stable")
        counts, bins = np.array([expressed[t] for t in tokens[i][1:]])[order], values[i][1:][order]
        assert all(bins[a] <= bins[b] for a in range(len(bins)) for b in range(len(bins)) if counts[a] < counts[b])


def test_a_long_cell_is_a_sample_of_its_genes_with_the_bins_of_the_whole_cell(cells):
    whole, short = tokens_of(cells), tokens_of(cells, max_length=6)
    for tokens, values, all_tokens, all_values in zip(*short, *whole, strict=True):
        if len(all_tokens) > 6:
            assert len(tokens) == 6
            assert len(set(tokens)) == 6
            assert set(zip(tokens, values, strict=True)) <= set(zip(all_tokens, all_values, strict=True))
    chosen = np.bincount(np.concatenate([t[1:] for t in short[0]]), minlength=20)
    assert chosen.min() > 0


def test_a_cell_is_the_output_at_cls_of_unit_length(tmp_path, cells):
    got = embed(cells, model=save(tmp_path), batch_size=4)
    for i, (tokens, values) in enumerate(zip(*tokens_of(cells), strict=True)):
        if len(tokens):
            np.testing.assert_allclose(got[i], plainly(published_state(), tokens, values), atol=1e-5)
    assert np.flatnonzero(np.isnan(got).any(axis=1)).tolist() == [7]
    assert np.nanstd(got, axis=0).max() > 1e-2


@pytest.mark.parametrize("attention", ["self_attn.in_proj_", "self_attn._impl.Wqkv."])
def test_the_names_of_torch_and_of_wrapped_flash_attention_are_read_too(tmp_path, cells, attention):
    expected = embed(cells.copy(), model=save(tmp_path))
    state = {k.replace("self_attn.Wqkv.", attention): v for k, v in published_state().items()}
    np.testing.assert_array_equal(embed(cells, model=save(tmp_path, state)), expected)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_neither_the_batch_nor_the_other_cells_nor_the_order_of_the_genes_matters(tmp_path, cells, batch_size):
    expected = embed(cells.copy(), model=save(tmp_path), max_length=8, batch_size=4)
    rows, columns = [21, 3, 12], np.random.default_rng(0).permutation(25)
    got = embed(cells[rows, columns].copy(), model=tmp_path, max_length=8, batch_size=batch_size)
    np.testing.assert_allclose(got, expected[rows], atol=1e-5)


def test_the_seed_and_the_name_of_a_cell_decide_its_draws(tmp_path, cells):
    expected = embed(cells.copy(), model=save(tmp_path), max_length=8)
    np.testing.assert_array_equal(embed(cells.copy(), model=tmp_path, max_length=8), expected)
    assert np.nanmax(np.abs(embed(cells.copy(), rng=1, model=tmp_path, max_length=8) - expected)) > 1e-2
    cells.obs_names = [f"{n}'" for n in cells.obs_names]
    assert np.nanmax(np.abs(embed(cells, model=tmp_path, max_length=8) - expected)) > 1e-2


def test_special_tokens_that_the_vocabulary_lacks_are_appended(tmp_path, cells):
    full = VOCABULARY | {"<eoc>": 22}
    expected = embed(cells.copy(), model=save(tmp_path, vocabulary=full))
    np.testing.assert_array_equal(embed(cells, model=save(tmp_path)), expected)


def test_a_gene_that_is_called_like_a_special_token_is_none(tmp_path, cells):
    expected = embed(cells.copy(), model=save(tmp_path))
    cells.var_names = [*cells.var_names[:20], "<cls>", "<pad>", "<eoc>", "x", "y"]
    np.testing.assert_array_equal(embed(cells, model=tmp_path), expected)
    assert cells.uns["details"]["coverage"] < 1


ATTENTION = {"transformer_encoder.layers.0.self_attn.in_proj_weight": torch.zeros(3 * D, D)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"state": published_state() | {"bn.weight": torch.zeros(D)}}, r'are not .*Unexpected key.*"bn\.weight"'),
        ({"state": published_state() | ATTENTION}, "occurs twice, under the names of flash-attn and of torch"),
        ({"state": {"weight": print}}, r"best_model\.pt was refused"),
        (
            {"vocabulary": VOCABULARY | {"more": 22}},
            r"mismatch for encoder\.embedding\.weight.*\[23, 12\].*\[24, 12\]",
        ),
        ({"args": ARGS | {"input_emb_style": "category"}}, "values are not continuous"),
        ({"args": {k: v for k, v in ARGS.items() if k != "embsize"}}, r"args\.json lacks embsize"),
    ],
)
def test_files_of_another_model_are_refused(tmp_path, cells, change, message):
    with pytest.raises(ValueError, match=message):
        embed(cells, model=save(tmp_path, **change))


def test_names_of_another_kind_are_refused(tmp_path, cells):
    cells.var_names = [f"ENSG{i}" for i in range(25)]
    with pytest.raises(ValueError, match=r"Only 0\.0% of the counts are in genes that scGPT knows"):
        embed(cells, model=save(tmp_path))


def test_without_a_model_it_says_what_to_download(tmp_path, cells):
    with pytest.raises(ValueError, match=r"the option model=.*best_model\.pt, vocab\.json, args\.json.*bowang-lab"):
        embed(cells)
    with pytest.raises(FileNotFoundError, match=r"has no best_model\.pt, vocab\.json, args\.json"):
        embed(cells, model=tmp_path)
