"""An embedding that was made elsewhere, brought to the cells by their names.

A system with an installation of its own (GeneCompass, scFoundation, scBERT, SCimilarity, TranscriptFormer) is run
there, and what it returns is saved with the names of the cells beside it, in whatever order it came:

.. code-block:: python

    pd.DataFrame(embedding, index=adata.obs_names).to_csv("method.csv")  # or
    ad.AnnData(obs=adata.obs[[]], obsm={"X_emb": embedding}).write_h5ad("method.h5ad")  # or
    np.save("method.npy", embedding)
    pd.Series(adata.obs_names).to_csv("method.txt", index=False, header=False)

======================  ==================================================================================
system                  what to save
======================  ==================================================================================
GeneCompass             mean of the last hidden states over the genes of a cell, 768 wide
scFoundation            ``get_embedding.py --output_type cell --pool_type all``, the ``.npy`` file it writes
scBERT                  mean over the genes of the Performer's output before its classification head
SCimilarity             ``CellEmbedding.get_embeddings(X)`` of the aligned and normalised cells
TranscriptFormer        ``obsm["embeddings"]`` of the h5ad that ``transcriptformer inference`` writes
======================  ==================================================================================

These name what the systems call it to the best of our knowledge; check them against the version that you run.
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
    key: str | None = None,
    path: str | Path | None = None,
) -> np.ndarray:
    """``key`` names an embedding in ``obsm`` of the cells, or of the h5ad file ``path``."""
    if key is None and path is None:
        available = ", ".join(map(repr, adata.obsm)) or "none"
        raise ValueError(
            f"Say which embedding is meant: path= of a file, or key= of adata.obsm; there are {available}."
        )
    if path is None:
        return _numbers(_of(adata, str(key)), f"adata.obsm[{key!r}]")
    names, values = _read(Path(path), key)
    return _numbers(values, str(path))[_rows(adata.obs_names, names, len(values), path)]


def _read(path: Path, key: str | None) -> tuple[pd.Index, Any]:
    """Names of the cells, and their embedding."""
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} does not exist.")
    if path.suffix == ".npy":
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            raise FileNotFoundError(f"{path} needs {beside} with the name of the cell of every row, one a line.")
        return pd.Index(beside.read_text().splitlines()), np.load(path, allow_pickle=False)
    if path.suffix in (".csv", ".tsv"):
        table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", index_col=0, dtype={0: str})
        return table.index.astype(str), table
    if path.suffix == ".h5ad":
        stored = ad.read_h5ad(path, backed="r")
        try:
            return stored.obs_names, _of(stored, key or "X_emb")
        finally:
            stored.file.close()
    raise ValueError(f"path={str(path)!r} is of no known format; save it as one of {', '.join(_FORMATS)}.")


def _of(adata: ad.AnnData, key: str) -> Any:
    if key not in adata.obsm:
        available = ", ".join(map(repr, adata.obsm)) or "none"
        raise KeyError(f"key={key!r} is not in obsm; there are {available}.")
    return adata.obsm[key]


def _numbers(values: Any, where: str) -> np.ndarray:
    """``[n, n_dims]`` float32, or ``ValueError`` when it is no matrix of numbers."""
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiu":
        raise ValueError(f"{where} is no matrix of numbers: {values.dtype} of shape {values.shape}.")
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
    licence="that of the method",
    zero_shot=True,
    seeded=False,
    stored=True,
)
