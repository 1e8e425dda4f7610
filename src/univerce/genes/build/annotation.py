"""Gene tables from an Ensembl annotation and a text encoder."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.encoders.text import TextEncoder
from univerce.genes.hashed import hashed_tokens, quantize
from univerce.genes.table import N_SPECIAL, PAD, make_table, write_table

_COLUMNS = ("ensembl_id", "symbol", "chromosome", "start", "description")


def read_annotation(path: Path | str) -> pd.DataFrame:
    r"""Read a tab-separated gene annotation (plain or gzipped).

    Parameters
    ----------
    path
        A file with the columns ``ensembl_id``, ``symbol``, ``chromosome``, ``start`` and ``description``.

    Returns
    -------
    One row per gene in the order of the file; text columns hold ``""`` where nothing is known, ``start`` is int64.

    Raises
    ------
    ValueError
        When a column is missing, a start is not a whole number, or an Ensembl id is repeated.

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
    # A quote in a description is a character like any other; pandas would read on to the next one, rows and all.
    genes = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    missing = [column for column in _COLUMNS if column not in genes]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(genes.columns)}.")
    starts = pd.to_numeric(genes["start"], errors="coerce")
    broken = ~(starts.mod(1) == 0)
    if broken.any():
        raise ValueError(f"{path}: start is not a whole number for gene {genes['ensembl_id'][broken].iloc[0]!r}.")
    repeated = genes["ensembl_id"][genes["ensembl_id"].duplicated() & (genes["ensembl_id"] != "")]
    if len(repeated):
        raise ValueError(f"{path}: the Ensembl id {repeated.iloc[0]!r} is there more than once.")
    return genes.assign(start=starts.astype(np.int64))[list(_COLUMNS)]


def text_tables(annotations: Mapping[str, pd.DataFrame], encoder: TextEncoder, *, source: str) -> dict[str, ad.AnnData]:
    """Gene tables of several species that share one text encoder, fitted to all of them.

    Parameters
    ----------
    annotations
        Species to annotation, as :func:`read_annotation` returns it.
    encoder
        An unfitted encoder.
    source
        Where the annotations come from, kept as provenance.

    Returns
    -------
    Species to gene table with int8 features. Chromosome codes count the sorted ``<species>_<chromosome>`` names of all
    species, as the released UCE tables do, and are frozen in each table.

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
    names = sorted({f"{species}_{c}" for species, genes in annotations.items() for c in genes["chromosome"]})
    code = {name: i for i, name in enumerate(names)}
    special = hashed_tokens([f"special_{i}" for i in range(N_SPECIAL)], encoder.dim, seed=encoder.seed)
    special[PAD] = 0
    special = quantize(special)
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
            special_features=special,
            chromosome_names=chromosomes,
            chromosome_codes=[code[name] for name in full],
            chromosome_features=quantize(hashed_tokens(full, encoder.dim, seed=encoder.seed)),
        )
    return tables


def write_text_tables(
    annotation_dir: Path | str, out_dir: Path | str, encoder: TextEncoder, *, source: str
) -> list[Path]:
    r"""Read every ``<species>.tsv.gz`` of a directory and write a gene table ``<species>.zarr.zip`` for each.

    Parameters
    ----------
    annotation_dir
        Directory of annotations that :func:`read_annotation` reads.
    out_dir
        Where the tables go.
    encoder
        An unfitted encoder.
    source
        Kept as provenance.

    Returns
    -------
    The paths written.

    Raises
    ------
    FileNotFoundError
        When the directory holds no annotation.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> import univerce as uc
    >>> columns = ["ensembl_id", "symbol", "chromosome", "start", "description"]
    >>> genes = [["E1", "INS", "11", 5, "insulin"], ["E2", "GCG", "2", 9, "glucagon"]]
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     pd.DataFrame(genes, columns=columns).to_csv(Path(directory) / "human.tsv.gz", sep="\t", index=False)
    ...     paths = uc.genes.write_text_tables(directory, directory, uc.genes.TextEncoder(2, 8), source="example")
    >>> [path.name for path in paths]
    ['human.zarr.zip']
    """
    paths = sorted(Path(annotation_dir).glob("*.tsv.gz"))
    if not paths:
        raise FileNotFoundError(f"There is no <species>.tsv.gz in {annotation_dir}.")
    annotations = {path.name.removesuffix(".tsv.gz"): read_annotation(path) for path in paths}
    tables = text_tables(annotations, encoder, source=source)
    return [write_table(t, Path(out_dir) / f"{s}.zarr.zip") for s, t in tables.items()]
