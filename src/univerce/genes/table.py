"""Gene tables: one AnnData per species, genes in the rows and their features in X.

``obs``  ``symbol``, ``ensembl_id`` (``""`` if unknown), ``chromosome``, ``start`` (1-based, bp), ``chromosome_code``
``X``    gene features, ``[n_genes, token_dim]``, float16, float32 or int8. Only the direction of a row matters: the
         network L2-normalizes every token, so int8 rows need no scale.
``uns``  ``special_features`` ``[4, token_dim]`` (PAD, LEFT, RIGHT, CLS); ``chromosome_names``, ``chromosome_codes`` and
         ``chromosome_features`` ``[n_chromosomes, token_dim]``; ``gene_table`` (species, encoder, source, digest, ...)

Inside one table a token has a *local* id: 0-3 the special tokens, 4 + row a gene, 4 + n_genes + k the k-th chromosome.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr

from univerce._errors import reading
from univerce._validate import as_path
from univerce.genes.hashed import identity_signs
from univerce.io.atomic import replacing
from univerce.io.compressed import path_of
from univerce.io.files import check_sizes, check_unpacked, read_h5ad

PAD, LEFT, RIGHT, CLS = range(4)
N_SPECIAL = 4
_DIGEST_ROWS = 4096
_CHECKED_BYTES = 2**24  # of features: up to this size the digest takes milliseconds
_PACKED = ".zarr.zip"
_OBS_COLUMNS = ("symbol", "ensembl_id", "chromosome", "start", "chromosome_code")
_UNS_ARRAYS = ("special_features", "chromosome_names", "chromosome_codes", "chromosome_features")


def make_table(
    genes: pd.DataFrame,
    features: Any,
    *,
    species: str,
    encoder: str,
    source: str,
    special_features: np.ndarray,
    chromosome_names: Any,
    chromosome_codes: Any,
    chromosome_features: np.ndarray,
    **provenance: Any,
) -> ad.AnnData:
    """Assemble a gene table from its parts, check it and compute its digest.

    Parameters
    ----------
    genes
        One row per gene with the columns ``symbol``, ``ensembl_id``, ``chromosome``, ``start``, ``chromosome_code``.
    features
        ``[n_genes, token_dim]`` gene features in the row order of ``genes``.
    species, encoder, source, **provenance
        Strings and numbers for ``uns["gene_table"]``.
    special_features
        ``[4, token_dim]``: PAD (a zero row), LEFT, RIGHT, CLS.
    chromosome_names, chromosome_codes, chromosome_features
        Chromosomes of the species with their frozen codes and token features ``[n_chromosomes, token_dim]``.

    Returns
    -------
    The gene table.

    Raises
    ------
    ValueError
        If the parts do not fit together.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import univerce as uc
    >>> genes = pd.DataFrame({
    ...     "symbol": ["INS", "GCG"], "ensembl_id": ["E1", "E2"], "chromosome": ["11", "2"], "start": [5, 9],
    ...     "chromosome_code": [0, 1],
    ... })
    >>> table = uc.genes.make_table(
    ...     genes, np.eye(2, 8, dtype="float32"), species="human", encoder="example", source="simulated",
    ...     special_features=np.zeros((4, 8)), chromosome_names=["11", "2"], chromosome_codes=[0, 1],
    ...     chromosome_features=np.ones((2, 8)),
    ... )
    >>> table.obs_names.tolist(), table.uns["gene_table"]["species"]
    (['E1', 'E2'], 'human')
    """
    obs = genes.loc[:, list(_OBS_COLUMNS)].copy()
    obs["start"] = obs["start"].astype(np.int64)
    obs["chromosome_code"] = obs["chromosome_code"].astype(np.int32)
    for column in ("symbol", "ensembl_id", "chromosome"):
        obs[column] = obs[column].astype(object).where(obs[column].notna(), "").astype(str)
    ids = pd.Series(np.where(obs["ensembl_id"] != "", obs["ensembl_id"], obs["symbol"]), dtype=str)
    obs.index = pd.Index(ad.utils.make_index_unique(pd.Index(ids)), name="gene_id")
    table = ad.AnnData(X=features, obs=obs)
    table.uns["special_features"] = np.asarray(special_features)
    table.uns["chromosome_names"] = np.asarray(chromosome_names, dtype=object)
    table.uns["chromosome_codes"] = np.asarray(chromosome_codes, dtype=np.int32)
    table.uns["chromosome_features"] = np.asarray(chromosome_features)
    table.uns["gene_table"] = {"species": species, "encoder": encoder, "source": source, **provenance}
    validate_table(table)
    table.uns["gene_table"]["digest"] = table_digest(table)
    return table


def validate_table(table: ad.AnnData) -> None:
    """Raise ``ValueError`` that names the first problem, if an AnnData is not a gene table."""
    missing = [c for c in _OBS_COLUMNS if c not in table.obs]
    if missing := missing + [k for k in (*_UNS_ARRAYS, "gene_table") if k not in table.uns]:
        raise ValueError(f"Not a gene table: {', '.join(missing)} missing (obs columns and uns keys).")
    dim = table.n_vars
    _check_finite(table, "special_features", "chromosome_features")
    codes = np.asarray(table.uns["chromosome_codes"])
    names = np.asarray(table.uns["chromosome_names"])
    if np.shape(table.uns["special_features"]) != (N_SPECIAL, dim):
        raise ValueError(f"uns['special_features'] must be [{N_SPECIAL}, {dim}].")
    if np.any(table.uns["special_features"][PAD]):
        raise ValueError("uns['special_features'][0] is the PAD token and must be zero.")
    if len(names) != len(codes) or np.shape(table.uns["chromosome_features"]) != (len(codes), dim):
        raise ValueError(
            f"The chromosome arrays disagree: {len(names)} names, {len(codes)} codes and features of shape "
            f"{np.shape(table.uns['chromosome_features'])}, expected [{len(codes)}, {dim}]."
        )
    if np.any(np.diff(codes) <= 0):
        raise ValueError("uns['chromosome_codes'] must increase strictly.")
    if (unknown := np.setdiff1d(table.obs["chromosome_code"], codes)).size:
        raise ValueError(f"obs['chromosome_code'] has codes without a token: {unknown[:5].tolist()}.")


def gene_table_info(table: ad.AnnData) -> Mapping[str, Any]:
    """Get the provenance of a gene table: species, encoder, source, digest."""
    return table.uns["gene_table"]


def chromosome_index(table: ad.AnnData) -> np.ndarray:
    """Get the position of every gene's chromosome in the table's chromosome arrays, ``[n_genes]`` int32."""
    return np.searchsorted(table.uns["chromosome_codes"], table.obs["chromosome_code"].to_numpy()).astype(np.int32)


def n_tokens(table: ad.AnnData) -> int:
    """Count the local token ids of a table."""
    return N_SPECIAL + table.n_obs + len(table.uns["chromosome_codes"])


def iter_token_features(table: ad.AnnData, ids: np.ndarray, *, block: int = 2048) -> Iterator[tuple[slice, np.ndarray]]:
    """Read the features of increasing local token ids in blocks, from memory or from an open file.

    Yields the slice of ``ids`` that a block covers, and its features ``[block, token_dim]`` float32.
    """
    first_chromosome = N_SPECIAL + table.n_obs
    for begin in range(0, len(ids), block):
        part = ids[begin : begin + block]
        genes = part[(part >= N_SPECIAL) & (part < first_chromosome)] - N_SPECIAL
        chromosomes = part[part >= first_chromosome] - first_chromosome
        features = (
            table.uns["special_features"][part[part < N_SPECIAL]],
            gene_features(table, genes),
            table.uns["chromosome_features"][chromosomes],
        )
        yield slice(begin, begin + len(part)), np.concatenate([np.asarray(x, dtype=np.float32) for x in features])


def gene_features(table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    """Read the features of genes, ``[n_rows, token_dim]``; ``ValueError`` names a gene whose are not finite."""
    path = path_of(table)
    with reading(path, "a gene table"):
        features = np.asarray(table.X[rows]).reshape(len(rows), table.n_vars)
        if features.dtype.kind == "f" and not (finite := np.isfinite(features).all(axis=1)).all():
            gene = table.obs_names[rows[np.flatnonzero(~finite)[0]]]
            raise ValueError(
                f"The gene table of {gene_table_info(table)['species']!r} has features of {gene!r} that are not finite."
            )
        return features


def table_digest(table: ad.AnnData) -> str:
    """Compute the SHA-256 over everything in a gene table that can change a sentence or an embedding."""
    sha = hashlib.sha256()
    # columns are not separated; a separator now would change the digest of every existing table
    for column in ("symbol", "ensembl_id"):
        sha.update("\n".join(table.obs[column]).encode())
    for column in ("start", "chromosome_code"):
        sha.update(np.ascontiguousarray(table.obs[column].to_numpy(dtype=np.int64)).tobytes())
    for key in ("special_features", "chromosome_codes", "chromosome_features"):
        sha.update(np.ascontiguousarray(table.uns[key]).tobytes())
    for begin in range(0, table.n_obs, _DIGEST_ROWS):
        sha.update(np.ascontiguousarray(table.X[begin : begin + _DIGEST_ROWS]).tobytes())
    return sha.hexdigest()


def _check_finite(table: ad.AnnData, *keys: str) -> None:
    for key in keys:
        values = np.asarray(table.uns[key])
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError(f"uns[{key!r}] of the gene table holds values that are not finite numbers.")


def _is_small(table: ad.AnnData) -> bool:
    return bool(table.n_obs * table.n_vars * np.dtype(table.X.dtype).itemsize <= _CHECKED_BYTES)


def _check_digest(table: ad.AnnData, what: str) -> None:
    """Raise ``ValueError`` if a table of up to 16 MiB of features does not match its digest."""
    if not _is_small(table):
        return
    noted = gene_table_info(table).get("digest")
    if (found := table_digest(table)) != noted:
        raise ValueError(
            f"{what} was changed after it was built: its digest is {found[:12]}..., and uns['gene_table']['digest'] "
            f"says {str(noted)[:12]}... Fetch or convert it again; if the change is intended, rebuild it with "
            "univerce.genes.make_table, so that its embeddings can be distinguished from others."
        )


def write_table(table: ad.AnnData, path: Path | str) -> Path:
    """Write a gene table, atomically.

    Parameters
    ----------
    table
        Gene table.
    path
        ``*.h5ad``, whose features can be read from disk, or ``*.zarr.zip``, which is small (LZMA) and reproducible.

    Returns
    -------
    The path written.

    Raises
    ------
    ValueError
        If ``table`` is not a gene table, does not match its digest, or the name has another suffix.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> worm = uc.genes.load_table("worm")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     uc.genes.write_table(worm, Path(directory) / "worm.zarr.zip").name
    'worm.zarr.zip'
    """
    path = as_path(path)
    validate_table(table)
    if not path.name.endswith((".h5ad", _PACKED)):
        raise ValueError(f"Name a gene table *.h5ad or *{_PACKED}, not {path.name!r}.")
    _check_digest(table, "The gene table")
    with replacing(path) as part:
        if path.name.endswith(_PACKED):
            _write_packed(table, part)
        else:
            table.write_h5ad(part)
    return path


def read_table(path: Path | str) -> ad.AnnData:
    """Read a gene table written by :func:`write_table`.

    Parameters
    ----------
    path
        Path of the table, ``*.h5ad`` or ``*.zarr.zip``.

    Returns
    -------
    The gene table. The features of an ``.h5ad`` stay on disk (``backed="r"``).

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    FileError
        A ``ValueError``, if the file is damaged, not a gene table, has features that are not finite, or does not match
        its digest. Features of more than 16 MiB are checked when they are read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> worm = uc.genes.load_table("worm")
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = uc.genes.write_table(worm, Path(directory) / "worm.h5ad")
    ...     table = uc.genes.read_table(path)
    ...     (table.isbacked, table.n_obs == worm.n_obs)
    (True, True)
    """
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no gene table at {path}.")
    with reading(path, "a gene table", parts=True):
        if path.name.endswith(_PACKED):
            check_unpacked(path)
            with zarr.storage.ZipStore(path, mode="r") as store:
                check_sizes(zarr.open_group(store, mode="r"), path)
                table = _unpack(ad.read_zarr(store))
        else:
            table = read_h5ad(path, backed=True)
        validate_table(table)
        _check_digest(table, str(path))
        if _is_small(table):
            gene_features(table, np.arange(table.n_obs))
        return table


def write_around(file: h5py.File, table: ad.AnnData) -> None:
    """Write everything but ``X``, which is already in the file, as AnnData does."""
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    for key in ("obs", "var", "uns"):
        value = getattr(table, key)
        ad.io.write_elem(file, key, value if isinstance(value, pd.DataFrame) else dict(value))
    for key in ("obsm", "varm", "obsp", "varp", "layers"):
        # anndata 0.13 lists X among the layers, under the key None
        ad.io.write_elem(file, key, {name: value for name, value in getattr(table, key).items() if name is not None})


def _write_packed(table: ad.AnnData, path: Path) -> None:
    """Write a zipped zarr with fixed time stamps and sorted names, without what can be computed from the symbols."""
    directory = path.with_name("unpacked.zarr")
    group = zarr.open_group(directory, mode="w", zarr_format=2)
    ad.io.write_elem(group, "/", _pack(table), dataset_kwargs={"compressor": None})  # the zip compresses, better
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_LZMA) as archive:
        for file in sorted(p for p in directory.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(directory).as_posix())
            entry.compress_type = zipfile.ZIP_LZMA
            archive.writestr(entry, file.read_bytes())


def _pack(table: ad.AnnData) -> ad.AnnData:
    """Drop the columns of X that :func:`_unpack` computes from the symbols."""
    width = table.n_vars - int(gene_table_info(table).get("n_identity", 0))
    features = table.X[:]
    if width == table.n_vars or not np.array_equal(features[:, width:], _identity(table)):
        return table
    return ad.AnnData(X=features[:, :width], obs=table.obs, uns=dict(table.uns))


def _unpack(table: ad.AnnData) -> ad.AnnData:
    special = table.uns.get("special_features")
    if special is None or table.n_vars == special.shape[1]:
        return table
    return ad.AnnData(X=np.hstack([table.X, _identity(table)]), obs=table.obs, uns=dict(table.uns))


def _identity(table: ad.AnnData) -> np.ndarray:
    info = gene_table_info(table)
    return identity_signs(table.obs, int(info["n_identity"]), seed=int(info["identity_seed"]))
