"""Genes to delete, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from univerce.genes.lookup import map_names
from univerce.genes.table import N_SPECIAL
from univerce.inference.inputs import Inputs


def as_deletions(genes: str | Sequence[str] | Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """Genes to delete together, by name of the deletion.

    Raises
    ------
    ValueError
        If there are none, a name repeats, or a name contains a slash.
    """
    if isinstance(genes, str):
        genes = [genes]
    if isinstance(genes, Mapping):
        sets = {str(name): [some] if isinstance(some, str) else list(map(str, some)) for name, some in genes.items()}
    else:
        sets = {str(name): [str(name)] for name in genes}
        if len(sets) < len(genes):
            raise ValueError("genes names a gene more than once. Name each once.")
    if not sets or not all(sets.values()):
        raise ValueError("genes is empty, or one of its sets is. Name at least one gene.")
    if slashed := [name for name in sets if "/" in name]:
        raise ValueError(f"The deletion {slashed[0]!r} contains '/', which h5ad files do not support. Rename it.")
    return sets


def deleted_tokens(inputs: Inputs, deletions: Mapping[str, Sequence[str]]) -> list[dict[str, np.ndarray]]:
    """Tokens of each deletion, per species.

    Raises
    ------
    ValueError
        If a gene is not in the gene table of any species of the cells.
    """
    names = list(dict.fromkeys(name for some in deletions.values() for name in some))
    rows = [dict(zip(names, map_names(names, genes.table).rows, strict=True)) for genes in inputs.genes]
    if unknown := [name for name in names if all(of_species[name] < 0 for of_species in rows)]:
        raise ValueError(
            f"{len(unknown)} of {len(names)} genes are not in the gene table of {', '.join(inputs.species_names)}: "
            f"{', '.join(map(repr, unknown[:10]))}. Leave them out, or check their spelling."
        )
    return [
        {
            key: np.array([of_species[name] + N_SPECIAL for name in some if of_species[name] >= 0])
            for key, some in deletions.items()
        }
        for of_species in rows
    ]
