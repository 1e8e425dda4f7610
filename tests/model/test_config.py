"""The model configuration: invalid values, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from univerce.model import UCEConfig
from univerce.model.config import UCE_4L, UCE_33L
from univerce.model.directory import read_model


def test_the_released_models_differ_only_in_name_and_depth():
    four, more = UCE_4L.to_dict(), UCE_33L.to_dict()
    assert {k: (four[k], more[k]) for k in four if four[k] != more[k]} == {
        "model_id": ("uce-4l", "uce-33l"), "n_layers": (4, 33),
    }  # fmt: skip


def test_a_configuration_survives_json():
    config = UCEConfig(d_model=8, n_heads=2, head_dims=(4, 2), sampling="systematic")
    assert UCEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"n_layers": 0}, "n_layers=0 must be a whole number from 1 to 1,000"),
        ({"n_layers": 1001}, "n_layers=1001 must be"),
        ({"token_dim": 10**9}, "token_dim=1000000000 must be a whole number from 1 to 131,072"),
        ({"head_dims": [8, -8]}, "head_dims=-8 must be"),
        ({"head_dims": [8] * 17}, "must be a list of at most 16 widths"),
        ({"max_length": 2**17, "d_model": 2**15, "n_heads": 8}, "max_length=131072 positions of d_model=32768"),
        ({"d_model": "1280"}, "d_model='1280' must be a whole number"),
        ({"n_layers": True}, "n_layers=True must be a whole number"),
        ({"dropout": float("nan")}, "dropout=nan must be a finite number"),
        ({"token_encoder": 3}, "token_encoder=3 must be of the type str"),
        ({"d_model": 10, "n_heads": 3}, "d_model=10 must be a multiple of n_heads=3"),
        ({"d_model": 9, "n_heads": 3}, "d_model=9 must be even"),
        ({"sampling": "best"}, "sampling='best' is not known; use one of multinomial"),
        ({"n_layer": 3, "width": 2}, "unknown entries: n_layer, width"),
    ],
)
def test_invalid_values_raise(values, message):
    with pytest.raises(ValueError, match=message):
        UCEConfig.from_dict(values)


@pytest.mark.parametrize("family, key", [("uce", "n_layers"), ("uce-brain", "n_positions"), ("linear", "output_dim")])
def test_sizes_in_a_file_are_bounded_before_the_weights_are_read(tmp_path, family, key):
    written = {"family": family, "config": {key: 10**12}, "digest": ""}
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=rf"config\.json is .*: {key}=1000000000000 must be a whole number from 1 to"):
        read_model(tmp_path)
