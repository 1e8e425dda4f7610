"""What cells look like to each method; whatever depends on a set alone is computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

import univerce as uc
from benchmarks.labeled.scores import (
    bag_of_features,
    components,
    expressed_share,
    inverse_frequency,
    log_norm,
    ranks,
    shared_genes,
    strong_linear,
    variable_genes,
)
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.release.registry import BUNDLED_TABLES

UNTRAINED, BAG, EXPRESSION, PCA = "random weights", "bag of features", "expression", "PCA"
PROJECTED, STRONG, CENTERED = "PCA projected", "strong linear", "centered by batch"

Key = tuple[str, int]
"""Method and seed; -1 for methods without."""


@dataclass(frozen=True)
class Cells:
    """Cells in the form that each classifier takes."""

    neighbors: Any
    """For nearest neighbors."""
    logistic: np.ndarray
    """For the logistic regression."""
    metric: str = "euclidean"
    """Of the nearest neighbors."""
    classifier: Callable[[], Any] | None = None
    """The only classifier of a method that chooses genes by the labels."""

    def take(self, rows: np.ndarray) -> Cells:
        return Cells(self.neighbors[rows], self.logistic[rows], self.metric, self.classifier)


class Methods:
    """The methods on the evaluation sets.

    Parameters
    ----------
    data
        Directory with ``eval/*.h5ad``, ``train/human_*.h5ad`` and ``train/mouse_*.h5ad``.
    scratch
        Empty directory for the network with random weights.
    model
        Model to score: a name or a directory; None is the bundled one.
    resamples
        Directories of models that were fitted to other samples of the training cells, scored as its seeds 1, 2, ...
    seeds
        Seeds of its sentences, if it reads sentences.
    bag
        Also the bag of features, which needs the training sets.
    """

    def __init__(
        self,
        data: Path,
        scratch: Path,
        *,
        model: str | Path | None = None,
        resamples: Sequence[Path] = (),
        seeds: Sequence[int] = (0, 1, 2),
        bag: bool = True,
    ) -> None:
        self.data, self.scratch, self.seeds, self.resamples = data, scratch, tuple(seeds), tuple(resamples)
        self.bag = bag
        self.model: str | Path = BUNDLED_MODEL if model is None else model
        self.found = uc.model.find_model(model)
        self.name = self.found.config.model_id if model is None else Path(str(model)).name
        self._whole: dict[str, dict[Key, np.ndarray]] = {}
        self.read = lru_cache(self._read)

    @property
    def names(self) -> list[str]:
        """Of the sets."""
        return sorted(path.stem for path in (self.data / "eval").glob("*.h5ad"))

    def _read(self, name: str) -> ad.AnnData:
        adata = ad.read_h5ad(self.data / "eval" / f"{name}.h5ad")
        adata.X = sp.csr_matrix(adata.X)
        adata.X.eliminate_zeros()
        return adata

    def labels(self, name: str) -> np.ndarray:
        return self.read(name).obs["cell_type"].astype(str).to_numpy(dtype=object)

    def species(self, name: str) -> str:
        return str(self.read(name).obs["species"].iloc[0])

    def table(self, species: str) -> ad.AnnData:
        return uc.genes.load_table(species, model=self.model)

    # Representations that no other cell takes part in

    def whole(self, name: str) -> dict[Key, np.ndarray]:
        """All cells of a set in every space that is fixed beforehand."""
        if name not in self._whole:
            adata = self.read(name)
            if self.found.reads_sentences:
                out = {(self.name, seed): self.embed(adata, rng=seed) for seed in self.seeds}
                out[UNTRAINED, 0] = self.embed(adata, model=self.untrained)
            else:
                models = [self.model, *self.resamples]
                out = {(self.name, k): self.embed(adata, model=model) for k, model in enumerate(models)}
            if self.bag:
                out[BAG, -1] = self._bag(adata, self.species(name))
            self._whole[name] = out
        return self._whole[name]

    def embed(self, adata: ad.AnnData, *, model: str | Path | None = None, **options: Any) -> np.ndarray:
        return self.embedded(adata, model=model, **options).obsm["X_uce"]

    def embedded(self, adata: ad.AnnData, *, model: str | Path | None = None, **options: Any) -> ad.AnnData:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # names of old annotations
            return uc.tl.uce_embed(
                adata, species="species", model=self.model if model is None else model, copy=True,
                **options,
            )  # fmt: skip

    @cached_property
    def untrained(self) -> Path:
        """The model with the weights a training begins with before it has seen any data."""
        directory = self.scratch / "untrained"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            uc.model.save_model(uc.model.UCE(self.found.config), directory)
        own = self.found.path / "tables"
        tables = own if own.is_dir() else BUNDLED_TABLES if self.model == BUNDLED_MODEL else self.found.path
        (directory / "tables").symlink_to(tables.resolve(), target_is_directory=True)
        return directory

    @cached_property
    def idf(self) -> pd.Series:
        """Weights of genes by how many cells express them in data sets that are not scored here."""
        paths = [p for species in ("human", "mouse") for p in sorted((self.data / "train").glob(f"{species}_*.h5ad"))]
        sets = (ad.read_h5ad(path) for path in paths)
        return inverse_frequency([expressed_share(sp.csr_matrix(a.X), a.var_names) for a in sets])

    def _bag(self, adata: ad.AnnData, species: str) -> np.ndarray:
        table = self.table(species)
        rows = uc.genes.map_names(adata.var_names, table).rows
        used, where = np.unique(rows, return_inverse=True)
        used, where = used[used >= 0], np.where(rows >= 0, where - (used[0] < 0), -1)
        features = np.asarray(table.X[used], dtype=np.float32)
        return bag_of_features(adata.X, where, features, table.obs["symbol"].iloc[used], self.idf)

    # Within a set

    def within(self, name: str, kept: np.ndarray) -> dict[Key, Cells]:
        """Some cells of a set to every method; what is fitted is fitted to these cells."""
        out = {key: Cells(x[kept], x[kept]) for key, x in self.whole(name).items()}
        logs = log_norm(self.read(name).X[kept])
        variable = logs[:, variable_genes(logs)].toarray()
        (pca,) = components(variable)
        out[PCA, -1] = Cells(pca, pca)
        out[EXPRESSION, -1] = Cells(logs, variable, "cosine")
        out[STRONG, -1] = Cells(logs, ranks(logs), classifier=strong_linear)
        return out

    # From one set to another

    def across(
        self, train: str, train_rows: np.ndarray, test: str, test_rows: np.ndarray
    ) -> dict[Key, tuple[Cells, Cells]]:
        """Cells to train on and cells to test on, to every method; expression is that of the genes both share."""
        out: dict[Key, tuple[Cells, Cells]] = {}
        mine, other = self.whole(train), self.whole(test)
        for key in mine:
            out[key] = tuple(Cells(x, x) for x in (mine[key][train_rows], other[key][test_rows]))
        a, b = shared_genes(self.read(train).var_names, self.read(test).var_names)
        logs = [log_norm(self.read(n).X[r][:, c]) for n, r, c in ((train, train_rows, a), (test, test_rows, b))]
        both = sp.vstack(logs, format="csr")
        side = np.repeat([0, 1], [len(train_rows), len(test_rows)])
        (joint,) = components(both[:, variable_genes(both, batch=side)].toarray())
        out[PCA, -1] = tuple(Cells(joint[side == k], joint[side == k]) for k in (0, 1))
        variable = variable_genes(logs[0])
        dense = [x[:, variable].toarray() for x in logs]
        out[PROJECTED, -1] = tuple(Cells(x, x) for x in components(*dense))
        out[EXPRESSION, -1] = tuple(Cells(x, d, "cosine") for x, d in zip(logs, dense, strict=True))
        common = ranks(both)
        out[STRONG, -1] = tuple(Cells(common[side == k], common[side == k], classifier=strong_linear) for k in (0, 1))
        return out
