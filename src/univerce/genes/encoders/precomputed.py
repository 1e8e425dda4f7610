"""Vectors from another program, one per protein or gene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from univerce._errors import reading
from univerce.genes.fasta import Protein, without_version
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.registry import ESM2_15B
from univerce.genes.release.unpickle import load_torch
from univerce.io.files import check_unpacked

SUFFIXES = (".pt", ".h5", ".hdf5", ".npz")
_KIND = "a file of vectors"
_RELEASED = ".gene_symbol_to_embedding_ESM2.pt"


class Precomputed:
    """Use features of proteins or genes from another program.

    Vectors are looked up by protein (with and without version), then by gene identifier, symbol, and upper-case symbol.
    Proteins without a vector are left out and counted.

    Parameters
    ----------
    vectors
        Name to vector; or a ``.pt`` file of such a dictionary, as the released ``*.gene_symbol_to_embedding_ESM2.pt``,
        an ``.h5`` or ``.npz`` file with a dataset per name, or a directory of ``.pt`` files that the ``extract.py`` of
        ESM writes with ``--include mean``. Only tensors are unpickled.
    name
        Name of the encoder, which gene tables record and models compare. By default that of the released files, or the
        file name and a digest.

    Examples
    --------
    >>> import numpy as np
    >>> from univerce.genes import Precomputed
    >>> from univerce.genes.fasta import Protein
    >>> encoder = Precomputed({"INS": np.ones(4)}, name="mine")
    >>> encoder.encode([Protein("P1", symbol="Ins"), Protein("P2", symbol="Gcg")])[:, 0].tolist()
    [1.0, nan]
    """

    reads = "names"

    def __init__(self, vectors: Mapping[str, Any] | Path | str, *, name: str | None = None) -> None:
        self._source = vectors if isinstance(vectors, Mapping) else Path(vectors)
        if name is None and isinstance(self._source, Mapping):
            raise ValueError("Vectors in memory have no name: pass name= with the name of their encoder.")
        self._name = name

    @cached_property
    def name(self) -> str:
        """Name in gene tables."""
        if self._name is not None or isinstance(self._source, Mapping):
            return str(self._name)
        if self._source.name.endswith(_RELEASED):
            return ESM2_15B
        if self._source.is_dir():
            raise ValueError(
                f"The vectors in {self._source} have no name: pass Precomputed(path, name=...) with the name of their "
                "encoder."
            )
        return f"{self._source.stem}-{file_sha256(self._source)[:8]}"

    @cached_property
    def dim(self) -> int:
        """Width of the features."""
        with reading(self._path, _KIND):
            if not len(self._vectors):
                raise ValueError(f"{self._where} has no vectors.")
            return len(self._vector(next(iter(self._vectors))))

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """Look up the features of proteins.

        Parameters
        ----------
        proteins
            Proteins; only their names are read.

        Returns
        -------
        ``[n_proteins, dim]`` float32, rows of NaN for proteins without a vector.

        Raises
        ------
        ValueError
            If vectors differ in width, or have values that are not finite.
        """
        out = np.full((len(proteins), self.dim), np.nan, dtype=np.float32)
        with reading(self._path, _KIND):
            for row, p in zip(out, proteins, strict=True):
                for key in (p.id, without_version(p.id), p.gene, p.symbol, p.symbol.upper()):
                    if key and key in self._vectors:
                        vector = self._vector(key)
                        if vector.shape != row.shape or not np.isfinite(vector).all():
                            raise ValueError(
                                f"{self._where}: the vector of {key!r} has the shape {vector.shape} (others "
                                f"{row.shape}) or values that are not finite."
                            )
                        row[:] = vector
                        break
        return out

    @property
    def _path(self) -> Path | None:
        return None if isinstance(self._source, Mapping) else self._source

    @property
    def _where(self) -> str:
        return "The dictionary" if isinstance(self._source, Mapping) else str(self._source)

    @cached_property
    def _vectors(self) -> Mapping[str, Any]:
        if isinstance(self._source, Mapping):
            return self._source
        if self._source.is_dir():
            return {path.stem: path for path in sorted(self._source.glob("*.pt"))}
        with reading(self._source, _KIND):
            if self._source.suffix == ".npz":
                check_unpacked(self._source)
                return np.load(self._source, allow_pickle=False)
            if self._source.suffix == ".pt":
                found = load_torch(self._source)
                if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
                    raise ValueError(f"{self._source} must be a dictionary of protein or gene to vector.")
                return found
            return h5py.File(self._source, "r")

    def _vector(self, key: str) -> np.ndarray:
        value = self._vectors[key]
        if isinstance(value, Path):
            means = load_torch(value, mmap=False)
            means = means.get("mean_representations") if isinstance(means, Mapping) else None
            if not isinstance(means, Mapping) or len(means) != 1:
                raise ValueError(f"{value} must have the mean of one layer: run extract.py with --include mean.")
            value = next(iter(means.values()))
        value = value[()] if isinstance(value, h5py.Dataset) else value
        value = value.float().numpy() if hasattr(value, "numpy") else np.asarray(value)
        if value.ndim != 1 or value.dtype.kind not in "fiu":
            raise ValueError(f"{self._where}: {key!r} is not a vector of numbers.")
        return value.astype(np.float32)
