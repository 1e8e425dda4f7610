"""The UCE-brain network against recorded outputs of its own code and a plain torch implementation."""

from __future__ import annotations

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import univerce as uc
from tests.helpers.reference import ReferenceBrain
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.genes.release.checkpoint_tables import token_table_name
from univerce.genes.release.sentence_ids import SentenceIds
from univerce.genes.table import write_table
from univerce.model import UCEBrain, UCEBrainConfig, find_model, load_network, save_model
from univerce.model.brain import own_name
from univerce.model.layers import sinusoids

TOKEN_TABLE = "embedding_layer.embedding.weight"
TINY = UCEBrainConfig(
    token_dim=24, d_model=20, n_heads=5, d_hidden=36, n_layers=3, output_dim=18, head_dims=(16, 8), max_length=40,
    n_positions=64,
)  # fmt: skip


def config_of(recorded: dict) -> UCEBrainConfig:
    """Our names of the entries of a recorded config."""
    d, out = recorded["d_model"], recorded["output_embedding_dim"]
    n = recorded["max_sequence_length"]
    return UCEBrainConfig(
        token_dim=recorded["embedding_dim"], d_model=d, n_heads=recorded["nhead"], n_layers=recorded["num_layers"],
        d_hidden=recorded.get("dim_feedforward", recorded.get("expansion_factor", 4) * d), output_dim=out,
        head_dims=tuple(recorded.get("decoder_layer_dims", [d + out, 512, 512, 1])[1:-1]), max_length=n, n_positions=n,
        positions=recorded.get("positional_encoding_type", "sinusoidal"),
    )  # fmt: skip


def generated(names: list[str], shapes: list[str], seed: int, *, learned: bool) -> dict[str, torch.Tensor]:
    """The weights of the recorded outputs, under their own names."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted(zip(names, shapes, strict=True)):
        if name == "uce.pos_encoder.pe" and not learned:
            continue
        w = rng.standard_normal(tuple(json.loads(shape.replace("(", "[").replace(",)", ")").replace(")", "]"))))
        w = w * (1.0 if name.endswith("embedding.weight") else 0.05)
        if name.endswith("embedding.weight"):
            w[0] = 0
        state[name] = torch.from_numpy((1 + w if w.ndim == 1 and name.endswith("weight") else w).astype(np.float32))
    return state


@pytest.mark.parametrize("name", ["brain_tiny", "brain_learned"])
def test_outputs_equal_those_recorded_from_its_own_code(parity, name):
    z = np.load(parity / f"{name}.npz")
    config = config_of(json.loads(str(z["config"])))
    state = generated(z["names"].tolist(), z["shapes"].tolist(), int(z["seed"]), learned=config.positions == "learned")
    state = {own_name(key): tensor for key, tensor in state.items()}
    table = state.pop(TOKEN_TABLE)
    network = UCEBrain(config).eval().requires_grad_(requires_grad=False)
    missing, unknown = network.load_state_dict(state, strict=False)
    assert (missing, unknown) == ([] if config.positions == "learned" else ["pos_encoder.pe"], [])
    own = {own_name(key) for key in z["names"].tolist()} - {TOKEN_TABLE}
    assert own == set(network.state_dict())

    tokens = network.encode_tokens(table)[torch.from_numpy(z["ids"])]
    cells = network.embed(tokens, torch.from_numpy(z["lengths"]))
    logits = network.predict(cells, table[torch.from_numpy(z["query_ids"])])
    loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(z["expressed"]), reduction="none").mean(dim=1)
    for key, values in (("embedding", cells), ("logits", logits), ("per_cell_loss", loss)):
        difference = np.abs(values.numpy() - z[key]).max()
        print(f"{name} {key}: {difference:.2g}")
        assert difference <= 1e-5, key


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as published"),
        pytest.param({"reduction": "mean"}, id="mean over all positions"),
        pytest.param({"reduction": "mean", "positions": "learned"}, id="mean with learned positions"),
        pytest.param({"activation": "relu", "token_norm": False}, id="relu without norm of the tokens"),
    ],
)
def test_every_variant_equals_a_plain_implementation(changes):
    torch.manual_seed(0)
    config = replace(TINY, **changes)
    network = UCEBrain(config).eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape))
    plain = ReferenceBrain(config).eval().requires_grad_(requires_grad=False)
    plain.load_state_dict(
        {k: v for k, v in network.state_dict().items() if not k.startswith(("pos_encoder", "expression_decoder"))}
    )
    features = torch.randn(9, 24)
    features[0] = 0
    lengths = torch.tensor([30, 12])
    ids = torch.randint(1, 9, (2, 40)) * (torch.arange(40) < lengths[:, None])
    positions = network.pos_encoder.pe.reshape(-1, 20)[:40]
    expected = plain(features[ids], ids == 0, positions)
    tokens = network.encode_tokens(features)
    together = network.embed(tokens[ids[:, :30]], lengths)
    alone = [network.embed(tokens[row[None, :n]])[0] for row, n in zip(ids, lengths.tolist(), strict=True)]
    assert (together - expected).abs().max() <= 1e-5
    assert (torch.stack(alone) - expected).abs().max() <= 1e-5


def test_positions_are_those_of_the_first_family():
    assert torch.equal(UCEBrain(TINY).pos_encoder.pe, sinusoids(TINY))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"n_heads": 7}, "d_model=20 must be a multiple of n_heads=7"),
        ({"n_layers": 0}, "n_layers=0 must be a whole number"),
        ({"reduction": "max"}, "reduction='max' is not known; use one of cls, mean"),
        ({"activation": "swish"}, "activation='swish' is not known; use one of gelu, relu"),
        ({"positions": "rotary"}, "positions='rotary' is not known"),
        ({"positions": "learned", "max_length": 65}, "n_positions=64 are too few"),
    ],
)
def test_an_impossible_configuration_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_a_configuration_comes_back_from_json():
    again = json.loads(json.dumps(replace(TINY, positions="learned").to_dict()))
    assert UCEBrainConfig.from_dict(again) == replace(TINY, positions="learned")
    with pytest.raises(ValueError, match="unknown entries: nhead"):
        UCEBrainConfig.from_dict({"nhead": 4})


def test_a_vocabulary_is_named_by_its_numbers_and_its_features():
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32))
    ids = SentenceIds(pad=0, cls=1, right=400, chromosome_offset=300, n_sample=1024, max_length=2048, source={})
    first = token_table_name(table, ids)
    assert first.startswith("uce-brain-500-cls1-chrom300-right400-")
    changed = [replace(ids, **{key: getattr(ids, key) + 1}) for key in ("cls", "right", "chromosome_offset")]
    others = [token_table_name(t, ids) for t in (table * 1.001, table[:-1])]
    assert len({first, *others, *(token_table_name(table, other) for other in changed)}) == 6


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_a_model_comes_back_bit_for_bit_and_embeds_cells(tmp_path, positions):
    """Sentences, embedding and expression of cells are those of the network called by hand."""
    config = replace(
        TINY, model_id="brain", token_dim=12, token_encoder="uce-brain-1", max_length=80, n_positions=90, n_sample=40,
        positions=positions,
    )  # fmt: skip
    torch.manual_seed(1)
    network = UCEBrain(config).eval().requires_grad_(requires_grad=False)
    model = save_model(network, tmp_path / "model")
    assert find_model(tmp_path / "model") == model
    back = load_network(model)
    for name, tensor in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    assert ("pos_encoder.pe" in load_file(model.weights)) == (positions == "learned")

    table = tiny_table("human", encoder="uce-brain-1")
    write_table(table, tmp_path / "model" / "tables" / "human.h5ad")
    cells = tiny_cells("human", 8)
    uc.pp.uce_tokenize(cells, model=tmp_path / "model")
    uc.tl.uce_embed(cells, model=tmp_path / "model")
    features = torch.from_numpy(
        np.concatenate([table.uns["special_features"], table.X, table.uns["chromosome_features"]]).astype(np.float32)
    )
    tokens = network.encode_tokens(features)
    for ids, n, cell in zip(
        cells.obsm["uce_sentences"], cells.obs["uce_sentences_length"], cells.obsm["X_uce"], strict=True
    ):
        expected = network.embed(tokens[torch.from_numpy(ids[:n].astype(np.int64))][None])[0]
        np.testing.assert_allclose(cell, expected, atol=1e-5)
    uc.tl.uce_embed(cells, model=tmp_path / "model", store=tmp_path / "store")
    np.testing.assert_array_equal(ad.read_zarr(tmp_path / "store").obsm["X_uce"], cells.obsm["X_uce"])
    names = table.obs["symbol"][:3].tolist()
    found = uc.tl.predict_expression(cells, names, model=tmp_path / "model")
    expected = torch.sigmoid(network.predict(torch.from_numpy(cells.obsm["X_uce"]), features[4:7]))
    np.testing.assert_allclose(found.X, expected, atol=1e-5)


def test_deletion_attribution_and_context_work_with_it(tmp_path):
    config = replace(TINY, token_dim=12, token_encoder="uce-brain-1", max_length=80, n_sample=40)
    torch.manual_seed(1)
    save_model(UCEBrain(config), tmp_path / "model")
    table = tiny_table("human", encoder="uce-brain-1")
    write_table(table, tmp_path / "model" / "tables" / "human.h5ad")
    cells = tiny_cells("human", 8)
    genes = table.obs["symbol"].tolist()
    uc.tl.delete_genes(cells, genes[:2], model=tmp_path / "model")
    assert (cells.obsm["deleted_cosine"].to_numpy() > 0).any()
    assert uc.tl.gene_network(cells, genes[:3], context=True, model=tmp_path / "model").shape[0] == 3
    attribution = uc.tl.gene_attribution(cells, np.eye(18)[0], model=tmp_path / "model")
    assert np.isfinite(attribution.X).all()
