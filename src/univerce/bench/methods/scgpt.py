"""scGPT, zero-shot: genes and binned counts, read by a transformer; the output at <cls>, of unit length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce._device import choose_device
from univerce._errors import reading
from univerce.bench._method import Method
from univerce.bench.methods._sequences import counts_of_tokens, embed_by_length, gene_names, require_coverage
from univerce.bench.methods._weights import load_strictly, model_directory
from univerce.genes.release.unpickle import load_torch
from univerce.io.text import read_json

_SOURCE = "the model zoo of github.com/bowang-lab/scGPT (the whole-human model is the recommended one)"
_FILES = ["best_model.pt", "vocab.json", "args.json"]
_SPECIAL = ("<pad>", "<cls>", "<eoc>")
_UNUSED = ("decoder.", "cls_decoder.", "mvc_decoder.", "flag_encoder.")
"""Heads, and a flag of generation that the published embedding does not set."""
_ARGS = ("embsize", "nheads", "d_hid", "nlayers", "pad_token", "pad_value")

N_BINS = 51
"""Bin 0 is that of genes which are not expressed, and those are left out."""


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    model: str | Path | None = None,
    gene_key: str | None = None,
    max_length: int = 1200,
    min_coverage: float = 0.5,
    batch_size: int = 16,
) -> np.ndarray:
    """``model`` is a folder with ``best_model.pt``, ``vocab.json`` and ``args.json``; genes are symbols."""
    import torch

    from univerce.inference.sentences import cell_keys

    directory = model_directory(model, "scGPT", _SOURCE, _FILES)
    vocabulary, args = _read(directory)
    names = gene_names(adata, gene_key)
    token = np.array([-1 if n in _SPECIAL else vocabulary.get(n, -1) for n in names], dtype=np.int64)
    counts = counts_of_tokens(adata.X, token, len(vocabulary))
    adata.uns["details"] = {"coverage": require_coverage(counts, adata.X, min_coverage, "scGPT")}
    tokens, values = sentences(
        counts, cell_keys(adata.obs_names, rng), cls=vocabulary["<cls>"], cls_value=args["pad_value"],
        max_length=max_length,
    )  # fmt: skip
    device = choose_device()
    network = _load(directory, vocabulary, args).to(device).eval()

    def forward(ids: np.ndarray, bins: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            cells = network(*(torch.from_numpy(a).to(device) for a in (ids, bins, mask)))
            return torch.nn.functional.normalize(cells, dim=1).cpu().numpy()

    pads = [vocabulary["<pad>"], args["pad_value"]]
    return embed_by_length([tokens, values], pads, forward, n_dims=args["embsize"], batch_size=batch_size)


def _read(directory: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The vocabulary, with the special tokens that are appended when it lacks them, and the arguments of training."""
    vocabulary, args = read_json(directory / "vocab.json"), read_json(directory / "args.json")
    lacking = [name for name in _ARGS if name not in args]
    if lacking:
        raise ValueError(f"{directory / 'args.json'} lacks {', '.join(lacking)}; this is not an scGPT model.")
    if args.get("input_emb_style", "continuous") != "continuous" or args["pad_token"] != "<pad>":
        raise ValueError(f"{directory / 'args.json'} describes a model whose values are not continuous, or other pads.")
    for name in _SPECIAL:
        vocabulary.setdefault(name, len(vocabulary))
    path = directory / "vocab.json"
    with reading(path, "a vocabulary"):
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(f"{path}: the tokens are not the numbers from 0 to {len(vocabulary) - 1}.")
    return vocabulary, args


def _load(directory: Path, vocabulary: dict[str, int], args: dict[str, Any]) -> Any:
    from univerce.bench.methods._scgpt_network import ScGPT, rename_flash

    network = ScGPT(args, len(vocabulary), vocabulary["<pad>"])
    path = directory / "best_model.pt"
    load_strictly(network, rename_flash(load_torch(path)), unused=_UNUSED, where=path)
    return network


METHOD = Method(
    name="scGPT",
    embed=_embed,
    citation="Cui et al. 2024, Nature Methods 21:1470",
    license="MIT (code); weights as their authors say",
    zero_shot=True,
    pretrained_on="33 million normal human cells of CELLxGENE (whole-human model)",
)


def bin_values(values: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """``[n]`` bin from 1 to 50 of each non-zero value, between the quantiles of all of them.

    Counts repeat, so that many quantiles are equal and a value may fall into any of the bins between them. As published
    it is spread over these at random; ``uniform`` ``[n]`` in [0, 1) decides.
    """
    edges = np.quantile(values, np.linspace(0, 1, N_BINS - 1))
    high, low = np.searchsorted(edges, values, side="right"), np.searchsorted(edges, values, side="left")
    return np.ceil(uniform * (low - high) + high).astype(np.int64)


def sentences(
    counts: sp.csr_matrix, keys: np.ndarray, *, cls: int, cls_value: float, max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Tokens and values of each cell, ``<cls>`` first; empty for a cell without counts.

    All genes are binned, then at most ``max_length - 1`` are drawn without replacement. ``keys`` ``[n_obs]`` seed each
    cell, so that results depend neither on other cells nor on the order of the variables. ``counts`` ``[n_obs,
    n_tokens]`` have sorted columns and no stored zero.
    """
    tokens, values = [], []
    for i, key in enumerate(keys):
        row = slice(counts.indptr[i], counts.indptr[i + 1])
        ids = counts.indices[row].astype(np.int64)
        if len(ids) == 0:
            tokens.append(ids)
            values.append(np.empty(0, dtype=np.float32))
            continue
        stream = np.random.default_rng(int(key))
        bins = bin_values(counts.data[row], stream.random(len(ids)))
        if len(ids) > max_length - 1:
            drawn = np.sort(stream.choice(len(ids), max_length - 1, replace=False))
            ids, bins = ids[drawn], bins[drawn]
        tokens.append(np.concatenate([[cls], ids]))
        values.append(np.concatenate([[cls_value], bins]).astype(np.float32))
    return tokens, values
