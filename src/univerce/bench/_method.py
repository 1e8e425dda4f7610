"""What a method of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Method:
    """A way from raw counts to an embedding, and what a reader of a table needs to know of it.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> def depth(adata, *, batch, labels, rng):
    ...     return np.log1p(np.asarray(adata.X.sum(axis=1)))
    >>> method = uc.bench.Method("depth", depth, citation="none", license="none", zero_shot=True, seeded=False)
    >>> method.embed(uc.datasets.pbmc68k_reduced(), batch=None, labels=None, rng=0).shape
    (700, 1)
    """

    name: str
    """Name in the tables, and of the key in ``obsm``."""
    embed: Callable[..., np.ndarray]
    """``embed(adata, *, batch, labels, rng, **options)`` to ``[n_obs, n_dims]``. ``adata`` has raw counts in ``X`` and
    is the method's own to change, ``batch`` and ``labels`` name columns of ``obs`` or are None, ``rng`` is a seed.
    """
    citation: str
    """Where it is described."""
    license: str
    """Of the code and of the weights."""
    zero_shot: bool
    """Nothing is fitted to the cells that it embeds."""
    seeded: bool = True
    """Another seed gives another embedding; without, one run is enough."""
    uses_batch: bool = False
    """Is told the batches that it is scored on."""
    uses_labels: bool = False
    """Is told the labels that it is scored on, so that its conservation of biology is no achievement."""
    extra: str = ""
    """The extra of univerce that installs what it needs, such as ``"bench"``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``embed``, such as the directory of a model."""
    digest: Callable[[Mapping[str, Any]], str] | None = None
    """What else decides the embedding, given the options: the digest of the weights behind a model's name. A cached
    embedding is read only when it is the same."""
    control: bool = False
    """An end of the scale, no method."""
    own_genes: bool = False
    """Knows the genes of each species by their own names, so that data sets of two species are embedded one at a time,
    each with all of its genes. Other methods see two data sets as one, with the genes that both have.
    """
    stored: bool = False
    """No function of the counts: it finds what was computed elsewhere."""
