"""Classifiers as files: an AnnData whose observations are the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce._errors import FileError, reading
from univerce._validate import as_path
from univerce.io.atomic import replacing
from univerce.io.seal import is_intact, seal

STORED = "label_classifier"
FORMAT = 4
_SPARSE = "probability", "uncalibrated"


def write_content(path: Path, classes: Any, content: dict[str, Any]) -> None:
    """Write the parts of a classifier; an existing file is replaced once all is written."""
    held_out = {k: sp.csr_matrix(v) if k in _SPARSE else v for k, v in content["held_out"].items()}
    with replacing(path) as part:
        stored = {"format": FORMAT, **content, "held_out": held_out}
        ad.AnnData(obs=classes, uns={STORED: stored}).write_h5ad(part, compression="gzip")
        seal(part)


def read_content(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read the classes and the parts of a classifier; errors as of :meth:`LabelClassifier.load`."""
    if not path.exists():
        raise FileNotFoundError(f"There is no classifier at {str(path)!r}.")
    if (version := _format(path)) is None:
        raise ValueError(f"{str(path)!r} is not a saved classifier; write one with LabelClassifier.save.")
    if version != FORMAT:
        raise ValueError(f"{str(path)!r} was saved in format {version}; this version reads {FORMAT}. Fit it again.")
    if not is_intact(path):
        raise FileError(
            f"{path} is damaged, or was changed after LabelClassifier.save wrote it. Restore it from an intact "
            "copy, or fit and save it again."
        )
    adata = ad.read_h5ad(path)
    content = _plain(adata.uns[STORED])
    held_out = content["held_out"]
    held_out |= {name: held_out[name].toarray() for name in _SPARSE}
    held_out["batch"] = np.asarray(held_out["batch"], dtype=object)
    classes = adata.obs.assign(**{c: adata.obs[c].astype(str) for c in ("color", "ontology_id")})
    return classes, content


def is_saved_classifier(path: Any) -> bool:
    """Whether :meth:`LabelClassifier.save` wrote the file."""
    return _format(as_path(path)) is not None


def _format(path: Path) -> int | None:
    """The format of a saved classifier; ``None`` for another file."""
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return None
    with reading(path, "a classifier"), h5py.File(path, "r") as file:
        name = f"uns/{STORED}/format"
        return int(file[name][()]) if name in file else None


def parts_of(instance: Any) -> dict[str, Any]:
    """Fields of a dataclass."""
    return {f.name: getattr(instance, f.name) for f in fields(instance)}


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Plain dictionaries and numbers of what was read from a file."""
    return {
        key: _plain(value) if isinstance(value, Mapping) else value.item() if isinstance(value, np.generic) else value
        for key, value in tree.items()
    }
