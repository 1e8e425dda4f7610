"""The pancreas of human and mouse."""

from __future__ import annotations

import tarfile
from typing import IO, Literal, cast

import anndata as ad
import numpy as np
import pandas as pd

from univerce._settings import settings
from univerce.datasets._published import retrieve, whole_counts
from univerce.io.atomic import replacing

_ORGANISMS = {"human": "Homo sapiens", "mouse": "Mus musculus"}
_SOURCE = "Baron et al. 2016, GSE84133"


def baron_2016(species: Literal["human", "mouse"] = "human") -> ad.AnnData:
    """Load the pancreas of human (8,569 cells, 4 donors) or mouse (1,886 cells, 2 strains).

    inDrop, measured and labeled by the same laboratory in both species (Baron et al. 2016,
    doi:10.1016/j.cels.2016.08.011, GSE84133). The archive (about 33 MB) is downloaded from GEO to
    ``<cache_dir>/datasets`` at the first call.

    Parameters
    ----------
    species
        ``"human"`` or ``"mouse"``.

    Returns
    -------
    AnnData with counts in ``X``, CSR int32: ``[8569, 20125]`` or ``[1886, 14878]``; ``obs["cell_type"]`` with
    the same names in both species, ``obs["donor"]``; ``uns["organism"]`` and ``uns["source"]``.

    Raises
    ------
    ValueError
        If ``species`` is another one.
    FileNotFoundError
        If the archive is not in the cache and ``settings.offline`` is set.
    OSError
        If GEO does not serve the archive.

    Examples
    --------
    >>> import univerce as uc
    >>> human, mouse = uc.datasets.baron_2016("human"), uc.datasets.baron_2016("mouse")  # doctest: +SKIP
    """
    if species not in _ORGANISMS:
        raise ValueError(f"species={species!r}: use 'human' or 'mouse'.")
    archive = retrieve("GSE84133_RAW.tar")
    path = settings.cache_dir / "datasets" / f"baron_2016_{species}.h5ad"  # reading the text takes a minute
    if not path.is_file() or path.stat().st_mtime < archive.stat().st_mtime:
        with tarfile.open(archive) as tar:
            donors = [_read_donor(tar, member, species) for member in tar.getmembers() if f"_{species}" in member.name]
        adata = ad.concat(donors)
        adata.uns = {"organism": _ORGANISMS[species], "source": _SOURCE}
        with replacing(path) as part:
            adata.write_h5ad(part, compression="gzip")
    return ad.read_h5ad(path)


def _read_donor(tar: tarfile.TarFile, member: tarfile.TarInfo, species: str) -> ad.AnnData:
    """Read the cells of a donor: name, barcode, type and the counts of all genes, comma separated."""
    table = pd.read_csv(cast("IO[bytes]", tar.extractfile(member)), compression="gzip", index_col=0)
    types = table["assigned_cluster"].replace("t_cell", "T_cell").str.replace("_", " ")  # human: t_cell
    obs = pd.DataFrame({"cell_type": types, "donor": member.name.split("_")[1]}, dtype="category")
    obs.index = table.index.astype(str)
    counts = table.drop(columns=["barcode", "assigned_cluster"])
    values = whole_counts(counts.to_numpy(np.float32), member.name)
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=counts.columns.astype(str)))
