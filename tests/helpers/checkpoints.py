"""Small checkpoints of both families as their makers publish them, and cells of their genes."""

from __future__ import annotations

import io
import json
import pickle
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor

from tests.helpers.reference import ReferenceUCE, generated_state
from univerce.genes.release.registry import protein_file
from univerce.model import UCEConfig

TOKEN_DIM = 12
PAPER_CONFIG = UCEConfig(
    token_dim=TOKEN_DIM, d_model=16, n_heads=2, d_hidden=20, n_layers=2, output_dim=10, decoder_dim=14, gene_dim=8,
    head_dims=(8, 6), max_length=96, n_sample=40,
)  # fmt: skip
BRAIN_CONFIG = {
    "model_type": "uce", "vocab_size": 90, "embedding_dim": TOKEN_DIM, "d_model": 8, "nhead": 2, "num_layers": 2,
    "dim_feedforward": 16, "activation": "gelu", "max_sequence_length": 64, "padding_idx": 0, "dropout": 0.1,
    "use_embedding_layer_norm": True, "embedding_reduction": "cls", "output_embedding_dim": 6,
    "decoder_layer_dims": [14, 10, 10, 1], "positional_encoding_type": "sinusoidal",
}  # fmt: skip
BRAIN_IDS = {
    "pad_length": 64, "sample_size": 30, "cls_token_idx": 1, "pad_token_idx": 0, "chrom_token_offset": 70,
    "chrom_token_right_idx": 89,
}  # fmt: skip
SYMBOLS = {species: [f"{species[:1].upper()}{i}" for i in range(20)] for species in ("human", "mouse")}
GENES_END = 4 + 40  # tokens of the genes of both species; chromosomes follow in the first family


def torch_bytes(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def token_table(n_tokens: int, seed: int = 7) -> Tensor:
    table = torch.from_numpy(np.random.default_rng(seed).standard_normal((n_tokens, TOKEN_DIM)).astype(np.float32))
    table[0] = 0
    return table


def paper_state(seed: int = 4) -> dict[str, Tensor]:
    """State dict of the first family, with its token table."""
    reference = ReferenceUCE(PAPER_CONFIG)
    reference.load_state_dict(generated_state(reference, seed), strict=False)
    return dict(reference.state_dict()) | {"pe_embedding.weight": token_table(GENES_END + 5)}


def paper_release() -> dict[str, bytes]:
    """The other files of the release of 2023: positions, offsets, tokens, proteins."""
    rows = [("species", "gene_symbol", "chromosome", "start")]
    for species, n_chromosomes in (("human", 3), ("mouse", 2)):
        rows += [(species, s, f"c{i % n_chromosomes}", 100 - i) for i, s in enumerate(SYMBOLS[species])]
    table = paper_state()["pe_embedding.weight"]
    files = {
        "species_chrom.csv": "\n".join(f"{g},{c},{b},{s}" for s, g, c, b in rows).encode(),
        "species_offsets.pkl": pickle.dumps({"human": 4, "mouse": 24}),
        "all_tokens.torch": torch_bytes(table),
    }
    for species, start in (("human", 4), ("mouse", 24)):
        vectors = {symbol: table[start + i].clone() for i, symbol in enumerate(SYMBOLS[species])}
        files[f"protein_embeddings/{protein_file(species)}"] = torch_bytes(vectors)
    return files


def brain_state(seed: int = 3, **changes: Any) -> dict[str, Tensor]:
    """State dict of the second family by the names of its makers, with its token table."""
    from univerce.model.brain import UCEBrain
    from univerce.model.brain_config import UCEBrainConfig

    stated = BRAIN_CONFIG | changes
    config = UCEBrainConfig(
        token_dim=TOKEN_DIM, d_model=8, n_heads=2, d_hidden=16, n_layers=2, output_dim=6, head_dims=(10, 10),
        max_length=64, n_positions=64, n_sample=30, positions=stated["positional_encoding_type"],
        reduction=stated["embedding_reduction"],
    )  # fmt: skip
    network = UCEBrain(config)
    state = generated_state(network, seed)
    state |= dict(network.named_buffers())
    table = {"uce.embedding_layer.embedding.weight": token_table(stated["vocab_size"])}
    return {name if name.startswith("expression_decoder.") else f"uce.{name}": t for name, t in state.items()} | table


def brain_genes() -> dict[str, dict[str, dict[str, str]]]:
    """The list of genes of the second family, with numbers as text."""
    return {
        key: {
            symbol: {
                "protein_embedding_id": str(start + 19 - i), "chromosome_id": str(first + i % n), "location": str(9 * i)
            }
            for i, symbol in enumerate(SYMBOLS[species])
        }
        for key, species, start, first, n in (("homo_sapiens", "human", 4, 0, 3), ("mus_musculus", "mouse", 24, 3, 2))
    }  # fmt: skip


def run_config(ids: dict[str, int] | None = None) -> bytes:
    lines = "".join(f"  {key}: {value}\n" for key, value in (BRAIN_IDS if ids is None else ids).items())
    return f"model:\n  d_model: 8\ndataset:\n  mask_prop: 0.2\n{lines}".encode()


def brain_files(**changes: Any) -> dict[str, bytes]:
    """A repository of the second family as those of v2026-09."""
    return {
        "config.json": json.dumps(BRAIN_CONFIG | changes).encode(), "config.yaml": run_config(),
        "model.safetensors": save(brain_state(**changes)),
        "vocab/all_species_gene_dict_v2026-09.json": json.dumps(brain_genes()).encode(),
    }  # fmt: skip


def sharded(state: dict[str, Tensor]) -> dict[str, bytes]:
    """The same tensors in two files of safetensors with an index."""
    names = sorted(state)
    parts = [names[::2], names[1::2]]
    files, where = {}, {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-00002.safetensors"
        files[file] = save({name: state[name] for name in part})
        where |= dict.fromkeys(part, file)
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": where}).encode()
    return files


def checkpoint_cells(species: str = "human", n: int = 12) -> ad.AnnData:
    """Cells with counts of the genes of a species of the checkpoints."""
    counts = np.random.default_rng(0).poisson(2.0, (n, 20)).astype(np.float32)
    adata = ad.AnnData(counts, var=pd.DataFrame(index=SYMBOLS[species]))
    adata.obs_names = [f"cell {i}" for i in range(n)]
    return adata
