"""A model with random weights and three small gene tables, and simulated cells of its genes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from univerce.genes.load import load_table
from univerce.genes.table import gene_table_info, make_table, write_table
from univerce.model import UCE, LinearConfig, Model, UCEConfig, save_model
from univerce.model.linear import Decoder, Linear

CONFIG = UCEConfig(
    model_id="tiny", token_dim=12, token_encoder="generated", d_model=16, n_heads=2, d_hidden=24, n_layers=2,
    output_dim=10, decoder_dim=14, gene_dim=8, head_dims=(8, 6), max_length=80, n_sample=40,
)  # fmt: skip
N_CHROMOSOMES = {"human": 5, "mouse": 4, "zebrafish": 1111}
N_GENES = {"human": 60, "mouse": 60, "zebrafish": 1300}


def tiny_network(seed: int = 0, **changes: Any) -> UCE:
    """A network with random weights that are large enough to separate cells."""
    config = UCEConfig(**(CONFIG.to_dict() | changes))
    network = UCE(config).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(values * 3 / parameter.shape[1] ** 0.5)
        else:
            scale = name.endswith("weight")  # of a LayerNorm
            parameter.copy_(scale + 0.2 * values)
    return network


def gentle_network() -> UCE:
    """A network with small weights."""
    network = tiny_network()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.mul_(0.4)
    return network


@cache
def _real_names(species: str) -> pd.DataFrame:
    """The first genes of a bundled table with unique names."""
    names = load_table(species).obs[["symbol", "ensembl_id"]].astype(str)
    unique = ~names["symbol"].str.upper().duplicated(keep=False) & (names["symbol"] != "") & (names["ensembl_id"] != "")
    return names[unique].iloc[: N_GENES[species]]


def tiny_table(
    species: str, *, seed: int = 0, encoder: str = "generated", token_dim: int = CONFIG.token_dim
) -> ad.AnnData:
    """Genes of ``species`` with their real names, random chromosomes and random features."""
    rng = np.random.default_rng([seed, *species.encode()])
    n, n_chromosomes = N_GENES[species], N_CHROMOSOMES[species]
    names = _real_names(species)
    chromosome = np.concatenate([np.arange(n_chromosomes), rng.integers(0, n_chromosomes, n - n_chromosomes)])
    genes = pd.DataFrame(
        {
            "symbol": names["symbol"].to_numpy(),
            "ensembl_id": names["ensembl_id"].to_numpy(),
            "chromosome": [f"chr{c}" for c in chromosome],
            "start": rng.integers(1, 10**6, n),
            "chromosome_code": chromosome + 7,
        }
    )
    special = np.vstack([np.zeros(token_dim), rng.normal(size=(3, token_dim))]).astype(np.float32)
    return make_table(
        genes, rng.normal(size=(n, token_dim)).astype(np.float32), species=species, encoder=encoder, source="simulated",
        special_features=special, chromosome_names=[f"chr{c}" for c in range(n_chromosomes)],
        chromosome_codes=np.arange(n_chromosomes) + 7,
        chromosome_features=rng.normal(size=(n_chromosomes, token_dim)).astype(np.float32),
    )  # fmt: skip


def tiny_linear(seed: int = 0) -> Linear:
    """A linear model with random weights, which knows most genes of the tiny human table and a third by landmarks."""
    rng = np.random.default_rng(seed)
    keys = tuple(sorted(_real_names("human")["symbol"].str.upper().iloc[5:]))
    genes = np.arange(0, len(keys), 2)
    dim = CONFIG.output_dim
    decoder = Decoder(
        genes, rng.integers(-127, 128, (len(genes), dim)).astype(np.int8),
        rng.uniform(0.01, 0.05, len(genes)).astype(np.float32), rng.normal(size=len(genes)).astype(np.float32),
    )  # fmt: skip
    return Linear(
        config=LinearConfig("tiny", CONFIG.token_dim, CONFIG.token_encoder, dim), keys=keys,
        rarity=rng.uniform(0.5, 2, len(keys)).astype(np.float16).astype(np.float32),
        weight=_half(rng.normal(size=(CONFIG.token_dim, dim))), landmarks=np.arange(1, len(keys), 3),
        landmark_vectors=_half(rng.normal(size=(len(range(1, len(keys), 3)), dim))),
        center=rng.normal(size=dim).astype(np.float32), decoder=decoder,
    )  # fmt: skip


def _half(values: np.ndarray) -> np.ndarray:
    """Values that a file in half precision holds exactly."""
    return values.astype(np.float16).astype(np.float32)


def write_tiny_linear(directory: Path, *, seed: int = 0, tables: list[ad.AnnData] | None = None) -> Model:
    """Write a directory with a linear model and its gene tables."""
    return _with_tables(tiny_linear(seed).save(directory), tables)


def write_tiny_model(
    directory: Path, *, seed: int = 0, tables: list[ad.AnnData] | None = None, **changes: Any
) -> Model:
    """Write a model directory with the model and its gene tables."""
    return _with_tables(save_model(tiny_network(seed, **changes), directory), tables)


def _with_tables(model: Model, tables: list[ad.AnnData] | None) -> Model:
    for table in [tiny_table(species) for species in N_GENES] if tables is None else tables:
        write_table(table, model.path / "tables" / f"{gene_table_info(table)['species']}.zarr.zip")
    return model


def tiny_cells(species: str = "human", n: int = 30, *, seed: int = 0, empty: tuple[int, ...] = ()) -> ad.AnnData:
    """Cells with counts of the genes of :func:`tiny_table` and one unknown variable; ``empty`` cells have no counts."""
    rng = np.random.default_rng(seed)
    symbols = _real_names(species)["symbol"].tolist()
    X = rng.poisson(np.exp(rng.normal(-0.5, 1, (n, len(symbols) + 1))))
    X[list(empty), : len(symbols)] = 0
    adata = ad.AnnData(sp.csr_matrix(X.astype(np.float32)), var=pd.DataFrame(index=[*symbols, "no gene"]))
    adata.obs_names = [f"{species} cell {i}" for i in range(n)]
    adata.uns["organism"] = species
    return adata
