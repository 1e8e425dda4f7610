"""How well gene features separate genes, and place orthologs and families close together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import as_seed, check_whole
from univerce.genes.spellings import clean_names
from univerce.genes.table import N_SPECIAL, gene_table_info, iter_token_features

FAMILIES = {
    "ribosomal proteins": r"RP[LS]-?\d",
    "keratins": r"KRT\d",
    "HLA": r"HLA-",
    "collagens": r"COL-?\d",
    "olfactory receptors": r"OR\d+[A-Z]",
    "solute carriers": r"SLC\d",
    "zinc fingers": r"ZNF\d",
    "homeobox clusters": r"HOX[A-D]\d",
    "complex I": r"NDUF[A-Z]",
    "proteasome": r"PSM[A-D]\d",
    "cytochromes P450": r"CYP-?\d",
    "C-C and C-X-C chemokines": r"C(?:X)?CL\d",
}
"""Families by the beginning of their upper-case symbols."""
_MIN_FAMILY = 5
_SEPARATE = 0.95
_BLOCK = 2048


def feature_report(
    tables: Mapping[str, ad.AnnData],
    *,
    reference: str = "human",
    n_sample: int = 2000,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Measure how well gene features capture orthologs, identities and families, by their cosines.

    Orthologs and families are defined by symbols. This is only approximate, and favors encoders that read symbols, such
    as :class:`univerce.genes.TextEncoder`. Compare encoders of the same kind, and look at all columns: if all features
    are alike, families are coherent but genes are not separate.

    Parameters
    ----------
    tables
        Gene tables of one encoder by species.
    reference
        Species whose genes are searched for orthologs of the others.
    n_sample
        Number of genes of each species whose nearest neighbors are searched.
    rng
        Seed or :class:`numpy.random.Generator`.

    Returns
    -------
    One row per species with the columns

    ``n_genes``
        Number of genes in the table.
    ``orthologs``, ``n_orthologs``
        Share of the sampled genes with a symbol of ``reference`` (ignoring case) whose nearest gene of ``reference``
        has that symbol, and their number. Ties count as failures; NaN for ``reference``, and if no symbol is shared.
    ``separate``, ``nearest_cosine``
        Share of the sampled genes whose nearest gene of another symbol has a cosine below 0.95, and their mean cosine.
    ``family_cosine``, ``random_cosine``, ``family_coherence``
        Cosine of two genes of one family, averaged over pairs, then over families with 5 or more genes (NaN without);
        mean cosine of any two genes; and the difference. Families begin with RPL or RPS, KRT, HLA-, COL, OR, SLC, ZNF,
        HOX, NDUF, PSM, CYP, CCL or CXCL.

    Raises
    ------
    ValueError
        If ``reference`` is not among the tables, they are of several encoders, or ``n_sample`` is less than 1.

    Examples
    --------
    >>> import univerce as uc
    >>> tables = {species: uc.genes.load_table(species) for species in ("human", "worm")}
    >>> report = uc.genes.feature_report(tables, n_sample=50)
    >>> report.index.tolist(), bool(report.loc["human", "family_coherence"] > 0)
    (['human', 'worm'], True)
    """
    if reference not in tables:
        raise ValueError(f"reference={reference!r} is not among the tables: {', '.join(tables) or 'none'}.")
    check_whole("n_sample", n_sample, 1)
    encoders = {(str(gene_table_info(table)["encoder"]), table.n_vars) for table in tables.values()}
    if len(encoders) > 1:
        found = ", ".join(f"{encoder!r} of width {dim}" for encoder, dim in sorted(encoders))
        raise ValueError(f"The tables are of several encoders ({found}), whose features cannot be compared.")
    seed = as_seed(rng)
    codes = _symbol_codes(tables)
    rows = {}
    for species, table in tables.items():
        generator = np.random.default_rng([seed, *species.encode()])
        sample = _sample(np.arange(table.n_obs), n_sample, generator)
        _, nearest = _nearest(_unit(table, sample), codes[species][sample], table, codes[species])
        is_shared = np.isin(codes[species], codes[reference]) & (species != reference)
        shared = _sample(np.flatnonzero(is_shared), n_sample, generator)
        same, other = _nearest(_unit(table, shared), codes[species][shared], tables[reference], codes[reference])
        hits = same > other
        symbols = _symbols(table)
        family, random = _family_cosine(table, symbols), _mean_cosine(_sums(table, np.arange(table.n_obs)))
        rows[species] = {
            "n_genes": table.n_obs,
            "orthologs": float(hits.mean()) if len(hits) else np.nan,
            "n_orthologs": len(hits),
            "separate": float(np.mean(nearest < _SEPARATE)),
            "nearest_cosine": float(nearest.mean()),
            "family_cosine": family,
            "random_cosine": random,
            "family_coherence": family - random,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("species")


def _symbols(table: ad.AnnData) -> np.ndarray:
    return np.array([symbol.upper() for symbol in clean_names(table.obs["symbol"])], dtype=object)


def _symbol_codes(tables: Mapping[str, ad.AnnData]) -> dict[str, np.ndarray]:
    """Number the genes of each table by symbol; genes without a symbol get unique numbers."""
    symbols = [_symbols(table) for table in tables.values()]
    codes = pd.factorize(np.concatenate(symbols))[0]
    nameless = np.concatenate(symbols) == ""
    codes[nameless] = -1 - np.arange(nameless.sum())
    return dict(zip(tables, np.split(codes, np.cumsum([len(s) for s in symbols])[:-1]), strict=True))


def _sample(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= n else np.sort(rng.choice(rows, size=n, replace=False))


def _unit_blocks(table: ad.AnnData, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Iterate over unit-length features of increasing rows, block by block."""
    for part, features in iter_token_features(table, rows + N_SPECIAL, block=_BLOCK):
        yield part, features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _unit(table: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    out = np.empty((len(rows), table.n_vars), dtype=np.float32)
    for part, unit in _unit_blocks(table, rows):
        out[part] = unit
    return out


def _nearest(
    unit: np.ndarray, codes: np.ndarray, table: ad.AnnData, table_codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute for each gene the highest cosine with genes of its symbol in ``table``, and with all others."""
    same = np.full(len(unit), -np.inf, dtype=np.float32)
    other = same.copy()
    for part, features in _unit_blocks(table, np.arange(table.n_obs)):
        cosine = unit @ features.T
        i, j = np.nonzero(codes[:, None] == table_codes[part])
        np.maximum.at(same, i, cosine[i, j])
        cosine[i, j] = -np.inf
        np.maximum(other, cosine.max(axis=1), out=other)
    return same, other


def _sums(table: ad.AnnData, rows: np.ndarray) -> tuple[int, float, float]:
    """Compute the number of genes, the squared length of their summed directions, and the sum of squared lengths."""
    total, lengths = np.zeros(table.n_vars), 0.0
    for _, unit in _unit_blocks(table, rows):
        total += unit.sum(axis=0, dtype=np.float64)
        lengths += float(np.square(unit, dtype=np.float64).sum())
    return len(rows), float(total @ total), lengths


def _mean_cosine(sums: tuple[int, float, float]) -> float:
    """Compute the mean cosine of two different genes."""
    n, squared, lengths = sums
    return (squared - lengths) / (n * (n - 1)) if n > 1 else np.nan


def _family_cosine(table: ad.AnnData, symbols: np.ndarray) -> float:
    names = pd.Series(symbols, dtype=str)
    families = [np.flatnonzero(names.str.match(pattern)) for pattern in FAMILIES.values()]
    cosines = [_mean_cosine(_sums(table, rows)) for rows in families if len(rows) >= _MIN_FAMILY]
    return float(np.mean(cosines)) if cosines else np.nan
