"""Runs of methods: choose them, embed, read from the cache, measure, keep going when one fails."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anndata as ad
import numpy as np

from univerce._settings import logger, progress_bar, settings
from univerce._validate import as_seed
from univerce.bench._cache import cache_key, read_cached, write_cached
from univerce.bench._method import Method
from univerce.bench._result import Result
from univerce.bench.method import find_method

Chosen = TypeVar("Chosen")

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Run:
    """A method, a seed and the embedding."""

    method: Method
    seed: int
    embedding: np.ndarray | None
    """``[n_obs, n_dims]``; None if the run failed."""
    reason: str = ""
    """Why it failed."""
    seconds: float = float("nan")
    peak_mb: float = float("nan")
    cached: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the method recorded in ``uns["details"]``."""

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
    """Resolve names, keys of ``obsm`` and methods; ``ValueError`` if a name is unknown or used twice."""
    given = [given] if isinstance(given, str | Method) else given
    if not given:
        raise ValueError("methods is empty; uc.bench.list_methods() lists the methods.")
    found = [m if isinstance(m, Method) else _named(m, adata) for m in given]
    names = [m.name for m in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Two methods have the name {repeated[0]!r}; rename one with uc.bench.method(..., rename=).")
    return found


def _named(name: str, adata: ad.AnnData) -> Method:
    """A key of ``obsm``, or a known method."""
    if name in adata.obsm:
        options = {"key": name}
        return Method(name, _get, citation="", license="", zero_shot=False, seeded=False, stored=True, options=options)
    try:
        return find_method(name)
    except ValueError as error:
        raise ValueError(f"{error} The keys of obsm are: {', '.join(map(repr, adata.obsm)) or 'none'}.") from None


def _get(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int, key: str) -> np.ndarray:
    return np.asarray(adata.obsm[key])


def as_seeds(seeds: Sequence[int]) -> list[int]:
    """Different seeds, at least one."""
    found = [as_seed(s) for s in ([seeds] if isinstance(seeds, int | np.integer) else seeds)]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds={list(found)} must be different whole numbers, at least one.")
    return found


def visible(adata: ad.AnnData, x: Any, methods: Sequence[Method] = ()) -> ad.AnnData:
    """The data that methods get: counts, ``obs``, ``var``, texts in ``uns``, and stored embeddings that are scored."""
    texts = {key: value for key, value in adata.uns.items() if isinstance(value, str)}
    stored = {key: adata.obsm[key] for m in methods if m.stored and (key := m.options.get("key")) in adata.obsm}
    return ad.AnnData(x, obs=adata.obs, var=adata.var, uns=texts, obsm=stored)


def run_all(
    methods: Sequence[Method],
    seeds: Sequence[int],
    *,
    embed: Callable[[Method, int], Run],
    choose: Callable[[list[Run]], Chosen],
    score: Callable[[Run, Chosen], Result],
) -> tuple[list[Run], Chosen, dict[str, Result]]:
    """Embed with every method and seed, choose the cells to score, and score every embedding.

    Returns all runs, the chosen cells, and the result of each run that did not fail, by key.
    """
    todo = [(m, s) for m in methods for s in (seeds if m.seeded else seeds[:1])]
    runs, results = [], {}
    with progress_bar(total=2 * len(todo), unit="step", desc="benchmark") as bar:
        for method, seed in todo:
            bar.set_postfix_str(method.name)
            runs.append(embed(method, seed))
            if runs[-1].reason:
                logger.warning("%s, seed %d, failed: %s", method.name, seed, runs[-1].reason)
            bar.update()
        done = [run for run in runs if run.embedding is not None]
        if not done:
            raise ValueError(f"Every run failed; the first, {runs[0].method.name}: {runs[0].reason}")
        chosen = choose(done)
        for run in done:
            bar.set_postfix_str(f"scores of {run.method.name}")
            results[run.key()] = score(run, chosen)
            bar.update()
    return runs, chosen, results


def run_method(
    method: Method,
    data: ad.AnnData,
    *,
    digest: str,
    batch_key: str | None,
    groupby: str | None,
    seed: int,
    cache: Path | None,
    **more: Any,
) -> Run:
    """Embed a copy of ``data`` (from :func:`visible`), or read the embedding from the cache.

    ``digest`` is that of ``data``; ``more`` are options besides those of the method. A failure is returned, not raised.
    """
    options = {**method.options, **more}
    asked = {"batch_key": batch_key, "groupby": groupby}
    try:
        key = None if method.stored else cache_key(method, digest, seed=seed, options=options, **asked)
        if (found := read_cached(cache, key)) is not None:
            return Run(method, seed, found[0], cached=True, **found[1])
        copy = data.copy()
        with settings.override(progress=False), measured() as info:  # one bar at a time
            embedding = checked(method.embed(copy, rng=seed, **asked, **options), data.n_obs)
        info["details"] = _plain(copy.uns.get("details", {}))
        write_cached(cache, key, embedding, info)
    except Exception as error:  # noqa: BLE001 - a failure of one method must not end the others
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return Run(method, seed, None, reason=f"{type(error).__name__}: {' '.join(str(text).split())}")
    return Run(method, seed, embedding, **info)


def checked(embedding: Any, n_obs: int) -> np.ndarray:
    """The embedding in float32; ``ValueError`` if it is not ``[n_obs, n_dims]`` numbers or embeds no cell."""
    x = np.asarray(embedding)
    if x.ndim != 2 or x.shape[0] != n_obs or x.shape[1] == 0 or x.dtype.kind not in "fiu":
        raise ValueError(f"The method returned {x.dtype} of shape {x.shape}; [{n_obs}, n_dims] numbers are needed.")
    x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all(axis=1).any():
        raise ValueError("The method embedded no cell: every row holds NaN or infinity.")
    return x


def _plain(details: Any) -> dict[str, Any]:
    """Numbers and texts of ``uns["details"]``."""
    if not isinstance(details, Mapping):
        return {}
    kept = {str(k): v.item() if isinstance(v, np.generic) else v for k, v in details.items()}
    return {k: v for k, v in kept.items() if isinstance(v, str | int | float | bool | list)}


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Seconds and the peak resident memory above that before, in MB; NaN where the kernel has no such counter.

    Reused memory, child processes and accelerators are not counted.
    """
    cost: dict[str, Any] = {}
    before, counted = _resident("VmRSS"), True
    try:
        _RESET.write_text("5")
    except OSError:
        counted = False
    began = time.perf_counter()
    yield cost
    cost["seconds"] = time.perf_counter() - began
    cost["peak_mb"] = max(_resident("VmHWM") - before, 0.0) if counted else float("nan")


def _resident(name: str) -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:")), float("nan"))
