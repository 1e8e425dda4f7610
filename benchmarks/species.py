"""Types found across species without orthologs: the bundled model, one-to-one symbols, and chance.

Prints two tables over the pairs of species of ``benchmarks/labeled/sets.py``, in both directions: how many types land
on themselves (``tl.centroid_alignment``), and how many cells get their type (``tl.transfer_labels``). Both species are
in one AnnData when they are embedded. ``shuffled`` is the transfer of labels that were shuffled in the reference. Mean
and standard deviation over seeds of the sentences, of Harmony, of the folds and of the shuffles. Fly is the negative
control. ``model=`` is the directory of another model, ``cells=800`` the most cells of a side, chosen by the hash of
their names.

Then builds the gene tables of all annotations again and compares them with the bundled ones.
"""

from __future__ import annotations

import hashlib

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

import univerce as uc
from benchmarks.labeled.methods import Methods
from benchmarks.labeled.sets import TRANSFERS, Side
from benchmarks.labeled.tasks import side_cells
from benchmarks.measurement import Run, check, print_table
from univerce.embeddings.groups import lognorm_blocks, shared_genes

SEEDS = (0, 1, 2)
UCE, EXPRESSION, SYMBOLS, HARMONY = "X_uce", "lognorm", "PCA of symbols", "Harmony of symbols"


def side(methods: Methods, which: Side, name: str, n_cells: int) -> ad.AnnData:
    rows, labels = side_cells(methods, which)
    order = np.argsort([hashlib.sha256(methods.read(which.name).obs_names[i].encode()).digest() for i in rows])
    rows, labels = rows[np.sort(order[:n_cells])], labels[np.sort(order[:n_cells])]
    source = methods.read(which.name)[rows]
    obs = {"label": labels, "side": name, "species": methods.species(which.name)}
    obs = pd.DataFrame(obs, index=[f"{name} {cell}" for cell in source.obs_names])
    return ad.AnnData(source.X.astype(np.float32), obs=obs, var=pd.DataFrame(index=source.var_names))


def embed(a: ad.AnnData, b: ad.AnnData, seed: int, model: str | None) -> None:
    """Both species in one object, and what came out back in each."""
    joint = ad.concat([a, b], join="outer")
    uc.pp.map_genes(joint, species="species", model=model)
    assert len(joint.uns["uce_gene"]) == 2
    uc.tl.uce_embed(joint, species="species", model=model, rng=seed)
    for part in (a, b):
        part.obsm[UCE] = joint[part.obs_names].obsm[UCE]
        part.uns[UCE] = joint.uns[UCE]


def baselines(a: ad.AnnData, b: ad.AnnData, seed: int) -> None:
    """Log-normalized expression of the genes with one-to-one symbols, its components, and those after Harmony."""
    import harmonypy

    blocks = [
        np.vstack([block.toarray() for _, block in lognorm_blocks(part, None, genes, "side")])
        for part, genes in zip((a, b), shared_genes(a.var_names, b.var_names), strict=True)
    ]
    pca = PCA(50, random_state=seed).fit_transform(np.vstack(blocks)).astype(np.float64)
    batch = pd.DataFrame({"side": [*a.obs["side"], *b.obs["side"]]})
    fixed = harmonypy.run_harmony(pca, batch, "side", random_state=seed, verbose=False).Z_corr
    fixed = fixed if fixed.shape == pca.shape else fixed.T
    for key, x in ((SYMBOLS, pca), (HARMONY, np.asarray(fixed))):
        a.obsm[key], b.obsm[key] = x[: a.n_obs], x[a.n_obs :]


def transferred(
    query: ad.AnnData, reference: ad.AnnData, key: str, seed: int, labels: str = "label"
) -> dict[str, float]:
    classifier = uc.tl.LabelClassifier.fit(reference, groupby=labels, use_rep=key, min_cells=5, rng=seed)
    uc.tl.transfer_labels(query, classifier, use_rep=key, key_added="found", check_space=key == UCE)
    truth, found = query.obs["label"].astype(str), query.obs["found"].astype(str)
    known = truth.isin(reference.obs["label"])
    recall = pd.Series(found[known] == truth[known]).groupby(truth[known]).mean()
    return {"accuracy": float((found[known] == truth[known]).mean()), "over types": float(recall.mean())}


def main(run: Run) -> None:
    """Compare types across species, then gene tables."""
    types_across_species(run)
    tables_from_annotations(run)


def types_across_species(run: Run) -> None:
    """Embed both sides of every pair of species, align and label them."""
    methods = Methods(run.data, run.scratch(), seeds=SEEDS)
    model, n_cells = run.option("model"), int(run.option("cells", "800"))
    aligned, labeled = [], []
    for pair in TRANSFERS:
        if "species" not in pair.kind:
            continue
        sides = side(methods, pair.train, "train", n_cells), side(methods, pair.test, "test", n_cells)
        for seed in SEEDS:
            embed(*sides, seed, model)
            baselines(*sides, seed)
            for reference, query in (sides,) if pair.one_way else (sides, sides[::-1]):
                name = f"{pair.kind}: {_name(pair, reference)} > {_name(pair, query)}"
                scores = uc.tl.centroid_alignment(query, reference, groupby="label", k=(1, 2, 3), min_cells=1, rng=seed)
                for key in (SYMBOLS, HARMONY):
                    more = uc.tl.centroid_alignment(
                        query,
                        reference,
                        groupby="label",
                        k=(1, 2, 3),
                        min_cells=1,
                        use_rep=key,
                        baseline=None,
                        check_space=False,
                        rng=seed,
                    )
                    scores = pd.concat([scores, more])
                scores = scores[scores["score"] == "cross"]
                aligned += [
                    (name, r.representation, seed, f"top {r.k}", r.share, r.chance, r.n) for r in scores.itertuples()
                ]
                reference.obs["shuffled"] = np.random.default_rng(seed).permutation(reference.obs["label"])
                for key in (UCE, SYMBOLS, HARMONY):
                    labeled += [(name, key, seed, *item) for item in transferred(query, reference, key, seed).items()]
                chance = transferred(query, reference, UCE, seed, labels="shuffled")
                labeled += [(name, "shuffled", seed, *item) for item in chance.items()]
    show_alignment(pd.DataFrame(aligned, columns=["pair", "cells as", "seed", "measure", "value", "chance", "n"]))
    show(pd.DataFrame(labeled, columns=["pair", "cells as", "seed", "measure", "value"]))


def _name(pair, part: ad.AnnData) -> str:
    which = pair.train if part.obs["side"].iloc[0] == "train" else pair.test
    return " ".join(which.name.split("_")[:2])


def show_alignment(rows: pd.DataFrame) -> None:
    found = rows.groupby(["pair", "cells as"], sort=False)
    lines = []
    for (name, key), part in found:
        tops = part.groupby("measure")["value"].agg(["mean", "std"]).fillna(0)
        cells = [
            f"{m:.2f} ± {s:.2f} ({part.loc[part.measure == k, 'chance'].mean():.2f})" for k, m, s in tops.itertuples()
        ]
        lines.append((name, key, int(part["n"].iloc[0]), *cells))
    header = ("types that land on themselves", "cells as", "types", "top 1 (chance)", "top 2", "top 3")
    print_table(f"Alignment across species, mean ± sd of {len(SEEDS)} seeds", header, lines)


def show(rows: pd.DataFrame) -> None:
    lines = []
    for (name, key), part in rows.groupby(["pair", "cells as"], sort=False):
        values = part.groupby("measure", sort=False)["value"].agg(["mean", "std"])
        lines.append((name, key, *(f"{m:.3f} ± {s:.3f}" for m, s in values.to_numpy())))
    header = ("cells that get their type", "cells as", "accuracy", "mean over types")
    print_table(f"Label transfer across species, mean ± sd of {len(SEEDS)} seeds", header, lines)


def tables_from_annotations(run: Run) -> None:
    """Refits the text encoder to the ten annotations, which takes a minute, and builds each species from its own."""
    scratch = run.scratch()
    paths = [run.data / "gene_annotation" / f"{species}.tsv.gz" for species in uc.genes.available_species()]
    genes = [uc.genes.read_annotation(path) for path in paths]
    encoder = uc.genes.TextEncoder().fit(pd.concat(genes, ignore_index=True))
    rows = []
    for path in paths:
        species = path.name.removesuffix(".tsv.gz")
        bundled = uc.genes.load_table(species)
        table = uc.genes.build_species(
            species, annotation=path, encoder=encoder, out=scratch / f"{species}.h5ad", max_chromosomes=10**6,
        )  # fmt: skip
        same = bundled.uns["gene_table"]["encoder"] == encoder.name
        shared = bundled.obs_names.intersection(table.obs_names)  # without immune receptor genes
        equal = float(np.mean(table[shared].X[:] == bundled[shared].X)) if same else np.nan
        rows.append((species, table.n_obs, len(table.uns["chromosome_codes"]), str(same), equal))
        table.file.close()
    print_table("Tables from annotations", ("", "genes", "chromosomes", "encoder of uce-mini", "equal entries"), rows)
    check(ok=all(row[4] > 0.999 for row in rows if row[3] == "True"), goal="the bundled tables are made again")
