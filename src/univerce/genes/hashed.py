"""Features that depend only on a name, and int8 features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

_SIGN = 2  # gives the two parts of a row of int8 about the same length


def identity_signs(genes: pd.DataFrame, dim: int, *, seed: int = 0) -> np.ndarray:
    """Draw the part of the features that depends only on a gene's name: ``[n_genes, dim]`` int8, -2 or 2.

    The name is ``symbol`` in any case, else ``ensembl_id``; rows of genes without a name are zero.
    """
    if dim % 8:
        raise ValueError(f"The width of the signs must be a multiple of 8, not {dim}.")
    names = genes["symbol"].astype(str)
    if "ensembl_id" in genes:
        names = names.where(names != "", genes["ensembl_id"].astype(str))
    keys = [name.upper().encode() for name in names]
    bits = np.frombuffer(b"".join(_hashed_bytes(key, dim // 8, seed) for key in keys), dtype=np.uint8)
    signs = np.unpackbits(bits).reshape(len(keys), dim).astype(np.int8) * (2 * _SIGN) - _SIGN
    signs[[not key for key in keys]] = 0
    return signs


def quantize(features: np.ndarray, *, levels: int = 15) -> np.ndarray:
    """Round every row to int8 on its own scale; the network normalizes tokens, so the scale is not needed."""
    peak = np.abs(features).max(axis=1, keepdims=True)
    return np.rint(features / np.where(peak > 0, peak, 1) * levels).astype(np.int8)


def _hashed_bytes(key: bytes, n: int, seed: int) -> bytes:
    """Draw ``n`` bytes that depend only on the key and the seed."""
    blocks = range(-(-n // hashlib.blake2b.MAX_DIGEST_SIZE))
    salt = str(seed).encode()
    return b"".join(hashlib.blake2b(key, salt=salt, person=str(i).encode()).digest() for i in blocks)[:n]


def hashed_direction(word: str, dim: int, seed: int) -> np.ndarray:
    """Draw a Normal(0, 1) vector ``[dim]`` that depends only on the word and the seed."""
    key = hashlib.blake2b(word.encode(), digest_size=8, key=str(seed).encode()).digest()
    return np.random.default_rng(int.from_bytes(key, "little")).standard_normal(dim)


def hashed_tokens(names: Sequence[str], dim: int, *, seed: int = 0) -> np.ndarray:
    """Draw Normal(0, 1) token features ``[len(names), dim]`` float32, each dependent only on its name and the seed.

    For special and chromosome tokens: a new chromosome or species changes no other token.
    """
    return np.stack([hashed_direction(f"token:{name}", dim, seed) for name in names]).astype(np.float32)
