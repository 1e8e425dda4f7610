"""How much of a data set a gene table covers, and what is probably wrong if it is little."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.bundled_names import SpeciesNames, hashes
from univerce.genes.lookup import NameMapping
from univerce.genes.species import SPECIES
from univerce.genes.spellings import split_genome, stable_id

LOW_COVERAGE = 0.5
# The right species covered 0.78 to 0.98 of the counts of 44 data sets, always more than any other; the closest case was
# human against macaque and dog, 0.90 to 0.86.
_MARGIN = 0.03
_N_LOST = 20
_FOREIGN_SHARE = 0.1  # of counts in genes of another genome: more is not ambient RNA
_N_TWINS, _TWIN_SHARE = 10, 0.05  # names that differ in case alone, and their share of the genes found
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
        re.compile(r".+[_|;: ]ENS[A-Z]*G\d{6,}(\.\d+)?|ENS[A-Z]*G\d{6,}(\.\d+)?[_|;: ].+"),
        "The names join a symbol and an identifier: keep one of the two.",
    ),
)


class DoubtfulNames(UserWarning):
    """The names look like those of another species, or of something else than genes."""


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
    found
        Names that are mapped, by what matched: ``how`` (see :class:`~univerce.genes.lookup.NameMapping`), number of
        ``names``, ``counts``, ``share``.
    collisions, duplicates, ambiguous
        As in :class:`~univerce.genes.lookup.NameMapping`.
    left_out
        Variables that are not genes and enter no other number, by ``feature_type``: ``names``, ``counts``.
    other_genomes
        Species to share of the counts of names with the prefix of its genome, for species other than that of the table.
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
    found: pd.DataFrame
    collisions: pd.DataFrame
    duplicates: pd.DataFrame
    ambiguous: pd.DataFrame
    left_out: pd.DataFrame
    other_genomes: dict[str, float]
    alternatives: dict[str, float]
    suspicion: str | None

    def __str__(self) -> str:
        lost = ", ".join(f"{name} {share:.1%}" for name, share in self.lost[["name", "share"]].head().to_numpy())
        best = sorted(self.alternatives.items(), key=lambda item: -item[1])[:3]
        lines = [
            f"Genes of species {self.species!r}, names from {self.gene_key}",
            f"  names mapped   {self.n_mapped:,} of {self.n_vars:,} ({self.fraction_mapped:.1%})",
            f"  genes found    {self.n_genes:,}, {len(self.duplicates):,} of them under several names (counts add up)",
            f"  ambiguous      {len(self.collisions) + len(self.ambiguous):,} names",
            f"  counts mapped  {self.fraction_counts:.1%} (over {self.n_cells:,} cells)",
            f"  found by       {_listed(self.found, 'how')}",
            f"  most lost      {lost or 'nothing'}",
            f"  as written     {', '.join(f'{species} {share:.1%}' for species, share in best)}",
        ]
        if len(self.left_out):
            lines.append(f"  left out       {_listed(self.left_out, 'feature_type')}")
        if self.other_genomes:
            lines.append(
                f"  other genomes  {', '.join(f'{key} {share:.1%}' for key, share in self.other_genomes.items())}"
            )
        if self.suspicion:
            lines.append(f"  suspicion      {self.suspicion}")
        return "\n".join(lines)

    def to_uns(self) -> dict[str, Any]:
        """Convert the report to a dictionary for h5ad and zarr; no suspicion is ``""``."""
        copies = {key: value.copy() for key, value in vars(self).items() if isinstance(value, pd.DataFrame | dict)}
        return {**vars(self), **copies, "suspicion": self.suspicion or ""}

    def check(self, names: Sequence[str]) -> None:
        """Raise ``ValueError`` if no name is mapped; warn if the coverage of the counts is low or suspicious."""
        place = f"Names from {self.gene_key}, species {self.species!r}"
        if self.n_mapped == 0:
            raise ValueError(
                f"{place}: none of the {self.n_vars:,} names is a gene of the table; the first are "
                f"{list(names[:5])}. {self.suspicion or _FIX_NAMES}"
            )
        if self.fraction_counts < LOW_COVERAGE:
            kind = DoubtfulNames if self.suspicion else UserWarning
            message = f"{place}: only {self.fraction_counts:.1%} of the counts belong to genes of the table. "
            warnings.warn(message + (self.suspicion or _FIX_NAMES), kind, stacklevel=2)
        elif self.suspicion:
            warnings.warn(f"{place}: {self.suspicion}", DoubtfulNames, stacklevel=2)


def coverage(
    mapping: NameMapping,
    counts_per_var: np.ndarray,
    table: ad.AnnData,
    *,
    gene_key: str = "var_names",
    n_cells: int = 0,
    others: Iterable[SpeciesNames] = (),
    left_out: pd.DataFrame | None = None,
) -> Coverage:
    """Compute the coverage of names that were mapped to ``table``, with their total counts ``[n_names]``.

    ``others`` are the names of species to compare with. If they include the species of ``table``, its best match
    counts, which helps if the symbols of ``table`` lost their case. ``gene_key``, ``n_cells`` and ``left_out`` go into
    the report.
    """
    counts = np.asarray(counts_per_var, dtype=np.float64)
    if counts.shape != (len(mapping.names),):
        raise ValueError(f"{len(mapping.names)} names and counts of shape {counts.shape} differ.")
    total = counts.sum()
    weights = counts / total if total > 0 else np.full(len(counts), 1 / max(len(counts), 1))
    mapped = mapping.rows >= 0
    own = SpeciesNames.of(table)
    fraction_counts = min(float(weights[mapped].sum()), 1.0)
    genomes, plain = _without_genome(mapping, own.species)
    matches = _as_written(plain, weights, (own, *others))
    foreign = pd.Series(weights, dtype=float).groupby(genomes).sum()
    other_genomes = {str(key): float(x) for key, x in foreign.items() if key not in ("", own.species) and x > 0}

    frame = pd.DataFrame({"name": np.array(mapping.names, dtype=object), "counts": counts, "share": weights})
    lost = frame[~mapped & (counts > 0)].sort_values("counts", ascending=False, kind="stable", ignore_index=True)
    found = frame[mapped].assign(names=1).groupby(mapping.how[mapped], sort=True)[["names", "counts", "share"]].sum()
    found = found.rename_axis("how").reset_index().sort_values("counts", ascending=False, kind="stable")
    return Coverage(
        species=own.species,
        gene_key=gene_key,
        n_vars=len(counts),
        n_mapped=int(mapped.sum()),
        n_genes=len(np.unique(mapping.rows[mapped])),
        fraction_mapped=float(mapped.mean()) if len(counts) else 0.0,
        fraction_counts=fraction_counts,
        n_cells=n_cells,
        lost=lost.head(_N_LOST),
        found=found.reset_index(drop=True),
        collisions=mapping.collisions,
        duplicates=mapping.duplicates,
        ambiguous=mapping.ambiguous,
        left_out=pd.DataFrame(columns=["feature_type", "names", "counts"]) if left_out is None else left_out,
        other_genomes=other_genomes,
        alternatives={key: share for key, (_, share, _) in matches.items()},
        suspicion=_no_genes(left_out, mapping)
        or _mixed_species(mapping, own.species, other_genomes)
        or _suspicion(plain, own.species, fraction_counts, float(weights[mapping.how == "symbol_case"].sum()), matches),
    )


def _without_genome(mapping: NameMapping, species: str) -> tuple[np.ndarray, list[str]]:
    """Get the species of the prefix of every name, ``""`` for none, and the names without that of ``species``."""
    genomes, plain = np.full(len(mapping.names), "", dtype=object), list(mapping.names)
    for i, (name, how) in enumerate(zip(mapping.names, mapping.how, strict=True)):
        if how in ("", "prefix"):
            genomes[i], bare = split_genome(name)
            plain[i] = bare if genomes[i] == species else name
    return genomes, plain


def _as_written(
    names: Sequence[str], weights: np.ndarray, candidates: Iterable[SpeciesNames]
) -> dict[str, tuple[bool, float, int]]:
    """Compute for every species whether case was compared, and the weight and number of its names.

    Case distinguishes human ACTB from mouse Actb. Of several tables of a species those with case count.
    """
    names, weights = [name for name, weight in zip(names, weights, strict=True) if weight > 0], weights[weights > 0]
    upper = [name.upper() for name in names]
    ids = [stable_id(name) or name for name in upper]
    cased_names = upper != list(names) and [name.lower() for name in names] != list(names)
    written, uppercase, identifiers = (pd.Index(hashes(keys)) for keys in (names, upper, ids))
    best: dict[str, tuple[bool, float, int]] = {}
    for known in candidates:
        cased = cased_names and not np.array_equal(known.symbols, known.upper_symbols)
        symbol = written.isin(known.symbols) if cased else uppercase.isin(known.upper_symbols)
        hit = symbol | identifiers.isin(known.ids)
        score = (cased, min(float(weights[hit].sum()), 1.0), int(hit.sum()))
        best[known.species] = max(best.get(known.species, score), score)
    return best


def _no_genes(left_out: pd.DataFrame | None, mapping: NameMapping) -> str | None:
    if left_out is None or mapping.names:
        return None
    return f"The variables are not genes but {_listed(left_out, 'feature_type')}, according to var['feature_types']."


def _mixed_species(mapping: NameMapping, species: str, other_genomes: Mapping[str, float]) -> str | None:
    """Describe genes of several species in one matrix."""
    if sum(other_genomes.values()) > _FOREIGN_SHARE:
        key, share = max(other_genomes.items(), key=lambda item: item[1])
        return (
            f"{share:.1%} of the counts belong to genes with the prefix of {key}, which are not used. Separate the "
            f"cells by species, and pass species={key!r} for those of {key} or the column of obs with the species."
        )
    names = [same.split("; ") for same in mapping.duplicates["names"]]
    twins = [same for same in names if len(set(same)) > len({name.upper() for name in same})]
    n_genes = len(np.unique(mapping.rows[mapping.rows >= 0]))
    if len(twins) >= _N_TWINS and len(twins) > _TWIN_SHARE * n_genes:
        return (
            f"{len(twins):,} genes have names that differ in case alone ({', '.join(twins[0])}), as if genes of "
            f"several species shared the matrix, and their counts are added. Keep the genes of {species} only."
        )
    return None


def _suspicion(
    names: Sequence[str],
    species: str,
    fraction_counts: float,
    other_case: float,
    matches: dict[str, tuple[bool, float, int]],
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
        if max(own, fraction_counts - other_case) < fraction_counts / 2:
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
            return f"The names are row numbers: the gene names were lost or are in a column of var. {_FIX_NAMES}"
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


def _listed(frame: pd.DataFrame, key: str) -> str:
    return ", ".join(
        f"{name} {n:,} ({counts:,.0f} counts)" for name, n, counts in frame[[key, "names", "counts"]].to_numpy()
    )
