"""Build the gene table of a species from its proteins."""

from __future__ import annotations

import contextlib
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from univerce._errors import FileError
from univerce._settings import logger, settings
from univerce._validate import as_path, check_whole
from univerce.genes.build.annotation import special_tokens, text_chromosome_tokens
from univerce.genes.build.check_species import check_species
from univerce.genes.build.gene_features import encode_genes, read_block
from univerce.genes.build.gtf import Annotation, read_genes
from univerce.genes.build.proteome import Proteome, read_proteome, without_sequences
from univerce.genes.build.scaffolds import chromosome_tokens, pool_scaffolds
from univerce.genes.encoders.encoder import Encoder, find_encoder
from univerce.genes.encoders.text import TextEncoder
from univerce.genes.hashed import quantize
from univerce.genes.load import load_reference, registered_tables
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.registry import BUNDLED_TABLES, ESM2_15B, RELEASED_SPECIES, list_tables
from univerce.genes.species import SPECIES, find_species
from univerce.genes.table import gene_table_info, make_table, read_table, write_around, write_table
from univerce.io.atomic import replacing

_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_DTYPES = ("float16", "float32")
MAX_CHROMOSOMES = 255
"""Chromosomes that fit into a sentence of the released models: (1,536 - 1 - 1,024) / 2."""


def build_species(
    species: str,
    *,
    fasta: Path | str | None = None,
    taxonomy_id: int | None = None,
    encoder: Any = ESM2_15B,
    annotation: Path | str | None = None,
    isoforms: Literal["mean", "longest", "canonical"] = "mean",
    adata: ad.AnnData | None = None,
    like: ad.AnnData | Path | str | None = None,
    max_chromosomes: int = MAX_CHROMOSOMES,
    dtype: Literal["float16", "float32"] = "float16",
    work_dir: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> ad.AnnData:
    r"""Build the gene table of a species from its proteins, so that its cells can be embedded.

    The features of a gene are the mean of its encoded proteins. Genes without a symbol are named by their identifier.
    Proteins with a stop (``*``) and genes without a position are left out and counted. Chromosomes are numbered by
    their sorted names, and their tokens are seeded by the taxonomy identifier, so codes and tokens of other species
    never change. Interrupted runs resume: finished blocks stay on disk.

    Without ``out`` the table is written to the cache, where every model trained with this encoder finds it:
    ``uc.tl.uce_embed(adata, species="chicken", model=...)``.

    Parameters
    ----------
    species
        A known species by any of its names, or a new key of lower-case letters, digits and underscores, such as
        ``"axolotl"``.
    fasta
        Proteins, plain or gzipped: an Ensembl ``*.pep.all.fa.gz``, or files of UniProt, NCBI or others together with
        ``annotation``. Not needed for text and for vectors by gene.
    taxonomy_id
        NCBI taxonomy identifier, the seed of the chromosome tokens. Not needed for known species.
    encoder
        An ESM2 checkpoint by name or directory (see :class:`univerce.genes.ESM2`), a file of vectors (see
        :class:`univerce.genes.Precomputed`), a fitted :class:`univerce.genes.TextEncoder`, or an object with ``reads``,
        ``name``, ``dim`` and ``encode(proteins)``. Models raise an error for tables of another encoder.
    annotation
        Genes with positions: GTF, GFF3, or a file for :func:`univerce.genes.read_annotation`. Overrides the headers.
    isoforms
        ``"mean"`` over all proteins of a gene, as in the released tables; ``"longest"``; or ``"canonical"`` according
        to ``annotation``, else the longest.
    adata
        A data set of the species whose coverage (names and counts) is reported.
    like
        Gene table of the same encoder to take the special tokens from; by default a bundled or cached one, otherwise
        they are drawn at random. Those of the released models exist only in their tables.
    max_chromosomes
        Maximum number of chromosomes; beyond it, those with the fewest genes are pooled. The default fits into a
        sentence.
    dtype
        ``"float16"`` or ``"float32"``, of the features. Text features are int8.
    work_dir
        Directory for finished blocks, ``<cache_dir>/building`` by default.
    out
        Path for the table, ``*.h5ad`` or ``*.zarr.zip``, instead of the cache.
    overwrite
        Replace the table if it exists; otherwise an existing table raises an error.

    Returns
    -------
    The gene table, its features on disk. ``uns["gene_table"]`` records the inputs, ``uns["build"]`` what was left out,
    and ``uns["species_report"]`` the report of :func:`check_species`, which is also logged.

    Raises
    ------
    ValueError
        If files are damaged or contradict each other, the species or encoder is unknown, special tokens are missing, or
        values do not fit ``dtype``.
    FileExistsError
        If the table exists.
    ImportError, OSError
        If transformers or the weights of ESM2 are missing.

    Warns
    -----
    UserWarning
        If the table looks wrong.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> headers = ["P1 pep chromosome:v1:7:500:900:1 gene:G1 gene_symbol:INS", "P2 pep chromosome:v1:7:40:90:1 gene:G2"]
    >>> encoder = uc.genes.Precomputed({"P1": [1.0, 2.0], "P2": [3.0, 4.0]}, name="example")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     fasta = Path(directory) / "pep.fa"
    ...     _ = fasta.write_text(f">{headers[0]}\nMALWMRLLP\n>{headers[1]}\nMKKSGTY\n")
    ...     table = uc.genes.build_species(
    ...         "axolotl", fasta=fasta, taxonomy_id=8296, encoder=encoder, work_dir=directory,
    ...         out=Path(directory) / "axolotl.zarr.zip",
    ...     )
    >>> table.obs[["symbol", "start"]].values.tolist()
    [['INS', 500], ['', 40]]
    """
    key, taxonomy_id = _identify(species, taxonomy_id)
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r} is not supported; use one of {', '.join(_DTYPES)}.")
    found = find_encoder(encoder)
    proteome = _read_proteins(found, fasta, None if annotation is None else read_genes(annotation), isoforms)
    path = _target(key, found.name, out, overwrite=overwrite)
    special = _special_tokens(found, like)
    scratch = settings.cache_dir / "building" if work_dir is None else as_path(work_dir)
    precision = str(getattr(found, "precision", ""))
    blocks = encode_genes(proteome, found, scratch / key, precision=precision)
    known, n_without = _find_known(blocks)
    if not known.any():
        raise ValueError(f"No protein has features: {found.name} knows none of them by its name or that of its gene.")
    lost = proteome.lost | ({"proteins without a vector": n_without} if n_without else {})
    lost |= {"genes without a vector": int((~known).sum())} if not known.all() else {}
    genes, n_pooled = pool_scaffolds(proteome.genes[known].reset_index(drop=True), max_chromosomes)
    provenance = _provenance(found, fasta, annotation) | {
        "precision": precision, "taxonomy_id": taxonomy_id, "isoforms": isoforms, "n_scaffolds_pooled": n_pooled,
    }  # fmt: skip
    with replacing(path) as part:
        h5ad = part.with_name(f"{key}.h5ad")
        parts = _number_chromosomes(genes, key, taxonomy_id, found)
        with h5py.File(h5ad, "w") as file:
            X = _write_features(file, blocks, known, found, dtype)
            table = make_table(
                parts.pop("genes"), X, species=key, encoder=found.name, special_features=special, **parts, **provenance
            )
            if n_pooled:
                table.obs[["scaffold", "scaffold_start"]] = genes[["scaffold", "scaffold_start"]].to_numpy()
                table.obs["scaffold_start"] = table.obs["scaffold_start"].astype(np.int64)
            table.uns["build"] = {
                "proteins": len(proteome.proteins),
                "genes of several proteins": int((proteome.counts > 1).sum()),
                "most proteins of a gene": int(proteome.counts.max()),
                **lost,
            }
            report = check_species(table, adata)
            table.uns["species_report"] = report.to_uns()
            write_around(file, table)
        if path.name.endswith(".h5ad"):
            h5ad.replace(part)
        else:
            write_table(ad.read_h5ad(h5ad), part)
    shutil.rmtree(blocks[0].parent, ignore_errors=True)  # another process may have built the same
    with contextlib.suppress(OSError):  # not empty: other work of this species
        (scratch / key).rmdir()
    logger.info("%s", report)
    for suspicion in report.suspicions:
        warnings.warn(f"{path.name}: {suspicion}", UserWarning, stacklevel=2)
    return read_table(path)


def _identify(species: str, taxonomy_id: int | None) -> tuple[str, int]:
    key = find_species(species)
    if key is None and not _KEY.fullmatch(species):
        raise ValueError(
            f"species={species!r} is not known; write a new one in lower-case letters, digits and underscores: "
            f"{re.sub(r'[^a-z0-9]+', '_', species.lower()).strip('_')!r}."
        )
    known = None if key is None else SPECIES[key].taxonomy_id
    if known is not None and taxonomy_id not in (None, known):
        raise ValueError(f"{key} has the taxonomy identifier {known}, not {taxonomy_id}; rename another species.")
    taxonomy = known if taxonomy_id is None else taxonomy_id
    if taxonomy is None:
        raise ValueError(
            f"taxonomy_id= is needed for {species!r}: look it up at https://www.ncbi.nlm.nih.gov/taxonomy."
        )
    check_whole("taxonomy_id", taxonomy, 1)
    return key or species, int(taxonomy)


def _read_proteins(
    encoder: Encoder, fasta: Path | str | None, annotation: Annotation | None, isoforms: str
) -> Proteome:
    if fasta is not None:
        return read_proteome(fasta, annotation, isoforms=isoforms)
    if encoder.reads != "names":
        raise ValueError("fasta= is needed: the encoder reads protein sequences.")
    if annotation is None:
        raise ValueError("Pass fasta=, or annotation= with the genes and their positions.")
    return without_sequences(annotation)


def _target(species: str, encoder: str, out: Path | str | None, *, overwrite: bool) -> Path:
    if out is not None:
        path = as_path(out)
        if not path.name.endswith((".h5ad", ".zarr.zip")):
            raise ValueError(f"out={str(out)!r} must end in .h5ad or .zarr.zip.")
    else:
        released = encoder == ESM2_15B and species in RELEASED_SPECIES
        if released or (species in list_tables(BUNDLED_TABLES) and load_reference(species, encoder) is not None):
            raise ValueError(
                f"Models of {encoder} have their own table of {species!r}, which this one would not replace: pass out= "
                "and give the file to uce_embed as species=, or choose another name for the species."
            )
        path = registered_tables(encoder) / f"{species}.h5ad"
    if path.exists() and not overwrite:
        raise FileExistsError(f"There is a gene table at {path}; pass overwrite=True, or another out=.")
    return path


def _special_tokens(encoder: Encoder, like: ad.AnnData | Path | str | None) -> np.ndarray:
    """Get the features of PAD, LEFT, RIGHT and CLS ``[4, dim]``, as in other tables of the encoder."""
    if like is None:
        cached = (load_reference(name, encoder.name) for name in RELEASED_SPECIES)
        table = next((found for found in cached if found is not None), None)
    else:
        table = like if isinstance(like, ad.AnnData) else read_table(like)
        if (name := str(gene_table_info(table)["encoder"])) != encoder.name or table.n_vars != encoder.dim:
            raise ValueError(
                f"like= is a table of {name!r} of width {table.n_vars}; one of {encoder.name!r} of width {encoder.dim} "
                "is needed."
            )
    if table is not None:
        return np.asarray(table.uns["special_features"])
    if encoder.name == ESM2_15B:
        raise ValueError(
            f"The special tokens of models that read {ESM2_15B} exist only in their gene tables, and none is on disk. "
            'Convert one first: uc.genes.convert_released(species=["human"]), or pass like= with such a table.'
        )
    if isinstance(encoder, TextEncoder):
        return quantize(special_tokens(encoder.dim, seed=encoder.seed))
    return special_tokens(encoder.dim)


def _number_chromosomes(genes: pd.DataFrame, species: str, taxonomy_id: int, encoder: Encoder) -> dict[str, Any]:
    """Give genes their chromosome codes, and chromosomes their tokens."""
    names = sorted(set(genes["chromosome"]))
    if isinstance(encoder, TextEncoder):
        tokens = text_chromosome_tokens([f"{species}_{name}" for name in names], encoder)
    else:
        tokens = chromosome_tokens(len(names), encoder.dim, taxonomy_id)
    code = {name: i for i, name in enumerate(names)}
    return {
        "genes": genes.assign(chromosome_code=genes["chromosome"].map(code)),
        "chromosome_names": names,
        "chromosome_codes": list(range(len(names))),
        "chromosome_features": tokens,
    }


def _find_known(blocks: Sequence[Path]) -> tuple[np.ndarray, int]:
    """Find the genes with features, and count the proteins without."""
    masks, n_without = zip(*((~np.isnan(features[:, 0]), n) for features, n in map(_read, blocks)), strict=True)
    return np.concatenate(masks), sum(n_without)


def _write_features(
    file: h5py.File, blocks: Sequence[Path], known: np.ndarray, encoder: Encoder, dtype: str
) -> h5py.Dataset:
    """Copy the features of the known genes into a dataset, block by block."""
    kind = np.int8 if isinstance(encoder, TextEncoder) else np.dtype(dtype)
    out = file.create_dataset("X", (int(known.sum()), encoder.dim), dtype=kind)
    out.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    gene, row = 0, 0
    for path in blocks:
        features, _ = _read(path)
        kept = features[known[gene : gene + len(features)]]
        with np.errstate(over="ignore"):
            values = kept.astype(kind)
        if not np.isfinite(values).all():
            raise ValueError(f"The features do not fit {dtype}; use dtype='float32'.")
        out[row : row + len(kept)] = values
        gene, row = gene + len(features), row + len(kept)
    return out


def _read(path: Path) -> tuple[np.ndarray, int]:
    block = read_block(path)
    if block is None:
        raise FileError(
            f"{path} was damaged, or removed by another process that built the same table; call build_species again."
        )
    return block


def _provenance(encoder: Encoder, fasta: Path | str | None, annotation: Path | str | None) -> dict[str, Any]:
    paths = [as_path(path) for path in (fasta, annotation) if path is not None]
    out: dict[str, Any] = {
        "source": " and ".join(path.name for path in paths),
        "files": {path.name: file_sha256(path) for path in paths},
    }
    if isinstance(encoder, TextEncoder):
        out |= {"n_identity": encoder.n_identity, "identity_seed": encoder.seed}
    return out
