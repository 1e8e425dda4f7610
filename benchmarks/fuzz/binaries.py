"""Binary files: pickles, tables, weights, AnnData, archives."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from hypothesis import strategies as st

from benchmarks.fuzz.mutations import changed
from benchmarks.fuzz.target import Format, Target, read_or_refuse
from univerce import FileError


def unpickle(directory: Path) -> Target:
    """Pickles of plain objects: nothing but plain objects comes out."""
    from univerce.genes.release.unpickle import load_pickle_plain

    path = directory / "x.pkl"
    values = ({"human": 4, "mouse": 13466}, {"A": np.float64(2.5), "B": [1, ("x", b"y")]})
    many = b"\xff" * 6 + b"\x00\x00"
    tokens = (b"c__builtin__\neval\n", b"cposix\nsystem\n", b"\x81", b"R", b"b", b"o", b"r\xff\xff\xff\x7f",
              b"\x96" + many, b"\x8e" + many, b"\x95" + many)  # fmt: skip
    strategy = st.one_of(*(changed(pickle.dumps(v, protocol=p), tokens) for v in values for p in (2, 3, 4, 5)))

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: [load_pickle_plain(path, numpy_numbers=True)])
        return found is not None and _plain(found)

    bombs = (
        b"\x80\x04]r\xff\xff\xff\x7f.", b"\x80\x04\x8e" + (2**38).to_bytes(8, "little") + b"x.",
        b"\x80\x05\x96" + (2**36).to_bytes(8, "little") + b"x.",
    )  # fmt: skip
    return Target(strategy, attempt, (Format("pickle", pickle.dumps(values[0]), attempt, bombs),))


def _plain(value: Any) -> bool:
    from univerce.genes.release.unpickle import load_pickle_plain

    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        plain = isinstance(one, dict | list | tuple | set | frozenset | str | bytes | int | float | None)
        own = type(one).__name__ in ("_Dtype", "type", "function") and one.__module__ == load_pickle_plain.__module__
        assert plain or own, f"a {type(one).__name__} came out"
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            todo += one
    return True


def tables(directory: Path) -> Target:
    """Gene tables: the genes that were written, or refused."""
    from univerce.genes.table import make_table, read_table, table_digest, write_table

    genes = pd.DataFrame({"symbol": ["A", "B", "C"], "ensembl_id": ["E1", "", "E3"], "chromosome": ["1", "1", "X"],
                          "start": [5, 9, 2], "chromosome_code": [0, 0, 1]})  # fmt: skip
    table = make_table(
        genes, np.eye(3, 6, dtype="f4"), species="human", encoder="e", source="s", chromosome_names=["1", "X"],
        special_features=np.zeros((4, 6)), chromosome_codes=[0, 1], chromosome_features=np.ones((2, 6)),
    )  # fmt: skip
    bases = {suffix: write_table(table, directory / f"t{suffix}").read_bytes() for suffix in (".h5ad", ".zarr.zip")}
    bombs = {".h5ad": (_huge_h5ad(directory / "t.h5ad"),), ".zarr.zip": tuple(_huge_zips(bases[".zarr.zip"]))}
    strategy = st.one_of(*(st.tuples(st.just(suffix), changed(base, most=2)) for suffix, base in bases.items()))

    def attempt(value: tuple[str, bytes]) -> bool:
        path = directory / f"x{value[0]}"
        found = read_or_refuse(path, value[1], lambda: read_table(path))
        if found is not None:
            assert table_digest(found) == table.uns["gene_table"]["digest"]
            if found.isbacked:
                found.file.close()
        return found is not None

    formats = (
        Format(f"gene table, {suffix}", base, lambda content, suffix=suffix: attempt((suffix, content)), bombs[suffix])
        for suffix, base in bases.items()
    )
    return Target(strategy, attempt, tuple(formats))


def _huge_h5ad(path: Path) -> bytes:
    """A table whose starts are 80 GB that were never written."""
    with h5py.File(path, "r+") as file:
        del file["obs/start"]
        file["obs"].create_dataset("start", shape=(10**10,), chunks=(1000,), dtype="i8").attrs.update(
            {"encoding-type": "array", "encoding-version": "0.2.0"}
        )
    return path.read_bytes()


def _huge_zips(whole: bytes) -> Iterator[bytes]:
    """A table whose features are 240 GB that were never written, one that states a terabyte, and one nested deeply."""
    for name, content in (("X/.zarray", None), ("X/0.0", b""), ("X/.zattrs", b"[" * 10**5)):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.namelist():
                data = old.read(entry)
                if entry == name:
                    data = (
                        json.dumps(json.loads(data) | {"shape": [10**10, 6]}).encode() if content is None else content
                    )
                new.writestr(entry, data)
            if name == "X/0.0":
                new.getinfo(name).file_size = 2**40
        yield out.getvalue()


def safetensors(directory: Path) -> Target:
    """Weights of a linear model: finite and of the shapes of the configuration, or refused."""
    from univerce.model.directory import Model
    from univerce.model.linear import Decoder, Linear, LinearConfig

    config = LinearConfig(token_dim=4, output_dim=2)
    ones = np.ones((2, 2), np.float32)
    decoder = Decoder(np.array([1]), np.ones((1, 2), np.int8), np.ones(1, np.float32), np.ones(1, np.float32))
    linear = Linear(config, ("A", "B", "C"), np.ones(3), np.ones((4, 2)), np.array([0, 2]), ones, ones[0], decoder)
    path = linear.save(directory / "model").weights
    whole = path.read_bytes()

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: Linear.read(Model(config, "", path.parent)))
        if found is not None:
            assert np.isfinite(found.weight).all()
            assert found.weight.shape == (4, 2)
            assert found.decoder.slopes.shape == (len(found.decoder.genes), 2)
        return found is not None

    bombs = (struct.pack("<Q", 2**63 - 1) + b"{}", struct.pack("<Q", 10**5) + b"[" * 10**5, _safetensors([2**40]))
    formats = (Format("safetensors", whole, attempt, bombs),)
    return Target(changed(whole, (b'"F16"', b'"I64"', b"[0,1]", b"[99999999999]")), attempt, formats)


def _safetensors(shape: list[int]) -> bytes:
    header = json.dumps({"keys": {"dtype": "U8", "shape": shape, "data_offsets": [0, shape[0]]}}).encode()
    return struct.pack("<Q", len(header)) + header


def tensors(directory: Path) -> Target:
    """State dicts of torch: finite or not, tensors come out, or nothing."""
    import torch

    from univerce.genes.release.tensors import open_tensors

    path = directory / "weights.torch"
    torch.save({"a.weight": torch.ones(2, 3), "b": torch.arange(3.0)}, path)
    whole = path.read_bytes()

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: dict(open_tensors([path])))
        if found is not None:
            assert all(isinstance(t, torch.Tensor) for t in found.values())
        return found is not None

    return Target(changed(whole, (b"archive/data.pkl", b"cos\nsystem\n")), attempt, (Format("torch", whole, attempt),))


def vectors(directory: Path) -> Target:
    """Vectors of proteins in npz, HDF5 and torch files."""
    import torch

    from univerce.genes.encoders.precomputed import Precomputed
    from univerce.genes.fasta import Protein

    one = {"P1": np.ones(3, np.float32), "P2": np.arange(3, dtype=np.float32)}
    np.savez(directory / "v.npz", **one)
    torch.save({name: torch.from_numpy(v) for name, v in one.items()}, directory / "v.pt")
    with h5py.File(directory / "v.h5", "w") as file:
        file.update(one)
    bases = {suffix: (directory / f"v{suffix}").read_bytes() for suffix in (".npz", ".h5", ".pt")}

    def attempt(value: tuple[str, bytes]) -> bool:
        path = directory / f"x{value[0]}"
        read = lambda: Precomputed(path, name="e").encode([Protein("P1"), Protein("P2")])  # noqa: E731
        found = read_or_refuse(path, value[1], read)
        if found is not None:
            assert found.dtype == np.float32
            assert len(found) == 2
        return found is not None

    strategy = st.one_of(*(st.tuples(st.just(suffix), changed(base, most=2)) for suffix, base in bases.items()))
    formats = (
        Format(f"protein vectors, {suffix}", base, lambda content, suffix=suffix: attempt((suffix, content)))
        for suffix, base in bases.items()
    )
    return Target(strategy, attempt, tuple(formats))


def archive(directory: Path) -> Target:
    """The archive of protein embeddings."""
    from univerce.genes.release.parse import protein_files
    from univerce.genes.release.registry import protein_file

    path, scratch = directory / "protein_embeddings.tar.gz", directory / "scratch"
    scratch.mkdir()
    (directory / "human.pt").write_bytes(np.random.default_rng(0).bytes(3000))
    with tarfile.open(path, "w:gz") as out:
        out.add(directory / "human.pt", f"p/{protein_file('human')}")
    whole = path.read_bytes()

    def attempt(content: bytes) -> bool:
        read = lambda: [file.read_bytes() for _, file in protein_files(path, ["human"], scratch)]  # noqa: E731
        return read_or_refuse(path, content, read, FileNotFoundError) is not None  # it may lack the file

    return Target(changed(whole, most=2), attempt, (Format("tar.gz", whole, attempt),))


def anndata(directory: Path) -> Target:
    """An AnnData in one file or a directory of which one file is changed; its counts are read to the end."""
    from univerce.io.blocks import iter_blocks
    from univerce.io.files import open_anndata

    adata = ad.AnnData(
        sp.csr_matrix(np.arange(12.0).reshape(4, 3)), obs=pd.DataFrame({"t": list("abab")}, list("wxyz"))
    )
    adata.obsm["X_uce"], adata.layers["d"] = np.eye(4, 2), np.arange(12.0).reshape(4, 3)
    with ad.settings.override(zarr_write_format=2):
        adata.write_zarr(directory / "a.zarr")
    adata.write_h5ad(directory / "a.h5ad")
    files = [directory / "a.h5ad", *sorted(f for f in (directory / "a.zarr").rglob("*") if f.is_file())]
    whole = [file.read_bytes() for file in files]
    tokens = (b'"shape": [1000000000000]', b"[4]", b"[-1]", b'"csc_matrix"', b"<f4", b"|O")
    strategy = st.sampled_from(range(len(files))).flatmap(
        lambda k: st.tuples(st.just(k), st.one_of(st.none(), changed(whole[k], tokens, most=2)))
    )

    def attempt(value: tuple[int, bytes | None]) -> bool:
        file, path = files[value[0]], directory / ("a.zarr" if value[0] else "a.h5ad")
        file.unlink()
        if value[1] is not None:
            file.write_bytes(value[1])
        try:
            found = open_anndata(path, expression=True)
            for X in (found.X, found.layers.get("d")):
                for _, block in iter_blocks(X, 3) if X is not None and len(X.shape) == 2 else ():
                    assert block.shape[1] == X.shape[1]
        except FileError:
            return False
        except FileNotFoundError:
            assert not path.exists()
            return False
        finally:
            if value[0] == 0 and "found" in locals():
                getattr(getattr(found.X, "group", found.layers.get("d")), "file", file.open()).close()
            file.write_bytes(whole[value[0]])
        return True

    formats = [Format("counts, .h5ad", whole[0], lambda content: attempt((0, content)))]
    for part in ("X/data/0", "X/indices/0", "X/indptr/0", ".zmetadata"):
        k = files.index(directory / "a.zarr" / part)
        formats.append(Format(f"counts, .zarr ({part})", whole[k], lambda content, k=k: attempt((k, content))))
    return Target(strategy, attempt, tuple(formats))


def cells(directory: Path) -> Target:
    """What ``univerce embed`` reads besides AnnData; the counts are read to the end."""
    import mudata

    from univerce.cli._files import pulling_nothing, read
    from univerce.io.blocks import iter_blocks

    counts, names = np.arange(12).reshape(4, 3), [list("wxyz"), list("abc")]
    with h5py.File(directory / "c.loom", "w") as file:
        file["matrix"], file["layers/spliced"] = counts.T, counts.T
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(names[1], "S1"), np.array(names[0], "S1")
    X = sp.csr_matrix(counts)
    with h5py.File(directory / "c.h5", "w") as file:
        group = file.create_group("matrix")
        for key, values in (("data", X.data), ("indices", X.indices), ("indptr", X.indptr), ("shape", X.shape[::-1])):
            group[key] = np.asarray(values)
        group["barcodes"], features = np.array(names[0], "S1"), group.create_group("features")
        for key in ("id", "name", "feature_type", "genome"):
            features[key] = np.array(names[1], "S1")
    rna = ad.AnnData(X.astype("f4"), pd.DataFrame(index=names[0]), pd.DataFrame(index=names[1]))
    with pulling_nothing():
        mudata.MuData({"rna": rna}).write_h5mu(directory / "c.h5mu")
    entries = "".join(f"{j + 1} {i + 1} {n}\n" for (i, j), n in np.ndenumerate(counts) if n)
    text = f"%%MatrixMarket matrix coordinate integer general\n3 4 {X.nnz}\n{entries}"
    (directory / "c.mtx").write_text(text)
    for name, lines in zip(("barcodes.tsv", "genes.tsv"), names, strict=True):
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
    bases = {suffix: (directory / f"c{suffix}").read_bytes() for suffix in (".loom", ".h5", ".h5mu", ".mtx")}
    bases[".mtx.gz"] = gzip.compress(text.encode())

    def attempt(value: tuple[str, bytes]) -> bool:
        def everything() -> Any:
            data = read(path)
            data = data if isinstance(data, ad.AnnData) else data.mod["rna"]
            matrices = [X for X in (data.X, *data.layers.values()) if X is not None]
            return [block.shape[1] == data.n_vars for X in matrices for _, block in iter_blocks(X, 3)]

        path = directory / f"x{value[0]}"
        found = read_or_refuse(path, value[1], everything)
        assert found is None or all(found)
        return found is not None

    bombs = {suffix: tuple(_stating(directory / f"c{suffix}")) for suffix in (".loom", ".h5", ".h5mu")}
    zeros = b"%%MatrixMarket matrix coordinate integer general\n3 4 1000000000000\n"
    bombs |= {".mtx": (zeros,), ".mtx.gz": (gzip.compress(zeros),)}
    formats = (
        Format(f"cells, {suffix}", base, lambda content, suffix=suffix: attempt((suffix, content)), bombs[suffix])
        for suffix, base in bases.items()
    )
    strategy = st.one_of(*(st.tuples(st.just(suffix), changed(base, most=2)) for suffix, base in bases.items()))
    return Target(strategy, attempt, tuple(formats))


def _stating(path: Path) -> Iterator[bytes]:
    """The same file, with a matrix of terabytes that were never written."""
    with h5py.File(path, "r+") as file:
        place = {".loom": "matrix", ".h5": "matrix/data", ".h5mu": "mod/rna/X/data"}[path.suffix]
        dtype = file[place].dtype
        del file[place]
        shape = (10**6, 10**6) if path.suffix == ".loom" else (10**12,)
        file.create_dataset(place, shape=shape, chunks=tuple(1000 for _ in shape), dtype=dtype)
    yield path.read_bytes()


def manifest(directory: Path) -> Target:
    """Manifests of stores: resumed with the same inputs, or refused."""
    from univerce.inference.store import MANIFEST, EmbeddingStore

    options: dict[str, Any] = {"key": "X", "obs_names": list("abc"), "dim": 2, "block_rows": 2, "fingerprint": {"s": 1}}
    path = directory / "s.zarr"
    EmbeddingStore.open(path, **options)
    base = (path / MANIFEST).read_bytes()

    def attempt(content: bytes) -> bool:
        store = read_or_refuse(path / MANIFEST, content, lambda: EmbeddingStore.open(path, **options), ValueError)
        if store is not None:
            assert (store.shape, store.missing()) == ((3, 2), [0, 1])
        return store is not None

    formats = (Format("manifest of a store", base, attempt, (b"[" * 100_000,)),)
    return Target(changed(base, (b'"n_obs": 1000000000000000000,', b'"dtype": "O",')), attempt, formats)
