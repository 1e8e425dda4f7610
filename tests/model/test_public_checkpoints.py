"""Public checkpoints of both families in every layout, from the hub or a directory, by one string."""

from __future__ import annotations

import dataclasses
import importlib
import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

import univerce as uc
from tests.helpers.checkpoints import (
    BRAIN_CONFIG,
    BRAIN_IDS,
    GENES_END,
    PAPER_CONFIG,
    SYMBOLS,
    brain_files,
    brain_genes,
    brain_state,
    checkpoint_cells,
    paper_release,
    paper_state,
    run_config,
    sharded,
    token_table,
    torch_bytes,
)
from tests.helpers.hub import Hub
from tests.model.test_brain import generated
from univerce.genes.release import models, registry, source, tables
from univerce.genes.release.registry import ASSETS
from univerce.genes.release.source import Source
from univerce.genes.table import CLS, PAD, RIGHT
from univerce.model import UCE, save_model
from univerce.model.checkpoint import weight_shapes
from univerce.model.config import RELEASED, UCE_4L
from univerce.model.makers_config import paper_config

MISC = "minwoosun/uce-misc"
NHEAD = json.dumps({"nhead": 2, "sample_size": 40}).encode()


@pytest.fixture
def hub(monkeypatch):
    """A hub with the files of the release; a broken name of a module would not be patched silently."""
    fetch, listing = (importlib.import_module(f"univerce.genes.release.{name}") for name in ("fetch", "hub"))
    small = {
        name: dataclasses.replace(asset, urls=(), figshare_id=None, min_bytes=1, max_bytes=10**9, sha256="")
        for name, asset in ASSETS.items()
    }
    for module in (registry, fetch):
        monkeypatch.setattr(module, "ASSETS", small)
    monkeypatch.setattr(tables, "convert_tables", partial(tables.convert_tables, chrom_token_offset=GENES_END))
    with Hub({MISC: paper_release()}) as hub, uc.settings.override(progress=False):
        hub.commits[MISC] = ASSETS["species_chrom.csv"].hub[0].revision
        hub.use(monkeypatch)
        yield hub
    listing._listing.cache_clear()


def paper_layouts():
    state = paper_state()
    bare = {name: tensor for name, tensor in state.items() if name != "pe_embedding.weight"}
    tokens = torch_bytes(state["pe_embedding.weight"])
    config = {"config.json": NHEAD}
    return {
        "transformers": config | {"pytorch_model.bin": torch_bytes(state)},
        "safetensors": config | {"model.safetensors": save(state)},
        "shards": config | sharded(state),
        "weights and tokens": config | {"model.pt": torch_bytes({"state_dict": bare}), "tokens.pt": tokens},
        "no token table": config | {"model.safetensors": save(bare)},
        "original names": config | {"4layer_model.torch": torch_bytes(state), "all_tokens.torch": tokens},
        "data parallel": config | {"model.pt": torch_bytes({f"module.{n}": t for n, t in state.items()})},
    }


def brain_layouts():
    files, state = brain_files(), brain_state()
    rest = {name: content for name, content in files.items() if name != "model.safetensors"}
    genes = files["vocab/all_species_gene_dict_v2026-09.json"]
    legacy = {"config.json": json.dumps(BRAIN_CONFIG | BRAIN_IDS).encode(), "gene_mapping.json": genes}
    return {
        "v2026-09": files,
        "shards": rest | sharded(state),
        "training": {k: v for k, v in files.items() if k != "config.yaml"} | {"training/config.yaml": run_config()},
        "hydra": {k: v for k, v in files.items() if k != "config.yaml"} | {".hydra/config.yaml": run_config()},
        "ids in config.json": legacy | {"model.safetensors": files["model.safetensors"]},
        "torch": rest | {"pytorch_model.bin": torch_bytes(state)},
    }


def embed(model, species="human"):
    adata = checkpoint_cells(species)
    uc.tl.uce_embed(adata, species, model=model)
    return adata


FAMILIES = {"uce": paper_layouts, "uce-brain": brain_layouts}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_public_layout_embeds_the_same_by_one_string(hub, tmp_path, family):
    first = None
    for i, (layout, files) in enumerate(FAMILIES[family]().items()):
        hub.repositories[f"maker/model{i}"] = files
        adata = embed(f"hf://maker/model{i}")
        first = adata if first is None else first
        np.testing.assert_array_equal(adata.obsm["X_uce"], first.obsm["X_uce"], err_msg=layout)
        assert np.isfinite(adata.obsm["X_uce"]).all()
        params = adata.uns["univerce"]["X_uce"]
        assert params["model"] == f"hf://maker/model{i}@{hub.commit(f'maker/model{i}')}"
        for path, content in files.items():
            (tmp_path / layout / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / layout / path).write_bytes(content)
        here = embed(tmp_path / layout)
        np.testing.assert_array_equal(here.obsm["X_uce"], first.obsm["X_uce"], err_msg=f"directory: {layout}")
        assert uc.model.find_model(tmp_path / layout).config.family == family


@pytest.mark.parametrize("name", ["brain_tiny", "brain_learned"])
def test_a_converted_checkpoint_gives_the_recorded_outputs_of_its_own_code(parity, tmp_path, name):
    z = np.load(parity / f"{name}.npz")
    stated = json.loads(str(z["config"]))
    learned = stated.get("positional_encoding_type") == "learned"
    state = generated(z["names"].tolist(), z["shapes"].tolist(), int(z["seed"]), learned=learned)
    (tmp_path / "config.json").write_text(json.dumps({"activation": "gelu", "embedding_reduction": "cls"} | stated))
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "gene_mapping.json").write_text(json.dumps(brain_genes()))
    ids = BRAIN_IDS | {"pad_length": stated["max_sequence_length"]}
    model = uc.model.convert_checkpoint(tmp_path, tmp_path / "model", ids=ids, species=["human"])
    network = uc.model.load_network(model)
    table = state["uce.embedding_layer.embedding.weight"]
    with torch.no_grad():
        tokens = network.encode_tokens(table)[torch.from_numpy(z["ids"])]
        cells = network.embed(tokens, torch.from_numpy(z["lengths"]))
        logits = network.predict(cells, table[torch.from_numpy(z["query_ids"])])
    assert np.abs(cells.numpy() - z["embedding"]).max() <= 1e-5
    assert np.abs(logits.numpy() - z["logits"]).max() <= 1e-5
    genes = uc.genes.load_table("human", model=model.path)
    np.testing.assert_array_equal(genes.X[:], table.numpy()[genes.obs["token_id"]])


@pytest.mark.parametrize("family", FAMILIES)
def test_offline_afterwards_and_nothing_is_fetched_twice(hub, family):
    hub.repositories["maker/model"] = next(iter(FAMILIES[family]().values()))
    online = embed("hf://maker/model")
    assert max(hub.fetched()[path] for path in hub.fetched() if "storage" in path) == 1
    hub.requests.clear()
    with uc.settings.override(offline=True):
        offline = embed("hf://maker/model")
        with pytest.raises(FileNotFoundError, match="hf://maker/other"):
            embed("hf://maker/other")
    np.testing.assert_array_equal(offline.obsm["X_uce"], online.obsm["X_uce"])
    assert hub.requests == []


def test_a_user_of_one_species_fetches_one_protein_file(hub):
    hub.repositories["maker/model"] = paper_layouts()["safetensors"]
    embed("hf://maker/model")
    proteins = [path for path in hub.fetched() if "protein" in path and "storage" in path]
    assert len(proteins) == 1
    assert "Homo_sapiens" in proteins[0]


def test_a_registered_name_loads_from_the_hub_when_figshare_does_not_answer(hub, monkeypatch):
    repository, commit = registry.UCE_100M
    hub.repositories[repository] = {"pytorch_model.bin": torch_bytes(paper_state())}
    hub.commits[repository] = commit
    monkeypatch.setitem(RELEASED, "uce-4l", dataclasses.replace(PAPER_CONFIG, model_id="uce-4l"))
    adata = embed("uce-4l", "mouse")
    assert adata.uns["univerce"]["X_uce"]["model"] == "uce-4l"
    listed = uc.model.list_models().set_index("name")
    assert listed.loc["uce-4l", "cached"]
    assert not listed.loc["uce-33l", "cached"]


def test_a_registered_name_wins_over_a_directory_of_that_name(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(UCE(PAPER_CONFIG), tmp_path / "uce-4l")
    with uc.settings.override(offline=True), pytest.raises(FileNotFoundError, match=r"4layer_model\.torch"):
        uc.model.find_model("uce-4l")
    assert uc.model.find_model("./uce-4l").config == PAPER_CONFIG


def test_the_table_holds_the_rows_of_the_checkpoint(hub):
    hub.repositories["maker/model"] = brain_files()
    table = uc.genes.load_table("mouse", model="hf://maker/model")
    rows = token_table(BRAIN_CONFIG["vocab_size"]).numpy()
    genes = brain_genes()["mus_musculus"]
    for i, symbol in enumerate(SYMBOLS["mouse"]):
        gene = genes[symbol]
        found = table.obs.index[table.obs["symbol"] == symbol][0]
        np.testing.assert_array_equal(table[found].X[0], rows[int(gene["protein_embedding_id"])])
        assert table.obs.loc[found, "token_id"] == int(gene["protein_embedding_id"]) == 43 - i
        assert table.obs.loc[found, "chromosome_code"] == int(gene["chromosome_id"])
        assert table.obs.loc[found, "start"] == int(gene["location"])
    np.testing.assert_array_equal(table.uns["chromosome_codes"], [3, 4])
    np.testing.assert_array_equal(table.uns["chromosome_features"], rows[[73, 74]])
    for local, token in ((PAD, 0), (CLS, 1), (RIGHT, 89)):
        np.testing.assert_array_equal(table.uns["special_features"][local], rows[token])
    assert uc.genes.available_species("hf://maker/model") == ["human", "mouse"]


def test_without_ids_the_model_is_refused_until_the_caller_states_them(hub, tmp_path):
    hub.repositories["maker/model"] = {k: v for k, v in brain_files().items() if k != "config.yaml"}
    with pytest.raises(ValueError, match=r"does not state pad_token_idx, .*1000 .* 143574"):
        embed("hf://maker/model")
    model = uc.model.convert_checkpoint("hf://maker/model", tmp_path / "mine", ids=BRAIN_IDS)
    written = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert written["tokens"]["chromosome_offset"] == 70
    assert written["tokens"]["source"]["chrom_token_offset"] == "the caller"
    assert sorted(path.name for path in (tmp_path / "mine" / "tables").iterdir()) == ["human.h5ad", "mouse.h5ad"]
    hub.repositories["maker/other"] = brain_files()
    stated = embed("hf://maker/other")
    np.testing.assert_array_equal(embed(model.path).obsm["X_uce"], stated.obsm["X_uce"])
    other = uc.model.convert_checkpoint(
        "hf://maker/model", tmp_path / "other", ids=BRAIN_IDS | {"chrom_token_offset": 71}, species=["human"]
    )
    assert np.abs(embed(other.path).obsm["X_uce"] - stated.obsm["X_uce"]).max() > 1e-4
    with pytest.raises(ValueError, match=r"the model .* reads 'uce-brain-90-cls1-chrom71"):
        uc.tl.uce_embed(checkpoint_cells(), model.path / "tables" / "human.h5ad", model=other.path)


def test_pinned_ids_of_the_registry_are_used_if_the_checkpoint_states_none(hub, monkeypatch):
    entry = dataclasses.replace(
        models.MODELS["uce-brain-pilot-8l-512d"], ids=BRAIN_IDS, ids_from="a page", gene_data=None, name="small",
        repository="maker/model",
    )  # fmt: skip
    monkeypatch.setattr(source, "MODELS", {"small": entry})
    hub.repositories["maker/model"] = {k: v for k, v in brain_files().items() if k != "config.yaml"}
    adata = embed("small")
    assert adata.uns["univerce"]["X_uce"]["model"] == "small"
    written = json.loads((uc.model.find_model("small").path / "config.json").read_text())
    assert set(written["tokens"]["source"].values()) == {"a page"}
    assert written["source"]["commit"] == hub.commit("maker/model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 91}, "states a vocabulary of 91 tokens, its table has 90 rows"),
        ({"nhead": None}, "does not state nhead"),
        ({"embedding_reduction": None}, "does not state embedding_reduction"),
        ({"num_layers": 3}, r"missing \['transformer_encoder.layers.2"),
        ({"d_model": 16}, "not the sinusoidal table"),
        ({"output_embedding_dim": 7}, "has the shape"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_config_of_other_weights_is_refused(hub, changes, message):
    files = brain_files()
    files["config.json"] = json.dumps(BRAIN_CONFIG | changes).encode()
    hub.repositories["maker/model"] = files
    with pytest.raises(ValueError, match=message):
        uc.model.find_model("hf://maker/model")


def test_tokens_outside_the_table_are_refused(hub):
    files = brain_files()
    hub.repositories["maker/model"] = files | {"config.yaml": run_config(BRAIN_IDS | {"chrom_token_offset": 88})}
    with pytest.raises(ValueError, match=r"chromosomes have tokens outside the token table of 90 rows"):
        uc.genes.load_table("human", model="hf://maker/model")
    hub.repositories["maker/more"] = files | {"config.yaml": run_config(BRAIN_IDS | {"cls_token_idx": 90})}
    with pytest.raises(ValueError, match="The cls token 90 is not in the token table of 90 rows"):
        uc.genes.load_table("human", model="hf://maker/more")


def test_an_interrupted_conversion_is_done_again_without_fetching_again(hub, monkeypatch):
    convert = importlib.import_module("univerce.model.convert")
    hub.repositories["maker/model"] = brain_files()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            uc.model.find_model("hf://maker/model")
    hub.requests.clear()
    assert torch.is_tensor(uc.model.load_network(uc.model.find_model("hf://maker/model")).pos_encoder.pe)
    assert hub.requests == []


def test_a_repository_that_holds_no_checkpoint_is_named(hub, tmp_path):
    hub.repositories["maker/empty"] = {"README.md": b"nothing"}
    with pytest.raises(ValueError, match=r"hf://maker/empty@.* holds no UCE checkpoint"):
        uc.model.find_model("hf://maker/empty")
    hub.repositories["maker/bert"] = {"model.safetensors": save({"bert.weight": torch.ones(2)})}
    with pytest.raises(ValueError, match=r"hf://maker/bert@.* is not a UCE checkpoint: its tensors are bert\.weight"):
        uc.model.find_model("hf://maker/bert")
    with pytest.raises(ValueError, match="There is no UCE checkpoint at"):
        uc.model.convert_checkpoint(tmp_path, tmp_path / "model")


@pytest.mark.parametrize(("config", "n_heads"), [({"nhead": 16}, 16), ({}, 20)])
def test_stated_heads_win_over_those_of_the_released_models(tmp_path, config, n_heads):
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").touch()
    tensors = {name: torch.empty(shape, device="meta") for name, shape in weight_shapes(UCE_4L).items()}
    found = paper_config(tensors, Source("by hand", root=tmp_path))
    assert (found.n_heads, found.n_layers, found.d_model) == (n_heads, 4, 1280)
