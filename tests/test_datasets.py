"""The bundled cells, and data sets that are downloaded, from a server on this machine."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.io
import scipy.sparse as sp

import univerce as uc
from univerce.datasets import _published
from univerce.datasets.pbmc68k_reduced import _recover_counts, pbmc68k_reduced


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return pbmc68k_reduced()


def test_the_counts_reproduce_every_published_value_to_its_last_decimal(adata: ad.AnnData) -> None:
    published = sc.datasets.pbmc68k_reduced().raw.X.toarray()
    scaled = adata.X.toarray() * (1e4 / adata.obs["n_counts"].to_numpy()[:, None])
    np.testing.assert_allclose(np.log1p(scaled), published, atol=5.01e-4, rtol=0)


def test_dividing_by_the_smallest_value_of_a_cell_gives_the_same_counts(adata: ad.AnnData) -> None:
    """An oracle without n_counts, for small counts, where three decimals are enough."""
    published = sc.datasets.pbmc68k_reduced().raw.X.tocsr()
    for i in range(0, adata.n_obs, 7):
        scaled = np.expm1(published[i].data.astype(float))
        counts = scaled / scaled.min()
        small = counts < 20
        np.testing.assert_array_equal(np.rint(counts[small]), adata.X[i].data[small])


def test_it_is_an_anndata_of_counts_and_labels(adata: ad.AnnData) -> None:
    assert isinstance(adata.X, sp.csr_matrix)
    assert adata.X.dtype == np.int32
    assert adata.shape == (700, 765)
    assert adata.X.data.min() == 1
    totals = adata.X.sum(axis=1).A1
    assert np.all(totals <= adata.obs["n_counts"].to_numpy())
    assert adata.uns["organism"] == "Homo sapiens"
    assert "Zheng" in adata.uns["source"]
    published = sc.datasets.pbmc68k_reduced()
    assert adata.obs["cell_type"].astype(str).tolist() == published.obs["bulk_labels"].astype(str).tolist()
    assert adata.obs_names.tolist() == published.obs_names.tolist()
    assert adata.var_names.tolist() == published.raw.var_names.tolist()


def test_each_call_gives_its_own_data() -> None:
    first = pbmc68k_reduced()
    first.X.data[:] = 0
    assert pbmc68k_reduced().X.max() > 0


def test_counts_come_back_whatever_the_smallest_one_is() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (30, 40)) * (rng.random((30, 40)) < 0.5)
    counts[0] *= 4  # no count of one
    counts[1] = 0  # an empty cell
    n_counts = counts.sum(axis=1) + 100
    values = np.log1p(counts * 1e4 / n_counts[:, None]).round(3).astype(np.float32)
    np.testing.assert_array_equal(_recover_counts(sp.csr_matrix(values), n_counts).toarray(), counts)


def test_values_that_are_not_log1p_of_counts_are_an_error() -> None:
    for values, n_counts in {
        "fractions": ([[1.0, 2.5]], [5000]),
        "more counts than in the cell": ([[np.log1p(2e4 / 50), np.log1p(60e4 / 50)]], [50]),
        "missing": ([[np.nan]], [50]),
        "negative": ([[-3.0]], [50]),
    }.values():
        with pytest.raises(ValueError, match="are not log1p"):
            _recover_counts(sp.csr_matrix(np.array(values)), np.array(n_counts))


COUNTS = np.array([[0, 2, 1], [3, 0, 0]])


def _kang(path: Path) -> None:
    obs = pd.DataFrame(
        {"cell_type": ["B cells", "NK cells"], "label": ["ctrl", "stim"], "replicate": ["patient_101", "patient_1015"]},
        index=["a", "b"],
        dtype="category",
    )
    ad.AnnData(sp.csr_matrix(COUNTS.astype(np.float32)), obs=obs, var=pd.DataFrame(index=["A", "B", "C"])).write_h5ad(
        path
    )


def _baron(path: Path) -> None:
    text = ",barcode,assigned_cluster,A,B,C\n{0}.1,x,alpha,0,2,1\n{0}.2,y,{1},3,0,0\n"
    with tarfile.open(path, "w") as tar:
        for donor, label in (("human1", "t_cell"), ("human2", "quiescent_stellate"), ("mouse1", "T_cell")):
            content = gzip.compress(text.format(donor, label).encode())
            member = tarfile.TarInfo(f"GSM1_{donor}_umifm_counts.csv.gz")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _muris(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for tissue in ("Lung-10X_P7_8", "Spleen-10X_P4_7"):
            matrix = io.BytesIO()
            scipy.io.mmwrite(matrix, sp.coo_matrix(COUNTS.T))
            archive.writestr(f"droplet/{tissue}/matrix.mtx", matrix.getvalue())
            archive.writestr(f"droplet/{tissue}/genes.tsv", "A\tA\nB\tB\nC\tC\n")
            archive.writestr(f"droplet/{tissue}/barcodes.tsv", "AAAC-1\nAAAG-1\n")
        archive.writestr("__MACOSX/droplet/Lung-10X_P7_8/matrix.mtx", "not a matrix")


def _muris_cells(path: Path) -> None:
    path.write_text(
        "cell,channel,mouse.id,tissue,cell_ontology_class,cell_ontology_id\n"
        "10X_P7_8_AAAG,10X_P7_8,3-F-56,Lung,B cell,CL:0000236\n"
        "10X_P7_8_AAAC,10X_P7_8,3-F-56,Lung,,\n"
        "10X_P4_7_AAAC,10X_P4_7,3-M-9,Spleen,T cell,CL:0000084\n"
    )


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Small files in place of the published ones, each at its second address; the first answers 404."""
    root = tmp_path / "server"
    root.mkdir()
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    files = {}
    for (name, file), write in zip(_published.FILES.items(), (_kang, _baron, _muris, _muris_cells), strict=True):
        write(root / name)
        content = (root / name).read_bytes()
        url = f"http://127.0.0.1:{server.server_port}"
        files[name] = dataclasses.replace(
            file,
            urls=(f"{url}/gone", f"{url}/{name}"),
            size=len(content),
            min_bytes=len(content) // 2,
            max_bytes=10**9,
            sha256=file.sha256 and hashlib.sha256(content).hexdigest(),
        )
    monkeypatch.setattr(_published, "FILES", files)
    with uc.settings.override(cache_dir=tmp_path / "cache", progress=False):
        yield root
    server.shutdown()
    server.server_close()
    thread.join()


def test_published_data_sets_have_counts_types_and_donors(published: Path) -> None:
    kang = uc.datasets.kang_2018()
    np.testing.assert_array_equal(kang.X.toarray(), COUNTS)
    assert kang.obs["condition"].tolist() == ["control", "interferon"]
    assert kang.obs["donor"].tolist() == ["patient_101", "patient_1015"]
    human, mouse = uc.datasets.baron_2016("human"), uc.datasets.baron_2016("mouse")
    assert human.obs["cell_type"].tolist() == ["alpha", "T cell", "alpha", "quiescent stellate"]
    assert mouse.obs["cell_type"].tolist() == ["alpha", "T cell"]
    assert human.obs["donor"].tolist() == ["human1", "human1", "human2", "human2"]
    np.testing.assert_array_equal(human.X.toarray(), np.vstack([COUNTS, COUNTS]))
    atlas = uc.datasets.tabula_muris()
    assert atlas.obs_names.tolist() == ["10X_P7_8_AAAG", "10X_P4_7_AAAC"]
    assert atlas.obs["cell_type_ontology_term_id"].tolist() == ["CL:0000236", "CL:0000084"]
    np.testing.assert_array_equal(atlas.X.toarray(), COUNTS[[1, 0]])
    assert uc.datasets.tabula_muris(["Spleen"]).obs["tissue"].tolist() == ["Spleen"]
    with pytest.raises(ValueError, match=r"\['Brain'\] are not in Tabula Muris; it has Lung, Spleen"):
        uc.datasets.tabula_muris(["Brain"])
    for adata in (kang, human, mouse, atlas):
        assert adata.X.dtype == np.int32
        assert adata.uns["organism"] in {"Homo sapiens", "Mus musculus"}


def test_downloads_are_kept_and_checked(published: Path) -> None:
    first = uc.datasets.kang_2018()
    path = uc.settings.cache_dir / "datasets" / "kang_2018.h5ad"
    path.write_bytes(b"damaged")
    assert uc.datasets.kang_2018().obs_names.tolist() == first.obs_names.tolist()
    for file in published.iterdir():
        file.write_bytes(b"another file")
    with uc.settings.override(offline=True):
        assert uc.datasets.kang_2018().n_obs == 2
        with pytest.raises(FileNotFoundError, match=r"GSE84133_RAW.tar .* by hand"):
            uc.datasets.baron_2016()
    for loader in (uc.datasets.baron_2016, uc.datasets.tabula_muris):
        with pytest.raises(OSError, match=r"could not be fetched[\s\S]*404[\s\S]*by hand"):
            loader()
    with pytest.raises(ValueError, match="use 'human' or 'mouse'"):
        uc.datasets.baron_2016("rat")
