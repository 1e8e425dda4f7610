"""Files of published data sets: where they are, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.sparse as sp

from univerce._settings import settings
from univerce.genes.release.content import find_problem
from univerce.genes.release.fetch import fetch_asset, human_size
from univerce.genes.release.hub import is_offline
from univerce.genes.release.registry import Asset


def _file(name: str, kind: str, size: int, *urls: str, sha256: str = "") -> Asset:
    return Asset(name, kind, size // 2, size * 2, urls=urls, size=size, sha256=sha256)


FILES: Mapping[str, Asset] = MappingProxyType(
    {
        file.name: file
        for file in (
            _file(
                "kang_2018.h5ad", "h5ad", 38_356_412,
                "https://exampledata.scverse.org/pertpy/kang_2018.h5ad",
                "https://api.figshare.com/v2/file/download/34464122",
                sha256="e6a5adac64dcdeb36eaba27db49b63e0c64bb0ed4a64c6705971506b41c39830",
            ),
            _file(
                "GSE84133_RAW.tar", "tar", 33_000_000,
                "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE84nnn/GSE84133/suppl/GSE84133_RAW.tar",
                sha256="aed2d208d47a36658aa0e63629afe5d4144ef465a8e3d9a0f377422b1f1073dc",
            ),
            _file(
                "tabula_muris_droplet.zip", "zip", 393_000_000,
                "https://api.figshare.com/v2/file/download/10700167",
                "https://ndownloader.figshare.com/files/10700167",
            ),
            _file(
                "tabula_muris_annotations_droplet.csv", "csv", 8_000_000,
                "https://api.figshare.com/v2/file/download/13088039",
                "https://ndownloader.figshare.com/files/13088039",
            ),
        )
    }
)  # fmt: skip


def retrieve(name: str) -> Path:
    """Return the path of a file in ``<cache_dir>/datasets``; download it if it is not there, or damaged.

    ``FileNotFoundError`` if it may not be fetched, ``FetchError`` with the answer of each source if none serves it.
    """
    file = FILES[name]
    path = settings.cache_dir / "datasets" / name
    damaged = path.is_file() and find_problem(file, path)
    if is_offline() and (damaged or not path.is_file()):
        raise FileNotFoundError(
            f"{path} ({human_size(file.size)}) is missing, and uc.settings.offline forbids fetching it. Download "
            f"{file.urls[0]} to {path} by hand."
        )
    if damaged:
        path.unlink(missing_ok=True)
    return fetch_asset(file, path.parent)


def whole_counts(values: Any, name: str) -> sp.csr_matrix:
    """Convert counts ``[n_cells, n_genes]`` to CSR int32; ``ValueError`` if they are not whole numbers."""
    counts = sp.csr_matrix(values)
    whole = counts.astype(np.int32)
    if not np.array_equal(whole.data, counts.data):
        raise ValueError(f"{name} does not hold counts: its values are not whole numbers.")
    return whole
