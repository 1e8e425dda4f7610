"""A method of the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Method:
    """A method that embeds raw counts, and its description.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> def depth(adata, *, batch_key, groupby, rng):
    ...     return np.log1p(np.asarray(adata.X.sum(axis=1)))
    >>> method = uc.bench.Method("depth", depth, citation="none", license="none", zero_shot=True, seeded=False)
    >>> method.embed(uc.datasets.pbmc68k_reduced(), batch_key=None, groupby=None, rng=0).shape
    (700, 1)
    """

    name: str
    """Name in the tables and of the key in ``obsm``."""
    embed: Callable[..., np.ndarray]
    """``embed(adata, *, batch_key, groupby, rng, **options)`` to ``[n_obs, n_dims]``. ``adata`` is a copy with raw
    counts in ``X``, ``batch_key`` and ``groupby`` are columns of ``obs`` or None, ``rng`` is a seed.
    """
    citation: str
    """Paper or software to cite."""
    license: str
    """Of code and weights."""
    zero_shot: bool
    """Not fitted to the cells."""
    seeded: bool = True
    """Depends on a seed; otherwise runs once."""
    uses_batch: bool = False
    """Sees the batches that it is scored on."""
    uses_labels: bool = False
    """Sees the labels that it is scored on."""
    extra: str = ""
    """Extra of univerce with its requirements, such as ``"bench"``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``embed``, such as the directory of a model."""
    digest: Callable[[Mapping[str, Any]], str] | None = None
    """Digest of the weights, given the options; part of the key in the cache."""
    control: bool = False
    """Whether the method is a control, such as random numbers, shuffled cells, or the labels themselves."""
    own_genes: bool = False
    """Knows the genes of each species. Embeds two data sets separately, with all genes; other methods get both as one
    data set with the shared genes.
    """
    stored: bool = False
    """Reads an embedding computed elsewhere."""
    pretrained_on: str | Sequence[str] = ""
    """Corpus of the weights as published, or the ids of its data sets (``dataset_id`` of CELLxGENE), which are compared
    with those of the data; empty if nothing is pretrained.
    """
