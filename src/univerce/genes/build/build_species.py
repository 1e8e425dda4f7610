"""From the proteins of a species to a gene table, in one call."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from univerce._settings import settings
from univerce.genes.build.check_species import check_species
from univerce.genes.build.gene_features import encode_genes, read_block
from univerce.genes.build.gtf import Annotation, read_genes
from univerce.genes.build.proteome import Proteome, read_proteome, without_sequences
from univerce.genes.build.scaffolds import chromosome_tokens, pool_scaffolds
from univerce.genes.encoders.encoder import Encoder, find_encoder
from univerce.genes.encoders.kmer import KmerEncoder
from univerce.genes.encoders.text_proteins import TextProteins
from univerce.genes.hashed import hashed_tokens, quantize
from univerce.genes.load import load_reference, registered_tables
from univerce.genes.release.fetch import file_sha256
from univerce.genes.release.registry import BUNDLED_TABLES, ESM2_15B, RELEASED_SPECIES, list_tables
from univerce.genes.species import SPECIES, find_species
from univerce.genes.table import N_SPECIAL, PAD, make_table, read_table, write_around, write_table

logger = logging.getLogger("univerce")
_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_DTYPES = ("float16", "float32")
MAX_CHROMOSOMES = 255
"""Chromosomes that a sentence of the released models has room for: (1,536 - 1 - 1,024) / 2."""


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
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    work_dir: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> ad.AnnData:
    r"""Make the gene table of a species from its proteins, so that its cells can be embedded.

    The features of a gene are the mean over its proteins of what the encoder makes of each. Genes without a symbol are
    kept under their identifier. Proteins with a stop (``*``) are left out, and so is what has no position; all is
    counted. Chromosomes are numbered by their sorted names within the species, and their tokens are drawn from its
    taxonomy identifier: no code or token of another species moves. The work is done in blocks that stay on disk, so
    the same call goes on where an interrupted one stopped.

    Without ``out`` the table is put into the cache, where every model finds it that was trained with the encoder:
    ``uc.tl.uce_embed(adata, species="chicken", model=...)`` needs nothing else.

    Parameters
    ----------
    species
        The species: a name that :func:`univerce.genes.resolve_species` knows, or a new one of lower-case letters,
        digits and underscores, such as ``"axolotl"``.
    fasta
        Its proteins, plain or gzipped: an Ensembl ``*.pep.all.fa.gz``, whose headers say all that is needed, or files
        of UniProt, NCBI or others together with ``annotation``. Vectors that are looked up by gene, and text, need
        none.
    taxonomy_id
        NCBI taxonomy identifier, which seeds the tokens of chromosomes. Known for species that the package names.
    encoder
        An ESM2 checkpoint by name or directory (see :class:`univerce.genes.ESM2`), ``"kmer"`` or a
        :class:`univerce.genes.KmerEncoder`, which is fitted to these proteins when it is not fitted yet, a file of
        vectors (see :class:`univerce.genes.Precomputed`), a fitted :class:`univerce.genes.TextEncoder`, or an object
        with the same methods. Models refuse a table of another encoder than they were trained with.
    annotation
        Genes with positions: a GTF, a GFF3, or what :func:`univerce.genes.read_annotation` reads. It overrules the
        headers.
    isoforms
        ``"mean"`` over all proteins of a gene, as the released tables; ``"longest"``; or ``"canonical"``, which needs
        an annotation that says which are, and takes the longest of genes for which it does not.
    adata
        A data set of the species, to report how many of its names and counts the table covers.
    like
        A gene table of the same encoder, whose special tokens (CLS, RIGHT, ...) this one shares. By default one that
        is at hand. The tokens of the released models stand in their own tables alone; for other encoders they are
        drawn, the same for all species.
    max_chromosomes
        Of more, those with fewest genes are put end to end in one group. The default is what a sentence has room for.
    dtype
        Of the features, ``"float16"`` or ``"float32"``. Features of text are int8.
    device, precision
        For ESM2, see there.
    work_dir
        Where blocks stay until the table is written, ``<cache_dir>/building`` by default.
    out
        Where to write the table, ``*.h5ad`` or ``*.zarr.zip``, instead of the cache.
    overwrite
        Replace a table that is there.

    Returns
    -------
    The gene table, its features on disk. ``uns["gene_table"]`` says what it was made of, ``uns["build"]`` what was left
    out, and ``uns["species_report"]`` what :func:`check_species` found, which is logged too.

    Raises
    ------
    ValueError
        When files are damaged or contradict each other, nothing usable is left, the species or its taxonomy identifier
        is not known, the encoder is unknown or its special tokens are not at hand, or values do not fit ``dtype``.
    FileExistsError
        When there is a table already.
    ImportError, OSError
        When ESM2 lacks transformers or its weights.

    Warns
    -----
    UserWarning
        When something looks wrong with the table.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> headers = ["P1 pep chromosome:v1:7:500:900:1 gene:G1 gene_symbol:INS", "P2 pep chromosome:v1:7:40:90:1 gene:G2"]
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     fasta = Path(directory) / "pep.fa"
    ...     _ = fasta.write_text(f">{headers[0]}\nMALWMRLLP\n>{headers[1]}\nMKKSGTY\n")
    ...     table = uc.genes.build_species(
    ...         "axolotl", fasta=fasta, taxonomy_id=8296, encoder=uc.genes.KmerEncoder(dim=2),
    ...         work_dir=directory, out=Path(directory) / "axolotl.zarr.zip",
    ...     )
    >>> table.obs[["symbol", "start"]].values.tolist()
    [['INS', 500], ['', 40]]
    """
    key, taxonomy_id = _identity(species, taxonomy_id)
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r} is not supported; use one of {', '.join(_DTYPES)}.")
    found = find_encoder(encoder, device=device, precision=precision)
    genome = None if annotation is None else read_genes(annotation)
    proteome = _proteome(found, fasta, genome, isoforms)
    if isinstance(found, KmerEncoder) and not found.is_fitted:
        found.fit(proteome.proteins)
    path = _target(key, found.name, out, overwrite=overwrite)
    special = _special_tokens(found, like)
    scratch = settings.cache_dir / "building" if work_dir is None else Path(work_dir)
    blocks = encode_genes(
        proteome, found, scratch / key,
        precision=str(getattr(found, "precision", "")),
    )  # fmt: skip
    known, n_without = _known(blocks)
    if not known.any():
        raise ValueError(f"No protein has features: {found.name} knows none of them by its name or that of its gene.")
    lost = proteome.lost | ({"proteins without a vector": n_without} if n_without else {})
    lost |= {"genes without a vector": int((~known).sum())} if not known.all() else {}
    genes, n_pooled = pool_scaffolds(proteome.genes[known].reset_index(drop=True), max_chromosomes)
    provenance = _provenance(found, fasta, annotation) | {
        "taxonomy_id": taxonomy_id, "isoforms": isoforms, "n_scaffolds_pooled": n_pooled,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        part = Path(temporary) / f"{key}.h5ad"
        parts = _chromosomes(genes, key, taxonomy_id, found)
        with h5py.File(part, "w") as file:
            X = _write_features(file, blocks, known, found, dtype)
            table = make_table(
                parts.pop("genes"), X, species=key, encoder=found.name, source=_source(fasta, annotation),
                special_features=special, **parts, **provenance,
            )  # fmt: skip
            if n_pooled:
                table.obs[["scaffold", "scaffold_start"]] = genes[["scaffold", "scaffold_start"]].to_numpy()
                table.obs["scaffold_start"] = table.obs["scaffold_start"].astype(np.int64)
            table.uns["build"] = {"proteins": len(proteome.proteins), **_isoforms(proteome), **lost}
            report = check_species(table, adata)
            table.uns["species_report"] = report.to_uns()
            write_around(file, table)
        if path.name.endswith(".h5ad"):
            os.replace(part, path)
        else:
            write_table(ad.read_h5ad(part), path)
    shutil.rmtree(blocks[0].parent)
    with contextlib.suppress(OSError):  # other work of this species may wait there
        (scratch / key).rmdir()
    logger.info("%s", report)
    for suspicion in report.suspicions:
        warnings.warn(f"{path.name}: {suspicion}", UserWarning, stacklevel=2)
    return read_table(path)


def _identity(species: str, taxonomy_id: int | None) -> tuple[str, int]:
    """Key and taxonomy identifier of a species."""
    key = find_species(species)
    if key is None and not _KEY.fullmatch(species):
        raise ValueError(
            f"species={species!r} is not known; a new one is written in lower-case letters, digits and underscores: "
            f"{re.sub(r'[^a-z0-9]+', '_', species.lower()).strip('_')!r}."
        )
    known = None if key is None else SPECIES[key].taxonomy_id
    if known is not None and taxonomy_id not in (None, known):
        raise ValueError(
            f"{key} has the taxonomy identifier {known}, not {taxonomy_id}; call another species otherwise."
        )
    taxonomy = known if taxonomy_id is None else taxonomy_id
    if taxonomy is None:
        raise ValueError(
            f"taxonomy_id= is needed for {species!r}: look it up at https://www.ncbi.nlm.nih.gov/taxonomy."
        )
    if isinstance(taxonomy, bool) or not isinstance(taxonomy, int | np.integer) or taxonomy < 1:
        raise ValueError(f"taxonomy_id={taxonomy!r} must be an integer >= 1.")
    return key or species, int(taxonomy)


def _proteome(encoder: Encoder, fasta: Path | str | None, annotation: Annotation | None, isoforms: str) -> Proteome:
    if fasta is not None:
        return read_proteome(fasta, annotation, isoforms=isoforms)
    if encoder.reads != "names":
        raise ValueError("fasta= is needed: the encoder reads protein sequences.")
    if annotation is None:
        raise ValueError("Pass fasta=, or annotation= with the genes and their positions.")
    return without_sequences(annotation)


def _target(species: str, encoder: str, out: Path | str | None, *, overwrite: bool) -> Path:
    """Where the table goes."""
    if out is not None:
        path = Path(out)
        if not path.name.endswith((".h5ad", ".zarr.zip")):
            raise ValueError(f"out={str(out)!r} is no name for a gene table; let it end in .h5ad or .zarr.zip.")
    else:
        released = encoder == ESM2_15B and species in RELEASED_SPECIES
        if released or (species in list_tables(BUNDLED_TABLES) and load_reference(species, encoder) is not None):
            raise ValueError(
                f"Models of {encoder} have a table of {species!r} of their own, which this one would not replace: pass "
                "out= and hand it to uce_embed as table=, or choose another name for the species."
            )
        path = registered_tables(encoder) / f"{species}.h5ad"
    if path.exists() and not overwrite:
        raise FileExistsError(f"There is a gene table at {path}; pass overwrite=True, or another out=.")
    return path


def _special_tokens(encoder: Encoder, like: ad.AnnData | Path | str | None) -> np.ndarray:
    """``[4, dim]`` PAD, LEFT, RIGHT and CLS, as in the other tables of the encoder."""
    if like is None:
        at_hand = (load_reference(name, encoder.name) for name in RELEASED_SPECIES)
        table = next((found for found in at_hand if found is not None), None)
    else:
        table = like if isinstance(like, ad.AnnData) else read_table(like)
        if (name := str(table.uns["gene_table"]["encoder"])) != encoder.name or table.n_vars != encoder.dim:
            raise ValueError(
                f"like= is a table of {name!r} of width {table.n_vars}; one of {encoder.name!r} of width {encoder.dim} "
                "is needed."
            )
    if table is not None:
        return np.asarray(table.uns["special_features"])
    if encoder.name == ESM2_15B:
        raise ValueError(
            f"The released models read features of {ESM2_15B} beside special tokens that stand in their own gene "
            'tables, of which none is here. Convert one first: uc.genes.convert_released(species=["human"]), or pass '
            "like= with such a table."
        )
    seed = encoder.encoder.seed if isinstance(encoder, TextProteins) else 0
    special = hashed_tokens([f"special_{i}" for i in range(N_SPECIAL)], encoder.dim, seed=seed)
    special[PAD] = 0
    return quantize(special) if isinstance(encoder, TextProteins) else special


def _chromosomes(genes: pd.DataFrame, species: str, taxonomy_id: int, encoder: Encoder) -> dict[str, Any]:
    """Genes with codes, and the chromosomes behind the codes with their tokens."""
    names = sorted(set(genes["chromosome"]))
    if isinstance(encoder, TextProteins):  # as text_tables does
        full = [f"{species}_{name}" for name in names]
        tokens = quantize(hashed_tokens(full, encoder.dim, seed=encoder.encoder.seed))
    else:
        tokens = chromosome_tokens(len(names), encoder.dim, taxonomy_id)
    code = {name: i for i, name in enumerate(names)}
    return {
        "genes": genes.assign(chromosome_code=genes["chromosome"].map(code)),
        "chromosome_names": names,
        "chromosome_codes": list(range(len(names))),
        "chromosome_features": tokens,
    }


def _known(blocks: Sequence[Path]) -> tuple[np.ndarray, int]:
    """Which genes have features, and how many proteins have none."""
    masks, n_without = [], 0
    for path in blocks:
        features, n = _read(path)
        masks.append(~np.isnan(features[:, 0]))
        n_without += n
    return np.concatenate(masks), n_without


def _write_features(
    file: h5py.File, blocks: Sequence[Path], known: np.ndarray, encoder: Encoder, dtype: str
) -> h5py.Dataset:
    """Copy the features of the known genes into a data set, block by block."""
    kind = np.int8 if isinstance(encoder, TextProteins) else np.dtype(dtype)
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
        raise ValueError(f"{path} was damaged while the table was built; call again.")
    return block


def _isoforms(proteome: Proteome) -> dict[str, int]:
    return {
        "genes of several proteins": int((proteome.counts > 1).sum()),
        "most proteins of a gene": int(proteome.counts.max()),
    }


def _source(fasta: Path | str | None, annotation: Path | str | None) -> str:
    return " and ".join(Path(path).name for path in (fasta, annotation) if path is not None)


def _provenance(encoder: Encoder, fasta: Path | str | None, annotation: Path | str | None) -> dict[str, Any]:
    files = {Path(path).name: file_sha256(path) for path in (fasta, annotation) if path is not None}
    out: dict[str, Any] = {"files": files, "precision": str(getattr(encoder, "precision", ""))}
    if isinstance(encoder, TextProteins):
        out |= {"n_identity": encoder.encoder.n_identity, "identity_seed": encoder.encoder.seed}
    return out
