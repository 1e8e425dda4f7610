"""Monitor a training: scores and their baselines, signs of collapse, and the log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from univerce._settings import logger
from univerce.io.atomic import replacing
from univerce.model.network import UCE
from univerce.training.config import PretrainConfig
from univerce.training.corpus import Batch, Corpus
from univerce.training.objective import forward, targets

MAX_COSINE, MIN_RANK = 0.95, 3.0
"""Beyond these a warning says that the embedding collapses."""
_SCORES = ("loss", "auroc")


def evaluate(
    network: UCE,
    corpus: Corpus,
    vocabulary: torch.Tensor,
    config: PretrainConfig,
    *,
    batches: Mapping[int, Batch] | None = None,
) -> dict[str, float]:
    """Score held-out cells: ``loss`` and ``auroc`` over all queries, as mean over data sets, and signs of collapse.

    ``frequency_`` and ``global_frequency_`` are the same scores of baselines that know only a gene's frequency in its
    data set, or in all; ``gap_closed`` is the share of the frequency loss that the network saves. ``unseen_`` are the
    same for data sets that are held out as a whole. ``cosine`` is the mean over data sets of the mean cosine between
    two of its cells, ``cosine_any`` that between two cells of any, ``rank`` the :func:`effective_rank` of all
    embeddings.
    """
    batches = validation_batches(corpus, config) if batches is None else batches
    scores: dict[bool, list[list[float]]] = {False: [], True: []}
    cells, cosines = [], []
    network.eval()
    for part, batch in batches.items():
        with torch.inference_mode():
            embedding, logits = forward(network, batch, vocabulary, config)
        predictions = (logits.float().cpu(), torch.from_numpy(batch.offsets), torch.from_numpy(batch.global_offsets))
        scores[bool(corpus.is_held_out[part])].append([score for p in predictions for score in _loss_and_auroc(p)])
        cells.append(F.normalize(embedding.float(), dim=-1).cpu().numpy())  # bfloat16 lengths are not quite 1
        cosines.append(mean_cosine(cells[-1]))
    result: dict[str, float] = {}
    for held_out, prefix in ((False, ""), (True, "unseen_")):
        if scores[held_out]:
            names = [f"{prefix}{kind}{score}" for kind in ("", "frequency_", "global_frequency_") for score in _SCORES]
            result |= dict(zip(names, np.mean(scores[held_out], axis=0).tolist(), strict=True))
            result[f"{prefix}gap_closed"] = 1 - result[f"{prefix}loss"] / result[f"{prefix}frequency_loss"]
    everything = np.concatenate(cells)
    return result | {
        "cosine": float(np.mean(cosines)), "cosine_any": mean_cosine(everything), "rank": effective_rank(everything),
    }  # fmt: skip


def validation_batches(corpus: Corpus, config: PretrainConfig) -> dict[int, Batch]:
    """The validation cells of every data set with at least two, the same for every evaluation."""
    return {
        part: corpus.validation(part, np.random.default_rng([config.seed, part]), n_cells=config.validation_cells)
        for part, size in enumerate(corpus.sizes(validation=True))
        if size >= 2
    }


def _loss_and_auroc(logits: torch.Tensor) -> list[float]:
    from sklearn.metrics import roc_auc_score

    target = targets(logits)
    loss = F.binary_cross_entropy_with_logits(logits, target)
    return [float(loss), float(roc_auc_score(target.ravel(), logits.ravel()))]


def mean_cosine(x: np.ndarray) -> float:
    """Mean cosine between two different rows of unit length."""
    n = len(x)
    return float((np.square(x.sum(0)).sum() - np.square(x).sum()) / (n * (n - 1)))


def effective_rank(x: np.ndarray) -> float:
    """Number of directions in use: exponential of the entropy of the singular values (Roy and Vetterli 2007)."""
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


class Log:
    """The log of a training in ``log.csv``, and optionally in ``tensorboard/``.

    Rows after ``step`` are removed when a run is resumed; Fabric's ``CSVLogger`` would delete all of them.
    """

    def __init__(self, directory: Path, step: int, *, tensorboard: bool = False) -> None:
        self._path = directory / "log.csv"
        self._rows = pd.DataFrame()
        self._board: Any = None
        self._collapsed = False  # at the last row
        if self._path.exists():
            rows = pd.read_csv(self._path, dtype=str)
            self._rows = rows[rows["step"].astype(int) <= step]
            self._write()
        if tensorboard:
            from lightning.fabric.loggers.tensorboard import TensorBoardLogger

            try:
                self._board = TensorBoardLogger(directory, name="tensorboard", version="", purge_step=step + 1)
            except ImportError as error:
                raise ImportError('tensorboard=True needs TensorBoard: pip install "univerce[train]".') from error

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row, which begins with ``step``."""
        self._rows = pd.concat([self._rows, pd.DataFrame([{name: str(value) for name, value in row.items()}])])
        self._write()
        if self._board is not None:
            self._board.log_metrics(row, int(row["step"]))
            self._board.save()
        logger.info("%s", row)
        collapses = row["cosine"] > MAX_COSINE or row["rank"] < MIN_RANK
        if collapses and not self._collapsed:
            logger.warning(
                "Step %d: the embedding collapses: two cells of a data set have a mean cosine of %.2f, and all cells "
                "have an effective rank of %.0f. See cosine and rank in %s.",
                row["step"], row["cosine"], row["rank"], self._path.name,
            )  # fmt: skip
        self._collapsed = collapses

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.finalize("success")

    def _write(self) -> None:
        with replacing(self._path) as part:
            self._rows.to_csv(part, index=False)
