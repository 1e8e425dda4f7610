"""Where the files of a public checkpoint are: at figshare, on the hub, or in a directory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce._settings import settings
from univerce.genes.release.checkpoint_tables import token_table_name, write_checkpoint_table
from univerce.genes.release.checksums import file_sha256, read_checksums
from univerce.genes.release.fetch import fetch, is_cached
from univerce.genes.release.hub import fetch_hub_file, hub_commit, hub_files, parse_hub, snapshot
from univerce.genes.release.layout import FOLDERS, WEIGHTS, Layout, find_layout
from univerce.genes.release.models import BRAIN, MODELS, PAPER, PublicModel
from univerce.genes.release.sentence_ids import SentenceIds, read_sentence_ids
from univerce.genes.release.tensors import TABLES, open_table, open_tensors
from univerce.genes.release.vocabulary import vocabulary_species
from univerce.io.text import read_json

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Source:
    """A public checkpoint, whose files are fetched when they are asked for."""

    name: str
    """By which it is loaded again; for the hub with the commit."""
    root: Path | None = None
    """Directory of the files, if they are not on the hub."""
    repository: str = ""
    commit: str = ""
    only: str = ""
    """The one file of the directory that is meant."""
    entry: PublicModel | None = None
    """What the registry says of it."""

    @cached_property
    def layout(self) -> Layout:
        """Names of the files; those of the hub are looked up only if they are not all here."""
        if self.entry is not None and self.entry.asset is not None:
            return Layout((self.entry.asset,))
        if self.root is not None:
            return _local_layout(self.root / self.only if self.only else self.root)
        where = f"hf://{self.repository}@{self.commit[:12]}"
        with suppress(ValueError):  # shards are missing
            layout = find_layout(snapshot(self.repository, self.commit), where)
            if layout.weights:  # they are fetched last
                return layout
        layout = find_layout(hub_files(self.repository, self.commit), where)
        if not layout.weights:
            raise ValueError(f"{where} holds no UCE checkpoint: none of {', '.join(WEIGHTS)}, its shards, *.torch.")
        return layout

    def file(self, name: str) -> Path:
        """Path of one of the files of the layout."""
        return fetch_hub_file(self.repository, name, self.commit) if self.root is None else self.root / name

    def weights(self) -> list[Path]:
        """Paths of the weights: one file, or all shards. They are fetched last, so that with them all is there."""
        if self.entry is not None and self.entry.asset is not None:
            return [fetch(self.entry.asset)]
        for name in self.layout.files:
            if name not in self.layout.weights:
                self.file(name)
        return [self.file(name) for name in self.layout.weights]

    def tokens(self) -> Path | None:
        """Path of the token table, if it is a file of its own."""
        return None if self.layout.tokens is None else self.file(self.layout.tokens)

    def config(self) -> dict[str, Any]:
        """Content of the makers' ``config.json``; empty without one."""
        return {} if self.layout.config is None else read_json(self.file(self.layout.config))

    def family(self) -> str:
        """Family of the network, from the names of its tensors or the registry."""
        if self.entry is not None:
            return self.entry.family
        names = open_tensors(self.weights()).keys()
        if any(name.startswith("uce.") for name in names):
            return BRAIN
        if any(name.startswith("transformer_encoder.") for name in names):
            return PAPER
        raise ValueError(f"{self.name} is not a UCE checkpoint: its tensors are {', '.join(sorted(names)[:5])}, ...")

    def table(self) -> Tensor:
        """Open the token table; ``ValueError`` if the checkpoint has none."""
        table = open_table(self.weights(), self.tokens())
        if table is None:
            raise ValueError(f"{self.name} has no token table: neither {' nor '.join(TABLES)} nor a file of tokens.")
        return table

    def ids(self, given: Mapping[str, int] | None = None) -> SentenceIds:
        """Special tokens and lengths of sentences, of the second family; ``ValueError`` if nobody states them."""
        entry = self.entry
        return read_sentence_ids(
            None if self.layout.config is None else self.file(self.layout.config),
            [self.file(name) for name in self.layout.run_configs],
            given=given, pinned=None if entry is None else entry.ids,
            pinned_from="" if entry is None else entry.ids_from, where=self.name,
        )  # fmt: skip

    def genes(self) -> Path:
        """Path of the list of genes, of the second family."""
        if self.layout.genes is not None:
            return self.file(self.layout.genes)
        if self.entry is not None and self.entry.gene_data is not None:
            return fetch(self.entry.gene_data)
        raise ValueError(
            f"{self.name} has no list of its genes and their tokens. Put it beside the weights as gene_mapping.json."
        )

    def species(self) -> list[str]:
        """Species of the second family."""
        return list(vocabulary_species(self.genes()))

    def encoder(self, ids: SentenceIds) -> str:
        """Name of the token table with its special tokens, which gene tables and the model must agree in."""
        return token_table_name(self.table(), ids)

    def write_table(self, species: str, path: Path, *, ids: SentenceIds, encoder: str) -> None:
        """Write the gene table of a species, of the second family, from the token table of the checkpoint."""
        write_checkpoint_table(
            species, path, vocabulary=self.genes(), ids=ids, encoder=encoder, open_table=self.table, source=self.name,
            files={file.name: file_sha256(file) for file in (*self.weights(), self.genes())},
            pads_are_read=self.config().get("embedding_reduction") == "mean",
        )  # fmt: skip

    @property
    def model_id(self) -> str:
        """Name of the model in embeddings: that by which it is loaded again, or of its directory."""
        return self.name if self.root is None or self.entry is not None else (self.root / self.only).resolve().name

    @property
    def converted(self) -> Path:
        """Directory in the cache of the converted model."""
        name = self.name.removeprefix("hf://").replace("/", "--")
        if self.commit and self.commit not in name:
            name = f"{name}@{self.commit}"
        elif self.root is not None and self.entry is None:
            name = f"{self.model_id}-{_state(self.root, self.layout.files)}"
        return settings.cache_dir / "models" / name


def find_source(model: str | Path) -> Source | None:
    """Find the checkpoint of a registered name, of ``hf://owner/name[@revision]`` or of a directory or file.

    ``None`` if there is none; no weights are fetched. ``FetchError`` if the hub does not answer, ``ValueError`` if it
    cannot be told which of several files of a directory are meant.
    """
    name = str(model)
    if (entry := MODELS.get(name)) is not None:
        if entry.asset is not None:
            return Source(name, root=settings.cache_dir, entry=entry)
        commit = hub_commit(entry.repository, entry.revision)
        return Source(name, repository=entry.repository, commit=commit, entry=entry)
    if (parsed := parse_hub(name)) is not None:
        commit = hub_commit(*parsed)
        entry = next((e for e in MODELS.values() if e.repository == parsed[0] and e.asset is None), None)
        return Source(f"hf://{parsed[0]}@{commit}", repository=parsed[0], commit=commit, entry=entry)
    path = Path(model)
    if path.is_file():
        return Source(name, root=path.parent, only=path.name)
    return Source(name, root=path) if path.is_dir() and _local_layout(path).weights else None


def is_fetched(entry: PublicModel) -> bool:
    """Whether the weights of a registered checkpoint are in the cache; asks nobody."""
    if entry.asset is not None:
        return is_cached(entry.asset)
    commit = entry.revision or read_checksums().get(f"hf://{entry.repository}")
    with suppress(ValueError):  # shards are missing
        return commit is not None and bool(find_layout(snapshot(entry.repository, commit), entry.name).weights)
    return False


def _local_layout(path: Path) -> Layout:
    if path.is_file():
        return Layout((path.name,))
    folders = [path, *(path / name for name in FOLDERS)]
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()]
    return find_layout([file.relative_to(path).as_posix() for file in files], f"The directory {path}")


def _state(root: Path, names: tuple[str, ...]) -> str:
    """Digest of the place, size and time of files, so that changed files are converted again."""
    state = [str(root.resolve())]
    for name in names:
        stat = (root / name).stat()
        state.append(f"{name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(state).encode()).hexdigest()[:12]
