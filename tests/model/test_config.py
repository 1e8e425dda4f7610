"""The model configuration: invalid values, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from univerce.model import UCEConfig
from univerce.model.config import UCE_4L, UCE_33L


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
        ({"n_layers": 0}, "n_layers=0 must be at least 1"),
        ({"d_model": 10, "n_heads": 3}, "d_model=10 must be a multiple of n_heads=3"),
        ({"d_model": 9, "n_heads": 3}, "d_model=9 must be even"),
        ({"sampling": "best"}, "sampling='best' is not known; use one of multinomial"),
        ({"n_layer": 3, "width": 2}, "unknown entries: n_layer, width"),
    ],
    ids=["no layers", "heads", "odd width", "sampling", "unknown entries"],
)
def test_invalid_values_raise(values, message):
    with pytest.raises(ValueError, match=message):
        UCEConfig.from_dict(values)
