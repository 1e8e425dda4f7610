"""An embedding computed elsewhere, matched to the cells by their names.

Save the output of a system with its own installation with the names of the cells, in any order:

.. code-block:: python

    pd.DataFrame(embedding, index=adata.obs_names).to_csv("method.csv")  # or
    ad.AnnData(obs=adata.obs[[]], obsm={"X_emb": embedding}).write_h5ad("method.h5ad")  # or
    np.save("method.npy", embedding)
    pd.Series(adata.obs_names).to_csv("method.txt", index=False, header=False)

================  ================================================================================================
system            what to save (check the names against your version)
================  ================================================================================================
GeneCompass       mean of the last hidden states over the genes of a cell
scFoundation      the ``.npy`` of ``get_embedding.py --input_type singlecell --output_type cell --pool_type all``
scBERT            mean over the genes of the output of the Performer, before the classification head
SCimilarity       ``CellEmbedding(model).get_embeddings(x)`` after its ``align_dataset`` and ``lognorm_counts``
TranscriptFormer  the h5ad of ``transcriptformer inference``, with ``key="embeddings"``
================  ================================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._errors import reading
from univerce._validate import as_path
from univerce.bench._method import Method
from univerce.io.files import read_h5ad

_FORMATS = (".npy", ".csv", ".tsv", ".h5ad")


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    path: str | Path | None = None,
    key: str = "X_emb",
) -> np.ndarray:
    """``key`` in ``obsm`` of an h5ad."""
    if path is None:
        raise ValueError(f"precomputed needs the option path=, a file with an embedding: one of {', '.join(_FORMATS)}.")
    names, found = _read(as_path(path), key)
    values = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    if values.ndim != 2 or values.shape[1] == 0 or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {values.dtype} of shape {values.shape}, not a matrix of numbers.")
    if len(names) != len(values):
        raise ValueError(f"{path} has {len(values)} rows and {len(names)} names of cells.")
    if not names.is_unique:
        raise ValueError(f"{path} names {names[names.duplicated()][0]!r} more than once.")
    rows = names.get_indexer(adata.obs_names)
    if (rows < 0).any():
        missing = adata.obs_names[rows < 0]
        raise ValueError(
            f"{path} lacks {len(missing)} of the {adata.n_obs} cells, such as {missing[0]!r}; it has {len(names)}, "
            f"such as {names[0]!r}. Every cell must be there under its name in obs_names."
        )
    return values[rows].astype(np.float32)


def _read(path: Path, key: str) -> tuple[pd.Index, Any]:
    """Names of the cells, and their embedding."""
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} does not exist.")
    if path.suffix == ".npy":
        names = path.with_suffix(".txt")
        if not names.is_file():
            raise FileNotFoundError(f"{path} needs {names} with the name of the cell of every row, one a line.")
        with reading(names, "a list of names"):
            cells = pd.Index(names.read_text(encoding="utf-8").splitlines())
        with reading(path, "an array of numpy"):
            return cells, np.load(path, allow_pickle=False)
    if path.suffix in (".csv", ".tsv"):
        with reading(path, "a table of text"):
            table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", converters={0: str})  # keep 007
            return pd.Index(table.iloc[:, 0]), table.iloc[:, 1:]
    if path.suffix == ".h5ad":
        stored = read_h5ad(path, backed=True)
        try:
            if key not in stored.obsm:
                available = ", ".join(map(repr, stored.obsm)) or "none"
                raise KeyError(f"key={key!r} is not in obsm of {path}; its keys are {available}.")
            return stored.obs_names, stored.obsm[key]
        finally:
            stored.file.close()
    raise ValueError(f"path={str(path)!r} has an unknown format; save it as one of {', '.join(_FORMATS)}.")


METHOD = Method(
    name="precomputed",
    embed=_embed,
    citation="that of the method",
    license="that of the method",
    zero_shot=True,
    seeded=False,
    stored=True,
)
