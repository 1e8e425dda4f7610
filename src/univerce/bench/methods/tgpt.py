"""tGPT, zero-shot: the symbols of the 64 most expressed genes, read by GPT-2, averaged over the genes.

As in the published example, ``-`` and ``.`` in symbols become ``_``, the tokenizer truncates to 64 tokens, and the last
hidden states are averaged without the first and last token, assumed to be special tokens. Ties are sorted by symbol,
genes without counts are left out, and unknown symbols become the unknown token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._sequences import counts_of_tokens, gene_names, mean_of_genes
from univerce.bench.methods._weights import load_strictly, model_directory, read_state

_SOURCE = "huggingface.co/lixiangchun/transcriptome-gpt-1024-8-16-64"
_UNUSED = ("lm_head.", "*.attn.bias", "*.attn.masked_bias")


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    model: str | Path | None = None,
    gene_key: str | None = None,
    n_genes: int = 64,
    min_coverage: float = 0.5,
    batch_size: int = 64,
) -> np.ndarray:
    """``model`` is a folder with ``config.json``, ``tokenizer.json`` and weights; genes are symbols."""
    directory = model_directory(model, "tGPT", _SOURCE, ["config.json", "tokenizer.json"])
    network, tokenizer = _load(directory)
    names = gene_names(adata, gene_key)
    symbols, token = np.unique([n.replace("-", "_").replace(".", "_") for n in names], return_inverse=True)
    counts = counts_of_tokens(adata.X, token, len(symbols))
    ids, n_genes_read, n_unknown = [], 0, 0
    for i in range(adata.n_obs):
        row = slice(counts.indptr[i], counts.indptr[i + 1])
        top = counts.indices[row][np.argsort(-counts.data[row], kind="stable")[:n_genes]]
        text = tokenizer(" ".join(symbols[top]), max_length=n_genes, truncation=True)["input_ids"]
        genes = text[1:-1] if len(top) else []
        n_genes_read += len(genes)
        n_unknown += genes.count(tokenizer.unk_token_id)
        ids.append(np.array(text if genes else [], dtype=np.int64))
    share = 1 - n_unknown / max(n_genes_read, 1)
    if share < min_coverage:
        raise ValueError(
            f"tGPT knows only {share:.1%} of the most expressed genes, less than min_coverage={min_coverage:.0%}. Are "
            "the gene names symbols (gene_key= names a column of var)?"
        )
    adata.uns["details"] = {"coverage": share}
    return mean_of_genes(network, ids, pad=0, ends=True, layer=-1, batch_size=batch_size)


def _load(directory: Path) -> tuple[Any, Any]:
    """The network without its head, and the tokenizer."""
    try:
        from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast
    except ImportError as error:
        raise ImportError('tGPT needs transformers: pip install "univerce[bench]"') from error
    config = GPT2Config.from_json_file(directory / "config.json")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The tokenizer in {directory} has {len(tokenizer)} tokens and the model {config.vocab_size}: they are of "
            "different models."
        )
    network = GPT2Model(config)
    state = {name.removeprefix("transformer."): value for name, value in read_state(directory).items()}
    load_strictly(network, state, unused=_UNUSED, where=directory)
    return network, tokenizer


METHOD = Method(
    name="tGPT",
    embed=_embed,
    citation="Shen et al. 2023, iScience 26:106536",
    license="as its authors say (code and weights)",
    zero_shot=True,
    pretrained_on="22.3 million cells of public data sets",
    seeded=False,
    extra="bench",
)
