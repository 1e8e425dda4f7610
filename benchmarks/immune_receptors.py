"""Immune receptor genes as annotations: positions of Ensembl, descriptions composed as HGNC and MGI do."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

_CHAINS = {
    "IGH": "immunoglobulin heavy", "IGK": "immunoglobulin kappa", "IGL": "immunoglobulin lambda",
    "TRA": "T cell receptor alpha", "TRB": "T cell receptor beta", "TRD": "T cell receptor delta",
    "TRG": "T cell receptor gamma",
}  # fmt: skip
_RECEPTORS = {"IG": "immunoglobulin", "TR": "T cell receptor"}
_SEGMENTS = {"V": "variable", "D": "diversity", "J": "joining", "C": "constant"}
_CLASSES = {"M": "mu", "D": "delta", "G": "gamma", "A": "alpha", "E": "epsilon"}


def read_immune_receptors(path: Path, species: str) -> pd.DataFrame:
    """Read the genes of a species that have a position, as :func:`univerce.genes.read_annotation` does."""
    genes = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    genes = genes[(genes["species"] == species) & (genes["chromosome"] != "")].reset_index(drop=True)
    described = [describe(symbol, biotype) for symbol, biotype in zip(genes["symbol"], genes["biotype"], strict=True)]
    genes = genes.assign(description=described, start=genes["start"].astype("int64"))
    return genes[["ensembl_id", "symbol", "chromosome", "start", "description"]]


def describe(symbol: str, biotype: str) -> str:
    """Compose a description, such as "immunoglobulin heavy constant gamma 1" of IGHG1."""
    segment = _SEGMENTS[biotype[3]]
    if not (chain := _CHAINS.get(symbol[:3].upper())):
        return f"{_RECEPTORS[biotype[:2]]} {segment}"
    rest = symbol[3:].upper()
    if biotype == "IG_C_gene" and rest[:1] in _CLASSES:
        rest = f"{_CLASSES[rest[0]]} {rest[1:].lower()}"
    else:
        rest = re.sub(r"(?i)OR", "/OR", rest.removeprefix(biotype[3]))
    return f"{chain} {segment} {rest}".strip()
