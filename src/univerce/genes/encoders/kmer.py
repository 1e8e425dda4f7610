"""Features from the composition of a protein: amino acids, pairs and triples, brought to few dimensions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from univerce.genes.fasta import Protein

_LETTERS = "ACDEFGHIKLMNPQRSTVWY"
_MAX_FITTED = 20_000  # proteins that the projection is fitted to; more change it little


class KmerEncoder:
    """Encode proteins by how often they use amino acids, pairs and triples of them; no weights are needed.

    Square roots of the frequencies of all k-mers of each length, all lengths weighing the same, are projected on their
    leading singular vectors. A baseline that runs anywhere: it knows families, and little of what proteins do.

    Parameters
    ----------
    dim
        Width of the features.
    k
        Longest k-mers, 1 to 3.
    seed
        Seed of the randomized singular value decomposition.

    Examples
    --------
    >>> from univerce.genes import KmerEncoder
    >>> from univerce.genes.fasta import Protein
    >>> proteins = [Protein("a", "MKKLLAK"), Protein("b", "MKKLLRK"), Protein("c", "WWGHWYCP")]
    >>> encoder = KmerEncoder(dim=2).fit(proteins)
    >>> encoder.encode(proteins).shape
    (3, 2)
    """

    reads = "sequences"

    def __init__(self, dim: int = 256, *, k: int = 3, seed: int = 0) -> None:
        if k not in (1, 2, 3):
            raise ValueError(f"k={k!r} must be 1, 2 or 3.")
        self.k = k
        self.seed = seed
        self._dim = dim
        self._digest = ""
        self._mean: np.ndarray | None = None
        self._components: np.ndarray | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether it has its projection."""
        return self._components is not None

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self._dim

    @property
    def name(self) -> str:
        """The name a gene table records: it tells encoders apart that were fitted to other proteins."""
        if not self.is_fitted:
            raise ValueError("The encoder is not fitted and has no name yet; call fit(proteins) first.")
        return f"kmer{self.k}-svd{self.dim}-s{self.seed}-{self._digest[:8]}"

    def fit(self, proteins: Sequence[Protein]) -> KmerEncoder:
        """Learn the projection, from at most 20,000 of the proteins, evenly spaced.

        Parameters
        ----------
        proteins
            Proteins with sequences; of all species that are to be compared.

        Returns
        -------
        The encoder itself.

        Raises
        ------
        ValueError
            When there are fewer proteins than dimensions.
        """
        from sklearn.utils.extmath import randomized_svd

        if len(proteins) < self.dim:
            raise ValueError(
                f"{len(proteins):,} proteins are too few for {self.dim} dimensions; pass KmerEncoder(dim=...) with "
                "fewer."
            )
        some = np.unique(np.linspace(0, len(proteins) - 1, min(len(proteins), _MAX_FITTED)).round().astype(int))
        written = "\n".join(proteins[i].sequence for i in some)
        self._digest = hashlib.sha256(written.encode()).hexdigest()
        x = self._frequencies([proteins[i] for i in some])
        _, _, components = randomized_svd(x, self.dim, random_state=self.seed)
        self._components = components.astype(np.float32)
        self._mean = np.asarray(x.mean(axis=0), dtype=np.float32).ravel() @ self._components.T
        return self

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """Features of proteins.

        Parameters
        ----------
        proteins
            Proteins with sequences.

        Returns
        -------
        ``[n_proteins, dim]`` float32, centered by the mean of the proteins it was fitted to.

        Raises
        ------
        ValueError
            When the encoder has not been fitted.
        """
        if self._components is None or self._mean is None:
            raise ValueError("The encoder is not fitted; call fit(proteins) with the proteins of all species first.")
        return np.asarray(self._frequencies(proteins) @ self._components.T - self._mean, dtype=np.float32)

    def save(self, path: Path | str) -> Path:
        """Write the projection, so that further species can be encoded in the same space.

        Parameters
        ----------
        path
            A name that ends in ``.kmer.npz``, by which :func:`univerce.genes.build_species` knows it.

        Returns
        -------
        The path.
        """
        path = Path(path)
        if not path.name.endswith(".kmer.npz"):
            raise ValueError(f"{path.name!r} is no name for an encoder of k-mers; let it end in .kmer.npz.")
        if self._components is None or self._mean is None:
            raise ValueError("The encoder is not fitted; there is nothing to save.")
        part = path.with_name(f".{path.name}")
        with open(part, "wb") as file:
            np.savez(file, components=self._components, mean=self._mean, k=self.k, seed=self.seed, digest=self._digest)
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: Path | str) -> KmerEncoder:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        The fitted encoder.
        """
        with np.load(path, allow_pickle=False) as saved:
            content: dict[str, Any] = dict(saved)
        encoder = cls(len(content["components"]), k=int(content["k"]), seed=int(content["seed"]))
        encoder._components, encoder._mean = content["components"], content["mean"]
        encoder._digest = str(content["digest"])
        return encoder

    def _frequencies(self, proteins: Sequence[Protein]) -> sparse.csr_matrix:
        """``[n_proteins, 20 + 400 + 8,000]`` square roots of the frequencies of the k-mers of each length."""
        code = np.full(256, -1, dtype=np.int64)
        code[np.frombuffer(_LETTERS.encode(), dtype=np.uint8)] = np.arange(len(_LETTERS))
        columns, values, lengths = [], [], []
        for protein in proteins:
            letters = code[np.frombuffer(protein.sequence.encode(), dtype=np.uint8)]
            n, first = 0, 0
            for k in range(1, self.k + 1):
                words = np.zeros(max(len(letters) - k + 1, 0), dtype=np.int64)
                known = np.ones(len(words), dtype=bool)
                for i in range(k):
                    part = letters[i : i + len(words)]
                    words = words * len(_LETTERS) + part
                    known &= part >= 0
                found, counts = np.unique(words[known], return_counts=True)
                columns.append(found + first)
                values.append(np.sqrt(counts / max(counts.sum(), 1)))
                first += len(_LETTERS) ** k
                n += len(found)
            lengths.append(n)
        width = sum(len(_LETTERS) ** k for k in range(1, self.k + 1))
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), indptr), (len(proteins), width))
