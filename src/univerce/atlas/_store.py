"""Atlases on disk: one writer at a time, under a temporary name until all is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from univerce._keys import ATLAS
from univerce.io import atomic
from univerce.io.files import open_anndata
from univerce.io.intact import ALL_CHUNKS, read_rows, write_listing
from univerce.io.workers import blocks_of_rows

FORMAT = "univerce-atlas-1"
CHUNK_ROWS = 4096
LOCK_SECONDS = 10.0
"""Time to wait for another process that writes the same atlas."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the atlas at ``path`` for writing, as :func:`univerce.io.atomic.locked`, and do not wait for ever."""
    with atomic.locked(path, seconds=LOCK_SECONDS):
        yield


class Writer:
    """Writes an atlas in order; see :func:`new_atlas`."""

    def __init__(self, directory: Path, use_rep: str) -> None:
        import zarr

        self.directory, self.use_rep = directory, use_rep
        self._root = zarr.open_group(directory, mode="w", zarr_format=2)
        self._array: Any = None
        self._obs: list[pd.DataFrame] = []

    def add(self, values: np.ndarray, obs: pd.DataFrame | None = None) -> None:
        """Append rows ``[n, n_dims]`` and their annotation."""
        if self._array is None:
            from numcodecs import CRC32

            # Noise does not compress. Every chunk has a checksum.
            self._array = self._root.create_array(
                f"obsm/{self.use_rep}", shape=(0, values.shape[1]), chunks=(CHUNK_ROWS, values.shape[1]),
                dtype=np.float16, filters=[CRC32()], compressors=None, fill_value=np.nan,
            )  # fmt: skip
            self._array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0", ALL_CHUNKS: True})
        if len(values):
            self._array.append(np.asarray(values, dtype=np.float16))
        if obs is not None:
            self._obs.append(obs)

    def copy(self, rep: Any, obs: pd.DataFrame, rows: np.ndarray | None = None) -> None:
        """Append cells of an atlas, all or ``rows`` in ascending order."""
        chosen = np.arange(rep.shape[0]) if rows is None else rows
        for block in blocks_of_rows(rep.shape[0], CHUNK_ROWS):
            first, last = np.searchsorted(chosen, [block.start, block.stop])
            if first < last:
                self.add(read_rows(rep, block, None)[chosen[first:last] - block.start])
        self._obs.append(obs if rows is None else obs.iloc[rows])

    def finish(self, uns: Mapping[str, Any]) -> None:
        """Write everything but the embedding; ``ValueError`` if there are no cells, or two have the same name."""
        import zarr

        obs = concat_obs(self._obs)
        if len(obs) == 0:
            raise ValueError(
                "The atlas would be empty: no cell passed the filters and has an embedding. Lower min_counts=, or see "
                "the log."
            )
        if not obs.index.is_unique:
            raise ValueError(f"Two cells would be named {obs.index[obs.index.duplicated()][0]!r}; rename a data set.")
        self._root["obsm"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        ad.io.write_elem(self._root, "obs", obs)
        ad.io.write_elem(self._root, "var", pd.DataFrame(index=pd.Index([], dtype=str)))
        ad.io.write_elem(self._root, "uns", dict(uns))
        for name in ("layers", "varm", "obsp", "varp"):
            ad.io.write_elem(self._root, name, {})
        self._root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        zarr.consolidate_metadata(self._root.store, zarr_format=2)
        write_listing(self.directory)


@contextmanager
def new_atlas(path: Path, use_rep: str) -> Iterator[Writer]:
    """Open a writer whose atlas replaces the one at ``path`` once the block ends without an error."""
    with atomic.replacing(path) as part:
        yield Writer(part, use_rep)


def open_atlas(path: Path) -> ad.AnnData:
    """Open the atlas at ``path``; its embedding stays on disk."""
    adata = open_anndata(path)
    require_atlas(adata, repr(str(path)))
    return adata


def require_atlas(adata: ad.AnnData, name: str) -> Mapping[str, Any]:
    """``uns["univerce_atlas"]``; ``ValueError`` if it is missing."""
    entry = adata.uns.get(ATLAS)
    if not isinstance(entry, Mapping) or entry.get("format") != FORMAT:
        raise ValueError(f"{name} is not an atlas: it has no uns[{ATLAS!r}] of uc.atlas.build.")
    return entry


def new_path(path: Path) -> Path:
    """``path``; ``FileExistsError`` if it exists."""
    if path.exists():
        raise FileExistsError(
            f"{str(path)!r} exists; choose another path, remove it, or add to it with uc.atlas.append."
        )
    return path


def concat_obs(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of cells; columns that one lacks are missing there, and text is categorical."""
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    out = pd.DataFrame(index=pd.Index(np.concatenate([table.index.to_numpy(dtype=object) for table in tables])))
    for column in columns:
        parts = [t[column] if column in t else pd.Series(np.nan, index=t.index, dtype=object) for t in tables]
        others = [p for p in parts if not is_numeric_dtype(p)]
        if any(isinstance(p.dtype, pd.CategoricalDtype) or p.notna().any() for p in others):
            values = np.concatenate([p.to_numpy(dtype=object) for p in parts])
            out[column] = values if column == "obs_name" else pd.Categorical(values)
        else:
            out[column] = np.concatenate([p.to_numpy(dtype=None if is_numeric_dtype(p) else float) for p in parts])
    return out
