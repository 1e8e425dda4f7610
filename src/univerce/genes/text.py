"""Gene features from what is written about a gene: its symbol and its description.

A stand-in for protein embeddings where no protein language model can run. Two halves do two jobs: a truncated SVD of
TF-IDF weighted character n-grams and words brings relatives together (families, orthologues), and a random projection
of the exact words and the symbol keeps genes apart that the SVD would merge (INS, GCG and SST share every frequent
word).
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
_SYMBOL_WEIGHT = 2.0  # the symbol is one word against about five of a description


@dataclass
class TextEncoder:
    """Encode genes by their symbol and description.

    Parameters
    ----------
    n_semantic
        Width of the half that brings relatives together.
    n_identity
        Width of the half that keeps genes apart.
    n_hash
        Number of hashed n-gram features below the SVD.
    seed
        Seed of the randomised SVD and of the random projection.

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
    n_identity: int = 64
    n_hash: int = 2**17
    seed: int = 0
    _idf: Any = field(default=None, init=False, repr=False)
    _svd: Any = field(default=None, init=False, repr=False)
    _word_idf: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _digest: str = field(default="", init=False, repr=False)
    _unseen_idf: float = field(default=1.0, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name a gene table records: it tells encoders apart that were fitted to other genes."""
        if not self._digest:
            raise ValueError("The encoder is not fitted and has no name yet; call fit(genes) first.")
        return f"text-svd{self.n_semantic}-rp{self.n_identity}-s{self.seed}-{self._digest[:8]}"

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
        frequency = pd.Series([w for words in _words(genes) for w in set(words)]).value_counts()
        idf = np.log((1 + len(genes)) / (1 + frequency.to_numpy())) + 1
        self._word_idf = dict(zip(frequency.index, idf, strict=True))
        self._unseen_idf = float(np.log(1 + len(genes)) + 1)
        return self

    def encode(self, genes: pd.DataFrame) -> np.ndarray:
        """Features of genes.

        Parameters
        ----------
        genes
            One row per gene with the columns ``symbol`` and ``description``.

        Returns
        -------
        ``[n_genes, dim]`` float32. Each half has unit length, or is zero for a gene about which nothing is written.

        Raises
        ------
        ValueError
            When the encoder has not been fitted.
        """
        if self._svd is None:
            raise ValueError("The encoder is not fitted; call fit(genes) with the genes of all species first.")
        semantic = self._svd.transform(self._idf.transform(self._ngram_counts(genes)))
        return np.hstack([_unit(semantic), _unit(self._identity(genes))]).astype(np.float32)

    def _ngram_counts(self, genes: pd.DataFrame) -> sparse.csr_matrix:
        from sklearn.feature_extraction.text import HashingVectorizer

        text = [" ".join(words) for words in _words(genes)]
        common = {"n_features": self.n_hash, "alternate_sign": False, "norm": None}
        grams = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common).transform(text)
        words = HashingVectorizer(analyzer="word", token_pattern=r"\S+", **common).transform(text)
        return sparse.hstack([grams, words], format="csr")

    def _identity(self, genes: pd.DataFrame) -> np.ndarray:
        vectors: dict[str, np.ndarray] = {}
        out = np.zeros((len(genes), self.n_identity))
        for row, (words, symbol) in enumerate(zip(_words(genes), genes["symbol"].str.lower(), strict=True)):
            for word in words:
                if word not in vectors:
                    vectors[word] = _hashed_direction(word, self.n_identity, self.seed)
                out[row] += vectors[word] * self._word_idf.get(word, self._unseen_idf)
            if symbol:
                out[row] += (
                    _hashed_direction(f"symbol:{symbol}", self.n_identity, self.seed)
                    * self._unseen_idf
                    * _SYMBOL_WEIGHT
                )
        return out


def quantise(features: np.ndarray, *, levels: int = 15) -> np.ndarray:
    """Round every row to int8 on its own scale; the network normalises tokens, so the scale need not be kept."""
    peak = np.abs(features).max(axis=1, keepdims=True)
    return np.rint(features / np.where(peak > 0, peak, 1) * levels).astype(np.int8)


def _words(genes: pd.DataFrame) -> list[list[str]]:
    return [_WORD.findall(f"{s} {d}".lower()) for s, d in zip(genes["symbol"], genes["description"], strict=True)]


def _hashed_direction(word: str, dim: int, seed: int) -> np.ndarray:
    key = hashlib.blake2b(word.encode(), digest_size=8, key=str(seed).encode()).digest()
    return np.random.default_rng(int.from_bytes(key, "little")).standard_normal(dim)


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 1e-9, norm, 1)


def hashed_tokens(names: Sequence[str], dim: int, *, seed: int = 0) -> np.ndarray:
    """Normal(0, 1) token features that depend on each name alone, ``[len(names), dim]`` float32.

    For special and chromosome tokens: adding a chromosome or a species shifts no other token.
    """
    return np.stack([_hashed_direction(f"token:{name}", dim, seed) for name in names]).astype(np.float32)
