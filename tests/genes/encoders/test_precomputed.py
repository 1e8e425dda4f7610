from __future__ import annotations

import os
import pickle

import h5py
import numpy as np
import pytest
import torch

import univerce as uc
from univerce.genes import Precomputed
from univerce.genes.fasta import Protein

VECTORS = {
    name: np.arange(4, dtype=np.float32) + i for i, name in enumerate(["NP_000001.2", "NP_000002", "G3", "Ins", "GCG"])
}
PROTEINS = [
    Protein("NP_000001.2", gene="G3"),
    Protein("NP_000002.7", symbol="Ins"),
    Protein("P3", gene="G3", symbol="Ins"),
    Protein("P4", gene="G4", symbol="Ins"),
    Protein("P5", symbol="Gcg"),
    Protein("P6", symbol="INS"),
    Protein("P7"),
]


def write(tmp_path, kind: str):
    path = tmp_path / f"vectors.{kind}"
    if kind == "pt":
        torch.save({k: torch.from_numpy(v) for k, v in VECTORS.items()}, path)
    elif kind == "npz":
        np.savez(path, **VECTORS)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for k, v in VECTORS.items():
                file[k] = v.astype(np.float16)
    else:
        path.mkdir()
        for k, v in VECTORS.items():
            means = {48: torch.from_numpy(v)}
            torch.save({"label": k, "mean_representations": means}, path / f"{k}.pt")
    return path


@pytest.mark.parametrize("kind", ["pt", "npz", "h5", "directory"])
def test_a_vector_is_looked_up_by_protein_then_gene_then_symbol(tmp_path, kind):
    encoder = Precomputed(write(tmp_path, kind), name="mine")
    found = encoder.encode(PROTEINS)
    np.testing.assert_array_equal(found[:, 0], [0, 1, 2, 3, 4, np.nan, np.nan])
    np.testing.assert_array_equal(found[1], VECTORS["NP_000002"])
    assert (encoder.name, encoder.dim) == ("mine", 4)


def test_files_are_named_after_their_content_unless_they_are_of_the_release(tmp_path):
    assert Precomputed("Gallus_gallus.GRCg7b.gene_symbol_to_embedding_ESM2.pt").name == "esm2_t48_15B_UR50D"
    path = write(tmp_path, "npz")
    name = Precomputed(path).name
    assert name.startswith("vectors-")
    np.savez(path, a=np.ones(4))
    os.utime(path, ns=(1, 1))
    assert Precomputed(path).name != name
    with pytest.raises(ValueError, match="have no name: pass Precomputed"):
        _ = Precomputed(tmp_path).name
    with pytest.raises(ValueError, match="Vectors in memory have no name"):
        Precomputed(VECTORS)


@pytest.mark.parametrize(
    "vectors, said",
    [
        ({"P7": np.ones(4), "G3": np.ones(3)}, r"vector of 'G3' has the shape \(3,\) \(others \(4,\)\)"),
        ({"P7": np.array([1, np.nan])}, "'P7' .* not finite"),
        ({"P7": np.ones((1, 4))}, "'P7' is not a vector"),
        ({"P7": "text"}, "'P7' is not a vector"),
        ({}, "has no vectors"),
    ],
    ids=["width", "not finite", "matrix", "text", "empty"],
)
def test_other_values_than_vectors_are_refused(vectors, said):
    with pytest.raises(ValueError, match=said):
        Precomputed(vectors, name="mine").encode(PROTEINS)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_code_in_a_file_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"INS": Evil()}, protocol=2))
    with pytest.raises(ValueError, match="refused"):
        Precomputed(tmp_path / "evil.pt").encode(PROTEINS)
    assert not (tmp_path / "evil").exists()


def test_a_damaged_file_is_named_and_a_file_per_protein_must_hold_one_mean(tmp_path):
    for name in ("x.h5", "x.pt"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=name):
            Precomputed(tmp_path / name).encode(PROTEINS)
    (tmp_path / "x.pt").unlink()
    torch.save({"representations": {}}, tmp_path / "P7.pt")
    with pytest.raises(ValueError, match=r"extract\.py with --include mean"):
        Precomputed(tmp_path, name="mine").encode(PROTEINS)


def test_every_damage_of_an_hdf5_file_names_it(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["P1"] = np.ones(3, np.float32)
    whole = (tmp_path / "v.h5").read_bytes()
    said = []
    for at in range(0, len(whole), 16):
        path = tmp_path / "x.h5"
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        encoder = Precomputed(path, name="e")
        try:
            encoder.encode([Protein("P1")])
        except uc.FileError as error:
            said.append(str(error))
        path.unlink()  # HDF5 would take the next for this one, which is still open
    assert len(said) > 10
    assert all(text.startswith(str(tmp_path / "x.h5")) for text in said)
