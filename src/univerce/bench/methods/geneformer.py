"""Geneformer, zero-shot: genes ranked by expression over their median, read by BERT, averaged over the genes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._geneformer_tokens import Dictionaries, rank_tokens
from univerce.bench.methods._sequences import counts_of_tokens, gene_names, mean_of_genes, require_coverage
from univerce.bench.methods._weights import load_strictly, model_directory, read_state

_SOURCE = "huggingface.co/ctheodoris/Geneformer (one of its model folders, such as Geneformer-V2-104M)"
_LAYERS = {"second to last": -2, "last": -1}
_UNUSED = ("cls.", "pooler.", "embeddings.position_ids")


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    model: str | Path | None = None,
    dictionaries: str | Path | None = None,
    layer: Literal["second to last", "last"] = "second to last",
    gene_key: str | None = None,
    min_coverage: float = 0.5,
    batch_size: int = 16,
) -> np.ndarray:
    """``model`` is a folder with ``config.json`` and weights, ``dictionaries`` one with the three dictionaries; it
    may be the same. Genes are ``var["ensembl_id"]`` if present, or ``var_names`` (symbols or identifiers).
    """
    if layer not in _LAYERS:
        raise ValueError(f"layer={layer!r} is not known; use one of {', '.join(map(repr, _LAYERS))}.")
    directory = model_directory(model, "Geneformer", _SOURCE, ["config.json"])
    known = Dictionaries.read(Path(dictionaries or directory))
    network = _load(directory, known)

    if gene_key is None and "ensembl_id" in adata.var:
        gene_key = "ensembl_id"
    counts = counts_of_tokens(adata.X, known.tokens(gene_names(adata, gene_key)), len(known.token))
    adata.uns["details"] = {"coverage": require_coverage(counts, adata.X, min_coverage, "Geneformer")}
    length = network.config.max_position_embeddings - 2 * known.has_ends
    n_counts = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    sentences = rank_tokens(counts, n_counts, known.medians(), length)
    if known.has_ends:
        ends = known.token["<cls>"], known.token["<eos>"]
        sentences = [np.concatenate([ends[:1], s, ends[1:]]) if len(s) else s for s in sentences]
    return mean_of_genes(
        network, sentences, pad=known.token["<pad>"], ends=known.has_ends, layer=_LAYERS[layer], batch_size=batch_size
    )


def _load(directory: Path, known: Dictionaries) -> Any:
    """The encoder of ``BertForMaskedLM``, without its head."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise ImportError('Geneformer needs transformers: pip install "univerce[bench]"') from error
    config = BertConfig.from_json_file(directory / "config.json")
    if config.vocab_size != len(known.token) or config.pad_token_id != known.token.get("<pad>"):
        raise ValueError(
            f"The model in {directory} has {config.vocab_size} tokens with <pad> {config.pad_token_id}, the dictionary "
            f"{len(known.token)} with <pad> {known.token.get('<pad>')}: they are of different versions. Version 1 goes "
            "with the dictionaries of 30M cells (gc30M), version 2 with those of 104M (gc104M, at first called gc95M)."
        )
    network = BertModel(config, add_pooling_layer=False)
    state = {name.removeprefix("bert."): value for name, value in read_state(directory).items()}
    load_strictly(network, state, unused=_UNUSED, where=directory)
    return network


METHOD = Method(
    name="Geneformer",
    embed=_embed,
    citation="Theodoris et al. 2023, Nature 618:616; Chen et al. 2024, bioRxiv 2024.08.16.608180 (version 2)",
    license="Apache-2.0 (code and weights)",
    zero_shot=True,
    pretrained_on="Genecorpus, 30 million human cells of public data sets (104 million in version 2)",
    seeded=False,
    extra="bench",
)
