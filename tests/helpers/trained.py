"""Small networks of both families that were trained on simulated cells, with their gene tables.

Their weights are files next to this module; ``python -m tests.helpers.trained`` trains them again, in minutes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from univerce.genes.table import chromosome_index, iter_token_features, make_table, n_tokens, write_table
from univerce.inference.sentences import GenomeOrder
from univerce.model import UCE, UCEBrain, UCEBrainConfig, UCEConfig, save_model
from univerce.training.masking import mask_cells

N_GENES, N_CHROMOSOMES, N_TYPES, DIM = 240, 6, 8, 24
NETWORKS: dict[str, Any] = {"uce": UCE, "uce-brain": UCEBrain}
BRAIN_VOCABULARY = "uce-brain-500-cls1-chrom300-right400-00000000"
CONFIGS = {
    "uce": UCEConfig(
        model_id="trained", token_dim=DIM, token_encoder="simulated", d_model=32, n_heads=4, d_hidden=64, n_layers=2,
        output_dim=32, decoder_dim=32, gene_dim=32, head_dims=(32, 16), dropout=0.0, max_length=96, n_sample=64,
    ),
    "uce-brain": UCEBrainConfig(
        model_id="trained-brain", token_dim=DIM, token_encoder=BRAIN_VOCABULARY, d_model=32, n_heads=4, d_hidden=64,
        n_layers=2, output_dim=32, head_dims=(32, 16), dropout=0.0, max_length=96, n_positions=128, n_sample=64,
        positions="learned",
    ),
}  # fmt: skip


def genes_table(encoder: str, *, species: str = "human", seed: int = 0) -> ad.AnnData:
    """Genes with random features of many lengths, which neither family reads, on a few chromosomes."""
    rng = np.random.default_rng([7, seed])
    chromosome = np.concatenate([np.arange(N_CHROMOSOMES), rng.integers(0, N_CHROMOSOMES, N_GENES - N_CHROMOSOMES)])
    genes = pd.DataFrame(
        {
            "symbol": [f"GENE{i}" for i in range(N_GENES)], "ensembl_id": "", "chromosome": chromosome.astype(str),
            "start": rng.permutation(N_GENES), "chromosome_code": chromosome,
        }
    )  # fmt: skip
    special = 3 * rng.normal(size=(4, DIM)).astype(np.float32)
    special[0] = 0
    features = 3 * rng.normal(size=(N_GENES, DIM))
    chromosomes = 3 * rng.normal(size=(N_CHROMOSOMES, DIM)).astype(np.float32)
    features *= np.exp(rng.uniform(np.log(0.02), 0, (N_GENES, 1)))
    return make_table(
        genes, features.astype(np.float32), species=species, encoder=encoder,
        source="simulated", special_features=special, chromosome_names=np.arange(N_CHROMOSOMES).astype(str),
        chromosome_codes=np.arange(N_CHROMOSOMES),
        chromosome_features=chromosomes,
    )  # fmt: skip


def typed_counts(n: int, *, seed: int) -> ad.AnnData:
    """Cells of a few types; a gene is expressed by its features, another way in every type."""
    rng = np.random.default_rng([8, seed])
    features = np.asarray(genes_table("simulated").X)
    features = features / np.linalg.norm(features, axis=1, keepdims=True) * DIM**0.5
    programs = np.random.default_rng(9).normal(size=(N_TYPES, DIM))
    types = rng.integers(0, N_TYPES, n)
    rate = np.exp(3 * programs[types] @ features.T / DIM**0.5 - 3) * rng.gamma(4, 0.25, (n, 1))
    adata = ad.AnnData(sp.csr_matrix(rng.poisson(np.minimum(rate, 30)).astype(np.float32)))
    adata.var_names = [f"GENE{i}" for i in range(N_GENES)]
    adata.obs_names = [f"{seed} cell {i}" for i in range(n)]
    adata.obs["cell_type"] = pd.Categorical(types.astype(str))
    adata.uns["organism"] = "human"
    return adata


@cache
def trained(family: str) -> Any:
    """A network whose loss on cells of :func:`typed_counts` is far below chance."""
    network = NETWORKS[family](CONFIGS[family])
    network.load_state_dict(load_file(_weights(family)), strict=False)
    return network.eval().requires_grad_(requires_grad=False)


def write_trained(directory: Path, family: str, *, network: nn.Module | None = None, table: Any = None) -> Path:
    """Write the trained network, or another one, as a model directory with a gene table."""
    network = trained(family) if network is None else network
    save_model(network, directory)
    write_table(genes_table(network.config.token_encoder) if table is None else table, directory / "tables/human.h5ad")
    return directory


def _weights(family: str) -> Path:
    return Path(__file__).with_name(f"trained_{family}.safetensors")


def _train(family: str, *, steps: int = 500) -> nn.Module:
    config: Any = CONFIGS[family]
    torch.manual_seed(0)
    network: Any = NETWORKS[family](config)
    table = genes_table(config.token_encoder)
    features = torch.from_numpy(np.concatenate([x for _, x in iter_token_features(table, np.arange(n_tokens(table)))]))
    order = GenomeOrder.build(chromosome_index(table), table.obs["start"].to_numpy())
    counts, var_rank = typed_counts(2000, seed=1).X, order.var_rank(np.arange(N_GENES))
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    target = torch.cat([torch.ones(32), torch.zeros(32)]).expand(64, -1)
    for _ in range(steps):
        cells = rng.choice(counts.shape[0], 64, replace=False)
        masked = mask_cells(
            counts[cells], rng.integers(2**64, size=64, dtype=np.uint64), var_rank, np.arange(N_GENES), order, config,
            n_queries=64, mask_fraction=0.2,
        )  # fmt: skip
        tokens = network.encode_tokens(features)[torch.from_numpy(masked.ids.astype(np.int64))]
        embedding = network.embed(tokens, torch.from_numpy(masked.lengths))
        queries = features[torch.from_numpy(order.gene_token[masked.queries].astype(np.int64))]
        loss = F.binary_cross_entropy_with_logits(network.predict(embedding, queries), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network


if __name__ == "__main__":
    for name in CONFIGS:
        save_file(dict(_train(name).named_parameters()), _weights(name))
