"""Gene tables, gene names and the files they come from."""

from univerce.genes.annotation import read_annotation, text_tables, write_text_tables
from univerce.genes.build import build_species
from univerce.genes.checks import SpeciesReport, check_species
from univerce.genes.convert import convert_tables
from univerce.genes.encoders.esm2 import ESM2
from univerce.genes.encoders.kmer import KmerEncoder
from univerce.genes.encoders.precomputed import Precomputed
from univerce.genes.features import feature_report
from univerce.genes.fetch import fetch, list_assets
from univerce.genes.load import available_species, convert_released, load_table
from univerce.genes.mapping import map_names
from univerce.genes.species import resolve_species
from univerce.genes.table import make_table, read_table, validate_table, write_table
from univerce.genes.text import TextEncoder

__all__ = [
    "ESM2",
    "KmerEncoder",
    "Precomputed",
    "SpeciesReport",
    "TextEncoder",
    "available_species",
    "build_species",
    "check_species",
    "convert_released",
    "convert_tables",
    "feature_report",
    "fetch",
    "list_assets",
    "load_table",
    "make_table",
    "map_names",
    "read_annotation",
    "read_table",
    "resolve_species",
    "text_tables",
    "validate_table",
    "write_table",
    "write_text_tables",
]
