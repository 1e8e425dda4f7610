"""The command line, with a stand-in for the network."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

import univerce as uc
from tests.helpers.checkpoints import brain_files
from tests.helpers.tiny import tiny_cells
from tests.helpers.trained import typed_counts, write_trained
from univerce.cli import _embed, _files, _parser, main
from univerce.inference.store import EmbeddingStore

N, DIM = 30, 8


@pytest.fixture
def calls(monkeypatch):
    """Replace ``uce_embed`` by a random projection that writes the same keys, and record how it was called."""
    recorded: list[dict[str, Any]] = []

    def uce_embed(adata: ad.AnnData, *, key_added: str = "X_uce", **kwargs: Any) -> None:
        compute = {name: getattr(uc.settings, name) for name in ("device", "precision", "batch_size")}
        recorded.append(kwargs | {"key_added": key_added, "backed": adata.isbacked, "settings": compute})
        X = np.log1p(adata.X[:].toarray())
        adata.obsm[key_added] = (X @ np.random.default_rng(0).normal(size=(X.shape[1], DIM))).astype(np.float32)
        adata.uns["univerce"] = {key_added: {"model": "stand-in"}}
        adata.var["uce_gene"] = adata.var_names

    monkeypatch.setattr(uc.tl, "uce_embed", uce_embed, raising=False)
    return recorded


@pytest.fixture
def cells(tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"donor": pd.Categorical(["a", "b"] * (N // 2))}, index=[f"cell {i}" for i in range(N)])
    adata = ad.AnnData(sp.csr_matrix(rng.poisson(1.0, (N, 12)).astype(np.float32)), obs=obs)
    adata.var_names = [f"gene {i}" for i in range(12)]
    adata.var["ensembl_id"] = [f"id {i}" for i in range(12)]
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_pca"] = rng.normal(size=(N, 2))
    adata.uns["title"], adata.raw = "cells", adata
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def read(path):
    return ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)


@pytest.mark.parametrize(
    ("out", "options"),
    [("out.h5ad", []), ("out.zarr", []), ("out.h5ad", ["--backed"])],
    ids=["to h5ad", "to zarr", "backed"],
)
def test_embed_adds_the_embedding_and_keeps_everything_else(tmp_path, cells, calls, capsys, out, options):
    before = cells.read_bytes()
    assert main(["embed", str(cells), "-o", str(tmp_path / out), "--species", "human", *options]) == 0
    old, new = read(cells), read(tmp_path / out)
    assert new.obsm["X_uce"].shape == (N, DIM)
    assert new.obsm["X_uce"].dtype == np.float32
    assert new.uns["univerce"]["X_uce"] == {"model": "stand-in"}
    assert new.var["uce_gene"].tolist() == old.var_names.tolist()
    for one, other in ((old.X, new.X), (old.layers["counts"], new.layers["counts"]), (old.raw.X, new.raw.X)):
        np.testing.assert_array_equal(one.toarray(), other.toarray())
    np.testing.assert_array_equal(old.obsm["X_pca"], new.obsm["X_pca"])
    pd.testing.assert_frame_equal(old.obs, new.obs)
    assert new.uns["title"] == "cells"
    assert cells.read_bytes() == before
    assert calls[0]["backed"] == bool(options)
    assert f"{N} cells, {DIM} dimensions" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad", out}, "a temporary file was left"


def test_embed_reads_zarr(tmp_path, cells, calls):
    assert main(["embed", str(cells), "-o", str(tmp_path / "a.zarr")]) == 0
    assert main(["embed", str(tmp_path / "a.zarr"), "-o", str(tmp_path / "b.h5ad"), "--key-added", "X_again"]) == 0
    new = read(tmp_path / "b.h5ad")
    np.testing.assert_array_equal(new.obsm["X_uce"], new.obsm["X_again"])


def test_paths_may_begin_with_the_home_directory(tmp_path, cells, calls, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert main(["embed", "~/cells.h5ad", "-o", "~/out.h5ad"]) == 0
    assert (tmp_path / "out.h5ad").exists()
    assert main(["embed", "~/cells.h5ad", "-o", "~/out.h5ad", "--overwrite", "--model", "~/nothing"]) == 2


def test_every_option_reaches_uce_embed(tmp_path, cells, calls):
    options = (
        "--species mouse --model uce-4l --layer counts --gene-key ensembl_id --key-added X_b --batch-size 16 "
        "--device cpu --precision float32 --padding official --sampling systematic --n-draws 3 --seed 7"
    )
    assert main(["embed", str(cells), "-o", str(tmp_path / "out.h5ad"), *options.split()]) == 0
    settings = {"device": "cpu", "precision": "float32", "batch_size": 16}
    expected = {
        "species": "mouse", "model": "uce-4l", "layer": "counts", "gene_key": "ensembl_id", "key_added": "X_b",
        "padding": "official", "sampling": "systematic", "n_draws": 3, "rng": 7, "store": None, "mod": None,
    }  # fmt: skip
    assert calls == [expected | {"backed": False, "settings": settings}]


def test_with_a_store_the_output_holds_the_same_embedding_as_without(tmp_path):
    cells = tmp_path / "pbmc.h5ad"
    uc.datasets.pbmc68k_reduced()[:30].copy().write_h5ad(cells)
    assert main(["embed", "-q", str(cells), "-o", str(tmp_path / "plain.h5ad")]) == 0
    store = ["--store", str(tmp_path / "store.zarr")]
    assert main(["embed", "-q", str(cells), "-o", str(tmp_path / "stored.h5ad"), *store]) == 0
    plain, stored = read(tmp_path / "plain.h5ad"), read(tmp_path / "stored.h5ad")
    np.testing.assert_array_equal(plain.obsm["X_uce"], stored.obsm["X_uce"])
    pd.testing.assert_frame_equal(plain.obs, stored.obs)
    assert stored.uns["univerce"]["X_uce"]["model"] == plain.uns["univerce"]["X_uce"]["model"]


def test_quiet_switches_progress_off_only_while_it_runs(tmp_path, cells, calls, monkeypatch):
    embed, seen = uc.tl.uce_embed, []
    monkeypatch.setattr(uc.tl, "uce_embed", lambda *a, **k: (seen.append(uc.settings.progress), embed(*a, **k)))
    for i, options in enumerate(([], ["-q"])):
        assert main(["embed", str(cells), "-o", str(tmp_path / f"{i}.h5ad"), *options]) == 0
    assert seen == [True, False]
    assert uc.settings.progress


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_an_existing_output_is_replaced_only_with_overwrite(tmp_path, cells, calls, capsys, suffix):
    out = tmp_path / f"out{suffix}"
    command = ["embed", str(cells), "-o", str(out)]
    assert main(command) == 0
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert len(calls) == 1, "nothing is computed that cannot be written"
    assert main([*command, "--key-added", "X_other", "--overwrite"]) == 0
    assert "X_other" in read(out).obsm
    assert "X_uce" not in read(out).obsm
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad", out.name}


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_failed_write_leaves_the_old_output_and_nothing_else(tmp_path, cells, calls, monkeypatch, suffix):
    out = tmp_path / f"out{suffix}"
    assert main(["embed", str(cells), "-o", str(out)]) == 0

    def full(adata: ad.AnnData, path: Path, suffix: str) -> None:
        if suffix == ".zarr":
            path.mkdir()
        else:
            path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(_embed, "write", full)
    assert main(["embed", str(cells), "-o", str(out), "--overwrite"]) == 2
    assert read(out).obsm["X_uce"].shape == (N, DIM)
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad", out.name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cells.h5ad", "-o", "cells.h5ad"], "is the input"),
        (["cells.h5ad", "-o", "sub/../cells.h5ad"], "is the input"),
        (["link.h5ad", "-o", "cells.h5ad", "--overwrite"], "is the input"),
        (["nothing.h5ad", "-o", "out.h5ad"], "nothing.h5ad does not exist."),
        (["cells.h5ad", "-o", "nowhere/out.h5ad"], "The directory nowhere of out.h5ad does not exist."),
        (["cells.h5ad", "-o", "out.csv"], "out.csv must end in .h5ad or .zarr."),
        (["cells.csv", "-o", "out.h5ad"], "cells.csv is not a file of cells: .h5ad, .zarr, .h5mu"),
        (["cells.h5ad.gz", "-o", "out.h5ad"], "run `gunzip -k cells.h5ad.gz` first"),
        (["sub", "-o", "out.h5ad"], "The directory sub contains no matrix.mtx and is not a .zarr."),
        (["cells.h5ad", "-o", "out.h5ad", "--table", "no.h5ad"], "There is no gene table no.h5ad."),
        (["cells.h5ad", "-o", "out.h5ad", "--model", "uce-5l"], "There is no model 'uce-5l'; use uce-mini"),
        (["cells.h5ad", "-o", "out.h5ad", "--n-draws", "3"], "--n-draws 3: the model 'uce-mini' sums all genes"),
        (["cells.h5ad", "-o", "out.h5ad", "--species", "hooman"], "Nor is it a column of obs: donor."),
        (["cells.h5ad", "-o", "out.h5ad", "--layer", "x"], "--layer x is not in the file; its layers are: counts."),
        (["cells.h5ad", "-o", "out.h5ad", "--gene-key", "x"], "--gene-key x is not a column of var: ensembl_id."),
        (["cells.h5ad", "-o", "out.zarr", "--store", "out.zarr"], "out.zarr is the --store; write to another path."),
        (["cells.h5ad", "-o", "out.h5ad", "--mod", "rna"], "--mod rna chooses a modality of an .h5mu"),
        (["cells.h5ad", "-o", "out.zarr", "--backed"], "--backed reads an .h5ad and writes an .h5ad"),
    ],
)
def test_paths_that_cannot_work_are_refused_in_one_line(
    tmp_path, cells, calls, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.h5ad").hardlink_to(cells)
    for name in ("cells.csv", "cells.h5ad.gz"):
        (tmp_path / name).touch()
    before = cells.read_bytes()
    assert main(["embed", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("univerce: error: ")
    assert err.count("\n") == 1
    assert calls == []
    assert cells.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Two\nlines."), "Two lines."),
        (KeyError("layer='x y' is not there."), "--layer 'x y' is not there."),
        (FileNotFoundError("No file."), "No file."),
        (ImportError('pip install "univerce[x]"'), 'pip install "univerce[x]"'),
        (MemoryError(), "There is not enough memory."),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero (add --debug for the traceback)"),
        (
            ValueError("Pass species=\"human\", or species=; set rng=0, uc.settings.device = 'cpu'."),
            "Pass --species human, or --species; set --seed 0, --device cpu.",
        ),
        (ValueError("Not (layer='x'), as in f(layer='x')."), "Not (--layer x), as in f(layer='x')."),
        (ValueError("species= holds two tables."), "--species holds two tables."),
        (
            ValueError('adata.X holds fractions: layer="counts", or layer="raw" if adata.raw does.'),
            "X holds fractions: --layer counts, or --layer raw if raw does.",
        ),
    ],
)
def test_an_error_of_the_library_is_one_line_and_exit_status_2(tmp_path, cells, monkeypatch, capsys, error, line):
    monkeypatch.setattr(uc.tl, "uce_embed", Mock(side_effect=error))
    command = ["embed", str(cells), "-o", str(tmp_path / "out.h5ad")]
    assert main(command) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [f"univerce: error: {cells}: {line}"]
    with pytest.raises(type(error)):
        main([*command, "--debug"])
    assert not (tmp_path / "out.h5ad").exists()


def test_an_interrupt_is_exit_status_130_and_says_how_to_resume(tmp_path, cells, monkeypatch, capsys):
    monkeypatch.setattr(uc.tl, "uce_embed", Mock(side_effect=KeyboardInterrupt))
    command = ["embed", str(cells), "-o", str(tmp_path / "out.h5ad")]
    assert main(command) == 130
    assert capsys.readouterr().err.endswith(": interrupted. With --store DIR interrupted runs can be resumed.\n")
    assert main([*command, "--store", str(tmp_path / "s.zarr")]) == 130
    assert capsys.readouterr().err.endswith("univerce: interrupted. Repeat the command to resume.\n")


def test_assets_are_listed_and_fetched(monkeypatch, capsys):
    table = pd.DataFrame({"name": ["a.csv"], "cached": [False]})
    monkeypatch.setattr(uc.genes, "list_assets", lambda: table, raising=False)
    monkeypatch.setattr(uc.genes, "fetch", lambda name: Path("cache") / name, raising=False)
    assert main(["assets", "list"]) == 0
    assert capsys.readouterr().out.split() == ["name", "cached", "a.csv", "False"]
    assert main(["assets", "fetch", "a.csv", "b.csv"]) == 0
    assert capsys.readouterr().out.split() == [str(Path("cache/a.csv")), str(Path("cache/b.csv"))]


def test_models_are_listed_described_and_converted(tmp_path, capsys):
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "name", "family", "layers", "width", "vocabulary", "species", "download", "disk", "cached"
    ]  # fmt: skip
    (line,) = [line for line in lines if "uce-33l" in line]
    assert line.split()[:6] == ["uce-33l", "uce", "33", "1280", "145469", "8"]
    assert main(["models", "info", "brain-uce-pilot-mix-v3"]) == 0
    assert "repository: KuanP/brain-uce-pilot-mix-v3" in capsys.readouterr().out
    assert main(["models", "info", "uce-5l"]) == 2
    assert "no model 'uce-5l' on record; the names are uce-mini" in capsys.readouterr().err

    for path, content in brain_files().items():
        (tmp_path / "public" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / path).write_bytes(content)
    convert = ["models", "convert", str(tmp_path / "public"), "-o", str(tmp_path / "model")]
    assert main([*convert, "--species", "mouse", "--id", "chrom_token_offset=69"]) == 0
    assert "Model 'public'" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "model" / "tables").iterdir()] == ["mouse.h5ad"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["tokens"]["chromosome_offset"] == 69
    assert main([*convert, "--id", "offset"]) == 2
    assert "--id 'offset' must be NAME=NUMBER" in capsys.readouterr().err
    assert main(["models", "fetch", str(tmp_path / "public"), "--species", "human"]) == 0
    assert "human: 20 genes in" in capsys.readouterr().out


def umap_stand_in(adata: ad.AnnData, *, neighbors_key: str, key_added: str, random_state: int) -> None:
    adata.obsm[key_added] = adata.obsm[neighbors_key][:, :2].copy()


def test_a_model_is_verified(tmp_path, capsys):
    path = str(write_trained(tmp_path / "model", "uce"))
    typed_counts(60, seed=4).write_h5ad(tmp_path / "cells.h5ad")
    cells = ["--cells", str(tmp_path / "cells.h5ad")]
    assert main(["models", "verify", path, *cells, "--n-cells", "40"]) == 0
    assert "on 40 cells of human: loss 0." in (said := capsys.readouterr().out)
    assert "belong together: the model knows" in said
    assert main(["models", "verify", path, *cells, "--gene-key", "nothing"]) == 2
    assert "cells.h5ad: --gene-key nothing is not a column of var" in capsys.readouterr().err


def test_demo_scores_draws_and_writes(tmp_path, calls, monkeypatch, capsys):
    monkeypatch.setattr(sc.pp, "neighbors", lambda *args, **kwargs: None)  # UMAP itself is scanpy's business, and slow
    monkeypatch.setattr(sc.tl, "umap", umap_stand_in)
    assert main(["demo", "-o", str(tmp_path / "demo"), "--device", "cpu", "--debug"]) == 0
    assert (calls[0]["species"], calls[0]["model"], calls[0]["settings"]["device"]) == ("human", "uce-mini", "cpu")
    out = capsys.readouterr().out
    assert "most common type             0.343" in out
    adata = ad.read_h5ad(tmp_path / "demo" / "pbmc68k_uce.h5ad")
    assert {"X_uce", "X_pca", "X_umap_uce", "X_umap_pca"} <= set(adata.obsm)
    assert len(set(adata.uns["cell_type_colors"])) == 10
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"umap.png", "pbmc68k_uce.h5ad"}

    from matplotlib.image import imread

    height, width = imread(tmp_path / "demo" / "umap.png").shape[:2]
    assert width / 300 * 25.4 == pytest.approx(180, abs=1), "a page is 180 mm wide"
    assert height > 0.3 * width


def test_help_and_refused_arguments_load_nothing_heavy(tmp_path, cells):
    code = """
import json, sys
from univerce.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as done:
    status = done.code
heavy = ("torch", "scanpy", "anndata", "sklearn", "matplotlib", "zarr", "numba", "pandas")
print(json.dumps([status, [m for m in heavy if m in sys.modules]]))
"""
    missing, here = ["embed", "no.h5ad", "-o", "o.h5ad"], ["embed", str(cells), "-o", str(tmp_path / "o.h5ad")]
    for arguments, status, said, loaded in (
        (["--version"], 0, f"univerce {uc.__version__}", set()),
        (["embed", "--help"], 0, "--n-draws", set()),
        (missing, 2, "no.h5ad does not exist", set()),
        ([*here, "--model", "uce-5l"], 2, "There is no model", {"anndata", "zarr", "numba", "pandas"}),
        ([*here, "--species", "hooman", "--model", "uce-tiny"], 2, "hooman", {"anndata", "zarr", "numba", "pandas"}),
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert said in done.stdout + done.stderr
        found, heavy = json.loads(done.stdout.splitlines()[-1])
        assert found == status
        assert set(heavy) <= loaded


INTERRUPTED = """
import os, runpy, signal, sys
from univerce.inference.store import EmbeddingStore

write = EmbeddingStore.write

def write_and_interrupt(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore it
EmbeddingStore.write = write_and_interrupt
runpy.run_module("univerce", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_interrupted_process_ends_with_one_line_and_is_resumed(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_cells("human", 600).write_h5ad("in.h5ad")  # two blocks
    arguments = ["embed", "in.h5ad", "-o", "o.h5ad", "--store", "s.zarr", "--model", str(tiny_model), "-q"]
    command = [sys.executable, "-c", INTERRUPTED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[1:] == ["univerce: interrupted. Repeat the command to resume."]
    assert not Path("o.h5ad").exists()
    assert EmbeddingStore.attach("s.zarr").missing() == [1]
    assert main(arguments) == 0
    assert np.isfinite(ad.read_h5ad("o.h5ad").obsm["X_uce"]).all()


def test_incomplete_and_unknown_arguments_exit_with_2_and_one_line(capsys):
    for line, said in {
        "fly": "invalid choice: 'fly'", "embed a.h5ad": "required: -o/--output", "models fly": "invalid choice",
        "embed a.h5ad -o b.h5ad --n-draws 0": "--n-draws: '0' must be a whole number of at least 1",
        "embed a.h5ad -o b.h5ad --seed -1": "--seed", "embed a.h5ad -o b.h5ad --padding no": "masked, official",
        "embed a.h5ad -o b.h5ad --device tpu": "'tpu' is not known; use auto, cpu, cuda",
        "embed a.h5ad -o b.h5ad --batch-size few": "'few' must be a whole number of at least 1",
    }.items():  # fmt: skip
        with pytest.raises(SystemExit) as error:
            main(line.split())
        err = capsys.readouterr().err
        assert error.value.code == 2
        assert said in err.replace("'masked', 'official'", "masked, official")
        assert err.count("\n") == 1


@pytest.mark.parametrize("group", ["", "models", "species", "assets"])
def test_a_command_alone_shows_its_help_with_examples_that_parse(group, capsys):
    assert main(group.split()) == 0
    _, _, examples = capsys.readouterr().out.partition("examples:\n")
    lines = [line.strip() for line in examples.splitlines() if "--help" not in line]
    assert len(lines) > 1
    for line in lines:
        assert callable(_parser().parse_args(shlex.split(line)[1:]).run)


RECIPE = """
out = "run"
tables = "{tables}"

[model]
model_id = "mine"
d_model = 16
n_heads = 2
d_hidden = 24
n_layers = 1
output_dim = 10
decoder_dim = 14
gene_dim = 8
head_dims = [8]
n_sample = 20
max_length = 64

[pretrain]
steps = 4
batch_size = 8
n_queries = 8
held_out = 0.2
evaluate_every = 2
checkpoint_every = 2
buffer_cells = 32
block_rows = 8

[[data]]
path = "human.h5ad"

[[data]]
path = "mouse.zarr"
species = "mouse"

[[data]]
path = "human.h5ad"
name = "unseen"
held_out = true
"""


@pytest.fixture
def recipe(tmp_path, tiny_model):
    """Two data sets in files, one of them twice, and what to train on them."""
    tiny_cells("human", 40).write_h5ad(tmp_path / "human.h5ad")
    _files.write(tiny_cells("mouse", 40, seed=1), tmp_path / "mouse.zarr", ".zarr")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(tables=tiny_model))
    return tmp_path / "recipe.toml"


def test_pretrain_writes_a_model_that_embeds_and_resumes(tmp_path, recipe, capsys):
    assert main(["pretrain", str(recipe), "--device", "cpu", "-q"]) == 0
    said = capsys.readouterr()
    assert "'human': 40 cells of human, 60 of 61 variables are genes\n" in said.err
    assert "'unseen': 40 cells of human, 60 of 61 variables are genes, held out" in said.err
    assert "mine: 1 layers of width 16, 4 steps of 8 cells" in said.err
    assert "run/model: mine, digest" in said.out
    log = pd.read_csv(tmp_path / "run/log.csv")
    assert log["step"].tolist() == [2, 4]
    assert np.isfinite(log[["loss", "frequency_loss", "unseen_loss", "unseen_global_frequency_auroc"]]).all(axis=None)
    adata = tiny_cells("zebrafish", 5)  # of a species that it has not seen
    uc.tl.uce_embed(adata, model=tmp_path / "run/model")
    assert adata.obsm["X_uce"].shape == (5, 10)
    assert adata.uns["univerce"]["X_uce"]["model"] == "mine"
    assert np.isfinite(adata.obsm["X_uce"]).all()
    digest = uc.model.find_model(tmp_path / "run/model").digest
    assert main(["pretrain", str(recipe), "--device", "cpu", "-q"]) == 0
    assert "Resumes" in capsys.readouterr().err
    assert uc.model.find_model(tmp_path / "run/model").digest == digest
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "log.csv", "model"]


def test_an_invalid_recipe_is_an_error_of_one_line(tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text("steps = 3")
    assert main(["pretrain", str(tmp_path / "recipe.toml")]) == 2
    assert "has unknown entries: steps" in capsys.readouterr().err


def test_a_species_is_built_and_its_cells_are_embedded(tmp_path, capsys):
    from tests.helpers.proteomes import random_records, write_fasta
    from univerce.model import UCE, UCEConfig, save_model

    fasta, out = write_fasta(tmp_path / "pep.fa.gz", random_records()), tmp_path / "newt.h5ad"
    records = random_records()
    vectors = tmp_path / "vectors.npz"
    rng = np.random.default_rng(0)
    np.savez(vectors, **{gene: rng.normal(size=8) for gene in dict.fromkeys(r.gene for r in records)})
    table = uc.genes.build_species("newt", fasta=fasta, taxonomy_id=8316, encoder=vectors, out=tmp_path / "x.zarr.zip")
    command = ["species", "build", "newt", "--fasta", str(fasta), "--taxonomy-id", "8316", "-o", str(out), "-q"]
    assert main([*command, "--encoder", str(vectors)]) == 0
    printed = capsys.readouterr()
    assert f"{out}: 40 genes of newt" in printed.out
    assert "genes of several proteins" in printed.err
    built = uc.genes.read_table(out)
    assert built.uns["gene_table"]["digest"] == table.uns["gene_table"]["digest"]
    built.file.close()
    assert main([*command, "--encoder", str(vectors)]) == 2
    assert "pass --overwrite, or another --output" in capsys.readouterr().err

    widths = dict.fromkeys(("token_dim", "d_model", "d_hidden", "output_dim", "decoder_dim", "gene_dim"), 8)
    encoder = table.uns["gene_table"]["encoder"]
    config = UCEConfig(token_encoder=encoder, n_heads=2, n_layers=1, head_dims=(8, 8), **widths)
    save_model(UCE(config), tmp_path / "model")
    cells = ad.AnnData(np.ones((3, 40), np.float32), var=pd.DataFrame(index=[f"Sym{i}" for i in range(40)]))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    embed = ["embed", "-q", str(tmp_path / "cells.h5ad"), "-o", str(tmp_path / "done.h5ad"), "--table", str(out)]
    assert main([*embed, "--model", str(tmp_path / "model")]) == 0
    assert ad.read_h5ad(tmp_path / "done.h5ad").obsm["X_uce"].shape == (3, 8)
