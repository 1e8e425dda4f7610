"""The fast network against a plain torch implementation of the reference."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.reference import ReferenceUCE, generated_state, generated_tokens
from univerce.model import UCE, UCEConfig
from univerce.model.layers import Layer, pack, sinusoids

TINY = UCEConfig(
    token_dim=24, d_model=20, n_heads=5, d_hidden=36, n_layers=3, output_dim=18, decoder_dim=30, gene_dim=14,
    head_dims=(16, 8), max_length=64,
)  # fmt: skip
FOUR_LAYERS = UCEConfig(n_layers=4)


class Case:
    """One set of generated weights in both networks, and padded sentences."""

    def __init__(self, config: UCEConfig, lengths: list[int], n_tokens: int = 50, seed: int = 5) -> None:
        with torch.device("meta"):
            self.fast = UCE(config)
        self.reference = ReferenceUCE(config).eval()
        state = generated_state(self.fast, seed)
        self.fast.load_state_dict(state | {"pos_encoder.pe": sinusoids(config)}, assign=True)
        self.reference.load_state_dict(state, assign=True, strict=False)
        self.fast.requires_grad_(requires_grad=False).eval()
        self.features = torch.from_numpy(generated_tokens(n_tokens, config.token_dim, seed))
        self.lengths = torch.tensor(lengths)
        ids = np.random.default_rng(seed).integers(1, n_tokens, (len(lengths), max(lengths)))
        self.mask = (torch.arange(max(lengths)) < self.lengths[:, None]).float()
        self.ids = torch.from_numpy(ids) * self.mask.long()

    def embed(self, *, official: bool = False) -> np.ndarray:
        tokens = self.fast.encode_tokens(self.features)[self.ids]
        return self.fast.embed(tokens, self.lengths, official=official).numpy()

    @torch.no_grad()
    def expected(self, *, official: bool = False) -> np.ndarray:
        if official:
            return self.reference(self.features[self.ids].transpose(0, 1), self.mask).numpy()
        alone = [
            self.reference(self.features[ids[:n], None], torch.ones(1, n))[0]
            for ids, n in zip(self.ids, self.lengths.tolist(), strict=True)
        ]
        return torch.stack(alone).numpy()


@pytest.fixture(scope="module")
def tiny() -> Case:
    return Case(TINY, [64, 9, 33, 1])


@pytest.fixture(scope="module")
def four_layers() -> Case:
    return Case(FOUR_LAYERS, [24, 9])


@pytest.fixture(params=["tiny", "four_layers"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("official", [pytest.param(False, id="masked pads"), pytest.param(True, id="pads attended to")])
def test_embeddings_equal_those_of_the_reference(case, official):
    embedding = case.embed(official=official)
    assert np.abs(embedding - case.expected(official=official)).max() <= 1e-5
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)


def test_logits_equal_those_of_the_plain_head(case):
    cells = torch.from_numpy(case.embed())
    queries = case.features[[3, 7, 7, 20, 0]]
    with torch.no_grad():
        gene = case.reference.gene_embedding_layer(F.normalize(queries, dim=1))
        expected = [[case.reference.binary_decoder(torch.cat([c, g])).item() for g in gene] for c in cells]
    logits = case.fast.predict(cells, queries)
    assert np.abs(logits.numpy() - expected).max() <= 1e-4
    own = case.fast.predict(cells, queries.expand(len(cells), -1, -1))  # each cell with queries of its own
    np.testing.assert_allclose(own, logits, atol=1e-6)


def test_the_networks_have_the_same_weights_under_the_same_names():
    with torch.device("meta"):
        fast, reference = UCE(FOUR_LAYERS).state_dict(), ReferenceUCE(FOUR_LAYERS).state_dict()
    assert {k: v.shape for k, v in fast.items()} == {k: v.shape for k, v in reference.items()}
    assert fast["pos_encoder.pe"].shape == (1536, 1, 1280)
    assert fast["transformer_encoder.layers.3.self_attn.in_proj_weight"].shape == (3840, 1280)
    assert fast["binary_decoder.0.0.weight"].shape == (2048, 2560)


def test_masked_pads_do_not_change_a_cell(tiny):
    tokens = tiny.fast.encode_tokens(tiny.features)
    together = tiny.embed()
    for i, n in enumerate(tiny.lengths.tolist()):
        alone = tiny.fast.embed(tokens[tiny.ids[i : i + 1, :n]])
        assert np.abs(alone[0].numpy() - together[i]).max() <= 1e-6


def test_official_pads_change_all_cells_except_the_longest(tiny):
    difference = np.abs(tiny.embed(official=True) - tiny.embed()).max(axis=1)
    assert difference[0] <= 1e-6
    assert (difference[1:] > 1e-4).all()


def test_the_scale_of_a_token_has_no_effect_and_the_pad_is_finite(tiny):
    features = tiny.features[:6]
    scaled = features * torch.tensor([1.0, 3.0, 0.01, 120.0, 7.0, 1e-3])[:, None]
    torch.testing.assert_close(tiny.fast.encode_tokens(scaled), tiny.fast.encode_tokens(features))
    assert torch.isfinite(tiny.fast.encode_tokens(features)[0]).all()


def test_positions_are_sinusoids_of_base_10000():
    table = sinusoids(TINY)
    assert table.shape == (64, 1, 20)
    for position, column in [(0, 0), (0, 1), (17, 6), (63, 13), (40, 19)]:
        angle = position / 10000 ** (column // 2 * 2 / 20)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert table[position, 0, column].item() == pytest.approx(expected, abs=1e-5)


def test_a_layer_equals_that_of_torch_and_its_first_position_can_be_computed_alone():
    layer = Layer(TINY).eval()
    plain = nn.TransformerEncoderLayer(20, 5, 36, batch_first=True).eval()
    state = generated_state(layer, 3)
    layer.load_state_dict(state)
    plain.load_state_dict(state)
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((3, 11, 20)).astype(np.float32))
    pads = torch.arange(11) >= torch.tensor([11, 4, 7])[:, None]
    bias = torch.zeros(3, 11).masked_fill(pads, float("-inf"))
    with torch.no_grad():
        expected = plain(x, src_key_padding_mask=bias)
        full = layer(x, bias[:, None, None])
        first = layer(x, bias[:, None, None], cls_only=True)
    np.testing.assert_allclose(full[~pads], expected[~pads], atol=1e-5)
    assert first.shape == (3, 1, 20)
    np.testing.assert_allclose(first, full[:, :1], atol=1e-6)


# Precision


@pytest.mark.parametrize("official", [pytest.param(False, id="masked pads"), pytest.param(True, id="pads attended to")])
def test_bfloat16_layers_keep_the_direction(four_layers, official):
    expected = four_layers.embed(official=official)
    low = copy.deepcopy(four_layers.fast)
    for layer in low.transformer_encoder.layers:
        for part in (layer.self_attn, layer.linear1, layer.linear2):
            part.to(torch.bfloat16)
    tokens = low.encode_tokens(four_layers.features)[four_layers.ids]
    embedding = low.embed(tokens, four_layers.lengths, official=official)
    assert embedding.dtype == torch.float32
    assert (embedding.numpy() * expected).sum(axis=1).min() > 0.99
    assert np.abs(embedding.numpy() - expected).max() > 1e-6  # it did run in bfloat16


@pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX512"), reason="weights are packed for AVX-512"
)
def test_packed_weights_are_the_same_numbers(four_layers):
    network = copy.deepcopy(four_layers.fast)
    for layer in network.transformer_encoder.layers:
        for part in (layer.self_attn, layer.linear1, layer.linear2):
            part.to(torch.bfloat16)
    tokens = network.encode_tokens(four_layers.features)[four_layers.ids]
    plain = {name: weight.clone() for name, weight in network.state_dict().items()}

    def embed_with_gradient():
        leaf = tokens.clone().requires_grad_()
        with torch.enable_grad():
            out = network.embed(leaf, four_layers.lengths)
            return out, *torch.autograd.grad(out[:, 0].sum(), leaf)

    def embed():
        with torch.no_grad():
            return network.embed(tokens, four_layers.lengths)

    expected, with_gradient = embed(), embed_with_gradient()
    pack(network)
    pack(network)  # once more: another species
    packed = {name for name, weight in network.named_parameters() if weight.is_mkldnn}
    products = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    assert packed == {f"transformer_encoder.layers.{i}.{name}" for i in range(3) for name in products}
    assert all(torch.equal(network.get_parameter(name).to_dense(), plain[name]) for name in packed)
    found = embed()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)  # the order of the sums may differ
    assert (found * expected).sum(dim=1).min() > 0.9999
    for found, wanted in zip(embed_with_gradient(), with_gradient, strict=True):
        assert torch.equal(found, wanted), "gradients use the same products"


def test_float32_weights_are_not_packed(four_layers):
    network = copy.deepcopy(four_layers.fast)
    pack(network)
    assert not any(weight.is_mkldnn for weight in network.parameters())


# Recorded outputs of the reference implementation


def recorded(path: Path, shapes: dict[str, tuple[int, ...]]) -> tuple[np.lib.npyio.NpzFile, UCE, torch.Tensor]:
    z = np.load(path)
    c = json.loads(str(z["config"]))
    config = UCEConfig(
        token_dim=c["token_dim"], d_model=c["d_model"], n_heads=c["nhead"], d_hidden=c["d_hid"], n_layers=c["nlayers"],
        output_dim=c["output_dim"],
    )  # fmt: skip
    with torch.device("meta"):
        network = UCE(config)
    state = generated_state(network, int(z["seed"]), shapes)
    # weights of another shape belong to the expression head, which the recorded embeddings do not use
    unused = {k: torch.zeros(network.state_dict()[k].shape) for k in shapes}
    network.load_state_dict(state | unused | {"pos_encoder.pe": sinusoids(config)}, assign=True)
    features = torch.from_numpy(generated_tokens(int(z["n_tokens"]), config.token_dim, int(z["seed"])))
    return z, network.eval().requires_grad_(requires_grad=False), features


@pytest.mark.parametrize(
    "name, shapes",
    [
        pytest.param(
            "tiny",
            {
                "gene_embedding_layer.0.weight": (40, 64),
                "gene_embedding_layer.0.bias": (40,),
                "gene_embedding_layer.2.weight": (40,),
                "gene_embedding_layer.2.bias": (40,),
            },
            id="small network",
        ),
        pytest.param("four_layer", {}, id="four layers of full width"),
    ],
)
def test_outputs_equal_those_recorded_from_the_reference(parity, name, shapes):
    z, network, features = recorded(parity / f"{name}.npz", shapes)
    tokens = network.encode_tokens(features)[torch.from_numpy(z["ids"])]
    lengths = torch.from_numpy(z["lengths"])
    for key, official in (("masked", False), ("official", True)):
        difference = np.abs(network.embed(tokens, lengths, official=official).numpy() - z[key]).max()
        print(f"{name} {key}: {difference:.2g}")
        assert difference <= 1e-5
    if "logits" in z:
        logits = network.predict(torch.from_numpy(z["official"]), features[torch.from_numpy(z["query_ids"])])
        difference = np.abs(logits.numpy() - z["logits"]).max()
        print(f"{name} logits: {difference:.2g}")
        assert difference <= 1e-4
