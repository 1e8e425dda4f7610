"""Weights, vocabularies and tokens that do not belong together: an error, a loss no better than a guess, or a space of
its own, which is compared with no other. Mistakes of a network's code are caught by recorded outputs.

``pytest -s tests/model/test_mismatches.py`` prints a line for each, as in ``docs/measured/mismatches.md``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import univerce as uc
from tests.helpers.trained import BRAIN_VOCABULARY, CONFIGS, NETWORKS, genes_table, trained, typed_counts, write_trained
from univerce.genes.table import CLS, RIGHT, make_table
from univerce.model import UCE, UCEBrain
from univerce.model.directory import write_model
from univerce.model.layers import Layer
from univerce.model.sentence_network import pair_logits

UCE_FAMILY, BRAIN = "uce", "uce-brain"


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return typed_counts(200, seed=3)


@dataclass
class Case:
    """Where a mismatch is made."""

    directory: Path
    cells: ad.AnnData
    monkeypatch: pytest.MonkeyPatch

    def verify(self, family: str, network: Any = None, table: Any = None, cells: Any = None, **options: Any) -> Any:
        path = write_trained(self.directory / "model", family, network=network, table=table)
        return uc.model.verify(path, self.cells if cells is None else cells, **options)


# Changes of a network


def with_weights(family: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Any:
    """The trained network with changed weights."""
    network = copy.deepcopy(trained(family))
    state = dict(network.state_dict())
    change(state)
    network.load_state_dict(state)
    return network


def with_config(family: str, **changes: Any) -> Any:
    """The trained weights in a network of another configuration."""
    network = NETWORKS[family](replace(CONFIGS[family], **changes)).eval().requires_grad_(requires_grad=False)
    own = network.state_dict()
    network.load_state_dict(
        {k: v for k, v in trained(family).state_dict().items() if k in own and v.shape == own[k].shape}, strict=False
    )
    return network


def transpose(name: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda state: state.update({name: state[name].T.contiguous()})


def swap(first: str, second: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    """Exchange parts of names, such as of two layers."""

    def change(state: dict[str, torch.Tensor]) -> None:
        moved = {k: state[k.replace(first, second)] for k in state if first in k}
        state.update({k: state[k.replace(second, first)] for k in state if second in k} | moved)

    return change


def rename(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda state: [state.update({k.replace(old, new): state.pop(k)}) for k in list(state) if old in k]


def reset(family: str) -> Any:
    torch.manual_seed(5)
    return NETWORKS[family](CONFIGS[family]).eval().requires_grad_(requires_grad=False)


# Changes of a gene table


def with_table(family: str, **changes: Any) -> ad.AnnData:
    """The gene table with other parts: ``features``, ``special_features``, ``encoder``, ..."""
    table = genes_table(CONFIGS[family].token_encoder)
    parts = {
        "genes": table.obs.copy(), "features": np.asarray(table.X), "species": "human", "source": "simulated",
        "encoder": CONFIGS[family].token_encoder,
        **{f"chromosome_{k}": table.uns[f"chromosome_{k}"] for k in ("names", "codes", "features")},
        "special_features": table.uns["special_features"],
    }  # fmt: skip
    parts |= {key: change(parts[key]) for key, change in changes.items()}
    return make_table(parts.pop("genes"), parts.pop("features"), **parts)


def shuffled(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).permutation(x)


def other_rows(x: np.ndarray) -> np.ndarray:
    return (3 * np.random.default_rng(2).normal(size=x.shape)).astype(np.float32)


def exchanged(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[[RIGHT, CLS]] = x[[CLS, RIGHT]]
    return x


def next_row(x: np.ndarray) -> np.ndarray:
    return np.roll(x, 1, axis=0)


def without_cls(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[CLS] = 0
    return x


# Changes of a directory


def in_directory(case: Case, family: str, change: Callable[[Path], Any]) -> Any:
    path = write_trained(case.directory / "model", family)
    change(path)
    return uc.model.verify(path, case.cells)


def change_file(change: Callable[[dict[str, torch.Tensor]], Any], *, note: bool = True) -> Callable[[Path], None]:
    """Change ``model.safetensors``, and write a model of it as a tool would that checks nothing."""

    def act(path: Path) -> None:
        state = {name: tensor.clone() for name, tensor in load_file(path / "model.safetensors").items()}  # not mapped
        change(state)
        save_file(state, path / "model.safetensors")
        if note:
            family = json.loads((path / "config.json").read_text())["family"]
            (path / "config.json").unlink()
            write_model(CONFIGS[family], path, lambda part: save_file(state, part))

    return act


def change_config(**changes: Any) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        written = json.loads((path / "config.json").read_text())
        written["config"] |= changes
        (path / "config.json").write_text(json.dumps(written))

    return act


def shuffle_file(path: Path) -> None:
    table = ad.read_h5ad(path / "tables/human.h5ad")
    table.X = shuffled(np.asarray(table.X))
    table.write_h5ad(path / "tables/human.h5ad")


def truncate_file(path: Path) -> None:
    ad.read_h5ad(path / "tables/human.h5ad")[:100].copy().write_h5ad(path / "tables/human.h5ad")


def cut_weights(path: Path) -> None:
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[: len(content) // 2])


def brain_table(**numbers: int) -> ad.AnnData:
    """The gene table of a vocabulary with other numbers."""
    name = BRAIN_VOCABULARY
    for key, value in numbers.items():
        name = {"n": name.replace("500", str(value), 1), "chrom": name.replace("chrom300", f"chrom{value}"),
                "right": name.replace("right400", f"right{value}")}[key]  # fmt: skip
    return genes_table(name)


def unscaled(self: UCE, x: torch.Tensor) -> torch.Tensor:
    return self.encoder(x) * self.config.d_model**0.5


def unscaled_queries(self: UCE, cells: torch.Tensor, gene_features: torch.Tensor) -> torch.Tensor:
    return pair_logits(self.binary_decoder, cells, self.gene_embedding_layer(gene_features))


def without_scale(self: UCE, x: torch.Tensor) -> torch.Tensor:
    return self.encoder(F.normalize(x, dim=-1))


def norm_after(self: UCEBrain, x: torch.Tensor) -> torch.Tensor:
    """The projector of the second family in the order of the first: GELU, then the norm."""
    linear, norm, _ = self.input_gene_embedding_projector
    return norm(F.gelu(linear(self.embedding_layer["layer_norm"](x))))


def norm_before(self: Layer, x: torch.Tensor, bias: Any, *, cls_only: bool = False) -> torch.Tensor:
    """Pre-norm layers."""
    residual = x[:, :1] if cls_only else x
    h = residual + self.self_attn(self.norm1(x), bias, cls_only=cls_only)
    return h + self._feed_forward(self.norm2(h))


def logged(case: Case) -> ad.AnnData:
    cells = case.cells.copy()
    cells.X = cells.X.log1p()
    return cells


def renamed(case: Case) -> ad.AnnData:
    cells = case.cells.copy()
    cells.var_names = [f"GENE{(i + 1) % cells.n_vars}" for i in range(cells.n_vars)]
    return cells


ERRORS = {
    "UCE-brain: chromosome offset of the other vocabulary": (
        lambda c: c.verify(BRAIN, table=brain_table(chrom=143574)), "holds 'uce-brain-500-cls1-chrom143574-right400"
    ),
    "UCE-brain: RIGHT of the other vocabulary": (
        lambda c: c.verify(BRAIN, table=brain_table(right=2000)), "holds 'uce-brain-500-cls1-chrom300-right2000"
    ),
    "UCE-brain: 178,331 tokens with weights of another number": (
        lambda c: c.verify(BRAIN, table=brain_table(n=178331)), "holds 'uce-brain-178331"
    ),
    "UCE-brain: table of another checkpoint with the same numbers": (
        lambda c: c.verify(BRAIN, table=genes_table(BRAIN_VOCABULARY[:-8] + "11111111")), "right400-11111111"
    ),
    "UCE-brain: gene table of UCE": (
        lambda c: c.verify(BRAIN, table=genes_table("esm2_t48_15B_UR50D")), "holds 'esm2_t48_15B_UR50D' features"
    ),
    "UCE: gene table of UCE-brain": (
        lambda c: c.verify(UCE_FAMILY, table=genes_table(BRAIN_VOCABULARY)), "holds 'uce-brain-500"
    ),
    "shuffled rows of a gene table on disk": (
        lambda c: in_directory(c, BRAIN, shuffle_file), "was changed after it was built"
    ),
    "truncated gene table": (
        lambda c: in_directory(c, UCE_FAMILY, truncate_file), "was changed after it was built"
    ),
    "another number of heads in config.json": (
        lambda c: in_directory(c, BRAIN, change_config(n_heads=2)), "was changed after it was written"
    ),
    "mean for CLS in config.json": (
        lambda c: in_directory(c, BRAIN, change_config(reduction="mean")), "was changed after it was written"
    ),
    "sinusoidal for learned positions in config.json": (
        lambda c: in_directory(c, BRAIN, change_config(positions="sinusoidal")), "was changed after it was written"
    ),
    "no position table in the weights": (
        lambda c: in_directory(c, BRAIN, change_file(lambda s: s.pop("pos_encoder.pe"))),
        r"missing \['pos_encoder.pe'\]",
    ),
    "a position table in the weights of a network without one": (
        lambda c: in_directory(c, UCE_FAMILY, change_file(lambda s: s.update({"pos_encoder.pe": torch.ones(96, 32)}))),
        r"unknown \['pos_encoder.pe'\]",
    ),
    "a layer is missing": (
        lambda c: in_directory(
            c, BRAIN, change_file(lambda s: [s.pop(k) for k in list(s) if "layers.1." in k])
        ),
        r"missing \['transformer_encoder.layers.1",
    ),
    "weights of UCE in a model of UCE-brain": (
        lambda c: in_directory(
            c, BRAIN, lambda p: save_file(dict(trained(UCE_FAMILY).named_parameters()), p / "model.safetensors")
        ),
        "was changed after it was written",
    ),
    "norms of a layer exchanged in the weights": (
        lambda c: in_directory(c, BRAIN, change_file(swap("norm1", "norm2"), note=False)),
        "was changed after it was written",
    ),
    "projector transposed": (
        lambda c: in_directory(c, BRAIN, change_file(transpose("input_gene_embedding_projector.0.weight"))),
        r"projector.0.weight has the shape \(24, 32\), expected \(32, 24\)",
    ),
    "names of a projector with its norm after the GELU": (
        lambda c: in_directory(c, BRAIN, change_file(rename("projector.1.", "projector.2."))),
        r"missing \['input_gene_embedding_projector.1.bias'",
    ),
    "NaN weights": (
        lambda c: in_directory(c, BRAIN, change_file(lambda s: s["output_embedding_projector.0.bias"].fill_(np.nan))),
        "projector.0.bias holds values that are not finite",
    ),
    "weights cut off": (lambda c: in_directory(c, BRAIN, cut_weights), "was changed after it was written"),
    "UCE-brain: pads attended to (float mask)": (
        lambda c: uc.tl.uce_embed(c.cells, model=write_trained(c.directory / "m", BRAIN), padding="official"),
        "padding='official'",
    ),
    "logarithms for counts": (lambda c: c.verify(BRAIN, cells=logged(c)), "holds values that are not whole"),
}  # fmt: skip

LOSSES = {
    "UCE: weights reset": lambda c: c.verify(UCE_FAMILY, reset(UCE_FAMILY)),
    "UCE-brain: weights reset": lambda c: c.verify(BRAIN, reset(BRAIN)),
    "UCE: shuffled rows of genes": lambda c: c.verify(UCE_FAMILY, table=with_table(UCE_FAMILY, features=shuffled)),
    "UCE-brain: shuffled rows of genes": lambda c: c.verify(BRAIN, table=with_table(BRAIN, features=shuffled)),
    "genes of another species block": lambda c: c.verify(BRAIN, table=with_table(BRAIN, features=other_rows)),
    "rows shifted by one gene": lambda c: c.verify(UCE_FAMILY, table=with_table(UCE_FAMILY, features=next_row)),
    "symbols shifted by one gene": lambda c: c.verify(BRAIN, cells=renamed(c)),
    "UCE-brain: output projector transposed": lambda c: c.verify(
        BRAIN, with_weights(BRAIN, transpose("output_embedding_projector.0.weight"))
    ),
    "UCE: decoder transposed": lambda c: c.verify(UCE_FAMILY, with_weights(UCE_FAMILY, transpose("decoder.3.weight"))),
}

SPACES = {
    "chromosomes in another order of codes": {"chromosome_features": shuffled},
    "genes in place of chromosomes": {"chromosome_features": lambda x: np.asarray(genes_table("").X)[: len(x)]},
    "CLS and RIGHT exchanged": {"special_features": exchanged},
    "no CLS row": {"special_features": without_cls},
}

CODE = {
    "UCE: tokens without L2": (UCE_FAMILY, [(UCE, "encode_tokens", unscaled), (UCE, "predict", unscaled_queries)]),
    "UCE: tokens without the factor sqrt(d)": (UCE_FAMILY, [(UCE, "encode_tokens", without_scale)]),
    "UCE-brain: norm after the GELU of the projector": (BRAIN, [(UCEBrain, "encode_tokens", norm_after)]),
    "UCE-brain: norm before the layers": (BRAIN, [(Layer, "forward", norm_before)]),
    "UCE-brain: another number of heads": (BRAIN, {"n_heads": 2}),
    "UCE-brain: mean for CLS": (BRAIN, {"reduction": "mean"}),
    "UCE-brain: relu for gelu": (BRAIN, {"activation": "relu"}),
    "UCE-brain: no norm of the tokens": (BRAIN, {"token_norm": False}),
    "UCE-brain: sinusoidal for learned positions": (BRAIN, {"positions": "sinusoidal"}),
}


def report(name: str, result: str, found: Any = None) -> None:
    print(f"\n\n| {name} | {result} | {'' if found is None else f'{found.loss:.2f}'} |", end="")


@pytest.fixture
def case(tmp_path, cells, monkeypatch) -> Case:
    return Case(tmp_path, cells, monkeypatch)


@pytest.mark.parametrize("family", [UCE_FAMILY, BRAIN])
def test_what_belongs_together_is_told_so(case, family):
    found = case.verify(family)
    report(f"none ({family})", "nothing to find", found)
    assert found.ok
    assert "belong together" in repr(found)


@pytest.mark.parametrize("name", ERRORS)
def test_a_mismatch_is_an_error(case, name):
    act, message = ERRORS[name]
    with pytest.raises((ValueError, OSError), match=message) as error:
        act(case)
    report(name, f"error: {' '.join(str(error.value).split())[:110]}")


@pytest.mark.parametrize("name", LOSSES)
def test_a_mismatch_shows_in_the_loss(case, name):
    found = LOSSES[name](case)
    report(name, "loss", found)
    assert not found.ok


@pytest.mark.parametrize("name", SPACES)
def test_a_mismatch_is_a_space_of_its_own(case, name):
    """The loss need not show it: this network hardly reads these tokens."""
    table = with_table(BRAIN, **SPACES[name])
    right, wrong = case.cells[:20].copy(), case.cells[20:40].copy()
    uc.tl.uce_embed(right, model=write_trained(case.directory / "right", BRAIN))
    path = write_trained(case.directory / "wrong", BRAIN, table=table)
    uc.tl.uce_embed(wrong, model=path)
    with pytest.raises(ValueError, match="come from two gene tables") as error:
        uc.tl.check_same_space(wrong, right)
    report(
        name,
        f"error of any comparison: {' '.join(str(error.value).split())[:60]} ...",
        uc.model.verify(path, case.cells),
    )


@pytest.mark.parametrize("name", CODE)
def test_a_mistake_of_the_code_moves_the_outputs_beyond_the_tolerance_of_recorded_ones(case, name):
    family, change = CODE[name]
    right, wrong = case.cells[:20].copy(), case.cells[:20].copy()
    uc.tl.uce_embed(right, model=write_trained(case.directory / "right", family))
    if isinstance(change, list):
        for where in change:
            case.monkeypatch.setattr(*where)
        path = case.directory / "right"
    else:
        path = write_trained(case.directory / "wrong", family, network=with_config(family, **change))
    uc.tl.uce_embed(wrong, model=path)
    difference = np.abs(right.obsm["X_uce"] - wrong.obsm["X_uce"]).max()
    report(
        name,
        f"outputs differ by {difference:.2g} (tolerance of recorded outputs: 1e-05)",
        uc.model.verify(path, case.cells),
    )
    assert difference > 1e-3


def test_upper_and_lower_case_of_symbols_is_no_mismatch(case):
    lower = case.cells.copy()
    lower.var_names = lower.var_names.str.lower()
    path = write_trained(case.directory / "model", UCE_FAMILY)
    assert uc.model.verify(path, lower) == uc.model.verify(path, case.cells)
