"""The files of the released UCE models as plain data, and where the bundled tables are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FIGSHARE_ARTICLE = "24320806"
ESM2_15B = "esm2_t48_15B_UR50D"
BUNDLED_TABLES = Path(__file__).resolve().parents[2] / "data" / "uce-mini" / "tables"
TABLE_SUFFIXES = (".h5ad", ".zarr.zip")

# First bytes of each kind of file; a csv has none, it must only not be a web page.
MAGIC: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "csv": (b"",),
        "pickle": (b"\x80",),
        "torch-zip": (b"PK\x03\x04", b"\x80"),  # torch before 1.6 wrote a bare pickle
        "tar.gz": (b"\x1f\x8b",),
        "h5ad": (b"\x89HDF\r\n\x1a\n",),
    }
)


@dataclass(frozen=True)
class Asset:
    """One released file."""

    name: str
    """File name in the cache and on a mirror."""
    kind: str
    """A key of ``MAGIC``."""
    min_bytes: int
    max_bytes: int
    urls: tuple[str, ...]
    """Sources, in the order they are tried."""
    size: int | None = None
    """Published size in bytes, rounded; ``None`` if unknown."""


def _asset(name: str, kind: str, file_id: int, bounds: tuple[int, int], size: int | None) -> Asset:
    hosts = ("https://figshare.com/ndownloader/files", "https://ndownloader.figshare.com/files")
    return Asset(name, kind, *bounds, urls=tuple(f"{host}/{file_id}" for host in hosts), size=size)


_MB, _GB = 10**6, 10**9

# figshare published no checksums: bounds catch what is plainly another file, the recorded SHA-256 later changes.
ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        asset.name: asset
        for asset in (
            _asset("species_chrom.csv", "csv", 42706558, (4 * _MB, 4_300_000), 4_100_000),
            _asset("species_offsets.pkl", "pickle", 42706555, (139, 139), 139),
            _asset("protein_embeddings.tar.gz", "tar.gz", 42715213, (2_600 * _MB, 3_000 * _MB), 2_740 * _MB),
            _asset("all_tokens.torch", "torch-zip", 42706585, (2_940_395_520, 2_990 * _MB), 2_980 * _MB),
            _asset("4layer_model.torch", "torch-zip", 42706576, (3_200 * _MB, 3_700 * _MB), 3_400 * _MB),
            _asset("33l_8ep_1024t_1280.torch", "torch-zip", 43423236, (5_400 * _MB, 6_200 * _MB), 5_700 * _MB),
            _asset("10k_pbmcs_proc.h5ad", "h5ad", 42706966, (_MB, 4 * _GB), None),
        )
    }
)

# Released models and their checkpoints.
RELEASED_MODELS: Mapping[str, str] = MappingProxyType(
    {"uce-4l": "4layer_model.torch", "uce-33l": "33l_8ep_1024t_1280.torch"}
)

# Released species and the stem of their file in protein_embeddings.tar.gz.
RELEASED_SPECIES: Mapping[str, str] = MappingProxyType(
    {
        "frog": "Xenopus_tropicalis.Xenopus_tropicalis_v9.1",
        "human": "Homo_sapiens.GRCh38",
        "macaca_fascicularis": "Macaca_fascicularis.Macaca_fascicularis_6.0",
        "macaca_mulatta": "Macaca_mulatta.Mmul_10",
        "mouse": "Mus_musculus.GRCm39",
        "mouse_lemur": "Microcebus_murinus.Mmur_3.0",
        "pig": "Sus_scrofa.Sscrofa11.1",
        "zebrafish": "Danio_rerio.GRCz11",
    }
)


def get_asset(name: str) -> Asset:
    """Get the entry of a file name; ``ValueError`` lists the known names."""
    if name not in ASSETS:
        raise ValueError(f"Unknown asset {name!r}; use one of {', '.join(ASSETS)}.")
    return ASSETS[name]


def asset_urls(asset: Asset) -> tuple[str, ...]:
    """List the sources of an asset: the mirror in ``UNIVERCE_MIRROR`` if it is set, then figshare."""
    mirror = os.environ.get("UNIVERCE_MIRROR")
    return ((f"{mirror.rstrip('/')}/{asset.name}",) if mirror else ()) + asset.urls


def protein_file(species: str) -> str:
    """Get the name of a species' file in ``protein_embeddings.tar.gz``; ``ValueError`` for other species."""
    if species not in RELEASED_SPECIES:
        raise ValueError(f"{species!r} was not released; the released species are {', '.join(RELEASED_SPECIES)}.")
    return f"{RELEASED_SPECIES[species]}.gene_symbol_to_embedding_ESM2.pt"


def list_tables(directory: Path) -> dict[str, Path]:
    """Map species to gene table file, for the tables in a directory."""
    if not directory.is_dir():
        return {}
    files = sorted(directory.iterdir(), reverse=True)  # an .h5ad wins over a .zarr.zip: it is not unpacked
    found = {
        file.name.removesuffix(suffix): file
        for file in files
        for suffix in TABLE_SUFFIXES
        if file.name.endswith(suffix) and not file.name.startswith(".")
    }
    return dict(sorted(found.items()))
