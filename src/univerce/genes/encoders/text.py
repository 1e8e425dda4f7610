"""Gene features from what is written about a gene: its symbol and its description.

A stand-in for protein embeddings where no protein language model can run. Two parts do two jobs: a truncated SVD of
TF-IDF weighted character n-grams and words brings relatives together (families, orthologues), and random signs, drawn
from the symbol alone, keep genes apart that the SVD would merge (INS, GCG and SST share every frequent word) and let
orthologues of one name agree. The signs are a function of the symbol, so that files need not hold them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

_WORD = re.compile(r"[a-z0-9]+")
_SIGN = 2  # as large in a row of int8 as makes the two parts of about the same length


@dataclass
class TextEncoder:
    """Encode genes by their symbol and description.

    Parameters
    ----------
    n_semantic
        Width of the part that brings relatives together.
    n_identity
        Width of the part that keeps genes apart, a multiple of 8.
    n_hash
        Number of hashed n-gram features below the SVD.
    seed
        Seed of the randomised SVD and of the signs.

    Examples
    --------
    >>> import pandas as pd
    >>> from univerce.genes import TextEncoder
    >>> genes = pd.DataFrame({
    ...     "symbol": ["CD3E", "Cd3e", "INS"], "description": ["CD3 epsilon", "CD3 epsilon", "insulin"],
    ... })
    >>> encoder = TextEncoder(n_semantic=2, n_identity=8).fit(genes)
    >>> features = encoder.encode(genes)
    >>> features.shape
    (3, 10)
    >>> bool((features[0] == features[1]).all())
    True
    """

    n_semantic: int = 64
    n_identity: int = 1024
    n_hash: int = 2**17
    seed: int = 0
    _idf: Any = field(default=None, init=False, repr=False)
    _svd: Any = field(default=None, init=False, repr=False)
    _digest: str = field(default="", init=False, repr=False)

    @property
    def name(self) -> str:
        """The name a gene table records: it tells encoders apart that were fitted to other genes."""
        if not self._digest:
            raise ValueError("The encoder is not fitted and has no name yet; call fit(genes) first.")
        return f"text-svd{self.n_semantic}-sign{self.n_identity}-s{self.seed}-{self._digest[:8]}"

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.n_semantic + self.n_identity

    def fit(self, genes: pd.DataFrame) -> TextEncoder:
        """Learn the word weights and the SVD from the genes of all species together.

        Parameters
        ----------
        genes
            One row per gene with the columns ``symbol`` and ``description`` (``""`` when unknown).

        Returns
        -------
        The encoder itself.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer

        written = "\n".join(f"{s}\t{d}" for s, d in zip(genes["symbol"], genes["description"], strict=True))
        self._digest = hashlib.sha256(f"{self.n_hash}\n{written}".encode()).hexdigest()
        counts = self._ngram_counts(genes)
        self._idf = TfidfTransformer(sublinear_tf=True).fit(counts)
        self._svd = TruncatedSVD(self.n_semantic, random_state=self.seed).fit(self._idf.transform(counts))
        return self

    def encode(self, genes: pd.DataFrame) -> np.ndarray:
        """Features of genes.

        Parameters
        ----------
        genes
            One row per gene with the columns ``symbol`` and ``description``, and optionally ``ensembl_id``, which
            stands in where a gene has no symbol.

        Returns
        -------
        ``[n_genes, dim]`` int8, of which only the direction of a row matters. Each part is zero for a gene about which
        nothing is written.

        Raises
        ------
        ValueError
            When the encoder has not been fitted.
        """
        if self._svd is None:
            raise ValueError("The encoder is not fitted; call fit(genes) with the genes of all species first.")
        semantic = self._svd.transform(self._idf.transform(self._ngram_counts(genes)))
        return np.hstack([quantise(semantic), identity_signs(genes, self.n_identity, seed=self.seed)])

    def _ngram_counts(self, genes: pd.DataFrame) -> sparse.csr_matrix:
        from sklearn.feature_extraction.text import HashingVectorizer

        text = [" ".join(words) for words in _words(genes)]
        common = {"n_features": self.n_hash, "alternate_sign": False, "norm": None}
        grams = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common).transform(text)
        words = HashingVectorizer(analyzer="word", token_pattern=r"\S+", **common).transform(text)
        return sparse.hstack([grams, words], format="csr")


def identity_signs(genes: pd.DataFrame, dim: int, *, seed: int = 0) -> np.ndarray:
    """The part of the features that is a function of a gene's name alone.

    Parameters
    ----------
    genes
        One row per gene with the column ``symbol`` and optionally ``ensembl_id``, for genes without a symbol. Case does
        not matter.
    dim
        Width, a multiple of 8.
    seed
        Another seed gives other signs.

    Returns
    -------
    ``[n_genes, dim]`` int8 of two values of opposite sign, or zero for a gene without a name.
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


def quantise(features: np.ndarray, *, levels: int = 15) -> np.ndarray:
    """Round every row to int8 on its own scale; the network normalises tokens, so the scale need not be kept."""
    peak = np.abs(features).max(axis=1, keepdims=True)
    return np.rint(features / np.where(peak > 0, peak, 1) * levels).astype(np.int8)


def _words(genes: pd.DataFrame) -> list[list[str]]:
    return [_WORD.findall(f"{s} {d}".lower()) for s, d in zip(genes["symbol"], genes["description"], strict=True)]


def _hashed_bytes(key: bytes, n: int, seed: int) -> bytes:
    """Bytes that look random and depend on the key and the seed alone."""
    blocks = range(-(-n // hashlib.blake2b.MAX_DIGEST_SIZE))
    salt = str(seed).encode()
    return b"".join(hashlib.blake2b(key, salt=salt, person=str(i).encode()).digest() for i in blocks)[:n]


def _hashed_direction(word: str, dim: int, seed: int) -> np.ndarray:
    key = hashlib.blake2b(word.encode(), digest_size=8, key=str(seed).encode()).digest()
    return np.random.default_rng(int.from_bytes(key, "little")).standard_normal(dim)


def hashed_tokens(names: Sequence[str], dim: int, *, seed: int = 0) -> np.ndarray:
    """Normal(0, 1) token features that depend on each name alone, ``[len(names), dim]`` float32.

    For special and chromosome tokens: adding a chromosome or a species shifts no other token.
    """
    return np.stack([_hashed_direction(f"token:{name}", dim, seed) for name in names]).astype(np.float32)
