"""Train models of scvi-tools: seeded, until they converge, without side effects."""

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
import scipy.sparse as sp

from univerce._device import choose_device
from univerce._settings import logger
from univerce.bench._expression import batch_names, log_normalized, variable_genes

LATENT = {"n_latent": 30, "n_layers": 2, "gene_likelihood": "nb"}
"""Parameters that the authors of scvi-tools use for integration."""
_PATIENCE = 45  # the default of scvi-tools
_LOGGERS = ("scvi", "lightning", "lightning.pytorch", "lightning.fabric")
_VARIABLES = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "XLA_FLAGS")


@contextmanager
def seeded_scvi(rng: int) -> Iterator[Any]:
    """Yield the seeded module ``scvi``; generators, loggers and environment are restored."""
    try:
        import scvi
    except ImportError as error:
        raise ImportError('This method needs scvi-tools: pip install "univerce[bench]"') from error
    seed = scvi.settings.seed
    with _isolated(), warnings.catch_warnings():
        # Advice on faster training.
        warnings.filterwarnings("ignore", module=r"lightning\.|scvi\.")
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            scvi.settings.seed = rng % 2**32  # the largest seed of lightning
            yield scvi
        finally:
            scvi.settings.seed = seed


@contextmanager
def _isolated() -> Iterator[None]:
    """Restore what seeding changes, also if training fails, unlike the context of ``lightning``."""
    import torch

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
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
            for name in _VARIABLES:
                os.environ.pop(name, None)
            os.environ.update(environment)


def counts_for_scvi(
    adata: ad.AnnData, n_top_genes: int, batch_key: str | None, reference: np.ndarray | None = None
) -> ad.AnnData:
    """CSR float32 counts of variable genes (of the cells of ``reference``) and of the cells that express any."""
    if batch_key is not None:
        batch_names(adata, batch_key, "scVI", at_least=1)
    logs = log_normalized(adata if reference is None else adata[reference])
    subset = adata[:, variable_genes(logs, n_top_genes, batch_key=batch_key)].copy()
    subset.X = sp.csr_matrix(subset.X, dtype=np.float32)
    return subset[np.asarray(subset.X.sum(axis=1)).ravel() > 0].copy()


def place() -> dict[str, Any]:
    """``settings.device`` as arguments of lightning."""
    device = choose_device()
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    return {"accelerator": accelerator, "devices": [device.index or 0] if accelerator == "gpu" else 1}


def train(model: Any, max_epochs: int, **options: Any) -> int:
    """Train until the validation loss has not fallen for 45 epochs, or to ``max_epochs``; returns the epochs."""
    with redirect_stdout(io.StringIO()):  # early stopping prints
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
    """``[n_obs, n_latent]`` in the order of ``adata``; NaN for cells not in ``names``."""
    out = np.full((adata.n_obs, latent.shape[1]), np.nan, dtype=np.float32)
    out[adata.obs_names.get_indexer(names)] = latent
    return out
