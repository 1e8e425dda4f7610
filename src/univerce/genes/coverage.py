"""How much of a data set a gene table covers, and what is probably wrong if it is little."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.bundled_names import SpeciesNames
from univerce.genes.lookup import NameMapping, clean_names, stable_id
from univerce.genes.species import SPECIES

LOW_COVERAGE = 0.5
# The right species covered 0.78 to 0.98 of the counts of 44 data sets, always more than any other; the closest case was
# human against macaque and dog, 0.90 to 0.86.
_MARGIN = 0.03
_N_LOST = 20
_FIX_NAMES = "Put gene symbols or Ensembl gene identifiers into var_names, or pass their column of var as gene_key=."
# Other names, and what to do about them.
_FOREIGN_NAMES = (
    (
        re.compile(r"ENS[A-Z]*[TP]\d{6,}(\.\d+)?|[NX][MRP]_\d+(\.\d+)?|FB(TR|PP)\d+"),
        "The names look like transcript or protein identifiers: sum the counts of each gene and name the genes.",
    ),
    (
        re.compile(r"\d+(_[A-Z])?_AT|.+_[ASX]_AT|ILMN_\d+"),
        "The names look like microarray probes, which have no counts: univerce needs counts per gene.",
    ),
    (
        re.compile(r"(GRC[A-Z]\w*?|HG\d+|MM\d+)_+.+"),
        "The names start with a genome assembly, as in a mixture of species: split the data by genome and cut it off.",
    ),
    (
        re.compile(r".+[_|;: ]ENS[A-Z]*G\d{6,}(\.\d+)?|ENS[A-Z]*G\d{6,}(\.\d+)?[_|;: ].+"),
        "The names join a symbol and an identifier: keep one of the two.",
    ),
)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Share of the variables and counts of a data set that a gene table covers.

    Parameters
    ----------
    species
        Species of the table.
    gene_key
        Source of the names: a column of ``var``, or ``"var_names"``.
    n_vars, n_mapped, n_genes
        Number of names, of mapped names, and of distinct genes.
    fraction_mapped, fraction_counts
        Share of the names, and of the counts, that is mapped. Without counts every name has the same weight.
    n_cells
        Number of cells whose counts were summed.
    lost
        The 20 unmapped names with the most counts: ``name``, ``counts``, ``share``.
    collisions, duplicates
        As in :class:`~univerce.genes.lookup.NameMapping`.
    alternatives
        Share of counts whose names are spelled as in the table of each species compared, or are its identifiers.
    suspicion
        What is probably wrong and how to fix it, or ``None``.
    """

    species: str
    gene_key: str
    n_vars: int
    n_mapped: int
    n_genes: int
    fraction_mapped: float
    fraction_counts: float
    n_cells: int
    lost: pd.DataFrame
    collisions: pd.DataFrame
    duplicates: pd.DataFrame
    alternatives: dict[str, float]
    suspicion: str | None

    def __str__(self) -> str:
        lost = ", ".join(f"{name} {share:.1%}" for name, share in self.lost[["name", "share"]].head().to_numpy())
        best = sorted(self.alternatives.items(), key=lambda item: -item[1])[:3]
        lines = [
            f"Genes of species {self.species!r}, names from {self.gene_key}",
            f"  names mapped   {self.n_mapped:,} of {self.n_vars:,} ({self.fraction_mapped:.1%})",
            f"  genes found    {self.n_genes:,}, {len(self.duplicates):,} of them under several names (counts add up)",
            f"  ambiguous      {len(self.collisions):,} names",
            f"  counts mapped  {self.fraction_counts:.1%} (over {self.n_cells:,} cells)",
            f"  most lost      {lost or 'nothing'}",
            f"  as written     {', '.join(f'{species} {share:.1%}' for species, share in best)}",
        ]
        if self.suspicion:
            lines.append(f"  suspicion      {self.suspicion}")
        return "\n".join(lines)

    def to_uns(self) -> dict[str, Any]:
        """Convert the report to a dictionary for h5ad and zarr; no suspicion is ``""``."""
        copies = {key: getattr(self, key).copy() for key in ("lost", "collisions", "duplicates", "alternatives")}
        return {**vars(self), **copies, "suspicion": self.suspicion or ""}

    def check(self, names: Iterable[object]) -> None:
        """Raise ``ValueError`` if no name is mapped; warn if the coverage of the counts is low or suspicious."""
        place = f"Names from {self.gene_key}, species {self.species!r}"
        if self.n_mapped == 0:
            raise ValueError(
                f"{place}: none of the {self.n_vars:,} names is a gene of the table; the first are "
                f"{clean_names(names)[:5]}. {self.suspicion or _FIX_NAMES}"
            )
        if self.fraction_counts < LOW_COVERAGE:
            message = f"{place}: only {self.fraction_counts:.1%} of the counts belong to genes of the table. "
            warnings.warn(message + (self.suspicion or _FIX_NAMES), UserWarning, stacklevel=2)
        elif self.suspicion:
            warnings.warn(f"{place}: {self.suspicion}", UserWarning, stacklevel=2)


def coverage(
    mapping: NameMapping,
    names: Iterable[object],
    counts_per_var: np.ndarray,
    table: ad.AnnData,
    *,
    gene_key: str = "var_names",
    n_cells: int = 0,
    others: Iterable[SpeciesNames] = (),
) -> Coverage:
    """Compute the coverage of ``names`` ``[n_vars]`` with total counts ``[n_vars]`` that were mapped to ``table``.

    ``others`` are the names of species to compare with. If they include the species of ``table``, its best match
    counts, which helps if the symbols of ``table`` lost their case. ``gene_key`` and ``n_cells`` go into the report.
    """
    text = clean_names(names)
    counts = np.asarray(counts_per_var, dtype=np.float64)
    if len(text) != len(mapping.rows) or counts.shape != (len(text),):
        raise ValueError(
            f"{len(text)} names, {len(mapping.rows)} mapped rows and counts of shape {counts.shape} differ."
        )
    total = counts.sum()
    weights = counts / total if total > 0 else np.full(len(text), 1 / max(len(text), 1))
    mapped = mapping.rows >= 0
    own = SpeciesNames.of(table)
    fraction_counts = min(float(weights[mapped].sum()), 1.0)
    matches = _as_written(text, weights, (own, *others))

    lost = pd.DataFrame({"name": np.array(text, dtype=object), "counts": counts, "share": weights})
    lost = lost[~mapped & (counts > 0)].sort_values("counts", ascending=False, kind="stable", ignore_index=True)
    return Coverage(
        species=own.species,
        gene_key=gene_key,
        n_vars=len(text),
        n_mapped=int(mapped.sum()),
        n_genes=len(np.unique(mapping.rows[mapped])),
        fraction_mapped=float(mapped.mean()) if len(text) else 0.0,
        fraction_counts=fraction_counts,
        n_cells=n_cells,
        lost=lost.head(_N_LOST),
        collisions=mapping.collisions,
        duplicates=mapping.duplicates,
        alternatives={key: share for key, (_, share, _) in matches.items()},
        suspicion=_suspicion(text, own.species, fraction_counts, matches),
    )


def _as_written(
    names: Sequence[str], weights: np.ndarray, candidates: Iterable[SpeciesNames]
) -> dict[str, tuple[bool, float, int]]:
    """Compute for every species whether case was compared, and the weight and number of its names.

    Case distinguishes human ACTB from mouse Actb. Of several tables of a species those with case count.
    """
    upper = [name.upper() for name in names]
    ids = [stable_id(name) or name for name in upper]
    cased_names = upper != list(names) and [name.lower() for name in names] != list(names)
    best: dict[str, tuple[bool, float, int]] = {}
    for known in candidates:
        cased = cased_names and known.symbols != known.upper_symbols
        keys, symbols = (names, known.symbols) if cased else (upper, known.upper_symbols)
        hit = np.fromiter(
            (k in symbols or i in known.ids for k, i in zip(keys, ids, strict=True)), dtype=bool, count=len(names)
        )
        score = (cased, min(float(weights[hit].sum()), 1.0), int(np.sum(weights[hit] > 0)))
        best[known.species] = max(best.get(known.species, score), score)
    return best


def _suspicion(
    names: Sequence[str], species: str, fraction_counts: float, matches: dict[str, tuple[bool, float, int]]
) -> str | None:
    _, own, n_own = matches[species]
    likely = max(matches, key=lambda key: matches[key][1])
    _, share, n_names = matches[likely]
    # one gene with many counts, or a few names, is not evidence
    if share > own + _MARGIN and n_names > n_own * (1 + _MARGIN) + 2:
        return (
            f"The names fit {likely} better: as they are written, {share:.1%} of the counts match "
            f"{likely} and {own:.1%} match {species}. If the cells are {likely}, pass species={likely!r}."
        )
    if fraction_counts >= LOW_COVERAGE:
        if own < fraction_counts / 2:
            rodent = _share(names, re.compile(r"[A-Z][a-z0-9.-]+")) > 0.5
            spelled = ", and are spelled as in mouse or rat" if rodent else ""
            return f"The names match {species} only if case is ignored{spelled}: check that the cells are {species}."
        return None
    return _foreign_identifiers(names, species)


def _foreign_identifiers(names: Sequence[str], species: str) -> str | None:
    """Describe what most of the names look like, other than gene names of ``species``."""
    if _share(names, re.compile(r"\d+")) > 0.5:
        numbers = sorted(int(name) for name in names if re.fullmatch(r"\d+", name))
        if numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return f"The names are row numbers: the gene names got lost or are in a column of var. {_FIX_NAMES}"
        return f"The names look like NCBI (Entrez) gene numbers: translate them. {_FIX_NAMES}"
    upper = [name.upper() for name in names]
    for pattern, message in _FOREIGN_NAMES:
        if _share(upper, pattern) > 0.5:
            return message
    prefixes = Counter(match[1] for name in upper if (match := re.match(r"(ENS[A-Z]*G|FBGN|WBGENE)\d{6,}", name)))
    if prefixes and prefixes.total() > len(names) / 2:
        prefix = prefixes.most_common(1)[0][0]
        owner = next((s for s in SPECIES.values() if s.id_prefix.upper() == prefix), None)
        if owner is None:
            return f"The names are {prefix} identifiers of a species unknown to univerce: build a gene table for it."
        if owner.key != species:
            return (
                f"The names are {owner.key} identifiers ({owner.id_prefix}). If the cells are {owner.key}, pass "
                f"species={owner.key!r}."
            )
        return (
            f"The names are {owner.id_prefix} identifiers of another annotation: compare its release with the table's."
        )
    return None


def _share(names: Sequence[str], pattern: re.Pattern[str]) -> float:
    """Compute the share of the names that match ``pattern`` completely."""
    return sum(pattern.fullmatch(name) is not None for name in names) / max(len(names), 1)
