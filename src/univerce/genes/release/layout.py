"""The public layouts of UCE checkpoints: which files of a directory or repository hold what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch

FOLDERS = ("vocab", "training", ".hydra")
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.pt")
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_TOKENS = ("all_tokens.torch", "tokens.pt")
_RUN_CONFIGS = ("config.yaml", "training/config.yaml", ".hydra/config.yaml")
_GENES = ("vocab/all_species_gene_dict*.json", "all_species_gene_dict*.json", "gene_mapping.json")


@dataclass(frozen=True)
class Layout:
    """Names of the files of a checkpoint, relative to its directory."""

    weights: tuple[str, ...]
    """One file, or all shards; empty if there is no checkpoint."""
    config: str | None = None
    """``config.json`` of the makers."""
    run_configs: tuple[str, ...] = ()
    """``config.yaml`` of the training run, in the order they are looked into."""
    genes: str | None = None
    """Genes of all species with their tokens, as JSON."""
    tokens: str | None = None
    """The token table, if it lies beside the weights."""

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        single = (self.config, self.genes, self.tokens)
        return (*self.weights, *self.run_configs, *(name for name in single if name is not None))


def find_layout(names: Iterable[str], where: str) -> Layout:
    """Find the files of a checkpoint among the names of a directory or repository.

    ``ValueError`` if shards are missing, or it cannot be told which of several files are meant.
    """
    names = sorted(set(names))
    return Layout(
        weights=_weights(names, where),
        config="config.json" if "config.json" in names else None,
        run_configs=tuple(name for name in _RUN_CONFIGS if name in names),
        genes=_genes(names, where),
        tokens=next((name for name in _TOKENS if name in names), None),
    )


def _weights(names: list[str], where: str) -> tuple[str, ...]:
    if (single := next((name for name in WEIGHTS if name in names), None)) is not None:
        return (single,)
    if shards := [name for name in names if _SHARD.fullmatch(name)]:
        total = {_SHARD.fullmatch(name)[2] for name in shards}  # type: ignore[index]
        if len(total) > 1 or len(shards) != int(total.pop()):
            raise ValueError(f"{where} is incomplete: of its shards it has only {', '.join(shards)}.")
        return tuple(shards)
    states = [name for name in names if name.endswith(".torch") and name not in _TOKENS and "/" not in name]
    if len(states) > 1:
        raise ValueError(f"{where} holds several checkpoints: {', '.join(states)}. Pass the path of one of them.")
    return tuple(states)


def _genes(names: list[str], where: str) -> str | None:
    for pattern in _GENES:
        found = [name for name in names if fnmatch(name, pattern) and name.count("/") == pattern.count("/")]
        if len(found) > 1:
            raise ValueError(f"{where} holds several lists of genes, {', '.join(found)}: keep that of these weights.")
        if found:
            return found[0]
    return None
