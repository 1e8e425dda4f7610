"""Special tokens and lengths of the sentences that a checkpoint of the second family was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from univerce._errors import reading
from univerce.io.text import read_json

_KEYS = ("pad_token_idx", "cls_token_idx", "chrom_token_offset", "chrom_token_right_idx", "sample_size", "pad_length")


@dataclass(frozen=True)
class SentenceIds:
    """What decides the tokens of a sentence besides the genes; a wrong value raises nothing in the network."""

    pad: int
    cls: int
    right: int
    chromosome_offset: int
    """Token of chromosome 0."""
    n_sample: int
    max_length: int
    source: Mapping[str, str]
    """Where each value was stated."""

    def check(self, n_tokens: int) -> None:
        """Raise ``ValueError`` if a special token is not in a table of so many rows."""
        for name in ("pad", "cls", "right", "chromosome_offset"):
            if not 0 <= (token := getattr(self, name)) < n_tokens:
                raise ValueError(f"The {name} token {token} is not in the token table of {n_tokens:,} rows.")

    def record(self) -> dict[str, Any]:
        """Content of ``config.json`` of a converted model: the values, and who stated each."""
        return asdict(self) | {"source": dict(self.source)}


def read_sentence_ids(
    config: Path | None,
    run_configs: Sequence[Path],
    *,
    given: Mapping[str, int] | None = None,
    pinned: Mapping[str, int] | None = None,
    pinned_from: str = "",
    where: str = "",
) -> SentenceIds:
    """Read the ids from what the caller gives, ``config.json``, ``config.yaml``, or a registry, in this order.

    ``ValueError`` names what nobody states: nothing is assumed, as a wrong id gives well-formed, different embeddings.
    """
    if unknown := set(given or {}) - set(_KEYS):
        raise ValueError(f"Unknown ids {', '.join(sorted(unknown))}; use {', '.join(_KEYS)}.")
    stated: list[tuple[str, Mapping[str, Any]]] = [("the caller", given or {})]
    if config is not None:
        stated.append((config.name, read_json(config)))
    for path in run_configs:
        stated.append((f"{path.parent.name}/{path.name}", _dataset_block(path)))
    stated.append((pinned_from, pinned or {}))
    values: dict[str, int] = {}
    source: dict[str, str] = {}
    for key in _KEYS:
        for name, mapping in stated:
            if mapping.get(key) is not None:
                values[key], source[key] = _whole(mapping[key], key, name), name
                break
    if missing := [key for key in _KEYS if key not in values]:
        raise ValueError(
            f"{where} does not state {', '.join(missing)}, and the embeddings depend on them without any error. "
            "Checkpoints without a config.yaml used chrom_token_offset 1000 with chrom_token_right_idx 2000, others "
            "143574 (vocabulary of 2023) or 237411 (vocabulary v2026-09) with an index of their own. Put the "
            "config.yaml of the training run beside the weights, or pass ids= of convert_checkpoint (`univerce models "
            "convert --id NAME=VALUE`) if you know them."
        )
    return SentenceIds(
        pad=values["pad_token_idx"], cls=values["cls_token_idx"], right=values["chrom_token_right_idx"],
        chromosome_offset=values["chrom_token_offset"], n_sample=values["sample_size"],
        max_length=values["pad_length"], source=source,
    )  # fmt: skip


def _dataset_block(path: Path) -> Mapping[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def flatten_mapping(self, node: Any) -> None:
            """Refuse merges, which grow exponentially when they are nested."""
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.YAMLError("it merges mappings (<<)")

    with reading(path, "a YAML file"):
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    block = content.get("dataset") if isinstance(content, dict) else None
    return block if isinstance(block, dict) else {}


def _whole(value: Any, key: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} in {where} is {value!r}; it must be a whole number.")
    return value
