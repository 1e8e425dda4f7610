"""An embedding that was made elsewhere, brought to the cells by their names.

A system with an installation of its own (GeneCompass, scFoundation, scBERT, SCimilarity, TranscriptFormer) is run
there, and what it returns is saved with the names of the cells beside it, in whatever order it came:

.. code-block:: python

    pd.DataFrame(embedding, index=adata.obs_names).to_csv("method.csv")  # or
    ad.AnnData(obs=adata.obs[[]], obsm={"X_emb": embedding}).write_h5ad("method.h5ad")  # or
    np.save("method.npy", embedding)
    pd.Series(adata.obs_names).to_csv("method.txt", index=False, header=False)

================  ================================================================================================
system            what to save
================  ================================================================================================
GeneCompass       mean of the last hidden states over the genes of a cell
scFoundation      the ``.npy`` of ``get_embedding.py --input_type singlecell --output_type cell --pool_type all``
scBERT            mean over the genes of what the Performer returns, before the head that classifies
SCimilarity       ``CellEmbedding(model).get_embeddings(x)`` after its ``align_dataset`` and ``lognorm_counts``
TranscriptFormer  the h5ad of ``transcriptformer inference``, with ``key="embeddings"``
================  ================================================================================================

These are the names that the systems give it in the versions known to us; check them against the one that you run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._method import Method

_FORMATS = (".npy", ".csv", ".tsv", ".h5ad")


def _embed(
    adata: ad.AnnData,
    *,
    batch: str | None,
    labels: str | None,
    rng: int,
    path: str | Path | None = None,
    key: str = "X_emb",
) -> np.ndarray:
    """``key`` is where an h5ad file has the embedding in ``obsm``; the other formats have no keys."""
    if path is None:
        raise ValueError(f"precomputed needs the option path=, a file with an embedding: one of {', '.join(_FORMATS)}.")
    names, values = _read(Path(path), key)
    return values[_rows(adata.obs_names, names, len(values), path)]


def _read(path: Path, key: str) -> tuple[pd.Index, np.ndarray]:
    """Names of the cells, and their embedding."""
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} does not exist.")
    if path.suffix == ".npy":
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise FileNotFoundError(f"{path} needs {beside} with the name of the cell of every row, one a line.")
        names = pd.Index(beside.read_text(encoding="utf-8").splitlines())
        return names, _numbers(np.load(path, allow_pickle=False), path)
    if path.suffix in (".csv", ".tsv"):
        table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", converters={0: str})  # 007 is no 7
        return pd.Index(table.iloc[:, 0]), _numbers(table.iloc[:, 1:], path)
    if path.suffix == ".h5ad":
        stored = ad.read_h5ad(path, backed="r")
        try:
            if key not in stored.obsm:
                available = ", ".join(map(repr, stored.obsm)) or "none"
                raise KeyError(f"key={key!r} is not in obsm of {path}; there are {available}.")
            return stored.obs_names, _numbers(stored.obsm[key], path)
        finally:
            stored.file.close()
    raise ValueError(f"path={str(path)!r} is of no known format; save it as one of {', '.join(_FORMATS)}.")


def _numbers(values: Any, path: Path) -> np.ndarray:
    """``[n, n_dims]`` float32, or ``ValueError`` when it is no matrix of numbers."""
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds no matrix of numbers, but {values.dtype} of shape {values.shape}.")
    return values.astype(np.float32)


def _rows(cells: pd.Index, names: pd.Index, n_rows: int, path: str | Path) -> np.ndarray:
    """Where each cell is in the file."""
    if len(names) != n_rows:
        raise ValueError(f"{path} has {n_rows} rows and {len(names)} names of cells.")
    if not names.is_unique:
        raise ValueError(f"{path} names {names[names.duplicated()][0]!r} more than once.")
    rows = names.get_indexer(cells)
    if (rows < 0).any():
        missing = cells[rows < 0]
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(cells)} cells, such as {missing[0]!r}; it has {len(names)}, such "
            f"as {names[0]!r}. Every cell must be there under its name in obs_names."
        )
    return rows


METHOD = Method(
    name="precomputed",
    embed=_embed,
    citation="that of the method",
    license="that of the method",
    zero_shot=True,
    seeded=False,
    stored=True,
)
