"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzz.binaries import anndata, archive, cells, manifest, safetensors, tables, tensors, unpickle, vectors
from benchmarks.fuzz.matrices import csr
from benchmarks.fuzz.names import names
from benchmarks.fuzz.target import Target
from benchmarks.fuzz.texts import config, fasta, gtf, obo, positions, toml, vocabulary, yaml

TARGETS: dict[str, Callable[[Path], Target]] = {
    target.__name__: target
    for target in (
        csr, names, gtf, fasta, obo, positions, config, toml, yaml, vocabulary, unpickle, tables, safetensors, tensors,
        vectors, archive, anndata, cells, manifest,
    )
}  # fmt: skip
