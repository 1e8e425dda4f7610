"""Find the gene of the model behind every variable."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from univerce._keys import UCE_GENE
from univerce._validate import check_adata, check_writable, get_modality
from univerce.genes.given import Tables, species_and_tables
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.resolve import resolve_genes

logger = logging.getLogger("univerce")


def map_genes(
    adata: Any,
    *,
    species: str | None = None,
    model: str | Path | None = None,
    table: Tables | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    key_added: str = UCE_GENE,
    copy: bool = False,
) -> Any:
    """Find the gene of the model behind every variable, and report how much of the counts that covers.

    Symbols and Ensembl, FlyBase or WormBase identifiers are recognized, mixed as they come; case, blanks and version
    suffixes do not matter. Nothing is removed: variables without a gene stay and are listed in the report.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData.
    species
        Species of the cells (``"human"``, ``"Mus musculus"``, ``"NCBITaxon:7955"``, ...), or the column of ``obs`` that
        holds it per cell. ``None`` looks for ``organism``, ``species`` and ``organism_ontology_term_id`` in ``uns`` and
        ``obs``, and then in ``uns`` of a MuData.
    model
        Model whose gene tables are used: a name or a folder. ``None`` is the bundled ``"uce-mini"``.
    table
        Gene table to use instead of the model's own, for example of :func:`univerce.genes.build_species`: an AnnData or
        a path, or several for data of several species. Without ``species`` a single one says of which the cells are.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts; ``None`` is ``X``.
    gene_key
        Column of ``var`` with the gene names. ``None`` is ``var_names``; when fewer than half of those are genes, the
        well-known columns (``ensembl_id``, ``gene_ids``, ``feature_name``, ...) are tried too, and the one that covers
        most counts is taken and reported.
    key_added
        Key of what is written.
    copy
        Return a changed copy and leave ``adata`` as it is.

    Returns
    -------
    ``None``, or the copy. Written are:

    ``var[key_added]``
        ``gene_id`` of the gene table, ``""`` for variables without a gene. When the cells are of several species
        there is one column ``f"{key_added}_{species}"`` for each.
    ``uns[key_added][species]``
        The coverage report: numbers and shares of names and counts covered, the names lost with most counts, ambiguous
        and repeated names, the fit of other species, and a suspicion when something looks wrong. Counts are summed over
        at most about 10,000 evenly spaced cells of the species; ``n_cells`` says how many.

    Raises
    ------
    ValueError
        When the data are empty, the values are not counts, two cells share a name, the species is not stated or known,
        or no variable is a gene.
    KeyError
        When ``layer``, ``gene_key`` or ``mod`` does not exist.

    Warns
    -----
    UserWarning
        When less than half of the counts are covered, or the names fit another species better.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import univerce as uc
    >>> names = ["CD3D", "ENSG00000177455.15", "Ms4a1", "not a gene"]
    >>> adata = ad.AnnData(np.ones((2, 4), dtype="float32"), var=pd.DataFrame(index=names))
    >>> uc.pp.map_genes(adata, species="human")
    >>> adata.var["uce_gene"].tolist()
    ['ENSG00000167286', 'ENSG00000177455', 'ENSG00000156738', '']
    >>> adata.uns["uce_gene"]["human"]["fraction_counts"]
    0.75
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    model = BUNDLED_MODEL if model is None else model
    check_adata(adata)
    check_writable(adata)
    keys, tables = species_and_tables(adata, species, model, table, data)
    resolved = resolve_genes(adata, keys, model, layer=layer, gene_key=gene_key, tables=tables)
    reports: dict[str, dict[str, Any]] = {}
    for name, found in resolved.items():
        gene_ids = found.table.obs_names.to_numpy(dtype=object)
        column = key_added if len(resolved) == 1 else f"{key_added}_{name}"
        adata.var[column] = np.where(found.rows >= 0, gene_ids[found.rows], "")
        reports[name] = found.coverage.to_uns()
    adata.uns[key_added] = reports
    return data if copy else None
