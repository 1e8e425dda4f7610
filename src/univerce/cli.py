"""The command line: ``univerce embed``, ``univerce pretrain``, ``univerce assets`` and ``univerce demo``.

What takes long to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce import __version__, settings

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd

# Paul Tol's "muted" scheme and black: ten colours that colour-blind readers can tell apart; the markers say it again.
COLOURS = (
    "#332288", "#88CCEE", "#000000", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#44AA99",
)  # fmt: skip
MARKERS = "osX^vDP<>h"
NEIGHBOURS, FOLDS = 15, 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments; those of the process by default.

    Returns
    -------
    Exit status: 0, or 2 when the arguments or the data are at fault (one line on stderr says how).

    Examples
    --------
    >>> from univerce.cli import main
    >>> main(["embed", "cells.h5ad", "-o", "cells.h5ad"])
    2
    """
    args = _parser().parse_args(argv)
    try:
        with settings.override(**({"progress": False} if args.quiet else {})):
            args.run(args)
    except (ValueError, KeyError, TypeError, OSError, ImportError) as error:
        if args.debug:
            raise
        # The text of a KeyError is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"univerce: error: {' '.join(str(message).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("univerce: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="univerce", description="Universal cell embeddings for the scverse.")
    parser.add_argument("--version", action="version", version=f"univerce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")

    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    device.add_argument("--precision", default="auto", help="auto, float32, bfloat16")

    embed = _add(commands, "embed", _embed, [common, device], "Embed the cells of a file.")
    embed.add_argument("input", type=Path, metavar="IN", help="raw counts: .h5ad or .zarr")
    embed.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=".h5ad or .zarr")
    embed.add_argument("--overwrite", action="store_true", help="replace OUT when it exists")
    embed.add_argument("--backed", action="store_true", help="leave X of an .h5ad on disk; OUT is then an .h5ad too")
    embed.add_argument("--species", help="human, mouse, ...; or the obs column that says so")
    embed.add_argument("--model", help="uce-mini (bundled), uce-4l, uce-33l, or a directory")
    embed.add_argument("--layer", help="layer with the counts (default: X)")
    embed.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    embed.add_argument("--key-added", default="X_uce", help="key of the embedding in obsm (default: X_uce)")
    embed.add_argument("--batch-size", type=_batch_size, default="auto", help="cells a batch, or auto")
    embed.add_argument("--padding", default="masked", help="masked, or official (as the reference implementation)")
    embed.add_argument("--sampling", help="systematic or multinomial (default: what the model was made for)")
    embed.add_argument("--n-draws", type=int, default=1, help="sentences a cell, averaged (default: 1)")
    embed.add_argument("--seed", type=int, default=0, help="default: 0")
    embed.add_argument("--store", type=Path, help="directory that lets a killed run be resumed")

    pretrain = _add(
        commands, "pretrain", _pretrain, [common], "Train a model on raw counts; an interrupted training goes on."
    )
    pretrain.add_argument("config", type=Path, metavar="CONFIG", help="a .toml with [model], [pretrain] and [[data]]")
    pretrain.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: what CONFIG says, or auto)")
    pretrain.add_argument("--devices", type=int, help="number of devices (default: what CONFIG says, or 1)")

    assets = commands.add_parser("assets", help="The released models and gene tables.").add_subparsers(
        required=True, metavar="ACTION"
    )
    _add(assets, "list", _list_assets, [common], "List the released files and which of them are here.")
    fetch = _add(assets, "fetch", _fetch_assets, [common], "Download released files into the cache.")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name that `univerce assets list` lists")
    convert = _add(assets, "convert", _convert_assets, [common], "Convert a released model and its gene tables.")
    convert.add_argument("--model", default="uce-4l", help="uce-4l or uce-33l (default: uce-4l)")
    convert.add_argument("--species", nargs="+", help="default: all eight that were released")

    demo = _add(commands, "demo", _demo, [common, device], "Embed and draw 700 bundled blood cells, offline.")
    demo.add_argument("-o", "--output", type=Path, default=Path("univerce-demo"), metavar="DIR")
    return parser


def _add(
    commands: Any, name: str, run: Any, parents: list[argparse.ArgumentParser], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, parents=parents)
    parser.set_defaults(run=run)
    return parser


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _embed(args: argparse.Namespace) -> None:
    _check_paths(args.input, args.output, backed=args.backed, overwrite=args.overwrite)

    from univerce import tl

    adata = _read(args.input, backed=args.backed)
    _say(f"{args.input}: {adata.n_obs:,} cells, {adata.n_vars:,} variables")
    began = time.perf_counter()
    tl.uce_embed(
        adata,
        species=args.species,
        model=args.model,
        layer=args.layer,
        gene_key=args.gene_key,
        rng=args.seed,
        sampling=args.sampling,
        n_draws=args.n_draws,
        key_added=args.key_added,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
        padding=args.padding,
        store=args.store,
    )
    seconds = time.perf_counter() - began
    if args.store is not None:
        _take_from_store(adata, args.store, args.key_added)
    with _replacing(args.output) as part:
        if args.backed:
            _write_beside(adata, args.key_added, source=args.input, path=part)
        else:
            _write(adata, part, zarr=args.output.suffix == ".zarr")
    n, dim = adata.obsm[args.key_added].shape
    print(f"{args.output}: obsm[{args.key_added!r}] of {n:,} cells, {dim} dimensions, in {seconds:.1f} s")


def _take_from_store(adata: ad.AnnData, store: Path, key: str) -> None:
    import anndata

    done = anndata.read_zarr(store)
    adata.obsm[key] = done.obsm[key]
    adata.uns[key] = done.uns[key]
    for column in done.obs:
        adata.obs[column] = done.obs[column]


def _pretrain(args: argparse.Namespace) -> None:
    from univerce import pp
    from univerce.genes import read_table
    from univerce.model import pretrain, save_model
    from univerce.model.processes import is_first
    from univerce.model.recipe import place_tables, read_recipe

    recipe = read_recipe(args.config)
    config = recipe.pretrain
    say = _say if is_first() else _say_nothing
    sets = []
    for entry in recipe.data:
        table = None if entry.table is None else read_table(entry.table)
        s = pp.training_set(
            entry.path, name=entry.name, species=entry.species, model=recipe.tables, table=table, layer=entry.layer,
            gene_key=entry.gene_key,
        )  # fmt: skip
        n_cells, n_vars = s.counts.shape
        say(
            f"{entry.name}: {n_cells:,} cells, {(s.rows >= 0).sum():,} of {n_vars:,} variables are genes of "
            f"{s.table.uns['gene_table']['species']}{', held out' if entry.name in config.held_out_sets else ''}"
        )
        sets.append(s)
    model = recipe.model_config(sets[0].table)
    say(
        f"{model.model_id}: {model.n_layers} layers of width {model.d_model}, {config.steps:,} steps of "
        f"{config.batch_size} cells; {recipe.out / 'log.csv'} has the scores"
    )
    if config.continue_from is not None:
        say(f"Continues from {config.continue_from}: the result is a space of its own")
    if (recipe.out / "checkpoint.pt").exists():
        say(f"Goes on from {recipe.out / 'checkpoint.pt'}")
    network = pretrain(
        sets, model, config, recipe.out, device=args.device or recipe.device, devices=args.devices or recipe.devices,
        tensorboard=recipe.tensorboard,
    )  # fmt: skip
    if not is_first():
        return
    with _replacing(recipe.out / "model") as part:
        digest = save_model(network, part, pretraining=config).digest
        place_tables(recipe, part / "tables")
    if only := config.for_training_only():
        print(
            f"{recipe.out / 'model'}: an ablation ({', '.join(only)}), which cannot embed; judge it by "
            f"{recipe.out / 'log.csv'}."
        )
    else:
        print(f"{recipe.out / 'model'}: {model.model_id}, digest {digest[:12]}...; embed with model=, or --model.")


def _list_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    print(genes.list_assets().to_string(index=False))


def _fetch_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    for name in args.names:
        print(genes.fetch(name))


def _convert_assets(args: argparse.Namespace) -> None:
    from univerce import genes
    from univerce.model.checkpoint import find_model

    for species, path in genes.convert_released(species=args.species, model=args.model).items():
        print(f"{species}: {path}")
    print(f"{args.model}: {find_model(args.model).path}")


def _demo(args: argparse.Namespace) -> None:
    import scanpy as sc

    from univerce import datasets, tl

    args.output.mkdir(parents=True, exist_ok=True)
    adata = datasets.pbmc68k_reduced()
    _say(f"{adata.n_obs} human blood cells of {adata.obs['cell_type'].nunique()} types, {adata.n_vars} genes")

    began = time.perf_counter()
    tl.uce_embed(adata, species="human", model="uce-mini", device=args.device, precision=args.precision)
    seconds = time.perf_counter() - began
    print(f"Embedded {adata.n_obs} cells in {seconds:.1f} s ({adata.n_obs / seconds:.0f} cells a second).")

    expression = adata.copy()
    sc.pp.normalize_total(expression)
    sc.pp.log1p(expression)
    sc.pp.pca(expression, n_comps=50, random_state=0)
    adata.obsm["X_pca"] = expression.obsm["X_pca"]

    labels = adata.obs["cell_type"]
    scores = {key: knn_accuracy(adata.obsm[key], labels) for key in ("X_uce", "X_pca")}
    print(f"Accuracy of the cell type, {NEIGHBOURS} nearest neighbours, mean ± sd of {FOLDS} stratified folds:")
    for key, name in (("X_uce", "UCE (uce-mini)"), ("X_pca", "PCA (fitted to these cells)")):
        print(f"  {name:<28} {scores[key].mean():.3f} ± {scores[key].std():.3f}")
    print(f"  {'always the largest type':<28} {labels.value_counts(normalize=True).iloc[0]:.3f}")

    for key, name in (("X_uce", "X_umap_uce"), ("X_pca", "X_umap_pca")):
        _say(f"UMAP of {key}")
        sc.pp.neighbors(adata, use_rep=key, n_neighbors=NEIGHBOURS, key_added=key, random_state=0)
        sc.tl.umap(adata, neighbors_key=key, key_added=name, random_state=0)
    panels = {
        f"UCE, uce-mini (kNN accuracy {scores['X_uce'].mean():.2f})": adata.obsm["X_umap_uce"],
        f"PCA, log-normalised (kNN accuracy {scores['X_pca'].mean():.2f})": adata.obsm["X_umap_pca"],
    }
    adata.uns["cell_type_colors"] = list(COLOURS[: labels.cat.categories.size])
    with _replacing(args.output / "umap.png") as part:
        draw_umaps(panels, labels, part)
    with _replacing(args.output / "pbmc68k_uce.h5ad") as part:
        _write(adata, part, zarr=False)
    print(f"Wrote {args.output / 'umap.png'} and {args.output / 'pbmc68k_uce.h5ad'}.")


def knn_accuracy(embedding: np.ndarray, labels: pd.Series) -> np.ndarray:
    """Accuracy of a nearest-neighbour classifier in every fold of a stratified cross-validation, ``[n_folds]``."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_score(KNeighborsClassifier(NEIGHBOURS), embedding, labels.astype(str), cv=folds)


def draw_umaps(panels: dict[str, np.ndarray], labels: pd.Series, path: Path) -> None:
    """Draw embeddings ``[n_cells, 2]`` side by side under their titles, a colour and a marker per label, as PNG.

    The figure is as wide as a page of two columns, 180 mm.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.09, 2.9), dpi=300, layout="constrained")
    axes = figure.subplots(1, len(panels))
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        for i, label in enumerate(labels.cat.categories):
            inside = (labels == label).to_numpy()
            ax.scatter(
                *points[inside].T,
                s=8,
                zorder=2 - inside.mean(),  # rare types on top
                marker=MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
                linewidths=0,
                label=f"{label} ({inside.sum()})",
            )
        ax.set_title(title, fontsize=8)
        ax.set_xlabel("UMAP 1", fontsize=7)
        ax.set_ylabel("UMAP 2", fontsize=7)
        ax.set(xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", fontsize=7, frameon=False, markerscale=1.5)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _check_paths(source: Path, out: Path, *, backed: bool, overwrite: bool) -> None:
    """Refuse what cannot end well before anything is computed."""
    for path in (source, out):
        if path.suffix not in (".h5ad", ".zarr"):
            raise ValueError(f"{path} must end in .h5ad or .zarr.")
    if source.resolve() == out.resolve() or (source.exists() and out.exists() and source.samefile(out)):
        raise ValueError(f"{out} is the input; write to another path.")
    if not source.exists():
        raise FileNotFoundError(f"There is no {source}.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"There is no directory {out.parent} to write {out.name} to.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another path, or add --overwrite.")
    if backed and (source.suffix, out.suffix) != (".h5ad", ".h5ad"):
        raise ValueError("--backed reads an .h5ad and writes an .h5ad; convert the file or leave --backed out.")


def _read(path: Path, *, backed: bool) -> ad.AnnData:
    import anndata as ad

    if path.suffix == ".zarr":
        return ad.read_zarr(path)
    return ad.read_h5ad(path, backed="r" if backed else None)


def _write(adata: ad.AnnData, path: Path, *, zarr: bool) -> None:
    if not zarr:
        adata.write_h5ad(path)
        return
    from anndata.io import write_elem
    from zarr import consolidate_metadata, open_group

    # Version 2 is what every anndata of today reads.
    write_elem(open_group(path, mode="w", zarr_format=2), "/", adata)
    consolidate_metadata(path, zarr_format=2)


def _write_beside(adata: ad.AnnData, key: str, *, source: Path, path: Path) -> None:
    """Copy the file ``source`` and put what an embedding adds into the copy, so that X never is in memory."""
    import h5py
    from anndata.io import write_elem

    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        for name, value in (("obs", adata.obs), ("var", adata.var), ("uns", dict(adata.uns))):
            write_elem(file, name, value)
        write_elem(file, f"obsm/{key}", adata.obsm[key])


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block succeeds and is removed when it fails."""
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    try:
        yield part
        if path.is_dir() or part.is_dir():  # a directory cannot be replaced in one step
            if path.exists():
                path.rename(old)
            part.rename(path)
            _remove(old)
        else:
            part.replace(path)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _say_nothing(text: str) -> None:
    """What all processes but the first say."""
