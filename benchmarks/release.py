"""Generated files of the size and format of the released ones, and cells to embed with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from tests.helpers.reference import generated_state
from univerce.genes import convert_tables
from univerce.genes.release.convert import CHROM_TOKEN_OFFSET
from univerce.genes.release.registry import protein_file
from univerce.model import UCE, convert_checkpoint
from univerce.model.config import UCE_4L

# Number of genes and chromosomes of every released species; human alone is given features and all of its genes.
GENES = {
    "frog": 13462, "human": 19790, "macaca_fascicularis": 15175, "macaca_mulatta": 16775, "mouse": 22324,
    "mouse_lemur": 14542, "pig": 15772, "zebrafish": 25730,
}  # fmt: skip
CHROMOSOMES = {
    "frog": 564, "human": 50, "macaca_fascicularis": 40, "macaca_mulatta": 38, "mouse": 25, "mouse_lemur": 43,
    "pig": 43, "zebrafish": 1092,
}  # fmt: skip


def make_model(directory: Path) -> Path:
    """Write a release with 4 layers, convert it as the package does, and remove the release again."""
    release, model = directory / "release", directory / "model"
    write_release(release)
    convert_checkpoint(release / "4layer_model.torch", model)
    convert_tables(
        release / "species_chrom.csv", release / "species_offsets.pkl", tokens=release / "4layer_model.torch",
        protein_embeddings=release, out_dir=model / "tables", species=["human"],
    )  # fmt: skip
    for file in release.iterdir():
        file.unlink()
    return model


def write_release(directory: Path) -> None:
    """``4layer_model.torch``, ``species_chrom.csv``, ``species_offsets.pkl`` and the protein embeddings of human."""
    directory.mkdir(parents=True)
    ends = 4 + np.cumsum(list(GENES.values()))
    offsets = dict(zip(GENES, [4, *ends[:-1].tolist()], strict=True))
    assert ends[-1] == CHROM_TOKEN_OFFSET
    (directory / "species_offsets.pkl").write_bytes(pickle.dumps(offsets))
    _positions().to_csv(directory / "species_chrom.csv", index=False)

    tokens = torch.zeros(CHROM_TOKEN_OFFSET + sum(CHROMOSOMES.values()), UCE_4L.token_dim)
    human = slice(offsets["human"], offsets["human"] + GENES["human"])
    generator = torch.Generator().manual_seed(0)
    for rows in (slice(1, 4), human, slice(CHROM_TOKEN_OFFSET, None)):
        tokens[rows].normal_(generator=generator)
    with torch.device("meta"):
        network = UCE(UCE_4L)
    state = generated_state(network, seed=0)
    for name, weight in state.items():
        if name.endswith("in_proj_weight"):
            weight *= 0.3  # else each position attends to one other, and rounding decides to which
    torch.save(state | {"pe_embedding.weight": tokens}, directory / "4layer_model.torch")
    torch.save(dict(zip(_symbols(), tokens[human].clone(), strict=True)), directory / protein_file("human"))


def generated_cells(n_cells: int, names: list[str] | None = None, *, expressed: int = 3500) -> ad.AnnData:
    """Cells of eight types with about ``expressed`` genes each and the skewed counts of droplets."""
    names = _symbols() if names is None else names
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 2, len(names))
    rates = []
    for _ in range(8):
        rate = np.exp(shared + rng.normal(0, 1, len(names)))
        depths = np.geomspace(1e-4, 1e4, 400)
        detected = [-np.expm1(-rate * depth).sum() for depth in depths]
        rates.append(rate * np.interp(expressed, detected, depths))
    counts = [sp.csr_matrix(rng.poisson(rates[i % 8]).astype(np.int32)) for i in range(n_cells)]
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    return ad.AnnData(sp.vstack(counts, format="csr"), obs=obs, var=pd.DataFrame(index=names))


def _symbols() -> list[str]:
    return [f"GENE{i}" for i in range(GENES["human"])]


def _positions() -> pd.DataFrame:
    """Human genes, most of them on 24 chromosomes, and one gene on every chromosome of the other species."""
    rng = np.random.default_rng(0)
    chromosome = np.minimum(rng.exponential(8, GENES["human"]).astype(int), 23)
    chromosome[: CHROMOSOMES["human"]] = np.arange(CHROMOSOMES["human"])
    start = rng.integers(1, 200_000_000, len(chromosome))
    human = pd.DataFrame({"gene_symbol": _symbols(), "chromosome": chromosome, "start": start, "species": "human"})
    others = [(f"GENE{c}", c, 1, s) for s, n in CHROMOSOMES.items() if s != "human" for c in range(n)]
    return pd.concat([human, pd.DataFrame(others, columns=human.columns)])
