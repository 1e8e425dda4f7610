"""A resumable store of cell embeddings: a directory that is an AnnData zarr once it is complete.

``obsm/<key>``             the embedding, an uncompressed zarr array whose chunk ``k`` is the block ``k`` of rows
``univerce-blocks/``       one file per finished block with the SHA-256 of its chunk
``univerce-manifest.json`` the inputs of the embedding; an embedding of other inputs is refused

The group of the root is written last, so only this module can open a store that is not complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from univerce._keys import RECORDS
from univerce._validate import as_path
from univerce.io.atomic import locked, remove_leftovers, replacing, scratch, write_whole
from univerce.io.blocks import n_blocks
from univerce.io.intact import ALL_CHUNKS

MANIFEST = "univerce-manifest.json"
MARKERS = "univerce-blocks"
_FORMAT = "univerce-embeddings-1"
_ROOT = ".zgroup"
_ELEMENTS = ("obs", "var", "uns", "layers", "varm", "obsp", "varp")


class EmbeddingStore:
    """Blocks of an embedding on disk; use :meth:`open`.

    A block is done if its marker holds the checksum of its chunk; the marker is written after the chunk. Processes may
    be killed at any time, and several may write different blocks at the same time.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile
    >>> from pathlib import Path
    >>> from univerce.inference.store import EmbeddingStore
    >>> path = Path(tempfile.mkdtemp()) / "cells.zarr"
    >>> names = ["a", "b", "c"]
    >>> store = EmbeddingStore.open(path, key="X_uce", obs_names=names, dim=4, block_rows=2, fingerprint={"seed": 0})
    >>> store.missing()
    [0, 1]
    >>> store.write(0, np.ones((2, 4)))
    >>> store.missing()
    [1]
    >>> store.write(1, np.ones((1, 4)))
    >>> store.finish({"seed": 0})
    >>> ad.read_zarr(path).obsm["X_uce"].shape
    (3, 4)
    """

    def __init__(self, path: Path, obs_names: pd.Index, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.obs_names = obs_names
        self.key: str = manifest["key"]
        self.shape: tuple[int, int] = (manifest["n_obs"], manifest["dim"])
        self.dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        self.block_rows: int = manifest["block_rows"]
        self.n_blocks = n_blocks(self.shape[0], self.block_rows)
        self._verified: set[int] = set()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        key: str,
        obs_names: Any,
        dim: int,
        block_rows: int,
        fingerprint: Mapping[str, Any],
        dtype: str = "float32",
    ) -> EmbeddingStore:
        """Create the store at ``path``, or resume it.

        Parameters
        ----------
        path
            Directory of the store.
        key, dim, dtype
            Key of the embedding in ``obsm``, its width and type.
        obs_names
            Names of the cells, in the order of the rows.
        block_rows
            Rows in a block, and in a chunk of the zarr array.
        fingerprint
            Everything that decides the values (model and table digest, seed, sampling, ...), as JSON values.

        Raises
        ------
        ValueError
            If ``path`` holds something else, or a store of other inputs; the message lists the differences.
        """
        path = as_path(path)
        names = pd.Index(obs_names).astype(str)
        if not key or "/" in key:
            raise ValueError(f"key={key!r} cannot name an embedding in a store; use a name without a slash.")
        manifest = {
            "format": _FORMAT, "key": key, "n_obs": len(names), "dim": int(dim), "dtype": np.dtype(dtype).name,
            "block_rows": min(int(block_rows), max(len(names), 1)), "obs_names": _digest_names(names),
            "fingerprint": dict(fingerprint),
        }  # fmt: skip
        manifest = json.loads(json.dumps(manifest, default=_plain))
        store = cls(path, names, manifest)
        if not (path / MANIFEST).exists():
            with locked(path):
                if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                    store._create(manifest)
        _check_manifest(path, manifest)
        for directory in (path.absolute().parent, path):
            remove_leftovers(directory)
        store._remove_leftovers()
        return store

    @classmethod
    def attach(cls, path: Path | str) -> EmbeddingStore:
        """Open an existing store to write some of its blocks, without the names of cells."""
        return cls(as_path(path), pd.Index([]), _read_manifest(as_path(path)))

    def _create(self, manifest: Mapping[str, Any]) -> None:
        metadata = {
            "zarr_format": 2, "shape": self.shape, "chunks": (self.block_rows, self.shape[1]), "dtype": self.dtype.str,
            "fill_value": "NaN",  # a row without an embedding cannot be mistaken for one
            "order": "C", "compressor": None, "filters": None,
        }  # fmt: skip
        with replacing(self.path) as part:
            array = part / "obsm" / self.key
            for directory in (array, part / MARKERS):
                directory.mkdir(parents=True)
            (array / ".zarray").write_text(json.dumps(metadata))
            (array / ".zattrs").write_text(
                json.dumps({"encoding-type": "array", "encoding-version": "0.2.0", ALL_CHUNKS: True})
            )
            (part / MANIFEST).write_text(json.dumps(manifest, indent=2))

    def rows(self, k: int) -> slice:
        """The rows of block ``k``."""
        if not 0 <= k < self.n_blocks:
            raise ValueError(f"The store at {self.path} has no block {k}; it has {self.n_blocks} blocks.")
        return slice(k * self.block_rows, min((k + 1) * self.block_rows, self.shape[0]))

    def missing(self) -> list[int]:
        """Blocks that are not done, or whose chunk does not match the checksum of its marker, in order."""
        done = {int(marker.stem) for marker in (self.path / MARKERS).glob("*.sha256")}
        for k in done - self._verified:
            if k < self.n_blocks and self.find(k) is not None:
                self._verified.add(k)
        return [k for k in range(self.n_blocks) if k not in self._verified]

    def write(self, k: int, values: np.ndarray) -> None:
        """Write block ``k`` from ``values`` ``[rows, dim]``, then mark it done; ``ValueError`` for a wrong shape."""
        rows = self.rows(k)
        expected = (rows.stop - rows.start, self.shape[1])
        if np.shape(values) != expected:
            raise ValueError(f"Block {k} has the shape {expected}, not {np.shape(values)}.")
        chunk = np.full((self.block_rows, self.shape[1]), np.nan, dtype=self.dtype)
        chunk[: expected[0]] = values
        data = chunk.tobytes()
        write_whole(self._chunk(k), data, lock=False)
        write_whole(self._marker(k), hashlib.sha256(data).hexdigest().encode(), lock=False)
        self._verified.add(k)

    def read(self, k: int) -> np.ndarray:
        """Values ``[rows, dim]`` of block ``k``; ``ValueError`` if it is not done."""
        values = self.find(k)
        if values is None:
            raise ValueError(f"Block {k} of the store at {self.path} is missing or damaged; compute it again.")
        return values

    def find(self, k: int) -> np.ndarray | None:
        """Values ``[rows, dim]`` of block ``k``; ``None`` if it is not done."""
        rows = self.rows(k)
        try:
            data, digest = self._chunk(k).read_bytes(), self._marker(k).read_text()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        return np.frombuffer(data, dtype=self.dtype).reshape(-1, self.shape[1])[: rows.stop - rows.start]

    def finish(self, params: Mapping[str, Any], obs_columns: pd.DataFrame | None = None) -> None:
        """Complete the AnnData zarr with ``uns["univerce"][key]`` and columns of ``obs`` in the order of the store.

        A store that another process completed meanwhile stays as it is. ``ValueError`` if blocks are missing, or
        ``obs_columns`` has other cells.
        """
        if missing := self.missing():
            raise ValueError(f"{len(missing)} of {self.n_blocks} blocks are missing: {missing[:5]}; write them first.")
        obs = pd.DataFrame(index=self.obs_names) if obs_columns is None else obs_columns
        if not obs.index.astype(str).equals(self.obs_names):
            raise ValueError("The index of obs_columns is not the obs_names of the store.")
        with locked(self.path):
            self._remove_leftovers()  # of workers that died meanwhile
            if not self.is_complete:
                self._write_around(obs, {RECORDS: {self.key: dict(params)}})

    def _remove_leftovers(self) -> None:
        for directory in (self._chunk(0).parent, self.path / MARKERS):
            remove_leftovers(directory)

    def _write_around(self, obs: pd.DataFrame, uns: Mapping[str, Any]) -> None:
        """Write everything but the embedding: elements, then the attributes of the root, and its group at last."""
        import zarr
        from anndata.io import write_elem

        (self.path / _ROOT).unlink(missing_ok=True)
        with scratch(self.path / "elements") as directory:
            root = zarr.open_group(directory, mode="w", zarr_format=2)
            for name in ("layers", "varm", "obsp", "varp", "obsm"):
                write_elem(root, name, {})
            write_elem(root, "obs", obs)
            write_elem(root, "var", pd.DataFrame(index=pd.Index([], dtype=str)))
            write_elem(root, "uns", uns)
            root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            for file in (".zgroup", ".zattrs"):
                write_whole(self.path / "obsm" / file, (directory / "obsm" / file).read_bytes())
            for name in _ELEMENTS:
                with replacing(self.path / name) as part:
                    (directory / name).rename(part)
            write_whole(self.path / ".zattrs", (directory / ".zattrs").read_bytes())
        metadata = _metadata(self.path) | {_ROOT: {"zarr_format": 2}}
        consolidated = {"zarr_consolidated_format": 1, "metadata": metadata}
        write_whole(self.path / ".zmetadata", json.dumps(consolidated).encode())
        write_whole(self.path / _ROOT, json.dumps({"zarr_format": 2}).encode())

    @property
    def is_complete(self) -> bool:
        """Whether :meth:`finish` has run and every block still has its checksum."""
        return all((self.path / name).exists() for name in (_ROOT, ".zmetadata", *_ELEMENTS)) and not self.missing()

    def _chunk(self, k: int) -> Path:
        return self.path / "obsm" / self.key / f"{k}.0"

    def _marker(self, k: int) -> Path:
        return self.path / MARKERS / f"{k}.sha256"


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError, RecursionError):
        found = {}
    whole = isinstance(found, dict) and isinstance(found.get("fingerprint"), dict)
    if not whole or found.get("format") != _FORMAT:
        exists = "exists and" if path.exists() else "does not exist or"
        raise ValueError(f"{path} {exists} is not a store of embeddings; it is left alone. Choose another path.")
    return found


def _check_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    found = _read_manifest(path)
    old, new = ({**m.pop("fingerprint"), **{f"store {k}": v for k, v in m.items()}} for m in (found, dict(manifest)))
    differ = [f"{k} was {old.get(k)!r} and is {new.get(k)!r}" for k in sorted(old | new) if old.get(k) != new.get(k)]
    if differ:
        raise ValueError(
            f"The store at {path} was started from other inputs: {'; '.join(differ)}. Choose another path, or remove "
            "the directory to start over."
        )


def _metadata(path: Path) -> dict[str, Any]:
    """Consolidated metadata; ``zarr.consolidate_metadata`` would warn of markers and manifest."""
    files = sorted(f for name in (".zgroup", ".zattrs", ".zarray") for f in path.rglob(name))
    return {f.relative_to(path).as_posix(): json.loads(f.read_text()) for f in files}


def _digest_names(names: pd.Index) -> str:
    sha = hashlib.sha256()
    for name in names:
        sha.update(name.encode() + b"\0")
    return sha.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"The fingerprint of a store holds JSON values, not {type(value).__name__}: {value!r}.")
