"""Check arguments at the boundary: AnnData with counts, modality, layer, seed, integers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from univerce._keys import ATLAS, RECORDS

if TYPE_CHECKING:
    import anndata as ad

_LOG1P_MAX = 20.0
_MAX_SEED = 2**63 - 1
_SAMPLED_CELLS = 100
_FIX_COUNTS = (
    'Pass the raw counts: layer="counts" (or the name of the layer) if a layer holds them, layer="raw" if adata.raw '
    "does."
)


def as_path(path: str | os.PathLike[str]) -> Path:
    """Path with ``~`` replaced by the home directory."""
    return Path(path).expanduser()


def check_in_memory(data: Any) -> None:
    """Raise ``TypeError`` if ``data`` is a path, and say how to read it."""
    if isinstance(data, str | os.PathLike):
        raise TypeError(
            f"{os.fspath(data)!r} is a path, and an AnnData is needed. Read it first: "
            'adata = anndata.read_h5ad(path); with backed="r" the counts stay in the file.'
        )


def get_modality(data: Any, mod: str | None = None) -> ad.AnnData:
    """Get the AnnData of ``data`` and ``mod``; ``TypeError`` if ``data`` is neither an AnnData nor a MuData.

    ``ValueError`` if ``mod`` is missing for a MuData or given for an AnnData, ``KeyError`` if there is no such
    modality.
    """
    import anndata as ad

    if isinstance(data, ad.AnnData):
        if mod is not None:
            raise ValueError(f"mod={mod!r} chooses a modality of a MuData, but this is an AnnData; leave mod out.")
        return data
    check_in_memory(data)
    from mudata import MuData

    if not isinstance(data, MuData):
        raise TypeError(f"An AnnData or a MuData is needed, not {type(data).__module__}.{type(data).__name__}.")
    modalities = ", ".join(map(repr, data.mod))
    if mod is None:
        raise ValueError(f"A MuData needs mod= to say which modality holds the counts: {modalities}.")
    if mod not in data.mod:
        raise KeyError(f"mod={mod!r} is not in the MuData; it has {modalities}.")
    return data.mod[mod]


def get_modalities(mod: str | None, *data: Any) -> Any:
    """Replace each MuData by its modality; anything else, such as a path of a reference, stays.

    ``TypeError`` if the first of several is a path, otherwise errors as of :func:`get_modality`.
    """
    if len(data) > 1:
        check_in_memory(data[0])
    mudata = sys.modules.get("mudata")  # imported if there is a MuData
    several = [mudata is not None and isinstance(item, mudata.MuData) for item in data]
    if mod is not None and not any(several):
        raise ValueError(f"mod={mod!r} chooses a modality of a MuData, but none is given; leave mod out.")
    return tuple(get_modality(item, mod) if many else item for item, many in zip(data, several, strict=True))


def check_adata(adata: ad.AnnData) -> None:
    """Raise ``ValueError`` if ``adata`` is empty or cell names repeat; repeated variables are added."""
    check_in_memory(adata)
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(f"The AnnData is empty: {adata.n_obs} cells and {adata.n_vars} variables.")
    repeated = adata.obs_names[adata.obs_names.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"{len(repeated)} obs_names occur more than once, such as {list(repeated[:3])}. The random draws of a cell "
            "are keyed by its name: call adata.obs_names_make_unique() first."
        )


def check_key(key: Any) -> None:
    """Raise ``ValueError`` if ``key`` cannot name a result.

    h5ad and zarr read a slash as a group, and the record of embeddings is not to be replaced.
    """
    if not isinstance(key, str) or not key.strip() or "/" in key or "\0" in key or key in (RECORDS, ATLAS):
        raise ValueError(
            f"key_added={key!r} must be text without a slash, which files cannot store, and not {RECORDS!r} or "
            f"{ATLAS!r}, which describe embeddings."
        )


def check_writable(adata: ad.AnnData, key: Any = None) -> None:
    """Raise ``ValueError`` if ``adata`` is a view of a file, which cannot be written to, or ``key`` not a good key."""
    if key is not None:
        check_key(key)
    if adata.isbacked and adata.is_view:
        raise ValueError(
            "A view of a backed AnnData cannot be written to. Pass adata.to_memory(), or write the selection to a new "
            "file with adata.copy(filename=...)."
        )


def get_column(frame: pd.DataFrame, key: Any, *, name: str) -> pd.Series:
    """Get a column of ``obs`` or ``var``; ``ValueError`` if several have that name."""
    column = frame[key]
    if isinstance(column, pd.DataFrame):
        raise ValueError(
            f"{name} has {column.shape[1]} columns named {key!r}. Keep one: {name} = "
            f"{name}.loc[:, ~{name}.columns.duplicated()]."
        )
    return column


def check_column(option: str, key: str | None, frame: pd.DataFrame, where: str) -> None:
    """Raise ``KeyError`` if ``frame``, which is called ``where``, lacks the column that an option names, if any."""
    if key is not None and key not in frame:
        columns = ", ".join(map(repr, frame.columns)) or "none"
        raise KeyError(f"{option}={key!r} is not in {where}; its columns are: {columns}.")


def get_layer(adata: ad.AnnData, layer: str | None = None) -> Any:
    """Get ``adata.X`` for ``None`` and ``"X"``, otherwise the layer.

    ``KeyError`` lists the layers if it does not exist, ``ValueError`` if ``adata.X`` is empty.
    """
    layers = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X under the key None
    available = ", ".join(map(repr, layers)) or "none"
    if layer in layers:
        return adata.layers[layer]
    if layer == "raw":
        raise KeyError(
            "layer='raw' is not a layer of the AnnData, and not every function reads adata.raw; pass "
            "adata.raw.to_adata()."
        )
    if layer not in (None, "X"):
        raise KeyError(f"layer={layer!r} is not in the AnnData; its layers are: {available}.")
    if adata.X is None:
        raise ValueError(f"adata.X is empty; pass layer= with the counts. The layers are: {available}.")
    return adata.X


def get_counts(adata: ad.AnnData, layer: str | None = None) -> tuple[Any, pd.DataFrame]:
    """Get a matrix of counts for :func:`univerce.io.blocks.iter_blocks` and ``var`` of its columns.

    ``"raw"`` is ``adata.raw``, unless a layer has that name. A view of a file stands for its own ``X``, which would be
    read whole. Errors are those of :func:`get_layer`.
    """
    if layer == "raw" and "raw" not in adata.layers:
        if adata.raw is None:
            raise KeyError("layer='raw': adata.raw is empty, and no layer is named 'raw'.")
        return adata.raw.X, adata.raw.var
    if layer in (None, "X") and adata.isbacked and adata.is_view:
        return adata, adata.var
    return get_layer(adata, layer), adata.var


def layer_name(layer: str | None) -> str:
    """Name of a layer in error messages."""
    return {None: "adata.X", "X": "adata.X", "raw": "layer='raw'"}.get(layer, f"adata.layers[{layer!r}]")


def counts_elsewhere(adata: ad.AnnData, layer: str | None, *, raw: bool = True, argument: str = "layer={!r}") -> str:
    """Say which other matrices of ``adata`` may hold counts, by a sample of their cells, and how to pass them.

    ``raw`` is whether ``layer="raw"`` is read, ``argument`` the template of the argument that chooses the layer.
    """
    sample = adata if adata.isbacked and adata.is_view else adata[:_SAMPLED_CELLS]  # anndata refuses a view of one
    found = [
        (layer_name(name), argument.format(name))
        for name in sample.layers
        if name not in (None, layer) and _may_be_counts(sample.layers[name])
    ]
    if layer not in (None, "X") and adata.X is not None and _may_be_counts(sample.X):
        found.append(("adata.X", argument.format("X")))
    if adata.raw is not None and not (raw and "raw" in (layer, *adata.layers)) and _may_be_counts(sample.raw.X):
        found.append(("adata.raw", argument.format("raw") if raw else "adata.raw.to_adata()"))
    if not found:
        sampled = f"the first {_SAMPLED_CELLS} cells"
        return f"No layer holds counts in {sampled}, nor does adata.raw: start from the data before normalization."
    places, arguments = zip(*found, strict=True)
    return f"Raw counts may be in {' and '.join(places)}: pass {' or '.join(arguments)}."


def _may_be_counts(matrix: Any) -> bool:
    """Whether the first rows of a matrix hold whole numbers, none of them negative and not all zero."""
    block = matrix[:_SAMPLED_CELLS]
    block = block.compute() if hasattr(block, "compute") else block  # of dask
    values = np.asarray(block.data if hasattr(block, "indptr") else block)
    if values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        return False
    return bool(values.min() >= 0 and values.any() and (values == np.rint(values)).all())


def check_counts(block: Any, *, where: str, fix: Callable[[], str] = lambda: _FIX_COUNTS) -> None:
    """Check that a block ``[n_rows, n_vars]``, sparse or dense, holds counts: non-negative integers of any type.

    ``ValueError`` if a value is missing, infinite, negative or fractional. The message states the source of the block
    (``where``), the likely cause, and what to do (``fix``).
    """
    values = np.asarray(getattr(block, "data", block) if hasattr(block, "indptr") else block).ravel()
    if values.size == 0 or values.dtype.kind in "bu":
        return
    if values.dtype.kind not in "if":
        raise ValueError(f"{where} holds values of type {values.dtype}, not counts. {fix()}")
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        n_missing = int(np.sum(~np.isfinite(values)))
        raise ValueError(
            f"{where} holds {n_missing:,} values that are missing or infinite. Counts that were not measured are not "
            f"zeros: remove those cells or genes. {fix()}"
        )
    if low < 0:
        raise ValueError(
            f"{where} holds negative values (lowest {low:.4g}), as after scaling, regression, batch correction or "
            f"Pearson residuals. {fix()}"
        )
    if values.dtype.kind == "i":
        return
    broken = values[values != np.rint(values)]
    if broken.size:
        raise ValueError(
            f"{where} holds values that are not whole, such as {broken[0]:.4g} (highest {high:.4g}). "
            f"{_why_not_whole(block, float(high), fix())}"
        )


def _why_not_whole(block: Any, high: float, fix: str) -> str:
    """Likely origin of fractions, from their range and the row sums."""
    sums = np.asarray(block.sum(axis=1), dtype=np.float64).ravel()
    sums = sums[sums > 0]
    if sums.size > 1 and np.ptp(sums) < 1e-3 * sums.mean():
        return f"All cells sum to {sums.mean():.6g}: they look normalized per cell. {fix}"
    if high < _LOG1P_MAX:
        return f"They look log-transformed (normalize_total, log1p). {fix}"
    return (
        "They look like expected counts (RSEM, salmon, kallisto) or counts corrected for ambient RNA (SoupX, "
        "CellBender): round them, e.g. adata.layers['counts'] = adata.X.rint() for a sparse X, and pass "
        "layer='counts'. If they are normalized instead: " + fix[0].lower() + fix[1:]
    )


def check_whole(name: str, value: Any, least: int, *, allow: tuple[Any, ...] = ()) -> None:
    """Raise ``ValueError`` unless ``value`` is an integer of at least ``least``, not a bool, or one of ``allow``."""
    if any(value is one or (isinstance(one, str) and isinstance(value, str) and value == one) for one in allow):
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        others = "".join(f"{one!r} or " for one in allow)
        raise ValueError(f"{name}={value!r} must be {others}an integer >= {least}.")


def as_seed(rng: Any) -> int:
    """Get a seed from 0 to 2**63 - 1 from a seed or a numpy Generator, which is drawn from once.

    ``TypeError`` if ``rng`` is neither (``None`` could not be reproduced), ``ValueError`` if a seed is out of range.
    """
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(_MAX_SEED, endpoint=True))
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer):
        raise TypeError(f"rng={rng!r} must be an integer or a numpy.random.Generator, for example rng=0.")
    if not 0 <= rng <= _MAX_SEED:
        raise ValueError(f"rng={rng} must lie between 0 and 2**63 - 1.")
    return int(rng)
