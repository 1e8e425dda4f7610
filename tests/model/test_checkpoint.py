"""Models on disk, and the conversion of checkpoints in the released format."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import univerce as uc
from tests.helpers.reference import ReferenceUCE, generated_state
from univerce.genes.release import source as origin
from univerce.io.pipeline import in_background
from univerce.model import (
    UCE,
    UCEConfig,
    convert_checkpoint,
    directory,
    find_model,
    load_network,
    save_model,
)
from univerce.model.checkpoint import read_network
from univerce.model.config import RELEASED
from univerce.model.find import hash_weights

CONFIG = UCEConfig(
    model_id="small", token_dim=12, d_model=16, n_heads=2, d_hidden=20, n_layers=2, output_dim=10, decoder_dim=14,
    gene_dim=8, head_dims=(8, 6), max_length=32,
)  # fmt: skip
SENTENCES = torch.from_numpy(np.random.default_rng(0).integers(0, 9, (3, 32)))
FEATURES = torch.from_numpy(np.random.default_rng(1).standard_normal((9, 12)).astype(np.float32))


def network(config: UCEConfig = CONFIG, seed: int = 0) -> UCE:
    made = UCE(config).eval()
    made.load_state_dict(generated_state(made, seed), strict=False)
    return made


def embed(model: UCE) -> torch.Tensor:
    with torch.no_grad():
        return model.embed(model.encode_tokens(FEATURES)[SENTENCES])


def released_state() -> dict[str, torch.Tensor]:
    """What a released checkpoint holds: the network, its positions and the table of tokens."""
    reference = ReferenceUCE(CONFIG)
    reference.load_state_dict(generated_state(reference, 4), strict=False)
    return dict(reference.state_dict()) | {"pe_embedding.weight": torch.randn(30, 12)}


def released_file(directory: Path, **changes: torch.Tensor | None) -> Path:
    """A checkpoint with some entries replaced, or left out for None; ``__`` stands for a dot."""
    state = released_state()
    for name, tensor in changes.items():
        state[name.replace("__", ".")] = tensor
    torch.save({k: v for k, v in state.items() if v is not None}, directory / "checkpoint.torch")
    return directory / "checkpoint.torch"


# Write and read


def test_a_model_comes_back_bit_for_bit(tmp_path):
    made = network()
    written = save_model(made, tmp_path / "model")
    found = find_model(tmp_path / "model")
    assert found == written
    back = load_network(found)
    assert back.config == made.config
    for name, tensor in made.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
        assert back.state_dict()[name].dtype == tensor.dtype
    assert torch.equal(embed(back), embed(made))
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())


def test_only_the_two_files_are_written_with_the_same_mode_and_the_same_bytes_every_time(tmp_path):
    for name in ("one", "other"):
        save_model(network(), tmp_path / name)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["config.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in (tmp_path / "one").iterdir()}) == 1
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    assert "pos_encoder.pe" not in load_file(tmp_path / "one" / "model.safetensors")


def test_the_digest_depends_on_the_space_and_not_on_its_name(tmp_path):
    def digest(name: str, seed: int = 0, **changes) -> str:
        return save_model(network(replace(CONFIG, **changes), seed), tmp_path / name).digest

    first = digest("first")
    assert digest("another name", model_id="other") == first
    assert digest("another default", sampling="systematic") == first
    assert digest("other weights", seed=1) != first
    assert digest("other tables", token_encoder="esm1") != first
    assert digest("other heads", n_heads=4) != first  # the same weights mean something else


def test_a_model_is_not_overwritten(tmp_path):
    before = save_model(network(), tmp_path / "model")
    with pytest.raises(ValueError, match="already holds a model; choose another directory"):
        save_model(network(seed=1), tmp_path / "model")
    assert find_model(tmp_path / "model") == before


def test_a_directory_that_a_killed_writing_left_is_no_model_and_can_be_written(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or is not a safetensors file"):
        find_model(path)
    save_model(network(), path)
    assert find_model(path).config == CONFIG


def change_weights(path: Path) -> None:
    state = load_file(path / "model.safetensors")
    state["decoder.3.bias"] += 1e-3
    save_file(state, path / "model.safetensors")


def change_config(path: Path) -> None:
    content = json.loads((path / "config.json").read_text())
    content["config"]["n_heads"] = 8
    (path / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("change", [change_weights, change_config], ids=["weights", "config"])
def test_a_changed_model_raises(tmp_path, change):
    path = save_model(network(), tmp_path).path
    find_model(path)
    change(path)
    with pytest.raises(ValueError, match="was changed after it was written"):
        find_model(path)


def test_weights_are_hashed_once_in_a_process_and_again_when_the_file_changes(tmp_path, monkeypatch):
    hashed = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda: hashed.append(1) or sha256())
    path = save_model(network(), tmp_path / "model").path
    hashed.clear()
    first = find_model(path)
    assert [find_model(path), find_model(str(path))] == [first, first]
    assert len(hashed) == 1
    stat = (path / "model.safetensors").stat()
    os.utime(path / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with in_background(hash_weights, path):  # whoever comes first
        assert find_model(path) == first
    assert len(hashed) == 2
    (path / "config.json").unlink()
    other = save_model(network(seed=1), path)  # another file in the same place
    assert find_model(path) == other != first


def test_a_file_that_is_read_in_parts_has_the_same_digest(tmp_path, monkeypatch):
    path = save_model(network(), tmp_path).weights
    monkeypatch.setattr(directory, "_HASHED_BYTES", 1000)
    directory._hash_weights.cache_clear()
    stat = path.stat()
    found = directory._hash_weights(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    assert stat.st_size > 1000
    assert found.digest() == hashlib.sha256(path.read_bytes()).digest()


def test_hashing_a_model_that_is_not_here_fetches_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "_hash_weights", None)
    with uc.settings.override(cache_dir=tmp_path):
        for model in ("uce-4l", "hf://owner/name", tmp_path):
            hash_weights(model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "write, message",
    [
        pytest.param(lambda path: None, "There is no model", id="nothing there"),
        pytest.param(lambda path: (path / "config.json").write_text("{}"), "There is no model", id="no weights"),
        pytest.param(
            lambda path: [(path / f).write_text('{"d": 8}') for f in ("config.json", "model.safetensors")],
            "is damaged or is not a safetensors file",
            id="the config of something else",
        ),
        pytest.param(
            lambda path: [(path / f).write_text('{"config": {}}') for f in ("config.json", "model.safetensors")],
            "has no family, config and digest",
            id="the config of another version",
        ),
    ],
)
def test_a_directory_without_a_model_raises(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_model(tmp_path)


def test_an_unknown_name_raises_and_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no model 'uce-5l'; use uce-mini, .*uce-4l, uce-33l, .* or a directory"):
        find_model("uce-5l")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_that_do_not_fit_the_network_raise(tmp_path, precision):
    model = save_model(network(), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["decoder.4.bias"] = state.pop("decoder.3.bias")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"does not fit the network: missing \['decoder.3.bias'\], unknown \['decoder.4"
    ):
        read_network(model, precision=precision)


@pytest.mark.parametrize("wrong", [torch.nan, -torch.inf])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["decoder.3.bias", "transformer_encoder.layers.0.linear1.weight"])
def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path, wrong, precision, name):
    diverged = network()
    model = save_model(diverged, tmp_path / "model")
    diverged.get_parameter(name).data.view(-1)[-1] = wrong
    with pytest.raises(ValueError, match=f"{name} holds values that are not finite; the model is not written"):
        save_model(diverged, tmp_path / "other")
    state = load_file(model.weights)
    state[name].view(-1)[-1] = wrong
    save_file(state, model.weights)
    with pytest.raises(uc.FileError, match=f"^{model.weights}: {name} holds values that are not finite"):
        read_network(model, precision=precision)


# Precision


def test_the_settings_decide_the_precision(tmp_path):
    model = save_model(network(), tmp_path)
    with uc.settings.override(precision="bfloat16"):
        assert load_network(model).transformer_encoder.layers[0].linear1.weight.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in load_network(model).parameters())


def test_bfloat16_keeps_norms_encoder_and_heads_in_float32(tmp_path):
    model = save_model(network(), tmp_path)
    low, full = read_network(model, precision="bfloat16"), read_network(model)
    for name, tensor in low.state_dict().items():
        product = ".layers." in name and ".norm" not in name
        assert tensor.dtype == (torch.bfloat16 if product else torch.float32), name
    assert torch.nn.functional.cosine_similarity(embed(low), embed(full)).min() > 0.995
    assert not torch.equal(embed(low), embed(full))


# Conversion


@pytest.mark.parametrize("prefix", [pytest.param("", id="as released"), pytest.param("module.", id="data parallel")])
def test_a_converted_checkpoint_embeds_like_the_reference(tmp_path, prefix):
    state = released_state()
    torch.save({prefix + name: tensor for name, tensor in state.items()}, tmp_path / "checkpoint.torch")
    model = convert_checkpoint(tmp_path / "checkpoint.torch", tmp_path / "model", config=CONFIG)
    assert find_model(tmp_path / "model") == model
    reference = ReferenceUCE(CONFIG).eval()
    reference.load_state_dict({k: v for k, v in state.items() if k != "pe_embedding.weight"})
    with torch.no_grad():
        expected = reference(FEATURES[SENTENCES].transpose(0, 1), torch.ones(SENTENCES.shape))
    assert (embed(load_network(model)) - expected).abs().max() <= 1e-5
    written = load_file(tmp_path / "model" / "model.safetensors")
    assert written.keys() == state.keys() - {"pe_embedding.weight", "pos_encoder.pe"}
    recorded = json.loads((tmp_path / "model" / "config.json").read_text())["source"]["files"]
    assert recorded == {"checkpoint.torch": hashlib.sha256((tmp_path / "checkpoint.torch").read_bytes()).hexdigest()}


def test_weights_of_another_precision_are_written_as_float32(tmp_path):
    weight = released_state()["decoder.3.weight"]
    source = released_file(tmp_path, decoder__3__weight=weight.double())
    state = load_network(convert_checkpoint(source, tmp_path / "model", config=CONFIG)).state_dict()
    assert torch.equal(state["decoder.3.weight"], weight)


@pytest.mark.parametrize(
    "changes, message",
    [
        pytest.param(
            {"decoder__3__bias": torch.full((10,), 1e300, dtype=torch.float64)},
            "decoder.3.bias.*finite",
            id="too large",
        ),
        pytest.param(
            {"decoder__3__bias": torch.ones(10).to(torch.int8)}, "decoder.3.bias holds torch.int8", id="integers"
        ),
        pytest.param({"decoder__3__bias": torch.ones(10) * 1j}, "decoder.3.bias holds torch.complex64", id="complex"),
        pytest.param({"decoder__3__bias": None}, r"missing \['decoder.3.bias'\], unknown \[\]", id="a name is missing"),
        pytest.param({"decoder__4__bias": torch.ones(3)}, r"unknown \['decoder.4.bias'\]", id="a name is unknown"),
        pytest.param(
            {"decoder__3__bias": torch.ones(11)}, r"decoder.3.bias has the shape \(11,\), expected \(10,\)", id="shape"
        ),
        pytest.param(
            {"decoder__3__bias": torch.full((10,), float("nan"))}, "decoder.3.bias holds values that are not", id="NaN"
        ),
        pytest.param(
            {"pos_encoder__pe": torch.zeros(32, 1, 16)}, "pos_encoder.pe is not the sinusoidal table", id="positions"
        ),
        pytest.param(
            {"pos_encoder__pe": torch.zeros(31, 1, 16)}, "pos_encoder.pe is not the sinusoidal", id="fewer positions"
        ),
        pytest.param({"epoch": 3}, "is not a state dict", id="not only tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_raises_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(released_file(tmp_path, **changes), tmp_path / "model", config=CONFIG)
    assert not (tmp_path / "model").exists()


def test_the_released_configuration_is_found_by_depth(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"has 2 layers of width 16; .* Nothing states its number of heads"):
        convert_checkpoint(released_file(tmp_path), tmp_path / "model")
    monkeypatch.setitem(RELEASED, "uce-4l", replace(CONFIG, model_id="uce-4l"))
    assert convert_checkpoint(released_file(tmp_path), tmp_path / "model").config.model_id == "uce-4l"


class _Payload:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda content, path: torch.save(content, path), id="a torch file"),
        pytest.param(lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)), id="a bare pickle"),
    ],
)
def test_a_checkpoint_that_asks_to_run_code_raises_and_runs_nothing(tmp_path, save):
    save({"decoder.3.bias": _Payload(tmp_path / "ran")}, tmp_path / "bad.torch")
    with pytest.raises(ValueError, match="refused"):
        convert_checkpoint(tmp_path / "bad.torch", tmp_path / "model", config=CONFIG)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()


# Names


def test_a_released_model_is_fetched_and_converted_once(tmp_path, monkeypatch):
    source = released_file(tmp_path)
    fetched = []
    monkeypatch.setattr(origin, "fetch", lambda name: fetched.append(name) or source)
    monkeypatch.setitem(RELEASED, "uce-4l", replace(CONFIG, model_id="uce-4l"))
    first = find_model("uce-4l")
    assert first.path == uc.settings.cache_dir / "models" / "uce-4l"
    fetched_once = len(fetched)
    assert find_model("uce-4l") == first
    assert len(fetched) == fetched_once
    assert set(fetched) == {"4layer_model.torch"}


def test_a_released_model_in_the_cache_needs_no_connection(monkeypatch):
    made = save_model(network(replace(CONFIG, model_id="uce-4l")), uc.settings.cache_dir / "models" / "uce-4l")
    with uc.settings.override(offline=True):
        assert find_model("uce-4l") == made


def test_an_interrupted_conversion_is_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(origin, "fetch", lambda name: released_file(tmp_path))
    monkeypatch.setitem(RELEASED, "uce-4l", CONFIG)
    with monkeypatch.context() as context:
        context.setattr(directory, "_digest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            find_model("uce-4l")
    assert list((uc.settings.cache_dir / "models" / "uce-4l").iterdir()) == []
    assert find_model("uce-4l").config == CONFIG


_FIND = """
import sys, time
from pathlib import Path
from dataclasses import replace
from tests.model.test_checkpoint import CONFIG
from univerce.genes.release import source
from univerce.model import convert
from univerce.model.config import RELEASED
from univerce.model.find import find_model

directory, name = Path(sys.argv[1]), sys.argv[2]
convert_once = convert.convert_source

def fetch(_):
    # both have seen that there is no model before either converts it
    (directory / f"{name}.ready").touch()
    while len(list(directory.glob("*.ready"))) < 2:
        time.sleep(0.01)
    return directory / "checkpoint.torch"

def counted(*args, **kwargs):
    (directory / f"{name}.converts").touch()
    time.sleep(0.3)
    return convert_once(*args, **kwargs)

source.fetch, convert.convert_source = fetch, counted
RELEASED["uce-4l"] = replace(CONFIG, model_id="uce-4l")
print(find_model("uce-4l").digest)
"""


@pytest.mark.slow
def test_two_processes_convert_a_released_model_once(tmp_path):
    released_file(tmp_path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _FIND, tmp_path, name], cwd=Path(__file__).parents[2], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in ("one", "other")
    ]  # fmt: skip
    answers = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    digests = {out for out, _ in answers}
    assert digests == {f"{find_model(uc.settings.cache_dir / 'models' / 'uce-4l').digest}\n"}
    assert len(list(tmp_path.glob("*.converts"))) == 1


def test_the_bundled_model_is_the_default():
    assert find_model().path == find_model("uce-mini").path
    assert find_model().config.model_id == "uce-mini"


def test_a_model_of_an_unknown_family_names_the_known_ones(tmp_path):
    save_model(network(), tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"family": "cube"}))
    with pytest.raises(ValueError, match="of the family 'cube', which this version does not know; it knows uce"):
        find_model(tmp_path)
