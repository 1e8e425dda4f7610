"""Gene tables, gene names, and the released files."""

from univerce.genes.build.annotation import read_annotation, text_tables
from univerce.genes.build.build_species import build_species
from univerce.genes.build.check_species import check_species
from univerce.genes.build.feature_report import feature_report
from univerce.genes.encoders.esm2 import ESM2
from univerce.genes.encoders.precomputed import Precomputed
from univerce.genes.encoders.text import TextEncoder
from univerce.genes.load import available_species, convert_released, load_table
from univerce.genes.lookup import map_names
from univerce.genes.orthologs import from_orthologs
from univerce.genes.release.convert import convert_tables
from univerce.genes.release.fetch import fetch, list_assets
from univerce.genes.table import make_table, read_table, write_table

__all__ = [
    "ESM2",
    "Precomputed",
    "TextEncoder",
    "available_species",
    "build_species",
    "check_species",
    "convert_released",
    "convert_tables",
    "feature_report",
    "fetch",
    "from_orthologs",
    "list_assets",
    "load_table",
    "make_table",
    "map_names",
    "read_annotation",
    "read_table",
    "text_tables",
    "write_table",
]


def __dir__() -> list[str]:
    return __all__
