"""Training a model of scvi-tools: seeded, to convergence, in silence, and without a trace in the process."""

from __future__ import annotations

import io
import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench.methods._expression import batch_names, with_variable_genes

logger = logging.getLogger("univerce")

LATENT = {"n_latent": 30, "n_layers": 2, "gene_likelihood": "nb"}
"""What the authors of scvi-tools use to integrate data sets."""
_PATIENCE = 45  # the default of scvi-tools
_LOGGERS = ("scvi", "lightning", "lightning.pytorch", "lightning.fabric")
_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "XLA_FLAGS")


@contextmanager
def seeded_scvi(rng: int) -> Iterator[Any]:
    """The module ``scvi`` with its seed set; on leaving, generators, loggers and environment are as they were."""
    try:
        import scvi
    except ImportError as error:
        raise ImportError('This method needs scvi-tools: pip install "univerce[bench]"') from error
    seed = scvi.settings.seed
    with _isolated(), warnings.catch_warnings():
        # Advice on how to train faster, which the hardware of a reader may or may not follow.
        warnings.filterwarnings("ignore", module=r"lightning\.|scvi\.")
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            scvi.settings.seed = rng % 2**32  # the largest that lightning takes
            yield scvi
        finally:
            scvi.settings.seed = seed


@contextmanager
def _isolated() -> Iterator[None]:
    """Put back what seeding changes, also when training fails, where ``lightning``'s own context would not."""
    import torch

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that is not ours
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    environment = {name: os.environ.get(name) for name in _VARIABLES}
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for name, value in environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def counts_for_scvi(adata: ad.AnnData, n_top_genes: int, batch: str | None) -> ad.AnnData:
    """The counts of variable genes of the cells that have any; a mean of nothing cannot be modeled."""
    if batch is not None:
        batch_names(adata, batch, "scVI")
    subset = with_variable_genes(adata, n_top_genes, batch=batch)
    return subset[np.asarray(subset.X.sum(axis=1)).ravel() > 0].copy()


def place() -> dict[str, Any]:
    """The accelerator that ``settings.device`` means, in the words of lightning."""
    from univerce._device import choose_device

    device = choose_device()
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    return {"accelerator": accelerator, "devices": [device.index or 0] if accelerator == "gpu" else 1}


def train(model: Any, max_epochs: int, **options: Any) -> int:
    """Train until the validation loss has not fallen for 45 epochs; the epochs it took.

    ``max_epochs`` is the end in any case, and a warning in the log says that it came first.
    """
    with redirect_stdout(io.StringIO()):  # the news that it stopped is printed
        model.train(
            max_epochs=max_epochs,
            early_stopping=True,
            early_stopping_patience=_PATIENCE,
            check_val_every_n_epoch=1,
            enable_progress_bar=False,
            **place(),
            **options,
        )
    epochs = model.trainer.current_epoch
    if epochs >= max_epochs:
        logger.warning("%s has not converged after %d epochs.", type(model).__name__, epochs)
    return epochs


def in_rows(adata: ad.AnnData, names: pd.Index, latent: np.ndarray) -> np.ndarray:
    """``[n_obs, n_latent]`` in the rows of ``adata``, NaN for a cell that is not among ``names``."""
    out = np.full((adata.n_obs, latent.shape[1]), np.nan, dtype=np.float32)
    out[adata.obs_names.get_indexer(names)] = latent
    return out
