"""Generated checkpoints of full size, served as figshare and the hub do, and embedded by one string."""

from __future__ import annotations

import dataclasses
import importlib
import json
import mmap
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import univerce as uc
from benchmarks.measurement import Run, check
from tests.helpers.hub import CHALLENGE, FORBIDDEN, Hub
from tests.helpers.reference import generated_state
from univerce.genes.release import download, registry
from univerce.genes.release.parse import chromosome_codes, read_positions
from univerce.genes.release.registry import ASSETS, UCE_100M, protein_file
from univerce.model import UCE, UCEBrain, UCEBrainConfig
from univerce.model.config import UCE_4L

N_CELLS = 4
CELLS = "eval/human_pbmc_ifnb_kang_2800_14k.h5ad"
FOUR_LAYERS = "4layer_model.torch"
BRAIN_CONFIG = {
    "model_type": "uce", "vocab_size": 266_403, "embedding_dim": 5120, "d_model": 512, "nhead": 4, "num_layers": 8,
    "dim_feedforward": 2048, "activation": "gelu", "max_sequence_length": 2048, "padding_idx": 0,
    "use_embedding_layer_norm": True, "embedding_reduction": "cls", "output_embedding_dim": 512,
    "decoder_layer_dims": [1024, 512, 512, 1], "positional_encoding_type": "sinusoidal",
}  # fmt: skip
BRAIN_IDS = {
    "pad_length": 2048, "sample_size": 1024, "cls_token_idx": 3, "pad_token_idx": 0, "chrom_token_offset": 237_411,
    "chrom_token_right_idx": 2,
}  # fmt: skip


def main(run: Run) -> None:
    """Fetch, convert and embed from every layout, broken off once; then again without a connection."""
    release = Release(run.data / "uce", run.scratch())
    cells = ad.read_h5ad(run.data / CELLS)[:N_CELLS].copy()
    rows: list[tuple[object, ...]] = []
    with Hub() as hub:
        point_at(hub)
        for family, layouts in (("uce", paper_layouts(release, hub)), ("uce-brain", brain_layouts(release, hub))):
            first = None
            for layout, model, stored in layouts:
                cache = run.scratch()
                for content in (*hub.figshare.values(), *(f for r in hub.repositories.values() for f in r.values())):
                    hub.sha256(content)  # the hub knows them, too
                with uc.settings.override(cache_dir=cache, progress=False, device="cpu"):
                    hub.requests.clear()
                    hub.faults[stored] = "cut"
                    began = time.perf_counter()
                    embedding = embed(cells, model)
                    seconds = time.perf_counter() - began
                    asked = [r for method, path, r in hub.requests if path == stored and method == "GET"]
                    continued = [int(r.split("=")[1].rstrip("-")) for r in asked if r]
                    hub.requests.clear()
                    with uc.settings.override(offline=True):
                        again = embed(cells, model)
                same = np.array_equal(again, embedding)
                check(ok=same and not hub.requests, goal=f"{layout}: offline afterwards")
                check(ok=any(continued), goal=f"{layout}: continued where the connection broke")
                first = embedding if first is None else first
                difference = float(np.abs(embedding - first).max())
                check(ok=difference <= 1e-5 and bool(np.isfinite(embedding).all()), goal=f"{layout}: same embedding")
                size = sum(file.stat().st_size for file in release.served[layout])
                rows.append((family, layout, f"{size / 1e9:.2f}", f"{max(continued) / 1e9:.2f}", f"{seconds:.0f}",
                             f"{difference:.1e}"))  # fmt: skip
                print(*rows[-1], sep="  ", flush=True)
                shutil.rmtree(cache)
    header = ("family", "layout", "GB of weights", "resumed at GB", "seconds until embedded", "largest difference")
    title = f"Generated checkpoints of full size, {N_CELLS} cells of {Path(CELLS).stem}"
    run.record("checkpoints", title, header, rows)


def embed(cells: ad.AnnData, model: str) -> np.ndarray:
    adata = cells.copy()
    uc.tl.uce_embed(adata, "human", model=model)
    return np.asarray(adata.obsm["X_uce"])


def point_at(hub: Hub) -> None:
    """Let the released files come from this server, with their true sizes and first bytes."""
    os.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"HF_HUB_ETAG_TIMEOUT": "300", "HF_HUB_DOWNLOAD_TIMEOUT": "300"}  # server and client share the cores
    download._TIMEOUT = 300.0
    fetch = importlib.import_module("univerce.genes.release.fetch")
    here = {
        name: dataclasses.replace(asset, urls=tuple(f"{hub.url}/{url.split('/', 3)[3]}" for url in asset.urls))
        for name, asset in ASSETS.items()
    }
    registry.ASSETS = fetch.ASSETS = here
    fetch.FIGSHARE_FILES = f"{hub.url}/v2/articles/{registry.FIGSHARE_ARTICLE}/files"


class Release:
    """The generated files: real genes and positions, human features drawn, those of other species zero."""

    def __init__(self, uce: Path, directory: Path) -> None:
        self.directory = directory
        self.served: dict[str, list[Path]] = {}
        self.positions = read_positions(uce / "species_chrom.csv")
        self.codes = chromosome_codes(self.positions)
        offsets = pickle.loads((uce / "species_offsets.pkl").read_bytes())
        ends = sorted([*offsets.values(), 143_574])
        self.start, self.end = offsets["human"], ends[ends.index(offsets["human"]) + 1]
        human = self.positions[self.positions["species"] == "human"].drop_duplicates("gene_symbol")
        self.human = human.iloc[: self.end - self.start]
        rng = torch.Generator().manual_seed(0)
        self.features = torch.empty(self.end - self.start, 5120).normal_(generator=rng)
        self.special = torch.empty(3, 5120).normal_(generator=rng)
        self.chromosomes = torch.empty(len(self.codes), 5120).normal_(generator=rng)
        self.small = {name: (uce / name).read_bytes() for name in ("species_chrom.csv", "species_offsets.pkl")}

    def proteins(self) -> memoryview:
        symbols = [*self.human["gene_symbol"], *(f"_{i}" for i in range(self.end - self.start - len(self.human)))]
        path = self.directory / "proteins.pt"
        torch.save({symbol: row.clone() for symbol, row in zip(symbols, self.features, strict=True)}, path)
        return mapped(path)

    def paper_state(self) -> dict[str, Tensor]:
        table = torch.zeros(143_574 + len(self.codes), 5120)
        table[1:4], table[self.start : self.end], table[143_574:] = self.special, self.features, self.chromosomes
        with torch.device("meta"):
            network = UCE(UCE_4L)
        return gentle(generated_state(network, seed=0)) | {"pe_embedding.weight": table}

    def brain_state(self) -> dict[str, Tensor]:
        table = torch.zeros(BRAIN_CONFIG["vocab_size"], 5120)
        first = BRAIN_IDS["chrom_token_offset"]
        table[1:4], table[4 : 4 + len(self.features)] = self.special, self.features
        table[first : first + len(self.chromosomes)] = self.chromosomes
        with torch.device("meta"):
            network = UCEBrain(UCEBrainConfig())
        state = gentle(generated_state(network, seed=0))
        named = {n if n.startswith("expression_decoder.") else f"uce.{n}": t for n, t in state.items()}
        return named | {"uce.embedding_layer.embedding.weight": table}

    def genes(self) -> bytes:
        """The list of genes of the second family."""
        human = {
            symbol: {
                "protein_embedding_id": str(4 + i), "chromosome_id": str(self.codes[f"human_{chromosome}"]),
                "location": str(start),
            }
            for i, (symbol, chromosome, start) in enumerate(
                self.human[["gene_symbol", "chromosome", "start"]].itertuples(index=False)
            )
        }  # fmt: skip
        return json.dumps({"homo_sapiens": human}).encode()


def gentle(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with which a position attends to many, else rounding decides to which."""
    for name, weight in state.items():
        if name.endswith("in_proj_weight"):
            weight *= 0.3
    return state


def paper_layouts(release: Release, hub: Hub) -> Any:
    """Figshare; the mirror when figshare refuses; shards of safetensors."""
    misc = ASSETS["species_chrom.csv"].hub[0]
    hub.repositories[misc.repository] = {
        **release.small, f"protein_embeddings/{protein_file('human')}": release.proteins()
    }  # fmt: skip
    hub.commits |= {misc.repository: str(misc.revision), UCE_100M[0]: str(UCE_100M[1])}
    state = release.paper_state()
    path = release.directory / FOUR_LAYERS
    torch.save(state, path)
    file_id = ASSETS[FOUR_LAYERS].figshare_id
    hub.figshare[file_id] = mapped(path)
    release.served["figshare, 4layer_model.torch"] = [path]
    yield "figshare, 4layer_model.torch", "uce-4l", f"/figshare/{file_id}"

    hub.answers[f"/v2/file/download/{file_id}"] = FORBIDDEN
    hub.answers |= dict.fromkeys((f"/files/{file_id}", f"/ndownloader/files/{file_id}"), CHALLENGE)
    hub.repositories[UCE_100M[0]] = {"pytorch_model.bin": hub.figshare[file_id]}
    release.served["hub, pytorch_model.bin"] = [path]
    yield "hub, pytorch_model.bin", "uce-4l", f"/storage/{UCE_100M[0]}/pytorch_model.bin"

    names = sorted(state)
    files: dict[str, Any] = {}
    shards = []
    for i, part in enumerate((["pe_embedding.weight"], [name for name in names if name != "pe_embedding.weight"])):
        shards.append(release.directory / f"model-{i + 1:05d}-of-00002.safetensors")
        save_file({name: state[name].contiguous() for name in part}, shards[-1])
        files[shards[-1].name] = mapped(shards[-1])
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": {}}).encode()
    del state
    hub.repositories["maker/shards"] = files
    release.served["hub, shards of safetensors"] = shards
    yield "hub, shards of safetensors", "hf://maker/shards", f"/storage/maker/shards/{shards[0].name}"


def brain_layouts(release: Release, hub: Hub) -> Any:
    """A repository as those of v2026-09, and the same with a state dict of torch."""
    lines = "".join(f"  {key}: {value}\n" for key, value in BRAIN_IDS.items())
    files: dict[str, Any] = {
        "config.json": json.dumps(BRAIN_CONFIG).encode(), "config.yaml": f"dataset:\n{lines}".encode(),
        "vocab/all_species_gene_dict_v2026-09.json": release.genes(),
    }  # fmt: skip
    state = release.brain_state()
    path = release.directory / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    torch_path = release.directory / "pytorch_model.bin"
    torch.save(state, torch_path)
    del state  # 5.5 GB
    hub.repositories["maker/brain"] = files | {path.name: mapped(path)}
    release.served["hub, model.safetensors"] = [path]
    yield "hub, model.safetensors", "hf://maker/brain", f"/storage/maker/brain/{path.name}"

    hub.repositories["maker/torch"] = files | {torch_path.name: mapped(torch_path)}
    release.served["hub, pytorch_model.bin of UCE-brain"] = [torch_path]
    yield "hub, pytorch_model.bin of UCE-brain", "hf://maker/torch", f"/storage/maker/torch/{torch_path.name}"


def mapped(path: Path) -> memoryview:
    """A file on disk as bytes."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
