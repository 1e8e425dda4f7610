"""One run of a method on one data set: cached, measured, and no harm to the others when it fails."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from univerce._settings import settings
from univerce._validate import as_seed
from univerce.bench._cache import cache_key, read_cached, write_cached
from univerce.bench._memory import measured
from univerce.bench._method import Method
from univerce.bench._registry import find_method


@dataclass(frozen=True)
class Run:
    """What came of a method and a seed."""

    method: Method
    seed: int
    embedding: np.ndarray | None
    """``[n_obs, n_dims]``, None for a run that failed."""
    reason: str = ""
    """Why it failed."""
    seconds: float = float("nan")
    peak_mb: float = float("nan")
    cached: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the method noted."""

    @property
    def values(self) -> np.ndarray:
        """The embedding of a run that did not fail."""
        if self.embedding is None:
            raise ValueError(f"{self.method.name} has no embedding: {self.reason}")
        return self.embedding

    def key(self) -> str:
        """Key in ``obsm``."""
        name = f"X_{re.sub(r'[^0-9A-Za-z.+-]+', '_', self.method.name)}"
        return f"{name}_{self.seed}" if self.method.seeded else name


def as_methods(given: Sequence[str | Method], adata: ad.AnnData) -> list[Method]:
    """Names, keys of ``obsm`` and methods as methods.

    Raises
    ------
    ValueError
        When a name is neither a method nor a key, or two methods have one name.
    """
    if isinstance(given, str | Method):
        given = [given]
    if not given:
        raise ValueError("methods is empty; uc.bench.list_methods() lists what there is.")
    found = [m if isinstance(m, Method) else _stored(m) if m in adata.obsm else _named(m, adata) for m in given]
    names = [m.name for m in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Two methods are called {repeated[0]!r}; give one another name with uc.bench.method(..., rename=)."
        )
    return found


def _named(name: str, adata: ad.AnnData) -> Method:
    try:
        return find_method(name)
    except ValueError as error:
        raise ValueError(f"{error} Nor is it a key of obsm: {', '.join(map(repr, adata.obsm)) or 'none'}.") from None


def _stored(key: str) -> Method:
    """An embedding that is there already."""
    return Method(
        key, _found, citation="", license="", zero_shot=False, seeded=False, stored=True, options={"key": key}
    )


def _found(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, key: str) -> np.ndarray:
    return np.asarray(adata.obsm[key])


def shown(adata: ad.AnnData, x: Any, methods: Sequence[Method] = ()) -> ad.AnnData:
    """What a method gets to see: counts, ``obs``, ``var``, the texts in ``uns``, such as the organism, and in ``obsm``
    what is stored there and was asked for.
    """
    texts = {key: value for key, value in adata.uns.items() if isinstance(value, str)}
    stored = {key: adata.obsm[key] for m in methods if m.stored and (key := m.options.get("key")) in adata.obsm}
    return ad.AnnData(x, obs=adata.obs, var=adata.var, uns=texts, obsm=stored)


def run_method(
    method: Method,
    data: ad.AnnData,
    *,
    digest: str,
    batch: str | None,
    labels: str | None,
    seed: int,
    cache: Path | None,
    also: Mapping[str, Any] | None = None,
) -> Run:
    """Embed the cells, or read how they were embedded before.

    Parameters
    ----------
    method
        The method.
    data
        What :func:`shown` gives; a copy is handed on.
    digest
        Of ``data``.
    batch, labels
        Columns of ``obs``.
    seed
        Of the method.
    cache
        Directory.
    also
        Further options.
    """
    options = {**method.options, **(also or {})}
    try:
        key = (
            None if method.stored else cache_key(method, digest, batch=batch, labels=labels, seed=seed, options=options)
        )
        if (found := read_cached(cache, key)) is not None:
            return Run(method, seed, found[0], cached=True, **found[1])
        copy = data.copy()
        with settings.override(progress=False), measured() as cost:  # one bar at a time
            embedding = _checked(method.embed(copy, batch=batch, labels=labels, rng=seed, **options), data.n_obs)
        details = _plain(copy.uns.get("details", {}))
        info: dict[str, Any] = {"seconds": cost.seconds, "peak_mb": cost.peak_mb, "details": details}
        write_cached(cache, key, embedding, info)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in one method must not end the others
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return Run(method, seed, None, reason=f"{type(error).__name__}: {' '.join(str(text).split())}")
    return Run(method, seed, embedding, **info)


def _checked(embedding: Any, n_obs: int) -> np.ndarray:
    x = np.asarray(embedding)
    if x.ndim != 2 or x.shape[0] != n_obs or x.shape[1] == 0 or x.dtype.kind not in "fiu":
        raise ValueError(f"The method returned {x.dtype} of shape {x.shape}; [{n_obs}, n_dims] numbers are needed.")
    x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all(axis=1).any():
        raise ValueError("The method embedded no cell: every row holds NaN or infinity.")
    return x


def _plain(details: Any) -> dict[str, Any]:
    """Numbers and texts of what a method noted."""
    if not isinstance(details, Mapping):
        return {}
    kept = {str(k): v.item() if isinstance(v, np.generic) else v for k, v in details.items()}
    return {k: v for k, v in kept.items() if isinstance(v, str | int | float | bool | list)}


def as_seeds(seeds: Sequence[int]) -> list[int]:
    """Different seeds, at least one."""
    found = [as_seed(s) for s in ([seeds] if isinstance(seeds, int | np.integer) else seeds)]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds={list(found)} must be different whole numbers, at least one.")
    return found
