"""Whether the data of a benchmark are among those that a method was trained on."""

from __future__ import annotations

import re

import anndata as ad

from univerce.bench._method import Method

NO, POSSIBLY, UNKNOWN = "no", "possibly", "unknown"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def has_seen(method: Method, adata: ad.AnnData) -> str:
    """The ids of the data sets that the method was trained on, separated by ``" | "``, or what else is known.

    ``"no"`` if nothing is pretrained, or all cells have the ids of data sets of CELLxGENE and none is in the corpus;
    ``"possibly"`` if corpus and data are both of CELLxGENE and one of them has no ids; otherwise ``"unknown"``.
    """
    corpus, texts = method.pretrained_on, [str(adata.uns.get(key, "")) for key in ("citation", "schema_reference")]
    if not corpus:
        return NO
    column = adata.obs.get("dataset_id")
    own = [str(adata.uns["dataset_id"])] if "dataset_id" in adata.uns else []
    own = own if column is None else [str(name) for name in column.dropna().unique()]
    listed = set() if isinstance(corpus, str) else set(map(str, corpus))
    found = [name for name in dict.fromkeys([*own, *_ID.findall(texts[0])]) if name in listed]
    if found:
        return " | ".join(found)
    if listed and own and all(map(_ID.fullmatch, own)) and (column is None or column.notna().all()):
        return NO
    of_cellxgene = "cellxgene" in " ".join(texts).lower()
    return POSSIBLY if of_cellxgene and (listed or "CELLxGENE" in corpus) else UNKNOWN
