"""Which species is every cell?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.species import find_species, resolve_species

_UNS_KEYS = ("organism", "species", "organism_ontology_term_id")
_OBS_KEYS = ("organism", "species", "organism_ontology_term_id")


def species_of(
    adata: ad.AnnData,
    species: str | None = None,
    *,
    known: Iterable[str] = (),
    within: Any = None,
    default: str | None = None,
) -> str | pd.Categorical:
    """The species of the cells.

    Parameters
    ----------
    adata
        The data; only ``obs`` and ``uns`` are read.
    species
        A species, by any name :func:`~univerce.genes.species.resolve_species` knows, or the column of ``obs`` that
        holds one per cell. When it is ``None``, the first of ``organism``, ``species`` and
        ``organism_ontology_term_id`` in ``uns`` and then in ``obs`` counts, and in the end in ``within.uns``.
    known
        Keys of further species.
    within
        The MuData that ``adata`` is a modality of, if it is one.
    default
        The species when none is stated.

    Returns
    -------
    One key, or, when the cells are of several species, ``[n_obs]`` keys.

    Raises
    ------
    ValueError
        When the species is not stated, not known, or missing for some cells.
    """
    known = tuple(known)
    if species is not None:
        if find_species(species, extra=known) is None and species in adata.obs:
            return _per_cell(adata.obs[species], known)
        try:
            return resolve_species(species, extra=known)
        except ValueError as error:
            raise ValueError(
                f"{error} Nor is it a column of obs: {', '.join(map(str, adata.obs)) or 'none'}."
            ) from None
    if (found := _in_uns(adata.uns, "adata", known)) is not None:
        return found
    for key in _OBS_KEYS:
        if key in adata.obs:
            return _per_cell(adata.obs[key], known)
    if within is not None and (found := _in_uns(within.uns, "mdata", known)) is not None:
        return found
    if default is not None:
        return default
    raise ValueError(
        'The species is not stated. Pass species=, for example species="human", or the column of obs that holds it; '
        'or set adata.uns["organism"].'
    )


def _in_uns(uns: Mapping[str, Any], owner: str, known: tuple[str, ...]) -> str | None:
    """The species that ``uns`` states, if any."""
    for key in _UNS_KEYS:
        if isinstance(uns.get(key), str):
            return _resolve(uns[key], f"{owner}.uns[{key!r}]", known)
    return None


def _resolve(name: str, where: str, known: tuple[str, ...]) -> str:
    try:
        return resolve_species(name, extra=known)
    except ValueError as error:
        raise ValueError(f"{where}: {error} Pass species= to overrule it.") from None


def _per_cell(column: pd.Series, known: tuple[str, ...]) -> str | pd.Categorical:
    where = f"adata.obs[{column.name!r}]"
    codes, names = pd.factorize(column.astype(object))
    missing = np.isin(codes, [-1, *(i for i, name in enumerate(names) if not str(name).strip())])
    if missing.any():
        raise ValueError(
            f"{where}: {int(missing.sum()):,} of {len(column):,} cells have no species. Fill them in or leave those "
            "cells out."
        )
    keys = np.array([_resolve(str(name), where, known) for name in names], dtype=object)
    if len(set(keys)) == 1:
        return str(keys[0])
    return pd.Categorical(keys[codes])
