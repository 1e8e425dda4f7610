"""Geneformer's dictionaries and rank value encoding (Theodoris et al. 2023, Methods)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from univerce._errors import FileError, reading
from univerce.genes.release.unpickle import load_pickle_plain
from univerce.io.text import read_json

_SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")
_FILES = {"token": "token_dictionary", "median": "gene_median_dictionary", "ensembl": "gene_name_id_dict"}


@dataclass(frozen=True)
class Dictionaries:
    """The dictionaries of Geneformer."""

    token: dict[str, int]
    """Token of each Ensembl identifier and of the special tokens."""
    median: dict[str, float]
    """Non-zero median of the scaled counts of each Ensembl identifier over the training corpus."""
    ensembl: dict[str, str]
    """Ensembl identifier of each symbol."""

    @classmethod
    def read(cls, directory: Path) -> Dictionaries:
        """Read ``token_dictionary*``, ``gene_median_dictionary*`` and ``gene_name_id_dict*``, JSON before pickles.

        Pickles are read without running code. ``FileNotFoundError`` if one is missing, ``ValueError`` if there are
        several of one kind or they do not match.
        """
        found = cls(**{field: _read(directory, stem) for field, stem in _FILES.items()})
        with reading(directory, "a set of dictionaries"):
            found._check(directory)
        return found

    def _check(self, directory: Path) -> None:
        if sorted(self.token.values()) != list(range(len(self.token))):
            raise ValueError(f"{directory}: the tokens are not the numbers from 0 to {len(self.token) - 1}.")
        lacking = [g for g in self.token if g not in self.median and g not in _SPECIAL]
        if lacking or any(self.median[g] <= 0 for g in self.token if g not in _SPECIAL):
            raise ValueError(
                f"{len(lacking)} genes of the token dictionary in {directory} have no positive median, such as "
                f"{lacking[:3]}: the dictionaries are of different releases."
            )

    @property
    def has_ends(self) -> bool:
        """Whether a sentence begins with ``<cls>`` and ends with ``<eos>``, as from version 2 on."""
        return "<cls>" in self.token

    def tokens(self, names: np.ndarray) -> np.ndarray:
        """``[n_vars]`` token of each symbol or Ensembl identifier (with or without a version); -1 for none."""
        genes = (self.ensembl.get(n, n.partition(".")[0]) for n in names)
        return np.array([self.token.get(g, -1) if g not in _SPECIAL else -1 for g in genes], dtype=np.int64)

    def medians(self) -> np.ndarray:
        """``[n_tokens]`` median of each token; 1 for the special ones."""
        values = np.ones(len(self.token))
        for gene, token in self.token.items():
            values[token] = self.median.get(gene, 1.0)
        return values


def _read(directory: Path, stem: str) -> Any:
    for suffix in (".json", ".pkl"):
        paths = sorted(directory.glob(f"{stem}*{suffix}"))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise ValueError(f"{directory} has several of one kind: {names}. Leave one there.")
        if paths and suffix == ".json":
            return read_json(paths[0])
        if paths:
            found = load_pickle_plain(paths[0], numpy_numbers=True)
            if not isinstance(found, dict):
                raise FileError(f"{paths[0]} must hold a dictionary, not {type(found).__name__}.")
            return found
    raise FileNotFoundError(
        f"{directory} has no {stem}*.json or {stem}*.pkl. Pass dictionaries= with the folder that holds them: "
        "geneformer/ of huggingface.co/ctheodoris/Geneformer, or geneformer/gene_dictionaries_30m/ of it for version 1."
    )


def rank_tokens(counts: sp.csr_matrix, n_counts: np.ndarray, medians: np.ndarray, length: int) -> list[np.ndarray]:
    """Tokens of each cell in descending order of ``counts / n_counts * 10,000 / median``, at most ``length``.

    Ties are sorted by token; the reference uses an unstable sort. ``counts`` ``[n_obs, n_tokens]`` have sorted columns
    and no stored zero, ``n_counts`` ``[n_obs]`` include genes without a token.
    """
    sentences = []
    for i, total in enumerate(n_counts):
        row = slice(counts.indptr[i], counts.indptr[i + 1])
        tokens = counts.indices[row]
        order = np.argsort(-(counts.data[row] / total * 10_000 / medians[tokens]), kind="stable")
        sentences.append(tokens[order[:length]].astype(np.int64))
    return sentences
