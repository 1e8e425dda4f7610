"""The architecture of public checkpoints, as their makers state it and their weights show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from univerce.genes.release.sentence_ids import SentenceIds
from univerce.genes.release.source import Source
from univerce.model.brain_config import UCEBrainConfig
from univerce.model.config import RELEASED, UCEConfig

if TYPE_CHECKING:
    from torch import Tensor

_HIDDEN = ("nhead", "activation", "embedding_reduction")  # what no shape shows


def paper_config(tensors: Mapping[str, Tensor], source: Source) -> UCEConfig:
    """Architecture of the first family, from the shapes; heads as stated, else as in the released models.

    ``ValueError`` if a weight is missing, or the heads are not known.
    """
    n_layers = _count_layers(tensors, "transformer_encoder.layers.")
    widths = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    head = sorted(name for name in widths if name.startswith("binary_decoder.") and name.endswith(".0.weight"))
    try:
        d_model, token_dim = widths["encoder.0.weight"]
        shape: dict[str, Any] = {
            "token_dim": token_dim, "d_model": d_model, "n_layers": n_layers,
            "d_hidden": widths["transformer_encoder.layers.0.linear1.weight"][0],
            "output_dim": widths["decoder.3.weight"][0], "decoder_dim": widths["decoder.0.0.weight"][0],
            "gene_dim": widths["gene_embedding_layer.0.weight"][0],
            "head_dims": tuple(widths[name][0] for name in head),
        }  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{source.name} has no tensor {error.args[0]!r}: it is of no family known here.") from error
    if "pos_encoder.pe" in widths:
        shape["max_length"] = widths["pos_encoder.pe"][0]
    stated = source.config()
    if "sample_size" in stated:
        shape["n_sample"] = int(stated["sample_size"])
    heads = next((stated[key] for key in ("nhead", "n_heads", "num_attention_heads") if key in stated), None)
    released = next((c for c in RELEASED.values() if c.n_layers == n_layers and c.d_model == d_model), None)
    if heads is None and released is None:
        raise ValueError(
            f"{source.name} has {n_layers} layers of width {d_model}; the released models have 4 and 33 of 1280. "
            "Nothing states its number of heads: pass config=."
        )
    model_id = source.model_id
    if released is not None and source.root is not None:  # a released file, downloaded by hand
        model_id = released.model_id
    n_heads = int(heads) if heads is not None else released.n_heads if released is not None else 0
    return UCEConfig(model_id=model_id, n_heads=n_heads, **shape)


def brain_config(tensors: Mapping[str, Tensor], source: Source, ids: SentenceIds, encoder: str) -> UCEBrainConfig:
    """Architecture of the second family, from ``config.json``.

    ``ValueError`` if it leaves out what no shape shows.
    """
    stated: dict[str, Any] = source.config()
    if missing := [key for key in _HIDDEN if stated.get(key) is None]:
        raise ValueError(f"config.json of {source.name} does not state {', '.join(missing)}, which no weight shows.")
    defaults = UCEBrainConfig()
    d_model = int(stated.get("d_model", defaults.d_model))
    table = next(name for name in tensors if name.endswith("embedding_layer.embedding.weight"))
    if (n_tokens := int(stated.get("vocab_size", len(tensors[table])))) != len(tensors[table]):
        raise ValueError(
            f"config.json of {source.name} states a vocabulary of {n_tokens:,} tokens, its table has "
            f"{len(tensors[table]):,} rows: they are of different checkpoints."
        )
    decoder = stated.get("decoder_layer_dims")
    try:
        return UCEBrainConfig(
            model_id=source.model_id, token_dim=int(stated.get("embedding_dim", defaults.token_dim)),
            token_encoder=encoder, d_model=d_model, n_heads=int(stated["nhead"]),
            d_hidden=int(stated.get("dim_feedforward") or stated.get("expansion_factor", 4) * d_model),
            n_layers=int(stated.get("num_layers", _count_layers(tensors, "uce.transformer_encoder.layers."))),
            output_dim=int(stated.get("output_embedding_dim", defaults.output_dim)),
            head_dims=defaults.head_dims if decoder is None else tuple(decoder[1:-1]),
            activation=str(stated["activation"]), token_norm=bool(stated.get("use_embedding_layer_norm", True)),
            positions=str(stated.get("positional_encoding_type", "sinusoidal")),
            n_positions=int(stated.get("max_sequence_length", ids.max_length)),
            reduction=str(stated["embedding_reduction"]), max_length=ids.max_length, n_sample=ids.n_sample,
        )  # fmt: skip
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"config.json of {source.name}: {error}") from error


def _count_layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})
