"""Gene features from the symbol and description of a gene, where no protein language model can run.

A truncated SVD of TF-IDF weighted character n-grams and words places related genes (families, orthologs) close
together. Random signs, drawn from the symbol alone, separate genes that the SVD would merge (INS, GCG and SST share
every frequent word) and agree for orthologs of one name; files omit them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import sparse

from univerce.genes.fasta import Protein
from univerce.genes.hashed import identity_signs, quantize

_WORD = re.compile(r"[a-z0-9]+")


@dataclass
class TextEncoder:
    """Encode genes by their symbol and description.

    Parameters
    ----------
    n_semantic
        Width of the part for related genes.
    n_identity
        Width of the part for the identity of a gene, a multiple of 8.
    n_hash
        Number of hashed n-gram features that go into the SVD.
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
    reads: ClassVar[str] = "names"
    _idf: Any = field(default=None, init=False, repr=False)
    _svd: Any = field(default=None, init=False, repr=False)
    _digest: str = field(default="", init=False, repr=False)

    @property
    def name(self) -> str:
        """Name in gene tables, which depends on the genes the encoder was fitted to."""
        if not self._digest:
            raise ValueError("The encoder is not fitted and has no name yet; call fit(genes) first.")
        return f"text-svd{self.n_semantic}-sign{self.n_identity}-s{self.seed}-{self._digest[:8]}"

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.n_semantic + self.n_identity

    def fit(self, genes: pd.DataFrame) -> TextEncoder:
        """Fit the word weights and the SVD to the genes of all species together.

        Parameters
        ----------
        genes
            One row per gene with the columns ``symbol`` and ``description`` (``""`` if unknown).

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

    def encode(self, genes: pd.DataFrame | Sequence[Protein]) -> np.ndarray:
        """Compute the features of genes.

        Parameters
        ----------
        genes
            One row per gene with the columns ``symbol`` and ``description``, and optionally ``ensembl_id``, used for
            genes without a symbol; or proteins.

        Returns
        -------
        ``[n_genes, dim]`` int8; only the direction of a row matters. A part is zero for a gene without text.

        Raises
        ------
        ValueError
            If the encoder is not fitted.
        """
        if self._svd is None:
            raise ValueError("The encoder is not fitted; call fit(genes) with the genes of all species first.")
        if not isinstance(genes, pd.DataFrame):
            rows = [(p.symbol, p.description, p.gene) for p in genes]
            genes = pd.DataFrame(rows, columns=["symbol", "description", "ensembl_id"])
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
