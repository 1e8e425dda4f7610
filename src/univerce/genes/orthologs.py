"""The gene table of a species in the tokens of another one."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce._errors import reading
from univerce._settings import logger
from univerce._validate import as_path
from univerce.genes.lookup import map_names
from univerce.genes.spellings import clean_names, stable_id
from univerce.genes.table import gene_table_info, make_table, validate_table
from univerce.io.text import open_text

_SHARED = ("special_features", "chromosome_names", "chromosome_codes", "chromosome_features")


def from_orthologs(orthologs: pd.DataFrame | Path | str, table: ad.AnnData, *, species: str) -> ad.AnnData:
    """Make the gene table of a species from the orthologs of its genes in a known species.

    Each gene has the features and the position of its ortholog, so that the model reads a sentence of known tokens.
    Pass the result as ``species=`` to :func:`univerce.tl.uce_embed`. A table built from the proteins of the species,
    see :func:`build_species`, also keeps genes without an ortholog.

    Parameters
    ----------
    orthologs
        Two columns: genes of the new species and genes of ``table``, as symbols or identifiers. A data frame, or the
        path of a table with a header (``.csv``, otherwise tabs; also compressed).
    table
        Gene table of the known species, such as ``load_table("mouse")``.
    species
        Name of the new species, recorded in the table.

    Returns
    -------
    The gene table, with one row for each gene of the new species. Genes with several orthologs, and pairs whose
    ortholog is not in ``table``, are left out and counted in the log.

    Raises
    ------
    ValueError
        If there are not two columns, or no pair is left.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> import pandas as pd
    >>> import univerce as uc
    >>> pairs = pd.DataFrame({"naked mole rat": ["Cd79a_nmr", "Cd3d_nmr"], "mouse": ["Cd79a", "Cd3d"]})
    >>> table = uc.genes.from_orthologs(pairs, uc.genes.load_table("mouse"), species="naked_mole_rat")
    >>> table.obs["symbol"].tolist()
    ['Cd79a_nmr', 'Cd3d_nmr']
    """
    validate_table(table)
    pairs = _read(orthologs)
    new, known = (clean_names(pairs.iloc[:, k]) for k in range(2))
    found = pd.DataFrame({"gene": new, "row": map_names(known, table).rows})
    found = found[(found["gene"] != "") & (found["row"] >= 0)].drop_duplicates()
    several = found["gene"].duplicated(keep=False)
    logger.info(
        "%s: %s pairs; %s whose ortholog is not in the table of %s, %s genes with several orthologs are left out.",
        species, f"{len(pairs):,}", f"{len(pairs) - len(found):,}", gene_table_info(table)["species"],
        f"{found.loc[several, 'gene'].nunique():,}",
    )  # fmt: skip
    found = found[~several]
    if found.empty:
        raise ValueError(
            f"No pair of orthologs= is left for {species!r}: its second column must hold genes of the table, such as "
            f"{', '.join(map(repr, table.obs['symbol'].iloc[:3]))}, and not {', '.join(map(repr, known[:3]))}."
        )
    rows = found["row"].to_numpy()
    genes = table.obs.iloc[rows][["chromosome", "start", "chromosome_code"]].reset_index(drop=True)
    is_id = np.array([stable_id(name.upper()) != "" for name in found["gene"]])
    genes["symbol"] = np.where(is_id, "", found["gene"])
    genes["ensembl_id"] = np.where(is_id, found["gene"], "")
    used, where = np.unique(rows, return_inverse=True)
    info = gene_table_info(table)
    return make_table(
        genes, np.asarray(table.X[used])[where], species=species, encoder=str(info["encoder"]),
        source=f"orthologs in {info['species']}", orthologs_of=str(info["digest"]),
        **{key: table.uns[key] for key in _SHARED},
    )  # fmt: skip


def _read(orthologs: pd.DataFrame | Path | str) -> pd.DataFrame:
    pairs = orthologs
    if not isinstance(pairs, pd.DataFrame):
        path = as_path(pairs)
        if not path.is_file():
            raise FileNotFoundError(f"There is no table of orthologs at {str(path)!r}.")
        with reading(path, "a table of orthologs"), open_text(path) as file:
            pairs = pd.read_csv(file, sep="," if ".csv" in path.suffixes else "\t", dtype=str)
    if pairs.shape[1] != 2:
        columns = ", ".join(map(repr, pairs.columns))
        raise ValueError(
            f"orthologs= must have two columns, genes of the new species and of the table; it has {columns}. Select "
            "them: orthologs[[first, second]]."
        )
    return pairs
