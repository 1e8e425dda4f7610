"""How fast ESM2 encodes proteins on this machine, by size: random weights in the published shapes.

Prints residues a second, FLOPs a residue, the memory of the weights, and the hours that a proteome takes. Sizes that do
not fit are scaled by their FLOPs from the largest that was measured, and marked. ``sizes=8M,35M`` chooses what is
measured, ``UNIVERCE_DEVICE`` the device, ``UNIVERCE_PRECISION`` the precision.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch

from benchmarks.measurement import Run, print_table
from univerce.genes import ESM2
from univerce.genes.encoders.esm2 import MAX_RESIDUES, SIZES
from univerce.genes.fasta import Protein

HEADS = {"8M": 20, "35M": 20, "150M": 20, "650M": 20, "3B": 40, "15B": 40}
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
# Simulated lengths: many short proteins, a few beyond the cut.
N_PROTEINS, MEDIAN, SPREAD = 8, 415, 0.75
PROTEOME = 60_000 * 450
"""Residues of an Ensembl proteome with its isoforms."""


def clock() -> float:
    """Seconds of one core, which other work on the machine does not change; of an accelerator those of the wall."""
    on_cpu = os.environ.get("UNIVERCE_DEVICE", "cpu") == "cpu"
    return time.process_time() / torch.get_num_threads() if on_cpu else time.perf_counter()


def size_of(name: str) -> str:
    return name.split("_")[2]


def flops(layers: int, width: int, length: float) -> float:
    """Of a residue in a forward pass: products with the weights of all layers, and attention over its protein."""
    return layers * (2 * 12 * width**2 + 4 * length * width)


def proteins(rng: np.random.Generator) -> list[Protein]:
    lengths = np.exp(rng.normal(np.log(MEDIAN), SPREAD, N_PROTEINS)).astype(int).clip(30, 3000)
    return [Protein(f"P{i}", "".join(rng.choice(list(LETTERS), n))) for i, n in enumerate(lengths)]


def random_encoder(name: str, directory) -> ESM2:
    from transformers import EsmConfig, EsmModel, EsmTokenizer

    layers, width = SIZES[name]
    config = EsmConfig(
        vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=HEADS[size_of(name)], intermediate_size=4 * width, max_position_embeddings=1026,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
    )  # fmt: skip
    EsmModel(config, add_pooling_layer=False).save_pretrained(directory)
    words = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
    (directory / "vocab.txt").write_text("\n".join(words))
    EsmTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    return ESM2(directory)


def main(run: Run) -> None:
    """Measure residues a second."""
    chosen = run.option("sizes", "8M,35M,150M,650M").split(",")
    sample = proteins(np.random.default_rng(0))
    residues = sum(min(len(p.sequence), MAX_RESIDUES) for p in sample)
    mean = residues / len(sample)
    rows, rate_of_flops = [], np.nan
    for name, (layers, width) in SIZES.items():
        size, work = size_of(name), flops(layers, width, mean)
        measured = size in chosen
        if measured:
            encoder = random_encoder(name, run.scratch())
            encoder.encode(sample[:2])
            begin = clock()
            encoded = encoder.encode(sample)
            rate = residues / (clock() - begin)
            assert np.isfinite(encoded).all()
            rate_of_flops = rate * work
            precision = str(next(encoder._model.parameters()).dtype).removeprefix("torch.")
            del encoder
        rate = rate_of_flops / work
        parameters = layers * 12 * width**2
        cells = (
            size,
            f"{rate:,.1f}",
            f"{PROTEOME / rate / 3600:,.1f}",
            f"{work / 1e9:.3g}",
            f"{4 * parameters / 2**30:.2g}",
        )
        rows.append((*cells, precision if measured else f"scaled, {precision}"))
    header = ("ESM2", "residues/s", f"hours of {PROTEOME:,} residues", "GFLOP/residue", "GiB of float32 weights", "how")
    threads = torch.get_num_threads()
    print_table(f"ESM2, {threads} threads, {len(sample)} proteins of {mean:.0f} residues on average", header, rows)
