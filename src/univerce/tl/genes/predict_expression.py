"""Which genes does the model expect a cell to express?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.special import expit, logit
from tqdm.auto import tqdm

from univerce._device import choose_device
from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import get_modality
from univerce.embeddings.space import recorded_params
from univerce.genes.load import available_species, load_table
from univerce.genes.lookup import map_names
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.genes.species import resolve_species
from univerce.genes.table import N_SPECIAL, gene_table_info, iter_token_features
from univerce.inference.inputs import check_table
from univerce.inference.recorded import recorded_model
from univerce.model.checkpoint import read_network
from univerce.model.expression import expression_logits

if TYPE_CHECKING:
    from mudata import MuData

_RAREST = 1e-4


def predict_expression(
    adata: ad.AnnData | MuData,
    genes: str | Sequence[str],
    *,
    species: str | None = None,
    model: str | Path | None = None,
    mod: str | None = None,
    use_rep: str = X_UCE,
    gene_frequency: pd.Series | Mapping[str, float] | Sequence[float] | np.ndarray | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """The probability that each gene is expressed in each cell, from the cell's embedding and the gene's features.

    The expression head (Rosen et al. 2024, Methods, "Training objective") was trained to tell genes that were hidden
    from a cell's sentence from genes without a count. It knows a gene by its features alone, so it answers for genes
    that were not measured, and for those of any species with a gene table.

    What the number means depends on how the model was trained:

    ``"uce-mini"``, and models trained with ``PretrainConfig.frequency_offset``
        The head learned what a gene's frequency in its data set leaves open. Without ``gene_frequency`` the
        probability is relative: 0.5 says that the cell is as likely to express the gene as any cell, and only the cells
        of one gene may be compared. With ``gene_frequency`` it is the probability that a cell of average depth in a
        data set of these frequencies has a count of the gene, and genes may be compared too.
    ``"uce-4l"``, ``"uce-33l"``
        Half of the genes they were asked about were expressed. The probability ranks cells and genes, and is too high
        as a rate, because most genes are silent in most cells.

    Neither is calibrated for any one data set: depth and technology decide how many expressed genes have a count.

    Parameters
    ----------
    adata
        Data that :func:`univerce.tl.uce_embed` has written to; ``obsm``, ``uns`` and ``obs_names`` are read.
    genes
        Symbols or Ensembl, FlyBase or WormBase identifiers, as :func:`univerce.genes.map_names` finds them.
    species
        The species of the genes; ``None`` is that of the cells. It may be another one.
    model
        The model that made the embedding. ``None`` is what ``uns[use_rep]["params"]`` names; a model of your own needs
        its directory.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``, and of its parameters in ``uns``.
    gene_frequency
        Share of the cells of a data set that have a count of each gene: ``[n_genes]`` in the order of ``genes``, or a
        Series or mapping by their names. The head's logit is added to its log-odds; values nearer to 0 or 1 than 0.0001
        count as that.
    device
        ``"auto"`` takes what ``settings.device`` says, and CUDA, MPS, CPU in this order when that is ``"auto"`` too.

    Returns
    -------
    ``[n_obs, n_genes]`` float32 probabilities, cells in the rows and ``genes`` in the columns; NaN for cells without an
    embedding. The table is dense: ask for some thousand genes, or for some of the cells, at a time.

    Raises
    ------
    ValueError
        When a gene is not in the gene table or named twice, the model or its gene table is not the one that made the
        embedding, the species is unknown or not stated, or ``gene_frequency`` does not fit.
    KeyError
        When there is no ``obsm[use_rep]`` or no ``uns[use_rep]["params"]``, or ``gene_frequency`` lacks a gene.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:6].copy()
    >>> uc.tl.uce_embed(adata)
    >>> uc.tl.predict_expression(adata, ["CD3D", "ENSG00000156738"]).columns.tolist()
    ['CD3D', 'ENSG00000156738']
    >>> uc.tl.predict_expression(adata, "Ms4a1", species="mouse", gene_frequency=[0.1]).shape
    (6, 1)
    """
    adata = get_modality(adata, mod)
    names = [genes] if isinstance(genes, str) else list(genes)
    params = recorded_params(adata, "adata", use_rep)
    name, found = recorded_model(params, model, use_rep)
    key = _species(params, species, name, use_rep)
    table = load_table(key, model=name)
    check_table(table, key, found)
    _check_same_table(params, key, table, use_rep)
    rows = _rows(names, table, key)
    offset = None if gene_frequency is None else _log_odds(gene_frequency, names, found.config.model_id)
    cells = np.asarray(adata.obsm[use_rep])
    if cells.shape != (adata.n_obs, found.config.output_dim):
        raise ValueError(
            f"obsm[{use_rep!r}] has the shape {cells.shape}; the model {found.config.model_id!r} made embeddings of "
            f"width {found.config.output_dim}. Embed again with uc.tl.uce_embed(adata, key_added={use_rep!r})."
        )
    known = np.isfinite(cells).all(axis=1)
    where = choose_device(device)
    show = settings.progress
    out = np.full((adata.n_obs, len(names)), np.nan, dtype=np.float32)
    with tqdm(total=int(known.sum()) * len(names), unit="pair", desc="predict", disable=not show) as bar:
        out[known] = expression_logits(
            read_network(found, where), cells[known], _features(table, rows), done=bar.update
        )
    if offset is not None:
        out += offset
    return pd.DataFrame(expit(out), index=adata.obs_names.copy(), columns=pd.Index(names))


def _species(params: Mapping[str, Any], species: str | None, model: str | Path, key: str) -> str:
    if species is not None:
        return resolve_species(species, extra=tuple(available_species(model)))
    known = sorted(params["table_digest"])
    if len(known) != 1:
        raise ValueError(
            f"The cells in obsm[{key!r}] are of several species ({', '.join(known)}); pass species= to say whose genes "
            "are meant."
        )
    return str(known[0])


def _check_same_table(params: Mapping[str, Any], species: str, table: ad.AnnData, key: str) -> None:
    """Raise when the cells were made with another gene table of the species."""
    made_with, digest = params["table_digest"].get(species), gene_table_info(table)["digest"]
    if made_with is not None and made_with != digest:
        raise ValueError(
            f"The embedding in obsm[{key!r}] was made with another gene table of {species!r} ({made_with[:12]}) than "
            f"the model has now ({digest[:12]}). Embed again, or put the table back."
        )


def _rows(names: Sequence[str], table: ad.AnnData, species: str) -> np.ndarray:
    """Rows of the gene table, of which every name must have one."""
    if not names:
        raise ValueError("genes is empty; name at least one gene.")
    if repeated := [str(name) for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"genes names {', '.join(map(repr, repeated[:5]))} more than once; name each gene once.")
    rows = map_names(names, table).rows
    if (rows < 0).any():
        unknown = [str(name) for name, row in zip(names, rows, strict=True) if row < 0]
        more = f" and {len(unknown) - 10:,} more" if len(unknown) > 10 else ""
        raise ValueError(
            f"{len(unknown):,} of {len(names):,} genes are not in the gene table of {species!r}: "
            f"{', '.join(map(repr, unknown[:10]))}{more}. Leave them out, or pass the species= they belong to."
        )
    return rows


def _log_odds(frequency: Any, names: Sequence[str], model: str) -> np.ndarray:
    """``[n_genes]`` float32 log-odds of the genes' frequencies."""
    if model in RELEASED_MODELS:
        raise ValueError(
            f"gene_frequency is for models that were trained with it; {model!r} was not, and would count each "
            "gene's frequency twice. Leave gene_frequency out."
        )
    if isinstance(frequency, pd.Series | Mapping):
        if missing := [name for name in names if name not in frequency]:
            raise KeyError(f"gene_frequency has no {', '.join(map(repr, missing[:10]))}; it needs every gene in genes.")
        frequency = [frequency[name] for name in names]
    values = np.asarray(frequency, dtype=np.float64)
    if values.shape != (len(names),):
        raise ValueError(f"gene_frequency has the shape {values.shape}; {len(names)} genes need ({len(names)},).")
    if not ((values >= 0) & (values <= 1)).all():
        wrong = values[~((values >= 0) & (values <= 1))]
        raise ValueError(f"gene_frequency holds {wrong[0]}; a share of cells lies between 0 and 1.")
    return logit(np.clip(values, _RAREST, 1 - _RAREST)).astype(np.float32)


def _features(table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """``[n_genes, token_dim]`` features of rows in any order."""
    used, where = np.unique(rows, return_inverse=True)
    blocks = [block for _, block in iter_token_features(table, used + N_SPECIAL)]
    return np.concatenate(blocks)[where]
