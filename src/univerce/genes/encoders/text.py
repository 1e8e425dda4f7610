"""Gene features from what is written about a gene: its symbol and its description.

A stand-in for protein embeddings where no protein language model can run. Two parts do two jobs: a truncated SVD of
TF-IDF weighted character n-grams and words brings relatives together (families, orthologues), and random signs, drawn
from the symbol alone, keep genes apart that the SVD would merge (INS, GCG and SST share every frequent word) and let
orthologues of one name agree. The signs are a function of the symbol, so that files need not hold them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from univerce.genes.hashed import identity_signs, quantize

_WORD = re.compile(r"[a-z0-9]+")


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
        Seed of the randomized SVD and of the signs.

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
        return np.hstack([quantize(semantic), identity_signs(genes, self.n_identity, seed=self.seed)])

    def _ngram_counts(self, genes: pd.DataFrame) -> sparse.csr_matrix:
        from sklearn.feature_extraction.text import HashingVectorizer

        text = [" ".join(words) for words in _words(genes)]
        common = {"n_features": self.n_hash, "alternate_sign": False, "norm": None}
        grams = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common).transform(text)
        words = HashingVectorizer(analyzer="word", token_pattern=r"\S+", **common).transform(text)
        return sparse.hstack([grams, words], format="csr")


def _words(genes: pd.DataFrame) -> list[list[str]]:
    return [_WORD.findall(f"{s} {d}".lower()) for s, d in zip(genes["symbol"], genes["description"], strict=True)]
