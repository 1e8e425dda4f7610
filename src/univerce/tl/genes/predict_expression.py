"""Predict which genes a cell expresses, from its embedding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.special import expit, logit

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import progress_bar
from univerce._validate import get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.space import Space
from univerce.genes.load import BUNDLED_MODELS, available_species, load_table
from univerce.genes.release.models import is_public
from univerce.genes.species import resolve_species
from univerce.genes.table import gene_table_info
from univerce.inference.expression import predict_logits
from univerce.inference.inputs import check_table
from univerce.model.directory import Model
from univerce.model.find import find_model
from univerce.tl.genes._genes import describe_genes, find_rows, score_genes

if TYPE_CHECKING:
    from mudata import MuData

_RAREST = 1e-4


@document
def predict_expression(
    adata: ad.AnnData | MuData,
    genes: str | Sequence[str],
    *,
    species: str | None = None,
    model: str | Path | None = None,
    mod: str | None = None,
    use_rep: str = X_UCE,
    gene_frequency: pd.Series | Mapping[str, float] | Sequence[float] | np.ndarray | None = None,
) -> ad.AnnData:
    """Predict the probability that each cell expresses each gene, from the embedding.

    The expression head of a network (Rosen et al. 2026, Methods, "Training objective") was trained to separate genes
    masked from a cell's sentence from genes without a count. It only needs the features of a gene, so it can also
    predict genes that were not measured, and genes of any species with a gene table. ``"uce-mini"`` has a ridge
    regression for every gene that three of its training sets express, under the name of the gene in human and mouse;
    other genes raise an error.

    ``"uce-mini"``, and networks trained with ``PretrainConfig.frequency_offset``, predict relative to the frequency of
    a gene in its data set. Without ``gene_frequency``, 0.5 means that the cell is as likely to express the gene as any
    cell: compare cells, not genes. With it, the result is the probability that a cell of average depth in a data set
    with these frequencies has a count of the gene, and genes are comparable.

    ``"uce-4l"`` and ``"uce-33l"`` were trained with as many expressed as silent genes. The probability ranks cells and
    genes, and is too high as a rate. No model is calibrated for a specific data set, whose depth and technology decide
    how many expressed genes have a count.

    Parameters
    ----------
    adata
        Cells embedded by :func:`univerce.tl.uce_embed`.
    genes
        Symbols or Ensembl, FlyBase or WormBase identifiers, as in :func:`univerce.genes.map_names`.
    species
        Species of the genes, which may differ from that of the cells; ``None`` is that of the cells.
    model
        The model that made the embedding. ``None`` is the recorded one; a model that is neither bundled nor released
        needs its directory.
    %(mod, use_rep)s
    gene_frequency
        Share of the cells of a data set with a count of each gene: ``[n_genes]`` in the order of ``genes``, or a Series
        or mapping by gene name. Its log-odds are added to the logit of the head; values closer to 0 or 1 than 0.0001
        are clipped.

    Returns
    -------
    A new AnnData ``[n_obs, n_genes]``; ``adata`` is not changed. The matrix is dense: predict a few
    thousand genes, or a subset of the cells, at a time.

    ``X``
        Probabilities, float32; NaN for cells without an embedding.
    ``obs``
        That of ``adata``.
    ``var``
        ``symbol`` and ``ensembl_id``, indexed by ``genes``. For genes of the species of the cells also ``share`` of the
        cells with a count, ``auroc`` between cells with and without (0.5 is chance), and ``auroc_depth``, that of the
        number of genes of a cell alone; NaN for genes that were not measured or that all cells or none have. The counts
        of a gene are part of the embedding, so these scores are optimistic for measured genes.
    ``uns["predict_expression"]["params"]``
        Parameters.

    Raises
    ------
    ValueError
        If a gene is not in the gene table, is named twice or cannot be predicted, the model or its gene table did not
        make the embedding, the species is unknown or not stated, or ``gene_frequency`` does not fit.
    KeyError
        If the embedding or its record does not exist, or ``gene_frequency`` lacks a gene.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:6].copy()
    >>> uc.tl.uce_embed(adata)
    >>> uc.tl.predict_expression(adata, ["CD3D", "ENSG00000156738"]).var["symbol"].tolist()
    ['CD3D', 'MS4A1']
    >>> uc.tl.predict_expression(adata, "Ms4a1", species="mouse", gene_frequency=[0.1]).shape
    (6, 1)
    """
    adata = get_modality(adata, mod)
    names = [genes] if isinstance(genes, str) else list(genes)
    if not names:
        raise ValueError("genes is empty. Name at least one gene.")
    if repeated := [str(name) for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"genes names {', '.join(map(repr, repeated[:5]))} more than once. Name each gene once.")
    cells = Cells.read(adata, use_rep)
    space = cells.require_space()
    name, made_by = recorded_model(space, model, use_rep)
    key = _species(space, species, name, use_rep)
    table = load_table(key, model=name)
    check_table(table, key, made_by)
    recorded, digest = space.table_digest.get(key), gene_table_info(table)["digest"]
    if recorded is not None and recorded != digest:
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made with another gene table of {key!r} ({recorded[:12]}) than "
            f"the model has now ({digest[:12]}). Embed again, or restore the table."
        )
    rows = find_rows(names, table, key)
    offset = None if gene_frequency is None else _log_odds(gene_frequency, names, made_by.config.model_id)
    if cells.n_dims != made_by.config.output_dim:
        raise ValueError(
            f"obsm[{use_rep!r}] has {cells.n_dims} columns; the model {made_by.config.model_id!r} makes "
            f"{made_by.config.output_dim}. Embed again with uc.tl.uce_embed(adata, key_added={use_rep!r})."
        )

    known = np.flatnonzero(cells.known)
    logits = np.full((len(cells), len(names)), np.nan, dtype=np.float32)
    n_pairs = len(known) * len(names)
    with progress_bar(total=n_pairs, unit="pair", desc="predict") as bar:
        logits[known] = predict_logits(made_by, cells.rows(known), table, rows, names=names, done=bar.update)
    if offset is not None:
        logits += offset
    var = describe_genes(table, rows, names)
    if list(space.table_digest) == [key]:
        var = var.join(score_genes(adata, table, rows, logits).set_axis(var.index))
    out = ad.AnnData(expit(logits), obs=adata.obs.copy(), var=var)
    params = {"use_rep": use_rep, "species": key, "model": space.model, "model_digest": space.model_digest}
    out.uns["predict_expression"] = {"params": params | {"gene_frequency": offset is not None}}
    return out


def _species(space: Space, species: str | None, model: str | Path, use_rep: str) -> str:
    if species is not None:
        return resolve_species(species, extra=tuple(available_species(model)))
    if len(known := sorted(space.table_digest)) != 1:
        several = f"of several species ({', '.join(known)})"
        raise ValueError(f"The cells in obsm[{use_rep!r}] are {several}. Pass the species= of the genes.")
    return known[0]


def _log_odds(frequency: Any, names: Sequence[str], model: str) -> np.ndarray:
    """``[n_genes]`` float32 log-odds of the frequencies."""
    if is_public(model):
        raise ValueError(
            f"gene_frequency is for models trained with it. {model!r} was not, and would count the frequency of each "
            "gene twice. Leave gene_frequency out."
        )
    if isinstance(frequency, pd.Series | Mapping):
        if missing := [name for name in names if name not in frequency]:
            raise KeyError(f"gene_frequency has no {', '.join(map(repr, missing[:10]))}; it needs every gene in genes.")
        frequency = [frequency[name] for name in names]
    values = np.asarray(frequency, dtype=np.float64)
    if values.shape != (len(names),):
        raise ValueError(f"gene_frequency has the shape {values.shape}; {len(names)} genes need ({len(names)},).")
    if len(wrong := values[~((values >= 0) & (values <= 1))]):
        raise ValueError(f"gene_frequency holds {wrong[0]}; the share of cells must lie between 0 and 1.")
    return logit(np.clip(values, _RAREST, 1 - _RAREST)).astype(np.float32)


def recorded_model(space: Space, model: str | Path | None, use_rep: str) -> tuple[str | Path, Model]:
    """Find the model that made an embedding, and the name or directory to load it by.

    ``ValueError`` if ``model`` is another, or is not given and the recorded one is neither bundled nor public.
    """
    if model is None and space.model not in BUNDLED_MODELS and not is_public(space.model):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {space.model!r}, which is neither bundled nor "
            "public. Pass model= with its directory."
        )
    name = space.model if model is None else model
    found = find_model(name)
    if not space.is_of(found.config.model_id, found.digest):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {space}, not by {found.config.model_id!r} "
            f"({found.digest[:12]}). Pass the model that made it as model=, or embed again with this one."
        )
    return name, found
