"""The files of the released UCE models as plain data, and where the bundled tables are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

FIGSHARE_ARTICLE = "24320806"
FIGSHARE_FILES = f"https://api.figshare.com/v2/articles/{FIGSHARE_ARTICLE}/files"
ESM2_15B = "esm2_t48_15B_UR50D"
BUNDLED_TABLES = Path(__file__).resolve().parents[2] / "data" / "uce-mini" / "tables"
TABLE_SUFFIXES = (".h5ad", ".zarr.zip")

# First bytes of each kind of file; some have none, and must only not be a web page.
MAGIC: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "csv": (b"",),
        "pickle": (b"\x80",),
        "torch-zip": (b"PK\x03\x04", b"\x80"),  # torch before 1.6 wrote a bare pickle
        "tar.gz": (b"\x1f\x8b",),
        "h5ad": (b"\x89HDF\r\n\x1a\n",),
        "json": (b"{",),
        "tar": (b"",),
        "zip": (b"PK\x03\x04",),
    }
)


@dataclass(frozen=True)
class HubFile:
    """One file of a repository on the Hugging Face hub."""

    repository: str
    path: str
    revision: str | None = None
    """Commit; ``None`` is the one that was recorded at the first fetch."""

    def __str__(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision or 'main'}/{self.path}"


@dataclass(frozen=True)
class Asset:
    """One released file."""

    name: str
    """File name in the cache and on a mirror."""
    kind: str
    """A key of ``MAGIC``."""
    min_bytes: int
    max_bytes: int
    urls: tuple[str, ...] = ()
    """Direct sources, in the order they are tried."""
    size: int | None = None
    """Published size in bytes, rounded; ``None`` if unknown."""
    hub: tuple[HubFile, ...] = ()
    """Copies on the hub, tried after ``urls``."""
    figshare_id: int | None = None
    sha256: str = ""
    """Where it is known for certain."""


_MISC = ("minwoosun/uce-misc", "bffb91084e4476698984e7e01f6170ce291f4074")
UCE_100M = ("minwoosun/uce-100m", "25b78197adc2fbd56fd6a141f2066b755ddba19c")
UCE_650M = ("minwoosun/uce-650m", None)
_MB, _GB = 10**6, 10**9


def _misc(path: str) -> HubFile:
    return HubFile(_MISC[0], path, _MISC[1])


def _weights(repository: tuple[str, str | None], figshare_name: str) -> tuple[HubFile, ...]:
    """Copies of a checkpoint: with the names of transformers, and under its own name."""
    return HubFile(repository[0], "pytorch_model.bin", repository[1]), HubFile("lza1/uce_hf", figshare_name)


def _figshare(
    name: str, kind: str, file_id: int, bounds: tuple[int, int], size: int | None, *hub: HubFile, sha256: str = ""
) -> Asset:
    urls = (
        f"https://api.figshare.com/v2/file/download/{file_id}",  # answers programs; the website often does not
        f"https://ndownloader.figshare.com/files/{file_id}",
        f"https://figshare.com/ndownloader/files/{file_id}",
    )
    return Asset(name, kind, *bounds, urls=urls, size=size, hub=hub, figshare_id=file_id, sha256=sha256)


# Models of the paper, which share their gene tables, and their checkpoints.
RELEASED_MODELS: Mapping[str, str] = MappingProxyType(
    {"uce-4l": "4layer_model.torch", "uce-33l": "33l_8ep_1024t_1280.torch"}
)

# Released species: the stem of their protein file, and the rows of their block in the token tensor.
_SPECIES = {
    "frog": ("Xenopus_tropicalis.Xenopus_tropicalis_v9.1", 13462),
    "human": ("Homo_sapiens.GRCh38", 19790),
    "macaca_fascicularis": ("Macaca_fascicularis.Macaca_fascicularis_6.0", 15175),
    "macaca_mulatta": ("Macaca_mulatta.Mmul_10", 16775),
    "mouse": ("Mus_musculus.GRCm39", 22324),
    "mouse_lemur": ("Microcebus_murinus.Mmur_3.0", 14542),
    "pig": ("Sus_scrofa.Sscrofa11.1", 15772),
    "zebrafish": ("Danio_rerio.GRCz11", 25730),
}
_SUFFIX = ".gene_symbol_to_embedding_ESM2.pt"
RELEASED_SPECIES: Mapping[str, str] = MappingProxyType({key: stem for key, (stem, _) in _SPECIES.items()})


def _protein(stem: str, n_genes: int) -> Asset:
    """Protein embeddings of one species, of 20 kB a gene; only the hub has them singly."""
    size = n_genes * 5120 * 4
    name = f"{stem}{_SUFFIX}"
    copy = _misc(f"protein_embeddings/{name}")
    return Asset(name, "torch-zip", size * 9 // 10, size * 12 // 10, size=size, hub=(copy,))


_GENE_DATA = "https://raw.githubusercontent.com/snap-stanford/UCE-brain/0b5c6cef9b2c15641490508ac6c12b1c8054a07d"

# Bounds catch what is plainly another file, checksums of figshare and the recorded SHA-256 the rest.
ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        asset.name: asset
        for asset in (
            _figshare("species_chrom.csv", "csv", 42706558, (4_097_781, 4_097_781), 4_097_781,
                      _misc("species_chrom.csv"),
                      sha256="a9e801829ffaf05b5d7e6c6ef12404326cf6796ad561ad62ce701884f07969f5"),
            _figshare("species_offsets.pkl", "pickle", 42706555, (139, 139), 139, _misc("species_offsets.pkl"),
                      sha256="abda5b2bc4018187e408623b292686a061912f449daceb4c9c9603caf0d62538"),
            _figshare("protein_embeddings.tar.gz", "tar.gz", 42715213, (2_600 * _MB, 3_000 * _MB), 2_740 * _MB,
                      _misc("protein_embeddings.tar.gz")),
            _figshare("all_tokens.torch", "torch-zip", 42706585, (2_940_395_520, 2_990 * _MB), 2_980 * _MB,
                      _misc("all_tokens.torch")),
            _figshare("4layer_model.torch", "torch-zip", 42706576, (3_200 * _MB, 3_700 * _MB), 3_400 * _MB,
                      *_weights(UCE_100M, "4layer_model.torch")),
            _figshare("33l_8ep_1024t_1280.torch", "torch-zip", 43423236, (5_400 * _MB, 6_200 * _MB), 5_700 * _MB,
                      *_weights(UCE_650M, "33l_8ep_1024t_1280.torch")),
            _figshare("10k_pbmcs_proc.h5ad", "h5ad", 42706966, (_MB, 4 * _GB), None),
            *(_protein(*entry) for entry in _SPECIES.values()),
            Asset("human_gene_dict.json", "json", 1_821_717, 1_821_717, size=1_821_717,
                  urls=(f"{_GENE_DATA}/gene_data/human_gene_dict.json",)),
        )
    }
)  # fmt: skip


def get_asset(name: str) -> Asset:
    """Get the entry of a file name; ``ValueError`` lists the known names."""
    if name not in ASSETS:
        raise ValueError(f"Unknown asset {name!r}; use one of {', '.join(ASSETS)}.")
    return ASSETS[name]


def asset_urls(asset: Asset) -> tuple[str, ...]:
    """List the direct sources of an asset: the mirror in ``UNIVERCE_MIRROR`` if it is set, then its own."""
    mirror = os.environ.get("UNIVERCE_MIRROR")
    return ((f"{mirror.rstrip('/')}/{asset.name}",) if mirror else ()) + asset.urls


def protein_file(species: str) -> str:
    """Get the name of a species' file in ``protein_embeddings.tar.gz``; ``ValueError`` for other species."""
    if species not in RELEASED_SPECIES:
        raise ValueError(f"{species!r} was not released; the released species are {', '.join(RELEASED_SPECIES)}.")
    return f"{RELEASED_SPECIES[species]}{_SUFFIX}"


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
