"""An atlas of twelve organs of the mouse."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable

import anndata as ad
import pandas as pd
import scipy.sparse as sp

from univerce.datasets._published import retrieve, whole_counts
from univerce.io.mtx import read_mtx

_SOURCE = "Tabula Muris Consortium 2018, droplet, figshare 5968960, CC BY 4.0"
_COLUMNS = {
    "cell_ontology_class": "cell_type",
    "cell_ontology_id": "cell_type_ontology_term_id",
    "mouse.id": "donor",
    "tissue": "tissue",
}


def tabula_muris(tissues: Iterable[str] | None = None) -> ad.AnnData:
    """Load the labeled droplet cells of Tabula Muris, of all or some of twelve organs of the mouse.

    10x Genomics (Tabula Muris Consortium 2018, doi:10.1038/s41586-018-0590-4; CC BY 4.0). The
    archive (about 393 MB) is downloaded from figshare to ``<cache_dir>/datasets`` at the first call.

    Parameters
    ----------
    tissues
        Organs such as ``["Lung", "Spleen", "Thymus"]``. ``None`` is all.

    Returns
    -------
    AnnData with counts in ``X``, CSR int32 ``[n_cells, n_genes]``; ``obs["cell_type"]``,
    ``obs["cell_type_ontology_term_id"]``, ``obs["tissue"]``, ``obs["donor"]``, ``obs["channel"]``; ``uns["organism"]``
    and ``uns["source"]``.

    Raises
    ------
    ValueError
        If the atlas lacks a tissue. The message lists those it has.
    FileNotFoundError
        If the files are not in the cache and ``settings.offline`` is set.
    OSError
        If figshare does not serve the files.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.tabula_muris(["Lung", "Spleen"])  # doctest: +SKIP
    """
    cells = pd.read_csv(retrieve("tabula_muris_annotations_droplet.csv"), dtype=str).set_index("cell")
    cells = cells[cells["cell_ontology_class"].notna()]
    known = sorted(cells["tissue"].unique())
    wanted = known if tissues is None else list(tissues)
    if missing := sorted(set(wanted) - set(known)):
        raise ValueError(f"tissues={missing} are not in Tabula Muris; it has {', '.join(known)}.")
    parts = []
    with zipfile.ZipFile(retrieve("tabula_muris_droplet.zip")) as archive:
        for file in archive.namelist():
            folder, _, name = file.rpartition("/")
            tissue, _, channel = folder.rpartition("/")[2].partition("-")
            if name == "matrix.mtx" and tissue in wanted and not file.startswith("__MACOSX"):
                parts.append(_read_channel(archive, folder, channel, cells))
    adata = ad.concat(parts)
    adata.obs = adata.obs.astype("category")
    adata.uns = {"organism": "Mus musculus", "source": _SOURCE}
    return adata


def _read_channel(archive: zipfile.ZipFile, folder: str, channel: str, cells: pd.DataFrame) -> ad.AnnData:
    """Read the labeled cells of one lane, written by Cell Ranger."""
    barcodes, genes = (
        [line.split("\t")[0] for line in archive.read(f"{folder}/{name}.tsv").decode().splitlines()]
        for name in ("barcodes", "genes")
    )
    names = pd.Index([f"{channel}_{barcode.removesuffix('-1')}" for barcode in barcodes])
    labeled = names.isin(cells.index)
    with archive.open(f"{folder}/matrix.mtx") as file:
        counts = sp.csr_matrix(read_mtx(file).T)[labeled]
    obs = cells.loc[names[labeled], list(_COLUMNS)].rename(columns=_COLUMNS).assign(channel=channel)
    obs.index.name = None
    return ad.AnnData(whole_counts(counts, folder), obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
