"""Delete genes in silico, and measure how far cells move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._settings import logger, progress_bar, settings
from univerce._validate import check_writable, get_modality
from univerce.genes.lookup import map_names
from univerce.genes.table import N_SPECIAL
from univerce.inference.embed import embed_inputs, encoder_of
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.tl.genes._direction import as_direction, check_direction, labels_or_all, unit_vector

if TYPE_CHECKING:
    from mudata import MuData


@document
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
    rng: int | np.random.Generator = 0,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Delete genes in silico: embed every cell with and without them, and measure how far it moves.

    The two embeddings of a cell are paired, so their distance is the effect of the gene rather than sampling noise.
    Both come from the same sentence: the draws of all other genes and the order of the chromosomes stay the same, and
    only the draws of the deleted gene are replaced, from the random stream of the cell. The counts of the gene are set
    to zero, so the other genes make up a larger share of the cell. A cell that does not express the gene does not move
    at all.

    A shift shows that the model uses the gene, not what the gene does in the cell. Compare only deletions of similar
    size: more genes, or more abundant ones, move cells farther.

    The network runs in float32 unless ``settings.precision`` is ``"bfloat16"``, whose rounding can exceed the effect.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData.
    genes
        Genes to delete one at a time, or a mapping from a name to genes to delete together. Symbols or identifiers as
        in :func:`univerce.pp.map_genes`.
    groupby
        Column of ``obs`` to average over; ``None`` averages over all cells.
    toward
        A label of ``groupby``, which stands for its centroid, or a vector ``[output_dim]``: also measure whether cells
        move toward it.
    species, model, mod, layer, gene_key, sampling, n_draws, rng
        As in :func:`univerce.tl.uce_embed`. More draws resolve smaller effects.
    key_added
        Prefix of the keys of the results.
    %(copy, sets)s

    ``obsm[f"{key_added}_cosine"]``, ``obsm[f"{key_added}_euclidean"]``, ``obsm[f"{key_added}_toward"]``
        ``[n_obs, n_deletions]`` DataFrames: one minus the cosine of the two embeddings of a cell, their Euclidean
        distance, and with ``toward`` the change of the cosine with that direction. NaN for cells without counts,
        including those that lose their last counts.
    ``uns[key_added]["table"]``
        A row per deletion and group: ``deletion``, ``group``, ``n_cells`` (with an embedding), ``n_expressing``, the
        means ``cosine_shift``, ``euclidean_shift`` and, with ``toward``, ``toward`` over these cells, and
        ``cosine_shift_expressing`` over cells that express a deleted gene.
    ``uns[key_added]["genes"]``, ``uns[key_added]["params"]``
        Genes of each deletion, and parameters.

    Raises
    ------
    ValueError
        If a gene is not in a gene table, ``toward`` is not a label or does not fit, the values are not counts, or an
        option is unknown.
    KeyError
        If the column or layer does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:40].copy()
    >>> uc.tl.delete_genes(adata, ["CD79A", "CD3D"], groupby="cell_type")
    >>> table = uc.get.table(adata, "deleted")
    >>> b_cells = table[table["group"] == "CD19+ B"].set_index("deletion")["cosine_shift"]
    >>> bool(b_cells["CD79A"] > b_cells["CD3D"])
    True
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    check_writable(adata, key_added)
    deletions = _as_deletions(genes)
    groups = labels_or_all(adata, groupby)
    inputs = resolve_inputs(
        data, species=species, model=model, mod=mod, layer=layer, gene_key=gene_key, rng=rng, sampling=sampling,
        n_draws=n_draws,
    )  # fmt: skip
    tokens = _tokens(inputs, deletions)
    if toward is not None:
        toward = as_direction(toward)
        check_direction("toward", toward, groups, groupby, inputs.model.config.output_dim)
    precision = "float32" if settings.precision == "auto" else settings.precision
    encoder = encoder_of(inputs, precision=precision)

    shape = adata.n_obs, len(deletions)
    total = adata.n_obs * n_draws * (1 + len(deletions))
    with progress_bar(total=total, unit=encoder.unit, desc="delete") as bar:
        before = embed_inputs(inputs, encoder, bar.update).astype(np.float64)
        unit = None if toward is None else unit_vector(toward, groups, before, contrast=False)
        missing = np.isnan(before[:, 0])
        kinds = ["cosine", "euclidean"] + (["toward"] if unit is not None else [])
        moved = {kind: np.where(missing[:, None], np.nan, np.zeros(shape)).astype(np.float32) for kind in kinds}
        expressing = np.zeros(shape, dtype=bool)
        columns = {name: j for j, name in enumerate(deletions)}
        for name, cells, changed, after in encoder.delete(inputs, tokens, bar.update):
            expressing[cells, columns[name]] = True
            for kind, values in _shifts(before[changed], after.astype(np.float64), unit).items():
                moved[kind][changed, columns[name]] = values

    shifts = {kind: pd.DataFrame(values, adata.obs_names, list(deletions)) for kind, values in moved.items()}
    if emptied := int((shifts["cosine"].isna().to_numpy() & ~missing[:, None]).any(axis=1).sum()):
        logger.warning("%s cells express deleted genes only, and have no embedding without them.", emptied)
    for kind, table in shifts.items():
        adata.obsm[f"{key_added}_{kind}"] = table
    direction = toward if isinstance(toward, str) else "" if toward is None else "vector"
    adata.uns[key_added] = {
        "params": inputs.params | {"groupby": groupby or "", "toward": direction},
        "genes": {name: np.array(some, dtype=object) for name, some in deletions.items()},
        "table": _means(shifts, expressing, groups),
    }
    return data if copy else None


def _as_deletions(genes: str | Sequence[str] | Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    """Genes to delete together, by name of the deletion."""
    if isinstance(genes, str):
        genes = [genes]
    if isinstance(genes, Mapping):
        sets = {str(name): [some] if isinstance(some, str) else list(map(str, some)) for name, some in genes.items()}
    else:
        sets = {str(name): [str(name)] for name in genes}
        if len(sets) < len(genes):
            raise ValueError("genes names a gene more than once. Name each once.")
    if not sets or not all(sets.values()):
        raise ValueError("genes is empty, or one of its sets is. Name at least one gene.")
    if slashed := [name for name in sets if "/" in name]:
        raise ValueError(f"The deletion {slashed[0]!r} contains '/', which h5ad files do not support. Rename it.")
    return sets


def _tokens(inputs: Inputs, deletions: Mapping[str, Sequence[str]]) -> list[dict[str, np.ndarray]]:
    """Tokens of each deletion, per species."""
    names = list(dict.fromkeys(name for some in deletions.values() for name in some))
    rows = [dict(zip(names, map_names(names, genes.table).rows, strict=True)) for genes in inputs.genes]
    if unknown := [name for name in names if all(of_species[name] < 0 for of_species in rows)]:
        raise ValueError(
            f"{len(unknown)} of {len(names)} genes are not in the gene table of {', '.join(inputs.species_names)}: "
            f"{', '.join(map(repr, unknown[:10]))}. Leave them out, or check their spelling."
        )

    def of(some: Sequence[str], of_species: Mapping[str, int]) -> np.ndarray:
        return np.array([of_species[name] + N_SPECIAL for name in some if of_species[name] >= 0])

    return [{key: of(some, of_species) for key, some in deletions.items()} for of_species in rows]


def _shifts(before: np.ndarray, after: np.ndarray, unit: np.ndarray | None) -> dict[str, np.ndarray]:
    """Distances of paired embeddings, of unit length up to rounding, and the change of the cosine with ``unit``."""
    before, after = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (before, after))
    square = np.square(after - before).sum(axis=1)
    shifts = {"cosine": square / 2, "euclidean": np.sqrt(square)}
    return shifts if unit is None else shifts | {"toward": (after - before) @ unit}


def _means(shifts: Mapping[str, pd.DataFrame], expressing: np.ndarray, groups: pd.Categorical) -> pd.DataFrame:
    """Mean shifts per deletion and group of cells."""
    parts = []
    for j, name in enumerate(shifts["cosine"].columns):
        cells = pd.DataFrame({kind: table.iloc[:, j].astype(np.float64) for kind, table in shifts.items()})
        known = cells["cosine"].notna()
        active = known & expressing[:, j]
        cells = cells.assign(group=groups, known=known, active=active, of_active=cells["cosine"].where(active))
        columns = {"n_cells": ("known", "sum"), "n_expressing": ("active", "sum"), "cosine_shift": ("cosine", "mean")}
        columns |= {"cosine_shift_expressing": ("of_active", "mean"), "euclidean_shift": ("euclidean", "mean")}
        columns |= {"toward": ("toward", "mean")} if "toward" in shifts else {}
        part = cells.groupby("group", observed=False).agg(**columns)
        parts.append(part.reset_index().astype({"group": str}).assign(deletion=name))
    table = pd.concat(parts, ignore_index=True).rename(index=str)
    return table[["deletion", *table.columns.drop("deletion")]]
