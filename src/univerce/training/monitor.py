"""What is watched while a network trains: scores beside their baselines, signs of collapse, and the log of both."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from univerce.model.network import UCE
from univerce.training.corpus import Batch, Corpus
from univerce.training.objective import forward, targets

if TYPE_CHECKING:
    from univerce.training.config import PretrainConfig

logger = logging.getLogger("univerce")
MAX_COSINE, MIN_RANK = 0.95, 3.0
"""Beyond these the embedding is said to have collapsed."""


def evaluate(
    network: UCE,
    corpus: Corpus,
    vocabulary: torch.Tensor,
    config: PretrainConfig,
    *,
    batches: Mapping[int, Batch] | None = None,
) -> dict[str, float]:
    """Loss and AUROC on held-out cells beside what the frequency of genes gives, and how far cells differ.

    Parameters
    ----------
    network, vocabulary, config
        As in training.
    corpus
        The data sets.
    batches
        What :func:`validation_batches` gave, which is the same every time.

    Returns
    -------
    ``loss``, ``auroc`` (mean over data sets of the AUROC over all queries), the same of the baselines that know a
    gene's frequency in its data set (``frequency_``) or in all (``global_frequency_``), and ``gap_closed`` (share of
    the loss of the frequency in the data set that the network saves); the same beginning with ``unseen_`` for data sets
    that are held out as a whole. ``cosine`` (mean over data sets of the mean cosine between two of its cells),
    ``cosine_any`` (between two cells of any data set) and ``rank`` (:func:`effective_rank` of all embeddings).
    """
    batches = validation_batches(corpus, config) if batches is None else batches
    scores: dict[bool, list[list[float]]] = {False: [], True: []}
    cells, cosines = [], []
    network.eval()
    for part, batch in batches.items():
        with torch.inference_mode():
            embedding, logits = forward(network, batch, vocabulary, config)
        row = []
        for guess in (logits.float().cpu(), torch.from_numpy(batch.offsets), torch.from_numpy(batch.global_offsets)):
            row += _loss_and_auroc(guess)
        scores[bool(corpus.is_held_out[part])].append(row)
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


_SCORES = ("loss", "auroc")


def validation_batches(corpus: Corpus, config: PretrainConfig) -> dict[int, Batch]:
    """The same validation cells of every data set that has two, for every evaluation."""
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
    """Mean cosine between two different rows of unit length.

    Examples
    --------
    >>> import numpy as np
    >>> from univerce.training.monitor import mean_cosine
    >>> mean_cosine(np.eye(3)), mean_cosine(np.ones((3, 1)))
    (0.0, 1.0)
    """
    n = len(x)
    return float((np.square(x.sum(0)).sum() - np.square(x).sum()) / (n * (n - 1)))


def effective_rank(x: np.ndarray) -> float:
    """Exponential of the entropy of the singular values (Roy and Vetterli 2007): about how many directions are used.

    Examples
    --------
    >>> import numpy as np
    >>> from univerce.training.monitor import effective_rank
    >>> round(effective_rank(np.eye(3)), 6), round(effective_rank(np.ones((3, 2))), 6)
    (3.0, 1.0)
    """
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


class Log:
    """``log.csv`` of a training, and the same for TensorBoard.

    Parameters
    ----------
    directory
        Where it is written.
    step
        Rows after this step, which will be written again, are forgotten.
    tensorboard
        Write ``tensorboard/`` too.

    Raises
    ------
    ImportError
        When TensorBoard is asked for and not installed.
    """

    def __init__(self, directory: Path, step: int, *, tensorboard: bool = False) -> None:
        self._path = directory / "log.csv"
        self._writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ImportError(
                    "tensorboard=True needs TensorBoard: pip install 'univerce[train]'. The same numbers are in "
                    "log.csv."
                ) from error
            self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)
        self._forget(step)

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row, which begins with ``step``."""
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(name, value, row["step"])
            self._writer.flush()
        logger.info("%s", row)
        if row["cosine"] > MAX_COSINE or row["rank"] < MIN_RANK:
            logger.warning(
                "Step %d: the embedding collapses: two cells of a data set have a mean cosine of %.3f, and all cells "
                "together an effective rank of %.1f.",
                row["step"], row["cosine"], row["rank"],
            )  # fmt: skip

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()

    def _forget(self, step: int) -> None:
        if not self._path.exists():
            return
        header, *rows = self._path.read_bytes().splitlines(keepends=True)
        temporary = self._path.with_name("log.csv.part")
        temporary.write_bytes(b"".join([header, *(row for row in rows if int(row.split(b",")[0]) <= step)]))
        os.replace(temporary, self._path)
