"""Data of the tutorials: public data sets, downloaded once, or without a network the cells that scanpy ships."""

from __future__ import annotations

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd

import univerce as uc


def blood_reference_and_query() -> tuple[ad.AnnData, ad.AnnData, list[str]]:
    """A labeled reference, a query, and the types that the reference lacks."""
    try:
        cells = _quietly(uc.datasets.kang_2018)
        print(
            "Kang et al. 2018: reference are the control cells of four donors, query stimulated cells of four others."
        )
        donors = cells.obs["donor"].cat.categories
        query = (cells.obs["donor"].isin(donors[4:]) & (cells.obs["condition"] == "interferon")).to_numpy()
        reference = (cells.obs["donor"].isin(donors[:4]) & (cells.obs["condition"] == "control")).to_numpy()
        left_out = ["Megakaryocytes", "NK cells"]
    except OSError:
        cells = uc.datasets.pbmc68k_reduced()
        print("No network: reference and query are halves of the 700 blood cells that scanpy ships, an easy case.")
        query = _half(cells)
        reference = ~query
        left_out = ["CD34+", "CD56+ NK"]
    reference &= ~cells.obs["cell_type"].isin(left_out).to_numpy()
    return cells[reference].copy(), cells[query].copy(), left_out


def human_and_mouse() -> tuple[ad.AnnData, ad.AnnData]:
    """The same organ of two species, with labels."""
    try:
        human, mouse = _quietly(uc.datasets.baron_2016, "human"), _quietly(uc.datasets.baron_2016, "mouse")
        print("Baron et al. 2016: pancreas of human and mouse.")
    except OSError:
        cells = uc.datasets.pbmc68k_reduced()
        print("No network: the 'mouse' is simulated from half of the 700 human blood cells that scanpy ships.")
        half = _half(cells)
        human, mouse = cells[half].copy(), _simulate_mouse(cells[~half])
    return human, mouse


def tissues_and_type() -> tuple[dict[str, ad.AnnData], ad.AnnData, str]:
    """Labeled tissues, labeled cells of another source, and the type to find."""
    try:
        organs = ["Kidney", "Limb_Muscle", "Liver", "Lung", "Mammary_Gland", "Marrow", "Spleen"]
        atlas = _quietly(uc.datasets.tabula_muris, organs)
        print("Tabula Muris: natural killer cells are learned in the spleen and searched in six other organs.")
        tissues = {name: atlas[atlas.obs["tissue"] == name].copy() for name in atlas.obs["tissue"].cat.categories}
        return tissues, tissues.pop("Spleen"), "natural killer cell"
    except OSError:
        cells = uc.datasets.pbmc68k_reduced()
        print("No network: five 'tissues' are drawn from half of the 700 blood cells that scanpy ships.")
        half = _half(cells)
        rng = np.random.default_rng(0)
        shares = {"gut": 0.0, "kidney": 0.01, "marrow": 0.03, "lung": 0.08, "spleen": 0.15}
        tissues = {name: _simulate_tissue(cells[~half], name, share, rng) for name, share in shares.items()}
        return tissues, cells[half].copy(), "CD56+ NK"


def two_batches() -> ad.AnnData:
    """Labeled cells of two batches."""
    try:
        adata = _quietly(uc.datasets.kang_2018)
        print("Kang et al. 2018: control and stimulated cells of four donors are the batches.")
        adata = adata[adata.obs["donor"].isin(adata.obs["donor"].cat.categories[:4])].copy()
        adata.obs["batch"] = adata.obs["condition"]
    except OSError:
        adata = uc.datasets.pbmc68k_reduced()
        print("No network: one half of the 700 blood cells that scanpy ships is distorted like another laboratory.")
        half, rng = _half(adata), np.random.default_rng(0)
        kept = np.clip(0.5 * rng.lognormal(0, 0.7, adata.n_vars), 0, 1)
        counts = adata.X.tocoo()
        counts.data = rng.binomial(counts.data, np.where(half[counts.row], kept[counts.col], 1))
        adata.X = counts.tocsr()
        adata.X.eliminate_zeros()
        adata.obs["batch"] = pd.Categorical(np.where(half, "simulated laboratory", "as measured"))
    return adata


def _quietly(load: Callable[..., ad.AnnData], *options: object) -> ad.AnnData:
    """Load data without a message for each address that does not answer."""
    with uc.settings.override(verbosity="error"):
        return load(*options)


def _half(adata: ad.AnnData) -> np.ndarray:
    return np.random.default_rng(0).permutation(adata.n_obs) < adata.n_obs // 2


def _simulate_mouse(human: ad.AnnData) -> ad.AnnData:
    """Human cells with the names of mouse genes, a third of the counts, and a factor per gene."""
    rng = np.random.default_rng(0)
    names = {symbol.upper(): symbol for symbol in uc.genes.load_table("mouse").obs["symbol"]}
    mouse = human[:, [name.upper() in names for name in human.var_names]].copy()
    mouse.var_names = [names[name.upper()] for name in mouse.var_names]
    mouse.var_names_make_unique()
    share = np.clip(rng.lognormal(np.log(1 / 3), 0.5, mouse.n_vars), 0, 1)
    mouse.X.data = rng.binomial(mouse.X.data, share[mouse.X.indices])
    mouse.X.eliminate_zeros()
    mouse.obs_names = [f"simulated-{name}" for name in mouse.obs_names]
    mouse.uns = {"organism": "Mus musculus"}
    return mouse


def _simulate_tissue(source: ad.AnnData, name: str, share: float, rng: np.random.Generator) -> ad.AnnData:
    """Draw 300 cells with a share of natural killer cells, thinned as if measured elsewhere."""
    positive = source.obs["cell_type"].to_numpy() == "CD56+ NK"
    n = round(share * 300)
    rows = np.concatenate([rng.choice(np.flatnonzero(positive), n), rng.choice(np.flatnonzero(~positive), 300 - n)])
    obs = source.obs.iloc[rows].set_index(pd.Index([f"{name}-{i}" for i in range(300)]))
    tissue = ad.AnnData(source.X[rows], obs=obs.assign(tissue=name), var=source.var, uns={"organism": "Homo sapiens"})
    kept = np.clip(rng.uniform(0.4, 0.8) * rng.lognormal(0, 0.4, tissue.n_vars), 0, 1)
    tissue.X.data = rng.binomial(tissue.X.data, kept[tissue.X.indices])
    tissue.X.eliminate_zeros()
    return tissue
