"""Find the gene of the model behind every variable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from univerce._docs import document
from univerce._keys import UCE_GENE
from univerce._validate import check_adata, check_writable, get_modality
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import SpeciesLike, species_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@document
def map_genes(
    adata: AnnData | MuData,
    species: SpeciesLike = None,
    *,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    key_added: str = UCE_GENE,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Map variables to the genes of a model, and report the fraction of the counts that is covered.

    Symbols and Ensembl, FlyBase or WormBase identifiers are recognized, also mixed, and so are previous symbols and
    aliases of human and mouse genes, in the data or in the table; :func:`univerce.genes.map_names` has the rules. Case,
    whitespace, versions, genome prefixes (``GRCh38_CD3D``), suffixes of repeated names (``TBCE-1``) and spreadsheet
    dates (``2-Sep``) do not matter. Ambiguous names are reported, not guessed. Counts of variables that map to the same
    gene are summed. No variable is removed; those without a gene are listed in the report.

    Variables whose ``var["feature_types"]`` is not "Gene Expression" (antibodies, guides, peaks) are not mapped. If
    prefixes or ``var["genome"]`` distinguish genomes, only genes of the genome of the species are mapped.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData.
    %(species, model, mod, layer, gene_key)s
    key_added
        Column of ``var`` with the genes, and key of the report in ``uns``.
    %(copy, sets)s

    ``var[key_added]``
        ``gene_id`` of the gene table, ``""`` for variables without a gene. With several species one column
        ``f"{key_added}_{species}"`` for each. For ``layer="raw"`` in ``raw.var``.
    ``uns[key_added][species]``
        The coverage report: numbers and fractions of names and counts covered, ``found`` by kind of match (symbol,
        identifier, alias, ...), the ``lost`` names with the most counts, ambiguous and repeated names, variables
        ``left_out`` by feature type, the share of ``other_genomes``, the fit of other species, and a warning if
        something looks wrong. Counts are summed over ``n_cells`` evenly spaced cells of the species, at most about
        10,000.

    Raises
    ------
    ValueError
        If the data are empty, the values are not counts, two cells share a name, the species is missing or unknown, or
        no variable is a gene.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Warns
    -----
    UserWarning
        If less than half of the counts are covered, the names fit another species better, or genes of several species
        share the matrix.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import univerce as uc
    >>> names = ["CD3D", "ENSG00000177455.15", "Ms4a1", "not a gene"]
    >>> adata = ad.AnnData(np.ones((2, 4), dtype="float32"), var=pd.DataFrame(index=names))
    >>> uc.pp.map_genes(adata, "human")
    >>> adata.var["uce_gene"].tolist()
    ['ENSG00000167286', 'ENSG00000177455', 'ENSG00000156738', '']
    >>> adata.uns["uce_gene"]["human"]["fraction_counts"]
    0.75
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    model = BUNDLED_MODEL if model is None else model
    check_adata(adata)
    check_writable(adata, key_added)
    keys, tables = species_of(adata, species, known=available_species(model), within=data)
    resolved = resolve_genes(adata, keys, model, layer=layer, gene_key=gene_key, tables=tables)
    owner = adata.raw if layer == "raw" and "raw" not in adata.layers else adata
    reports: dict[str, dict[str, Any]] = {}
    for name, found in resolved.items():
        gene_ids = found.table.obs_names.to_numpy(dtype=object)
        column = key_added if len(resolved) == 1 else f"{key_added}_{name}"
        owner.var[column] = np.where(found.rows >= 0, gene_ids[found.rows], "")
        reports[name] = found.coverage.to_uns()
    adata.uns[key_added] = reports
    return data if copy else None
