"""The gene names of the bundled tables, read without their features."""

from __future__ import annotations

from functools import cache

import anndata as ad
import pandas as pd
import zarr

from univerce.genes.assets import BUNDLED_TABLES, list_tables


@cache
def bundled_names() -> tuple[ad.AnnData, ...]:
    """The ``symbol`` and ``ensembl_id`` of every bundled gene table, an AnnData without X for each species.

    Data sets of any model are compared with these: they have kept the case of the symbols and need no download.
    """
    tables = []
    for species, path in sorted(list_tables(BUNDLED_TABLES).items()):
        with zarr.storage.ZipStore(path, mode="r") as store:
            group = zarr.open_group(store, mode="r")
            columns = {name: ad.io.read_elem(group[f"obs/{name}"]) for name in ("symbol", "ensembl_id")}
        names = pd.DataFrame(columns, index=pd.RangeIndex(len(columns["symbol"])).astype(str))
        tables.append(ad.AnnData(obs=names, uns={"gene_table": {"species": species}}))
    return tuple(tables)
