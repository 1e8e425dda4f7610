"""The linear family: a cell is a weighted sum of one vector per gene, without sentences and without a transformer.

``cell = unit(sum over genes of log(1 + scale * share) * v_gene - center)``, where the vector of a gene is
``rarity * (unit(features) @ W + landmark)``. Genes share rarity and landmark by key, see
:func:`gene_keys`; genes that no training set measured have the largest rarity and no landmark.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import anndata as ad
import numba
import numpy as np
from scipy import sparse

from univerce._errors import reading
from univerce.genes.hashed import identity_signs
from univerce.genes.table import gene_features, gene_table_info
from univerce.io.pipeline import n_threads
from univerce.model.config import Config
from univerce.model.directory import Model, write_model

_BLOCK = 2048
_PART = 100_000  # weights that are worth a thread

# Fish have two copies of many mammalian genes (sox9a, hbaa1.2), worms a hyphen (rpl-3).
_VARIANTS = tuple(map(re.compile, (r"-", r"[AB]$", r"\.\d+$", r"[AB]\.\d+$", r"[AB]\d*$")))


@dataclass(frozen=True)
class LinearConfig(Config):
    """The configuration of a linear model.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.find_model("uce-mini").config.family
    'linear'
    """

    family: ClassVar[str] = "linear"  # see univerce.model.families
    model_id: str = "linear"
    """Name of the model; the digest does not depend on it."""
    token_dim: int = 1088
    """Width of the gene features."""
    token_encoder: str = ""
    """Encoder of the gene tables that the weights were fitted with; other tables raise an error."""
    output_dim: int = 128
    """Width of the cell embedding."""
    scale: float = 100.0
    """A gene has the weight log(1 + ``scale`` * its share of the cell's counts)."""

    def __str__(self) -> str:
        return f"linear, all genes, {self.output_dim:,} dimensions"


@dataclass(frozen=True, eq=False)
class Decoder:
    """The expression of a gene from a cell: log-odds, relative to a cell that is like all others.

    Ridge regression, one gene at a time, for genes that training sets measured.
    """

    genes: np.ndarray
    """``[n_decoded]`` positions of the genes among the keys, increasing."""
    slopes: np.ndarray
    """``[n_decoded, output_dim]`` int8, each row in units of its ``scale``."""
    scale: np.ndarray
    """``[n_decoded]`` float32."""
    intercept: np.ndarray
    """``[n_decoded]`` float32."""

    @classmethod
    def empty(cls, output_dim: int) -> Self:
        """A decoder of no gene."""
        none = np.zeros(0, dtype=np.float32)
        return cls(np.zeros(0, dtype=np.int32), np.zeros((0, output_dim), dtype=np.int8), none, none)


@dataclass(frozen=True, eq=False)
class Linear:
    """The weights of a linear model."""

    config: LinearConfig
    keys: tuple[str, ...]
    """Keys of genes."""
    rarity: np.ndarray
    """``[n_keys]`` float32."""
    weight: np.ndarray
    """``[token_dim, output_dim]`` float32."""
    landmarks: np.ndarray
    """``[n_landmarks]`` positions of the landmark genes among the keys."""
    landmark_vectors: np.ndarray
    """``[n_landmarks, output_dim]`` float32."""
    center: np.ndarray
    """``[output_dim]`` float32."""
    decoder: Decoder

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each key."""
        return {key: i for i, key in enumerate(self.keys)}

    def vectors(self, table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
        """Vectors of genes, ``[n_rows, output_dim]`` float32; ``rows`` of the table increase."""
        keys = gene_keys(table[rows], self.index)
        places = self._places(keys)
        landmark = np.full(len(self.keys) + 1, -1)
        landmark[self.landmarks] = np.arange(len(self.landmarks))
        mine = landmark[places]
        rarity = np.append(self.rarity, self.rarity.max())[places]
        out = np.empty((len(rows), self.config.output_dim), dtype=np.float32)
        for begin in range(0, len(rows), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            out[part] = token_features(table[rows[part]], keys[part]) @ self.weight
        has_landmark = mine >= 0
        out[has_landmark] += self.landmark_vectors[mine[has_landmark]]
        return out * rarity[:, None]

    def cells(self, weights: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
        """Embed cells with :func:`gene_weights` ``[n_cells, n_genes]``: float32 of unit length, NaN without counts."""
        sums = self.sums(weights, vectors)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        if not np.isfinite(length).all():
            raise ValueError("The model returns values that are not finite: counts or weights overflow.")
        out = np.divide(sums, length, out=np.full_like(sums, np.nan), where=length > 0)
        out[np.diff(weights.indptr) == 0] = np.nan
        return out

    def sums(self, weights: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
        """The centered sums ``[n_cells, output_dim]``, before they are scaled to unit length."""
        if weights.shape[1] != len(vectors):
            raise ValueError(f"There are weights of {weights.shape[1]:,} genes and vectors of {len(vectors):,}.")
        out = np.zeros((weights.shape[0], vectors.shape[1]), dtype=np.float32)
        weights = weights.astype(np.float32, copy=False)
        indptr, indices = weights.indptr.astype(np.int64), weights.indices.astype(np.int32, copy=False)

        def run(begin: int, end: int) -> None:
            _add_vectors(begin, end, indptr, indices, weights.data, vectors, out)

        n_parts = min(n_threads(), 1 + weights.nnz // _PART)
        bounds = np.linspace(0, len(out), n_parts + 1).astype(int)
        with ThreadPoolExecutor(n_parts) as pool:
            list(pool.map(run, bounds[:-1], bounds[1:]))
        return out - self.center

    def decodes(self, table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
        """``[n_rows]`` bool: which genes :meth:`decode` knows."""
        return np.isin(self._places(gene_keys(table[rows], self.index)), self.decoder.genes)

    def decode(self, cells: np.ndarray, table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
        """Log-odds that cells express genes that are decoded, ``[n_cells, n_rows]`` float32."""
        found = np.searchsorted(self.decoder.genes, self._places(gene_keys(table[rows], self.index)))
        slopes = self.decoder.slopes[found].astype(np.float32) * self.decoder.scale[found, None]
        return np.asarray(cells.astype(np.float32) @ slopes.T + self.decoder.intercept[found])

    def _places(self, keys: Sequence[str]) -> np.ndarray:
        """Position of each key, -1 for unknown ones."""
        return np.array([self.index.get(key, -1) for key in keys], dtype=np.int64)

    def save(self, path: Path, extra: dict[str, Any] | None = None) -> Model:
        """Write a model directory."""
        return write_model(self.config, path, self._save, extra)

    def _save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {
            "keys": np.frombuffer("\n".join(self.keys).encode(), dtype=np.uint8),
            "rarity": self.rarity.astype(np.float16),
            "weight": self.weight.astype(np.float16),
            "landmarks": self.landmarks.astype(np.int32),
            "landmark_vectors": self.landmark_vectors.astype(np.float16),
            "center": self.center.astype(np.float32),
            "decoder.genes": self.decoder.genes.astype(np.int32),
            "decoder.slopes": self.decoder.slopes.astype(np.int8),
            "decoder.scale": self.decoder.scale.astype(np.float32),
            "decoder.intercept": self.decoder.intercept.astype(np.float32),
        }
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

    @classmethod
    def read(cls, model: Model) -> Self:
        """Read the weights of a model; ``FileError`` if they do not fit the configuration or are not finite."""
        from safetensors.numpy import load_file

        with reading(model.weights, "the weights of a linear model"):
            return cls._read(model, load_file(model.weights))

    @classmethod
    def _read(cls, model: Model, found: dict[str, np.ndarray]) -> Self:
        try:
            keys = tuple(found["keys"].tobytes().decode().split("\n"))
            decoder = Decoder(*(found[f"decoder.{name}"] for name in ("genes", "slopes", "scale", "intercept")))
            arrays = {
                name: found[name].astype(np.float32) for name in ("rarity", "weight", "landmark_vectors", "center")
            }
            made = cls(config=model.config, keys=keys, landmarks=found["landmarks"], decoder=decoder, **arrays)
        except KeyError as error:
            raise ValueError(f"{model.weights} has no {error.args[0]!r}; it holds no linear model.") from error
        made._check(model.weights)
        return made

    def _check(self, path: Path) -> None:
        n, dim = len(self.keys), self.config.output_dim
        decoder, n_decoded = self.decoder, len(self.decoder.genes)
        expected = {
            "rarity": (self.rarity, (n,)), "weight": (self.weight, (self.config.token_dim, dim)),
            "landmark_vectors": (self.landmark_vectors, (len(self.landmarks), dim)), "center": (self.center, (dim,)),
            "decoder.slopes": (decoder.slopes, (n_decoded, dim)), "decoder.scale": (decoder.scale, (n_decoded,)),
            "decoder.intercept": (decoder.intercept, (n_decoded,)),
        }  # fmt: skip
        for name, (array, shape) in expected.items():
            if array.shape != shape:
                raise ValueError(f"{path}: {name} has the shape {array.shape}, expected {shape}.")
            if not np.isfinite(array).all():
                raise ValueError(f"{path}: {name} holds values that are not finite.")
        places = np.concatenate([self.landmarks, self.decoder.genes])
        if len(places) and not (places.min() >= 0 and places.max() < n):
            raise ValueError(f"{path}: landmarks or decoded genes are not among the {n} keys.")


def token_features(genes: ad.AnnData, keys: list[str]) -> np.ndarray:
    """Features of genes of unit length, ``[n_genes, token_dim]`` float32.

    Signs that stand for the name of a gene are drawn for its key, so that they agree between species.
    """
    features = gene_features(genes, np.arange(genes.n_obs)).astype(np.float32)
    info = gene_table_info(genes)
    if n_identity := int(info.get("n_identity", 0)):
        named = genes.obs[["symbol"]].assign(symbol=keys)
        features[:, genes.n_vars - n_identity :] = identity_signs(named, n_identity, seed=int(info["identity_seed"]))
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def gene_weights(counts: sparse.csr_matrix, columns: np.ndarray, n_genes: int, scale: float) -> sparse.csr_matrix:
    """Weights log(1 + scale * share of the counts) of the genes of each cell, ``[n_cells, n_genes]`` float32.

    ``columns`` ``[n_vars]`` is the gene of each variable, -1 for none; counts of variables of one gene are added. A
    small ``scale`` (``LinearConfig.scale``) weights genes by their share, a large one almost only by whether they are
    expressed, which separates deep from shallow cells.
    """
    genes = np.empty(counts.nnz, dtype=np.int32)
    values, total = np.empty(counts.nnz), np.zeros(counts.shape[0])
    starts = np.zeros(counts.shape[0] + 1, dtype=np.int64)
    _select(
        counts.indptr.astype(np.int64), counts.indices.astype(np.int32, copy=False),
        counts.data.astype(np.float64, copy=False), columns.astype(np.int32), genes, values, starts, total,
    )  # fmt: skip
    kept = slice(starts[-1])
    weights = sparse.csr_matrix((values[kept], genes[kept], starts), (counts.shape[0], n_genes))
    weights.sum_duplicates()
    weights.data *= scale / np.repeat(total, np.diff(weights.indptr))
    weights.data = np.log1p(weights.data, out=weights.data).astype(np.float32)
    return weights


@numba.njit(nogil=True, cache=True)
def _select(indptr, indices, data, columns, genes, values, starts, total):  # type: ignore[no-untyped-def]
    """Copy the counts of each cell that are not 0 and belong to a gene."""
    n = 0
    for row in range(len(total)):
        for p in range(indptr[row], indptr[row + 1]):
            gene = columns[indices[p]]
            if gene >= 0 and data[p] != 0:
                genes[n], values[n] = gene, data[p]
                total[row] += data[p]
                n += 1
        starts[row + 1] = n


@numba.njit(nogil=True, cache=True)
def _add_vectors(begin, end, indptr, indices, weights, vectors, out):  # type: ignore[no-untyped-def]
    """Add the weighted vectors of the genes of some cells, in the order of the genes."""
    for row in range(begin, end):
        for p in range(indptr[row], indptr[row + 1]):
            weight, gene = weights[p], indices[p]
            for k in range(out.shape[1]):
                out[row, k] += weight * vectors[gene, k]


def gene_keys(table: ad.AnnData, known: Container[str]) -> list[str]:
    """Key of every gene of a table: its symbol in upper case, else its identifier.

    A key that is not ``known`` loses its hyphen or the suffix of a duplicated gene, if the rest is known.
    """
    symbols = table.obs["symbol"].astype(str)
    names = np.where(symbols != "", symbols, table.obs["ensembl_id"].astype(str))
    return [_known(str(name).upper(), known) for name in names]


def _known(key: str, known: Container[str]) -> str:
    if key in known:
        return key
    variants = (pattern.sub("", key) for pattern in _VARIANTS)
    return next((variant for variant in variants if variant in known), key)
