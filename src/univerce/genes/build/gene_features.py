"""Gene features, computed in blocks of proteins that stay on disk until the table is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from univerce._settings import progress_bar
from univerce.genes.build.proteome import Proteome
from univerce.genes.encoders.encoder import Encoder
from univerce.io.arrays import read_arrays, write_arrays
from univerce.io.atomic import write_whole

BLOCK_PROTEINS = 1024


def encode_genes(
    proteome: Proteome, encoder: Encoder, directory: Path, *, block_proteins: int = BLOCK_PROTEINS, **describing: Any
) -> list[Path]:
    """Write the features of all genes to files for :func:`read_block`, one per block of whole genes, in their order.

    Existing files are kept. Every set of inputs (proteins, encoder, block size, ``describing``) has its own folder in
    ``directory``; its ``manifest.json`` records them.
    """
    manifest = {
        "encoder": encoder.name, "dim": encoder.dim, "n_genes": len(proteome.counts),
        "n_proteins": len(proteome.proteins), "proteins": proteome.digest(), "block_proteins": block_proteins,
        **describing,
    }  # fmt: skip
    text = json.dumps(manifest, indent=2, sort_keys=True)
    folder = directory / hashlib.sha256(text.encode()).hexdigest()[:16]
    write_whole(folder / "manifest.json", text.encode())
    edges = np.concatenate([[0], np.cumsum(proteome.counts)])
    paths = []
    with progress_bar(total=len(proteome.proteins), unit="protein", desc="encode") as bar:
        for k, (begin, end) in enumerate(block_edges(proteome.counts, block_proteins)):
            path = folder / f"{k:05d}.npz"
            block = read_block(path)
            if block is None or block[0].shape != (end - begin, encoder.dim):
                features = encoder.encode(proteome.proteins[edges[begin] : edges[end]])
                means, n_missing = gene_means(features, proteome.counts[begin:end])
                write_arrays(path, features=means, n_missing=n_missing)
            paths.append(path)
            bar.update(int(edges[end] - edges[begin]))
    return paths


def block_edges(counts: np.ndarray, block_proteins: int) -> Iterator[tuple[int, int]]:
    """Iterate over the first and last-plus-one gene of every block."""
    begin, size = 0, 0
    for gene, n in enumerate(counts.tolist()):
        size += n
        if size >= block_proteins:
            yield begin, gene + 1
            begin, size = gene + 1, 0
    if begin < len(counts):
        yield begin, len(counts)


def gene_means(features: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, int]:
    """Average over each gene's proteins, ``[n_genes, dim]`` float32; also the number of proteins without features.

    Proteins unknown to the encoder are rows of NaN, and so are genes without any other.
    """
    if len(features) != counts.sum():
        raise ValueError(f"The encoder returned {len(features)} rows for {counts.sum()} proteins.")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    known = ~np.isnan(features[:, 0])
    sums = np.add.reduceat(np.where(known[:, None], features, 0).astype(np.float64), starts)
    n = np.add.reduceat(known.astype(np.int64), starts)
    means = np.where(n[:, None] > 0, sums / np.maximum(n, 1)[:, None], np.nan)
    return means.astype(np.float32), int((~known).sum())


def read_block(path: Path) -> tuple[np.ndarray, int] | None:
    """Read features and the number of proteins without any, or ``None`` if the block is missing or damaged."""
    saved = read_arrays(path)
    return None if saved is None else (saved["features"], int(saved["n_missing"]))
