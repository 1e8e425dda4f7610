"""Example data and the Cell Ontology."""

from univerce.datasets.baron_2016 import baron_2016
from univerce.datasets.kang_2018 import kang_2018
from univerce.datasets.pbmc68k_reduced import pbmc68k_reduced
from univerce.datasets.read_ontology import read_ontology
from univerce.datasets.tabula_muris import tabula_muris

__all__ = ["baron_2016", "kang_2018", "pbmc68k_reduced", "read_ontology", "tabula_muris"]
