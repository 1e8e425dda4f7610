"""How far would a cell move without a gene?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._device import choose_device
from univerce._settings import settings
from univerce._validate import check_writable, get_modality
from univerce.embeddings.labels import get_labels
from univerce.inference.inputs import resolve_inputs
from univerce.tl.genes._deletions import as_deletions, deleted_tokens, embed_deleted, embed_whole, make_embedders

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
ALL = "all"


def delete_genes(
    adata: ad.AnnData | MuData,
    genes: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    groupby: str | None = None,
    toward: str | np.ndarray | None = None,
    species: str | None = None,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    sampling: Literal["multinomial", "systematic"] | None = None,
    n_draws: int = 1,
    key_added: str = "deleted",
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Delete genes in silico: embed every cell with and without them, and measure how far it moves.

    The two embeddings of a cell are paired, so that their distance is the effect of the gene and not the noise of two
    samplings: both come from one sentence. Without a gene the draws of all other genes and the order of the chromosomes
    stay as they are, and only the draws that had fallen on the gene are drawn again among the others, by the cell's own
    random stream. Counts of the gene become zero, so that the others make up a larger share of the cell. A cell that
    does not express the gene does not move, by exactly zero.

    A gene that moves a cell is one that the model reads; what the gene does in the cell is another question. Deletions
    of one size may be compared; those of more, or more abundant, genes move cells further whatever they are.

    Parameters
    ----------
    adata
        AnnData with raw counts.
    genes
        Genes to delete, one at a time, or a mapping from a name to the genes that are deleted together; symbols or
        identifiers as in :func:`univerce.pp.map_genes`.
    groupby
        Column of ``obs`` to average over; ``None`` averages over all cells.
    toward
        A label of ``groupby``, whose centroid counts, or a vector ``[output_dim]``: also report whether the deletion
        moves cells toward it.
    species, model, mod, layer, gene_key, sampling, n_draws, rng
        As in :func:`univerce.tl.uce_embed`; several draws tell smaller effects.
    key_added
        Start of the keys that are written.
    device
        ``"auto"`` takes what ``settings.device`` says, and CUDA, MPS, CPU in this order when that is ``"auto"`` too.
    precision
        ``"float32"``; rounding to bfloat16 can exceed the effect of a gene.

    Returns
    -------
    A row for each deletion and group: ``deletion``, ``group``, ``n_cells`` (with an embedding), ``n_expressing``, the
    mean ``cosine_shift`` (one minus the cosine of the two embeddings) and ``euclidean_shift`` over these cells,
    ``cosine_shift_expressing`` over those that express a deleted gene, and with ``toward`` the mean change of the
    cosine with that direction, ``toward``. Cells without counts, also those that the deletion leaves none, are in no
    mean. Written into ``adata`` are:

    ``obsm[f"{key_added}_cosine"]``, ``obsm[f"{key_added}_euclidean"]``, ``obsm[f"{key_added}_toward"]``
        ``[n_obs, n_deletions]`` DataFrames of the shift of every cell; NaN for cells without counts. The last only with
        ``toward``.
    ``uns[key_added]["means"]``, ``uns[key_added]["params"]``
        The same table, and what was asked for.

    Raises
    ------
    ValueError
        When a gene is in no gene table, ``toward`` is no label or does not fit, the values are not counts, or an option
        is unknown.
    KeyError
        When there is no such column or layer.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:40].copy()
    >>> table = uc.tl.delete_genes(adata, ["CD79A", "CD3D"], groupby="cell_type")
    >>> b_cells = table[table["group"] == "CD19+ B"].set_index("deletion")["cosine_shift"]
    >>> bool(b_cells["CD79A"] > b_cells["CD3D"])
    True
    """
    data, adata = adata, get_modality(adata, mod)
    check_writable(adata)
    deletions = as_deletions(genes)
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision={precision!r} is not known; use 'float32' or 'bfloat16'.")
    labels: Any = pd.Categorical([ALL] * adata.n_obs) if groupby is None else get_labels(adata.obs, groupby)
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling,
        n_draws=n_draws,
    )  # fmt: skip
    tokens = deleted_tokens(inputs, deletions)
    _check_direction(toward, labels, groupby, inputs.model.config.output_dim)
    embedders = make_embedders(inputs, choose_device(device), precision)
    show = settings.progress
    n_sentences = adata.n_obs * n_draws * (1 + len(deletions))
    with tqdm(total=n_sentences, unit="sentence", desc="delete", disable=not show) as bar:
        before = embed_whole(inputs, embedders, bar.update).astype(np.float64)
        unit = None if toward is None else _unit(toward, labels, before)
        missing = np.isnan(before[:, 0])
        kinds = ["cosine", "euclidean", *(["toward"] if unit is not None else [])]
        moved = {kind: np.zeros((adata.n_obs, len(deletions)), dtype=np.float32) for kind in kinds}
        expressing = np.zeros((adata.n_obs, len(deletions)), dtype=bool)
        columns = {name: j for j, name in enumerate(deletions)}
        for name, cells, changed, after in embed_deleted(inputs, embedders, tokens, bar.update):
            expressing[cells, columns[name]] = True
            for kind, values in _shifts(before[changed], after.astype(np.float64), unit).items():
                moved[kind][changed, columns[name]] = values
    for values in moved.values():
        values[missing] = np.nan
    shifts = {kind: pd.DataFrame(values, adata.obs_names, list(deletions)) for kind, values in moved.items()}
    if emptied := int((shifts["cosine"].isna().to_numpy() & ~missing[:, None]).any(axis=1).sum()):
        logger.warning("%s cells express nothing but deleted genes, and have no embedding without them.", emptied)
    means = _means(shifts, expressing, labels)
    for kind, table in shifts.items():
        adata.obsm[f"{key_added}_{kind}"] = table
    direction = toward if isinstance(toward, str) else "" if toward is None else "vector"
    adata.uns[key_added] = {
        "params": inputs.params | {"groupby": groupby or "", "toward": direction},
        "genes": {name: np.array(some, dtype=object) for name, some in deletions.items()},
        "means": means.copy(),
    }
    return means


def _check_direction(toward: Any, labels: pd.Categorical, groupby: str | None, n_dims: int) -> None:
    if isinstance(toward, str):
        if groupby is None:
            raise ValueError(f"toward={toward!r} is a label; say of which column with groupby=.")
        if toward not in labels.categories:
            raise ValueError(
                f"toward={toward!r} is no label of obs[{groupby!r}]; there is "
                f"{', '.join(map(repr, labels.categories[:20]))}."
            )
    elif toward is not None:
        vector = np.asarray(toward, dtype=np.float64)
        if vector.shape != (n_dims,) or not np.isfinite(vector).all() or not vector.any():
            raise ValueError(
                f"toward must be a label or a finite vector of {n_dims} numbers, not all zero; its shape is "
                f"{vector.shape}."
            )


def _unit(toward: Any, labels: pd.Categorical, embedding: np.ndarray) -> np.ndarray:
    if isinstance(toward, str):
        mine = np.asarray(labels == toward) & ~np.isnan(embedding[:, 0])
        if not mine.any():
            raise ValueError(f"No cell labeled {toward!r} has an embedding, so there is no centroid to move toward.")
        toward = embedding[mine].mean(axis=0)
    vector = np.asarray(toward, dtype=np.float64)
    return np.asarray(vector / np.linalg.norm(vector))


def _shifts(before: np.ndarray, after: np.ndarray, unit: np.ndarray | None) -> dict[str, np.ndarray]:
    """Distances of paired embeddings, of unit length but for rounding, and the change of the cosine with ``unit``."""
    before, after = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (before, after))
    square = np.square(after - before).sum(axis=1)
    out = {"cosine": square / 2, "euclidean": np.sqrt(square)}
    return out if unit is None else out | {"toward": (after - before) @ unit}


def _means(shifts: Mapping[str, pd.DataFrame], expressing: np.ndarray, labels: pd.Categorical) -> pd.DataFrame:
    rows = []
    for j, name in enumerate(shifts["cosine"].columns):
        values = {kind: table.iloc[:, j].to_numpy(np.float64) for kind, table in shifts.items()}
        known = ~np.isnan(values["cosine"])
        for code, group in enumerate(labels.categories):
            mine = known & (labels.codes == code)
            active = mine & expressing[:, j]
            rows.append(
                {
                    "deletion": name,
                    "group": str(group),
                    "n_cells": int(mine.sum()),
                    "n_expressing": int(active.sum()),
                    "cosine_shift": _mean(values["cosine"][mine]),
                    "cosine_shift_expressing": _mean(values["cosine"][active]),
                    "euclidean_shift": _mean(values["euclidean"][mine]),
                }
                | ({"toward": _mean(values["toward"][mine])} if "toward" in values else {})
            )
    return pd.DataFrame(rows, index=[str(i) for i in range(len(rows))])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
