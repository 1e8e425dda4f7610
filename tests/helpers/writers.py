"""Writers of the package, in their smallest form."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch

import univerce as uc
from tests.helpers.atlas_cells import embedded
from tests.helpers.checkpoints import GENES_END, PAPER_CONFIG, brain_files, paper_release, paper_state, torch_bytes
from tests.helpers.killed import Writer
from tests.helpers.tiny import tiny_network
from tests.helpers.toy import toy_table
from tests.helpers.training_cells import MODEL, RECIPE, SETS
from univerce.bench._cache import cached_numbers, read_cached, write_cached
from univerce.embeddings.index import NeighborIndex, build_index, read_index, write_index
from univerce.genes.build.gene_features import read_block
from univerce.genes.release.checksums import read_checksums, record_checksum
from univerce.genes.table import read_table, write_table
from univerce.inference.store import EmbeddingStore
from univerce.io.files import open_anndata
from univerce.io.seal import is_intact
from univerce.model.directory import read_model
from univerce.training.corpus import Corpus

NAMES = [f"cell {i}" for i in range(5)]
VALUES = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


WRITERS: dict[str, Callable[[], Writer]] = {}
"""By name."""


def _writer(name: str, write: Any, read: Any, **options: Any) -> None:
    WRITERS[name] = lambda: Writer(name, write, read, **options)


def _embed(directory: Path) -> None:
    store = EmbeddingStore.open(
        directory / "s.zarr", key="X_uce", obs_names=NAMES, dim=3, block_rows=2, fingerprint={"seed": 0}
    )
    for k in store.missing():
        store.write(k, VALUES[store.rows(k)])
    if not store.is_complete:
        store.finish({"seed": 0, "species": ["human"]}, pd.DataFrame({"missing": [False] * 5}, index=NAMES))


def _damaged_store(directory: Path) -> None:
    _embed(directory)
    (directory / "s.zarr" / "obsm" / "X_uce" / "1.0").write_bytes(b"damaged")


def _read_store(directory: Path) -> Any:
    path = directory / "s.zarr"
    if not path.exists() or not (store := EmbeddingStore.attach(path)).is_complete:
        return None
    return [store.read(k).tolist() for k in range(store.n_blocks)], _summary(open_anndata(path))


def _atlas(what: str, directory: Path) -> None:
    options = {"groupby": "cell_type", "min_counts": None}
    if what == "build":
        uc.atlas.build({"one": embedded(6)}, directory / "a.zarr", **options)
    elif what == "append":
        uc.atlas.append(directory / "a.zarr", {"two": embedded(4, 1)}, **options)
    else:
        uc.atlas.subset(directory / "a.zarr", np.arange(6) < 3, directory / "b.zarr")


def _read_atlas(name: str, directory: Path) -> Any:
    try:
        return _summary(uc.atlas.open(directory / name))
    except FileNotFoundError:
        return None


def _zarr(name: str) -> Any:
    def read(directory: Path) -> Any:
        try:
            return _summary(ad.read_zarr(directory / name))
        except FileNotFoundError:
            return None

    return read


def _summary(adata: ad.AnnData) -> str:
    """Digest of what a reader sees."""
    sha = hashlib.sha256(repr((adata.shape, list(adata.obs_names), adata.obs.to_dict(), _plain(adata.uns))).encode())
    for key in sorted(adata.obsm):
        sha.update(np.asarray(adata.obsm[key][:]).tobytes())
    return sha.hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "items") and not isinstance(value, pd.DataFrame):
        return {key: _plain(each) for key, each in sorted(value.items())}
    return value.to_dict() if isinstance(value, pd.DataFrame) else np.asarray(value).tolist()


def _table(suffix: str, seed: int, directory: Path) -> None:
    write_table(toy_table(5, 2, seed=seed), directory / f"t{suffix}")


def _read_table(name: str, directory: Path) -> Any:
    return _digest(directory / name)


def _digest(path: Path) -> str | None:
    if not path.exists():
        return None
    table = read_table(path)
    try:
        return str(table.uns["gene_table"]["digest"])
    finally:
        if table.isbacked:
            table.file.close()


def _read_tables(directory: Path) -> Any:
    digests = [_digest(directory / "tables" / f"{species}.h5ad") for species in ("human", "mouse")]
    return digests if all(digests) else None


def _place(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


def _checkpoint(directory: Path) -> None:
    _place(directory, {"c.torch": torch_bytes(paper_state())})


def _brain_checkpoint(directory: Path) -> None:
    _place(directory / "hub", brain_files())


def _release(directory: Path) -> None:
    _place(directory, paper_release())


def _save_model(directory: Path) -> None:
    uc.model.save_model(tiny_network(), directory / "m")


def _convert(directory: Path) -> None:
    os.chdir(directory)  # the name of the source is recorded
    uc.model.convert_checkpoint("c.torch", "m", config=PAPER_CONFIG)


def _convert_brain(directory: Path) -> None:
    os.chdir(directory)
    uc.model.convert_checkpoint("hub", "m", species=["human"])


def _convert_tables(directory: Path) -> None:
    uc.genes.convert_tables(
        directory / "species_chrom.csv", directory / "species_offsets.pkl", tokens=directory / "all_tokens.torch",
        protein_embeddings=directory / "protein_embeddings", out_dir=directory / "tables",
        chrom_token_offset=GENES_END, annotation={},
    )  # fmt: skip


def _read_model(directory: Path) -> Any:
    return read_model(directory / "m").digest if (directory / "m" / "config.json").exists() else None


@cache
def _fitted(seed: int) -> Any:
    return uc.tl.LabelClassifier.fit(embedded(90, seed), groupby="cell_type", method="centroid")


def _classifier(seed: int, directory: Path) -> None:
    _fitted(seed).save(directory / "c.h5ad")


def _read_classifier(directory: Path) -> Any:
    return repr(uc.tl.LabelClassifier.load(directory / "c.h5ad").__dict__)


def _cache(directory: Path) -> None:
    write_cached(directory, "key", VALUES, {"seconds": 1.0})


def _read_cache(directory: Path) -> Any:
    found = read_cached(directory, "key")
    return None if found is None else (found[0].tolist(), found[1])


def _cache_numbers(directory: Path) -> None:
    cached_numbers(directory, [VALUES], lambda: {"a b": 0.1})


def _read_numbers(directory: Path) -> Any:
    return len(list(directory.glob("*.npz"))) or None


def _checksum(directory: Path, *, name: str = "new") -> None:
    with uc.settings.override(cache_dir=directory):
        record_checksum(name, "0" * 64)


def _read_checksums(directory: Path) -> Any:
    with uc.settings.override(cache_dir=directory):
        return read_checksums()


def _build(directory: Path) -> None:
    (directory / "p.fa").write_text(
        ">P1 pep chromosome:v1:7:500:900:1 gene:G1 gene_symbol:INS\nMALW\n"
        ">P2 pep chromosome:v1:7:40:90:1 gene:G2\nMKK\n"
    )
    encoder = uc.genes.Precomputed({"P1": [1.0, 2.0], "P2": [3.0, 4.0]}, name="example")
    uc.genes.build_species(
        "axolotl", fasta=directory / "p.fa", taxonomy_id=8296, encoder=encoder, work_dir=directory / "work",
        out=directory / "axolotl.h5ad", overwrite=True,
    ).file.close()  # fmt: skip


def _read_built(directory: Path) -> Any:
    assert all(read_block(path) for path in (directory / "work").rglob("*.npz") if ".part" not in str(path))
    return _digest(directory / "axolotl.h5ad")


def _command(suffix: str, seed: int, directory: Path, *, overwrite: bool = True) -> None:
    """The command line, with an embedding that takes no time."""
    from univerce import cli, tl

    def uce_embed(adata: ad.AnnData, **options: Any) -> None:
        adata.obsm["X_uce"] = np.full((adata.n_obs, 2), seed, dtype=np.float32)

    real, tl.uce_embed = tl.uce_embed, uce_embed
    try:
        out = directory / f"out{suffix}"
        options = ["-q", *["--overwrite"] * overwrite]
        if code := cli.main(["embed", str(directory / "in.h5ad"), "-o", str(out), *options]):
            raise ValueError(f"univerce embed ended with {code}")
    finally:
        tl.uce_embed = real


def _input(directory: Path) -> None:
    ad.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(directory / "in.h5ad")


def _old_output(suffix: str, directory: Path) -> None:
    _input(directory)
    _command(suffix, 1, directory)


def _read_output(name: str, directory: Path) -> Any:
    try:
        return _summary(open_anndata(directory / name))
    except FileNotFoundError:
        return None


def _pretraining() -> Writer:
    """Two checkpoints and two rows of the log."""
    recipe = replace(RECIPE, steps=4, evaluate_every=2, checkpoint_every=2)
    import lightning.fabric  # noqa: F401 - here, not in every fork
    import sklearn.metrics  # noqa: F401

    corpus = Corpus(SETS[:1], MODEL, recipe)  # compiles; no step, because threads of autograd do not survive a fork
    corpus.draw(corpus.plan(2, np.random.default_rng(0), step=0))

    def read(directory: Path) -> Any:
        path = directory / "checkpoint.pt"
        return _tensors(path) if path.exists() and torch.load(path)["step"] == recipe.steps else None

    def write(directory: Path) -> None:
        with uc.settings.override(device="cpu", verbosity="error"):
            uc.model.pretrain(SETS[:1], MODEL, recipe, directory)

    return Writer("pretrain", write, read, same=_without_times)


def _without_times(path: Path) -> bytes:
    """A resumed training writes the same tensors in other bytes, and other times."""
    if path.name == "checkpoint.pt":
        return _tensors(path).encode()
    return pd.read_csv(path, dtype=str).drop(columns="cells_per_second").to_csv().encode()


def _tensors(path: Path) -> str:
    """Digest of a checkpoint."""
    saved, sha = torch.load(path), hashlib.sha256()
    parts: list[Any] = [saved]
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list | tuple):
            parts += [list(part), *part.values()] if isinstance(part, dict) else part
        else:
            sha.update(part.numpy().tobytes() if isinstance(part, torch.Tensor) else repr(part).encode())
    return sha.hexdigest()


def _index(digest: str, directory: Path) -> None:
    write_index(directory / "i", _built(), digest=digest)


@cache
def _built() -> NeighborIndex:
    return build_index(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), "ivf")


def _read_index(directory: Path) -> Any:
    found = [digest for digest in ("old", "new") if read_index(directory / "i", kind="ivf", digest=digest) is not None]
    return found[0] if found else None


def _compressed(directory: Path) -> None:
    """Build a compressed index in parts, and use it."""
    search = {"groupby": None, "n_neighbors": 3, "method": "compressed", "index": directory / "c"}
    uc.tl.search_atlas(embedded(30)[:4].copy(), embedded(30), **search)


def _read_compressed(directory: Path) -> Any:
    file = directory / "c"
    if not file.exists():
        return None
    assert is_intact(file)
    return file.read_bytes()


_writer("embedding store", _embed, _read_store, plain=_zarr("s.zarr"))
_writer("embedding store with a damaged block", _embed, _read_store, prepare=_damaged_store)
_ATLAS = partial(_atlas, "build")
_writer("atlas.build", _ATLAS, partial(_read_atlas, "a.zarr"), plain=_zarr("a.zarr"), once=True)
_writer(
    "atlas.append", partial(_atlas, "append"), partial(_read_atlas, "a.zarr"), prepare=_ATLAS, plain=_zarr("a.zarr"),
    once=True,
)  # fmt: skip
_writer(
    "atlas.subset", partial(_atlas, "subset"), partial(_read_atlas, "b.zarr"), prepare=_ATLAS, plain=_zarr("b.zarr"),
    once=True,
)  # fmt: skip
for _suffix in (".h5ad", ".zarr.zip"):
    _writer(
        f"gene table {_suffix}", partial(_table, _suffix, 0), partial(_read_table, f"t{_suffix}"),
        prepare=partial(_table, _suffix, 1),
    )  # fmt: skip
_writer("model", _save_model, _read_model, once=True)
_writer("checkpoint, first family", _convert, _read_model, prepare=_checkpoint, once=True)
_writer("checkpoint, second family", _convert_brain, _read_model, prepare=_brain_checkpoint, once=True)
_writer("released gene tables", _convert_tables, _read_tables, prepare=_release)
_writer("classifier of labels", partial(_classifier, 0), _read_classifier, prepare=partial(_classifier, 1))
_writer("index of search_atlas", partial(_index, "new"), _read_index, prepare=partial(_index, "old"))
_writer("compressed index of search_atlas", _compressed, _read_compressed, once=True)
_writer("cache of embeddings", _cache, _read_cache)
_writer("cache of scores", _cache_numbers, _read_numbers, once=True)
_writer("checksums", _checksum, _read_checksums, prepare=partial(_checksum, name="old"))
_writer("build_species", _build, _read_built)
_writer(
    "univerce embed -o .h5ad", partial(_command, ".h5ad", 0, overwrite=False), partial(_read_output, "out.h5ad"),
    prepare=_input, once=True,
)  # fmt: skip
WRITERS["pretrain"] = _pretraining
for _suffix in (".h5ad", ".zarr"):
    _writer(
        f"univerce embed -o {_suffix} --overwrite", partial(_command, _suffix, 0),
        partial(_read_output, f"out{_suffix}"),
        prepare=partial(_old_output, _suffix), plain=_zarr("out.zarr") if _suffix == ".zarr" else None,
    )  # fmt: skip
