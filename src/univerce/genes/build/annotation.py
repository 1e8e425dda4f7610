"""Gene annotations in tab-separated files, and gene tables from them with a text encoder."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce._errors import reading
from univerce.genes.encoders.text import TextEncoder
from univerce.genes.hashed import hashed_tokens, quantize
from univerce.genes.table import N_SPECIAL, PAD, make_table
from univerce.io.text import open_text, whole_numbers

_COLUMNS = ("ensembl_id", "symbol", "chromosome", "start", "description")


def read_annotation(path: Path | str) -> pd.DataFrame:
    r"""Read a tab-separated gene annotation (plain or gzipped).

    Parameters
    ----------
    path
        File with the columns ``ensembl_id``, ``symbol``, ``chromosome``, ``start`` and ``description``.

    Returns
    -------
    One row per gene in the order of the file; missing text is ``""``, ``start`` is int64.

    Raises
    ------
    FileError
        A ``ValueError``, if the file is damaged, a column is missing, a start is not an integer, or an Ensembl id is
        repeated.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> import univerce as uc
    >>> columns = ["ensembl_id", "symbol", "chromosome", "start", "description"]
    >>> genes = pd.DataFrame([["ENSG00000254647", "INS", "11", 2159779, "insulin"]], columns=columns)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     genes.to_csv(Path(directory) / "human.tsv.gz", sep="\t", index=False)
    ...     uc.genes.read_annotation(Path(directory) / "human.tsv.gz")["symbol"].tolist()
    ['INS']
    """
    with reading(path, "a gene annotation"):
        return _read(Path(path))


def _read(path: Path) -> pd.DataFrame:
    # quotes in descriptions are ordinary characters; pandas would read on to the next one, across rows
    with open_text(path) as file:
        genes = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    if missing := [column for column in _COLUMNS if column not in genes]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(genes.columns)}.")
    starts, broken = whole_numbers(genes["start"])
    if broken.any():
        raise ValueError(f"{path}: start is not an integer for gene {genes['ensembl_id'][broken].iloc[0]!r}.")
    repeated = genes["ensembl_id"][genes["ensembl_id"].duplicated() & (genes["ensembl_id"] != "")]
    if len(repeated):
        raise ValueError(f"{path}: the Ensembl id {repeated.iloc[0]!r} is repeated.")
    return genes.assign(start=starts)[list(_COLUMNS)]


def text_tables(
    annotations: Mapping[str, pd.DataFrame],
    encoder: TextEncoder,
    *,
    source: str,
    further: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, ad.AnnData]:
    """Build gene tables of several species with one text encoder, fitted to all of them.

    Parameters
    ----------
    annotations
        Mapping from species to annotation, see :func:`read_annotation`.
    encoder
        Text encoder; it is fitted.
    source
        Source of the annotations, kept as provenance.
    further
        Species to annotation of genes that follow the others, for example immune receptor genes. The encoder is not
        fitted to them, so it keeps its name and the features of all other genes.

    Returns
    -------
    Species to gene table with int8 features. Chromosome codes count the sorted ``<species>_<chromosome>`` names of all
    species, as in the released UCE tables, and are frozen in each table.

    Examples
    --------
    >>> import pandas as pd
    >>> import univerce as uc
    >>> genes = pd.DataFrame({
    ...     "ensembl_id": ["E1", "E2"], "symbol": ["INS", "GCG"], "chromosome": ["1", "2"], "start": [5, 9],
    ...     "description": ["insulin", "glucagon"],
    ... })
    >>> tables = uc.genes.text_tables({"human": genes}, uc.genes.TextEncoder(2, 8), source="example")
    >>> tables["human"].shape
    (2, 10)
    """
    encoder.fit(pd.concat(annotations.values(), ignore_index=True))
    if further is not None:
        both = {name: pd.concat([annotations[name], more], ignore_index=True) for name, more in further.items()}
        annotations = {**annotations, **both}
    names = sorted({f"{species}_{c}" for species, genes in annotations.items() for c in genes["chromosome"]})
    code = {name: i for i, name in enumerate(names)}
    tables = {}
    for species, genes in annotations.items():
        chromosomes = sorted(set(genes["chromosome"]))
        full = [f"{species}_{c}" for c in chromosomes]
        tables[species] = make_table(
            genes.assign(chromosome_code=[code[f"{species}_{c}"] for c in genes["chromosome"]]),
            encoder.encode(genes),
            species=species,
            encoder=encoder.name,
            source=source,
            n_identity=encoder.n_identity,
            identity_seed=encoder.seed,
            special_features=quantize(special_tokens(encoder.dim, seed=encoder.seed)),
            chromosome_names=chromosomes,
            chromosome_codes=[code[name] for name in full],
            chromosome_features=text_chromosome_tokens(full, encoder),
        )
    return tables


def special_tokens(dim: int, *, seed: int = 0) -> np.ndarray:
    """Draw the special tokens ``[4, dim]`` float32 of an encoder without any."""
    special = hashed_tokens([f"special_{i}" for i in range(N_SPECIAL)], dim, seed=seed)
    special[PAD] = 0
    return special


def text_chromosome_tokens(names: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Draw the tokens ``[n, dim]`` int8 of ``<species>_<chromosome>`` names for a text encoder."""
    return quantize(hashed_tokens(names, encoder.dim, seed=encoder.seed))
