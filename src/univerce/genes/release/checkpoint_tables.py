"""Gene tables from the token table inside a checkpoint of the second family, one species at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from univerce._settings import logger
from univerce.genes.release.ensembl import bundled_annotation, ensembl_ids
from univerce.genes.release.sentence_ids import SentenceIds
from univerce.genes.release.vocabulary import read_vocabulary
from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT, make_table, write_around
from univerce.io.atomic import replacing

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 64  # rows of the token table in memory at a time: 1 MB
_SAMPLED_ROWS = 64


def token_table_name(table: Tensor, ids: SentenceIds) -> str:
    """Name a token table and its special tokens: another table, or other numbers, have another name.

    A sample of the rows identifies the table, since a step of training changes all of them.
    """
    rows = np.unique(np.linspace(0, len(table) - 1, min(_SAMPLED_ROWS, len(table))).round().astype(np.int64))
    digest = hashlib.sha256(_rows(table, rows, "table").tobytes()).hexdigest()
    return f"uce-brain-{len(table)}-cls{ids.cls}-chrom{ids.chromosome_offset}-right{ids.right}-{digest[:8]}"


def write_checkpoint_table(
    species: str,
    path: Path,
    *,
    vocabulary: Path,
    ids: SentenceIds,
    encoder: str,
    open_table: Callable[[], Tensor],
    source: str,
    files: Mapping[str, str],
    pads_are_read: bool = False,
) -> None:
    """Write the gene table of one species: the rows of its genes, chromosomes and special tokens, in float32.

    ``ValueError`` if a token is not in the table, or its features are not finite.
    """
    genes = read_vocabulary(vocabulary, species)
    table = open_table()
    ids.check(len(table))
    codes = np.unique(genes["chromosome_code"].to_numpy())
    for what, tokens in (("genes", genes["token"].to_numpy()), ("chromosomes", codes + ids.chromosome_offset)):
        if (outside := (tokens < 0) | (tokens >= len(table))).any():
            raise ValueError(
                f"{species}: {int(outside.sum())} {what} have tokens outside the token table of {len(table):,} rows "
                f"({int(tokens[outside][0])} for one): vocabulary, offset and weights do not belong together."
            )
    names = codes.astype(str)
    placed = genes.assign(chromosome=genes["chromosome_code"].astype(str), ensembl_id="")
    placed["ensembl_id"] = ensembl_ids(placed["symbol"].tolist(), bundled_annotation(species))
    with replacing(path) as part, h5py.File(part, "w") as file:
        features = file.create_dataset("X", (len(genes), table.shape[1]), dtype="float32")
        features.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for begin in range(0, len(genes), _BLOCK):
            features[begin : begin + _BLOCK] = _rows(table, genes["token"].to_numpy()[begin : begin + _BLOCK], species)
        made = make_table(
            placed,
            features,
            species=species,
            encoder=encoder,
            source=source,
            special_features=_special(table, ids, species, pads_are_read=pads_are_read),
            chromosome_names=names,
            chromosome_codes=codes,
            chromosome_features=_rows(table, codes + ids.chromosome_offset, species),
            chromosome_offset=ids.chromosome_offset,
            files=dict(files),
        )
        made.obs["token_id"] = genes["token"].to_numpy()
        write_around(file, made)


def _special(table: Tensor, ids: SentenceIds, species: str, *, pads_are_read: bool) -> np.ndarray:
    """Features of PAD, LEFT (which these sentences do not have), RIGHT and CLS."""
    special = np.zeros((N_SPECIAL, table.shape[1]), dtype=np.float32)
    special[[RIGHT, CLS]] = _rows(table, np.array([ids.right, ids.cls]), species)
    if _rows(table, np.array([ids.pad]), species).any():
        if pads_are_read:
            raise ValueError(
                f"Row {ids.pad} of the token table, the PAD token, is not zero, and this model averages over pads."
            )
        logger.warning("Row %d of the token table, the PAD token, is not zero; set to zero in the tables.", ids.pad)
    special[PAD] = 0
    return special


def _rows(table: Tensor, tokens: np.ndarray, species: str) -> np.ndarray:
    import torch

    values = table[torch.from_numpy(np.array(tokens, dtype=np.int64))].float().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"{species}: the token table has values that are not finite.")
    return values
