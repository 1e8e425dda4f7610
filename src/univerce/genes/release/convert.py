"""Convert the released UCE files to gene tables, one species at a time, without loading the token tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from univerce._settings import logger, progress_bar
from univerce._validate import as_path
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.ensembl import bundled_annotation, ensembl_ids
from univerce.genes.release.parse import (
    chromosome_codes,
    protein_files,
    read_positions,
    row_symbols,
    species_blocks,
    token_tensor,
)
from univerce.genes.release.registry import ESM2_15B, FIGSHARE_ARTICLE, protein_file
from univerce.genes.release.unpickle import check_torch, load_pickle_plain, load_torch
from univerce.genes.table import N_SPECIAL, PAD, make_table, write_around
from univerce.io.atomic import replacing, scratch

if TYPE_CHECKING:
    from torch import Tensor

CHROM_TOKEN_OFFSET = 143574
CHROM_SEED = 23
_DTYPES = ("float16", "float32")
_BLOCK = 64  # rows of the token tensor in memory at a time: 1 MB


def convert_tables(
    species_chrom: Path | str,
    species_offsets: Path | str | Mapping[str, int],
    *,
    tokens: Path | str | Sequence[Path],
    protein_embeddings: Path | str | Mapping[str, Path],
    out_dir: Path | str,
    species: Sequence[str] | None = None,
    dtype: str = "float16",
    annotation: Mapping[str, pd.DataFrame] | None = None,
    chrom_token_offset: int = CHROM_TOKEN_OFFSET,
) -> dict[str, Path]:
    """Convert the released UCE files to gene tables ``<out_dir>/<species>.h5ad``.

    Rows are the genes with both a protein embedding and a position; genes without a position are logged and listed in
    ``uns["genes_without_position"]``.

    Parameters
    ----------
    species_chrom
        ``species_chrom.csv``. Chromosome codes count the chromosomes of the whole file.
    species_offsets
        ``species_offsets.pkl``, or its content: species to first row in the token tensor.
    tokens
        ``all_tokens.torch``, or a checkpoint with ``pe_embedding.weight`` (``4layer_model.torch``), in one or several
        files.
    protein_embeddings
        ``protein_embeddings.tar.gz`` or its directory, or species to file; its symbols name the rows.
    out_dir
        Output directory, also used as scratch space.
    species
        Species to convert; by default all with an offset.
    dtype
        ``"float16"`` or ``"float32"``, of the gene features.
    annotation
        Species to a data frame with the columns ``symbol`` and ``ensembl_id``, to fill ``obs["ensembl_id"]``. By
        default the bundled table of the species. A repeated symbol gives no id.
    chrom_token_offset
        First chromosome token. If the tensor ends there, chromosome tokens are drawn as in the reference.

    Returns
    -------
    Species to path. The tables have a further column ``obs["token_id"]``, the official token of the gene.

    Raises
    ------
    ValueError
        If the files contradict each other (block sizes, vectors, chromosome codes), values are not finite or do not fit
        ``dtype``, or a file contains code.
    FileNotFoundError
        If the protein file of a species is missing.

    Notes
    -----
    Source: Rosen et al. (2026), Nature, doi 10.1038/s41586-026-10689-z, and the files of figshare article 24320806.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.genes.convert_tables(  # doctest: +SKIP
    ...     "species_chrom.csv", "species_offsets.pkl", tokens="4layer_model.torch",
    ...     protein_embeddings="protein_embeddings.tar.gz", out_dir="tables", species=["human"],
    ... )
    {'human': PosixPath('tables/human.h5ad')}
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r} is not supported; use one of {', '.join(_DTYPES)}.")
    positions = read_positions(species_chrom)
    codes = chromosome_codes(positions)
    offsets = species_offsets if isinstance(species_offsets, Mapping) else load_pickle_plain(species_offsets)
    blocks = species_blocks(offsets, chrom_token_offset)
    wanted = list(blocks) if species is None else list(dict.fromkeys(species))
    if unknown := [s for s in wanted if s not in blocks]:
        raise ValueError(f"No offset for {', '.join(unknown)}; the species are {', '.join(blocks)}.")
    if absent := sorted(set(wanted) - set(positions["species"])):
        raise ValueError(f"{species_chrom} has no genes of {', '.join(absent)}.")
    token_tensor(tokens, chrom_token_offset, len(codes))  # fails early if it does not fit
    for path in [tokens] if isinstance(tokens, Path | str) else tokens:
        check_torch(Path(path))
    out_dir = as_path(out_dir)
    sources = [species_chrom, *([tokens] if isinstance(tokens, Path | str) else tokens)]
    sources += [] if isinstance(species_offsets, Mapping) else [species_offsets]
    digests = {Path(source).name: file_sha256(source) for source in sources}
    written = {}
    with (
        scratch(out_dir / "proteins") as unpacked,
        progress_bar(total=len(wanted), desc="gene tables") as bar,
    ):
        given = protein_embeddings if isinstance(protein_embeddings, Mapping) else Path(protein_embeddings)
        for name, proteins in protein_files(given, wanted, unpacked):
            bar.set_postfix_str(name)
            check_torch(proteins)
            written[name] = out_dir / f"{name}.h5ad"
            with replacing(written[name]) as part:
                _convert_species(
                    name,
                    part,
                    positions=positions[positions["species"] == name],
                    codes=codes,
                    block=blocks[name],
                    chrom_token_offset=chrom_token_offset,
                    # opened again for each species, which releases the pages of the previous one
                    tokens=token_tensor(tokens, chrom_token_offset, len(codes)),
                    proteins=load_torch(proteins),
                    dtype=dtype,
                    annotation=bundled_annotation(name) if annotation is None else annotation.get(name),
                    files=digests | {proteins.name: file_sha256(proteins)},
                )
            bar.update()
    return {name: written[name] for name in wanted}


def _convert_species(
    species: str,
    path: Path,
    *,
    positions: pd.DataFrame,
    codes: Mapping[str, int],
    block: tuple[int, int],
    chrom_token_offset: int,
    tokens: Tensor,
    proteins: Any,
    dtype: str,
    annotation: pd.DataFrame | None,
    files: Mapping[str, str],
) -> None:
    if not isinstance(proteins, Mapping) or not all(isinstance(key, str) for key in proteins):
        raise ValueError(f"{protein_file(species)} must be a dictionary of gene symbol to vector.")
    symbols, keys = row_symbols(species, list(proteins), block[1] - block[0])
    placed = positions.drop_duplicates("gene_symbol").set_index("gene_symbol")
    rows = [i for i, symbol in enumerate(symbols) if symbol in placed.index]
    if not rows:
        raise ValueError(f"{species}: no gene has both a protein embedding and a position.")
    unplaced = [s for s in symbols if s and s not in placed.index]
    repeated = _repeated(positions["gene_symbol"])
    merged = _repeated(key.upper() for key in proteins)
    _log_genes(species, "without a position left out", unplaced)
    _log_genes(species, "with several positions, the first is used", repeated)
    _log_genes(species, "with several spellings merged", merged)

    kept = [symbols[i] for i in rows]
    genes = placed.loc[kept, ["chromosome", "start"]].reset_index(names="symbol")
    genes["chromosome_code"] = [codes[f"{species}_{c}"] for c in genes["chromosome"]]
    genes["ensembl_id"] = ensembl_ids(kept, annotation)
    names = sorted(set(positions["chromosome"]), key=lambda name: codes[f"{species}_{name}"])
    own_codes = [codes[f"{species}_{name}"] for name in names]
    special = _finite(tokens[:N_SPECIAL], "special tokens")
    if cleared := bool(special[PAD].any()):
        logger.warning("The PAD row of the token tensor is not zero; set to zero in the gene tables.")
        special[PAD] = 0
    chromosomes = _chromosome_features(tokens, own_codes, len(codes), chrom_token_offset)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("X", (len(rows), tokens.shape[1]), dtype=dtype)
        features.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        _write_features(features, tokens, np.add(rows, block[0]), proteins, [keys[i] for i in rows], species)
        table = make_table(
            genes,
            features,
            species=species,
            encoder=ESM2_15B,
            source=f"figshare article {FIGSHARE_ARTICLE}",
            special_features=special,
            chromosome_names=names,
            chromosome_codes=own_codes,
            chromosome_features=chromosomes,
            token_offset=block[0],
            files=dict(files),
            n_without_position=len(unplaced),
            n_repeated_positions=len(repeated),
            n_merged_symbols=len(merged),
            pad_cleared=cleared,
        )
        table.obs["token_id"] = np.add(rows, block[0])
        table.uns["genes_without_position"] = np.array(unplaced, dtype=object)
        write_around(file, table)


def _write_features(
    out: h5py.Dataset,
    tokens: Tensor,
    token_ids: np.ndarray,
    proteins: Mapping[str, Tensor],
    keys: Sequence[Sequence[str]],
    species: str,
) -> None:
    """Copy rows of the token tensor block by block; compare each with the protein embedding of its gene."""
    import torch

    for begin in range(0, len(token_ids), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        x = torch.from_numpy(_finite(tokens[torch.from_numpy(token_ids[part])], f"genes of {species}"))
        if (name := _misplaced(x, proteins, keys[part])) is not None:
            raise ValueError(
                f"{species}: the protein embedding of {name} differs from its row of the token tensor: the token "
                "tensor, the offsets and the protein embeddings do not belong together."
            )
        with np.errstate(over="ignore"):
            values = x.numpy().astype(out.dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"{species}: the features do not fit {out.dtype}; use dtype='float32'.")
        out[part] = values


def _misplaced(rows: Tensor, proteins: Mapping[str, Tensor], keys: Sequence[Sequence[str]]) -> str | None:
    """Find the first gene without a vector that agrees with its row."""
    import torch

    def agrees(x: Tensor, vectors: Sequence[Tensor]) -> bool:
        fits = all(vector.shape == rows.shape[1:] for vector in vectors)
        return fits and torch.allclose(x, torch.stack(list(vectors)).float(), rtol=1e-3, atol=1e-4)

    if agrees(rows, [proteins[names[-1]] for names in keys]):
        return None
    for row, names in zip(rows, keys, strict=True):
        if not any(agrees(row[None], [proteins[name]]) for name in names):
            return names[-1]
    return None


def _chromosome_features(tokens: Tensor, codes: Sequence[int], n_codes: int, offset: int) -> np.ndarray:
    """Get the features of chromosome tokens, drawn as in the reference if the tensor ends before them."""
    import torch

    if len(tokens) > offset:
        return _finite(tokens[offset + torch.tensor(codes)], "chromosome tokens")
    generator = torch.Generator().manual_seed(CHROM_SEED)
    drawn = torch.normal(mean=0.0, std=1.0, size=(n_codes, tokens.shape[1]), generator=generator)
    return drawn[torch.tensor(codes)].numpy()


def _finite(x: Tensor, what: str) -> np.ndarray:
    values = x.float().numpy().copy()
    if not np.isfinite(values).all():
        raise ValueError(f"The token tensor has values that are not finite among the {what}.")
    return values


def _repeated(symbols: Iterable[str]) -> list[str]:
    return [symbol for symbol, count in Counter(symbols).items() if count > 1]


def _log_genes(species: str, what: str, symbols: Sequence[str]) -> None:
    if symbols:
        shown = ", ".join(symbols[:5]) + ", ..." * (len(symbols) > 5)
        logger.info("%s: %d genes %s (%s)", species, len(symbols), what, shown)
