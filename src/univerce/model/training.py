"""Self-supervised pretraining: is a gene, hidden from the sentence, expressed in the cell?"""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from univerce._settings import settings
from univerce.genes.table import gene_table_info
from univerce.model.config import UCEConfig
from univerce.model.corpus import Batch, Corpus, TrainingSet
from univerce.model.network import UCE

logger = logging.getLogger("univerce")
_SETTLING_BATCHES = 64


@dataclass(frozen=True)
class PretrainConfig:
    """How a network is trained; the defaults are those of the bundled ``uce-mini``.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.PretrainConfig(steps=100).mask_fraction
    0.2
    """

    steps: int = 1500
    """Optimiser steps."""
    batch_size: int = 64
    """Cells in a step."""
    n_queries: int = 256
    """Query genes per cell, half of them expressed."""
    mask_fraction: float = 0.2
    """Share of the expressed genes that is hidden (the paper's default; 0.1 did better in its ablation)."""
    learning_rate: float = 5e-4
    """Highest learning rate."""
    warmup: int = 100
    """Steps in which the learning rate rises."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones exported."""
    temperature: float = 0.7
    """A data set is picked with probability proportional to its number of cells to this power."""
    frequency_offset: bool = True
    """Give the head each gene's frequency in its data set: the loss pays only for what frequency leaves open."""
    start_from_bag: bool = True
    """Start the bag of a network that has one as the inverse-frequency weighted mean of the features."""
    held_out: float = 0.05
    """Share of every data set's cells kept for validation."""
    autocast: bool = True
    """bfloat16 products."""
    seed: int = 0
    """Seed of the weights, the split and the batches."""
    evaluate_every: int = 500
    """Steps between two evaluations."""
    checkpoint_every: int = 250
    """Steps between two checkpoints."""


def pretrain(
    sets: Sequence[TrainingSet],
    model: UCEConfig,
    config: PretrainConfig,
    out_dir: Path | str,
    *,
    device: str = "cpu",
    progress: bool | None = None,
) -> UCE:
    """Train a UCE network on raw counts without labels (Rosen et al., Methods, "Training objective").

    Parameters
    ----------
    sets
        The data sets with their gene tables.
    model
        The network to train.
    config
        The recipe.
    out_dir
        Gets ``checkpoint.pt`` and ``log.csv``; an interrupted call with the same arguments continues from there.
    device
        Torch device.
    progress
        Show a progress bar; by default ``settings.progress``.

    Returns
    -------
    The network with the averaged weights, in evaluation mode.

    Raises
    ------
    ValueError
        When ``out_dir`` holds a checkpoint of another recipe or model, the gene tables do not fit the model, or no data
        set has two cells to validate on; and for a data set without counts, or without a cell to train on.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from scipy import sparse
    >>> import univerce as uc
    >>> table = uc.genes.load_table("worm")
    >>> counts = sparse.csr_matrix(np.random.default_rng(0).poisson(1, (60, 50)).astype("float32"))
    >>> cells = uc.model.TrainingSet("example", counts, np.arange(50, dtype="int32"), table)
    >>> config = uc.model.UCEConfig(
    ...     token_dim=table.n_vars, token_encoder=table.uns["gene_table"]["encoder"], d_model=8, n_heads=2, d_hidden=8,
    ...     n_layers=1, output_dim=8, n_sample=16,
    ... )
    >>> recipe = uc.model.PretrainConfig(steps=2, batch_size=4, n_queries=4)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     network = uc.model.pretrain([cells], config, recipe, directory, progress=False)
    >>> network.training
    False
    """
    corpus = Corpus(
        sets, n_queries=config.n_queries, mask_fraction=config.mask_fraction, n_sample=model.n_sample,
        systematic=model.sampling == "systematic", max_length=model.max_length, held_out=config.held_out,
        seed=config.seed,
    )  # fmt: skip
    if corpus.features.shape[1] != model.token_dim:
        raise ValueError(f"The gene tables are {corpus.features.shape[1]} wide, the model reads {model.token_dim}.")
    if other := {str(gene_table_info(s.table)["encoder"]) for s in sets} - {model.token_encoder}:
        raise ValueError(f"The gene tables are of {', '.join(sorted(other))}, the model reads {model.token_encoder!r}.")
    if not (corpus.sizes(validation=True) >= 2).any():
        raise ValueError(f"held_out={config.held_out} leaves no data set two cells to validate on; raise it.")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    run = _Run(corpus, model, config, out_dir, device)
    show = settings.progress if progress is None else progress
    for step in tqdm(range(run.step, config.steps), initial=run.step, total=config.steps, disable=not show):
        run.train_step(step)
        if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
            run.settle(run.average)
            run.log(evaluate(run.average, corpus, run.vocabulary, config, device=device))
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            run.save()
    return run.average.eval()


class _Run:
    """The state of a training: what a checkpoint holds."""

    def __init__(self, corpus: Corpus, model: UCEConfig, config: PretrainConfig, out_dir: Path, device: str) -> None:
        self.corpus, self.config, self.out_dir, self.device = corpus, config, out_dir, device
        self.recipe = json.dumps(
            {"model": model.to_dict(), "pretrain": dataclasses.asdict(config), "sets": corpus.names}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = UCE(model).to(device)
            self.vocabulary = torch.from_numpy(corpus.features).to(device)
            if model.bag and config.start_from_bag:
                _start_from_bag(self.network, self.vocabulary, corpus.token_frequency())
            self.settle(self.network)
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        self.loss = math.nan
        self.started = time.perf_counter()
        self.cells = 0
        self._resume()
        self._forget_later_rows()

    def train_step(self, step: int) -> None:
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        batch = self.corpus.sample(config.batch_size, rng, temperature=config.temperature)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        self.network.train()
        with torch.random.fork_rng(devices=[]):  # dropout depends on the step alone, so a resumed run repeats it
            torch.manual_seed(int(rng.integers(2**62)))
            _, logits = _forward(self.network, batch, self.vocabulary, config, self.device)
            loss = F.binary_cross_entropy_with_logits(logits, _targets(logits))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(self.average.parameters(), self.network.parameters(), strict=True):
                a.lerp_(b, 1 - decay)
            for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(new)  # the statistics of the whitening
        self.step = step + 1
        self.cells += config.batch_size
        self.loss = loss.item()

    def settle(self, network: UCE) -> None:
        """Take the statistics of the whitening from cells of all data sets, as the weights are now."""
        if not network.config.bag:
            return
        seen = []
        hook = network.whiten.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        network.eval()
        with torch.inference_mode():
            for i in range(_SETTLING_BATCHES):
                batch = self.corpus.sample(
                    self.config.batch_size, np.random.default_rng([self.config.seed, i]), temperature=0.5
                )
                _forward(network, batch, self.vocabulary, self.config, self.device)
        hook.remove()
        network.whiten.observe(torch.cat(seen), momentum=1)

    def log(self, scores: dict[str, float]) -> None:
        row = {
            "step": self.step, "train_loss": round(self.loss, 5),
            "cells_per_second": round(self.cells / (time.perf_counter() - self.started), 1),
        } | {k: round(v, 5) for k, v in scores.items()}  # fmt: skip
        path = self.out_dir / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        logger.info("%s", row)

    def save(self) -> None:
        temporary = self.out_dir / "checkpoint.pt.part"
        torch.save(
            {
                "recipe": self.recipe, "step": self.step, "network": self.network.state_dict(),
                "average": self.average.state_dict(), "optimiser": self.optimiser.state_dict(),
            },
            temporary,
        )  # fmt: skip
        os.replace(temporary, self.out_dir / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.out_dir / "checkpoint.pt"
        if not path.exists():
            return
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        if saved["recipe"] != self.recipe:
            raise ValueError(f"{path} belongs to another recipe; use a new out_dir or remove it.")
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]

    def _forget_later_rows(self) -> None:
        """Drop the evaluations after the checkpoint, which will be logged again."""
        path = self.out_dir / "log.csv"
        if not path.exists():
            return
        header, *rows = path.read_bytes().splitlines(keepends=True)
        temporary = path.with_name("log.csv.part")
        temporary.write_bytes(b"".join([header, *(row for row in rows if int(row.split(b",")[0]) <= self.step)]))
        os.replace(temporary, path)


def evaluate(
    network: UCE,
    corpus: Corpus,
    vocabulary: torch.Tensor,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    n_cells: int = 64,
) -> dict[str, float]:
    """Loss and AUROC on held-out cells beside what the frequency of genes gives, and how far cells differ.

    Returns
    -------
    ``loss``, ``auroc`` (mean over data sets of the AUROC over all queries), the same of the frequency baseline,
    ``gap_closed`` (share of the baseline's loss that the network saves), ``cosine`` (mean over data sets of the mean
    cosine between two of its cells) and ``rank`` (effective rank of all embeddings: exponential of the spectrum's
    entropy).
    """
    from sklearn.metrics import roc_auc_score

    scores: list[tuple[float, ...]] = []
    cells = []
    network.eval()
    for part, size in enumerate(corpus.sizes(validation=True)):
        if size < 2:
            continue
        batch = corpus.validation(part, np.random.default_rng([config.seed, part]), n_cells=n_cells)
        with torch.inference_mode():
            embedding, logits = _forward(network, batch, vocabulary, config, device)
        logits, embedding = logits.float().cpu(), embedding.float().cpu()
        offsets = torch.from_numpy(batch.offsets)
        target = _targets(logits)
        scores.append(
            (
                float(F.binary_cross_entropy_with_logits(logits, target)),
                float(roc_auc_score(target.ravel(), logits.ravel())),
                float(F.binary_cross_entropy_with_logits(offsets, target)),
                float(roc_auc_score(target.ravel(), offsets.ravel())),
                _mean_cosine(embedding.numpy()),
            )
        )
        cells.append(embedding.numpy())
    loss, auroc, frequency_loss, frequency_auroc, cosine = np.mean(scores, axis=0)
    spectrum = np.linalg.svd(np.concatenate(cells), compute_uv=False) ** 2
    spectrum = spectrum[spectrum > 0] / spectrum.sum()
    return {
        "loss": loss, "auroc": auroc, "frequency_loss": frequency_loss, "frequency_auroc": frequency_auroc,
        "gap_closed": 1 - loss / frequency_loss, "cosine": cosine,
        "rank": float(np.exp(-(spectrum * np.log(spectrum)).sum())),
    }  # fmt: skip


def _forward(
    network: UCE, batch: Batch, vocabulary: torch.Tensor, config: PretrainConfig, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and logits of a batch; only the tokens that occur in it are encoded."""
    used, where = np.unique(batch.ids, return_inverse=True)
    places = torch.from_numpy(where.reshape(batch.ids.shape)).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    with torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=config.autocast):
        tokens = network.encode_tokens(vocabulary[torch.from_numpy(used).to(device)])
        full = bool((batch.lengths == batch.ids.shape[1]).all())
        bag = _bag(network, batch, vocabulary) if network.config.bag else None
        cells = network.embed(F.embedding(places, tokens), None if full else lengths, bag=bag)
    logits = network.predict(cells.float(), vocabulary[torch.from_numpy(batch.queries).to(device)])
    if config.frequency_offset:
        logits = logits + torch.from_numpy(batch.offsets).to(device)
    return cells, logits


def _bag(network: UCE, batch: Batch, vocabulary: torch.Tensor) -> torch.Tensor:
    device = vocabulary.device
    used, places = np.unique(batch.bag.indices, return_inverse=True)
    with torch.autocast(device.type, enabled=False):
        vectors = network.bag(vocabulary[torch.from_numpy(used).to(device)])
        return F.embedding_bag(
            torch.from_numpy(places).to(device), vectors,
            torch.from_numpy(batch.bag.indptr[:-1].astype(np.int64)).to(device),
            per_sample_weights=torch.from_numpy(batch.bag.data).to(device), mode="sum",
        )  # fmt: skip


def _targets(logits: torch.Tensor) -> torch.Tensor:
    """The first half of the queries is expressed."""
    target = torch.zeros_like(logits)
    target[:, : logits.shape[1] // 2] = 1
    return target


def _schedule(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _mean_cosine(x: np.ndarray) -> float:
    """Mean cosine between two different rows of unit length."""
    n = len(x)
    return float((np.square(x.sum(0)).sum() - np.square(x).sum()) / (n * (n - 1)))


def _start_from_bag(network: UCE, vocabulary: torch.Tensor, frequency: np.ndarray, *, steps: int = 300) -> None:
    """Fit the gate to the inverse document frequency, centre by the weighted mean token, and silence the rest."""
    seen = np.flatnonzero(frequency > 0)
    unit = F.normalize(vocabulary[torch.from_numpy(seen)], dim=-1)
    freq = torch.from_numpy(frequency[seen]).float().to(unit.device)
    idf = torch.log(1 / freq.clamp_min(1e-3))
    idf = idf / idf.mean()
    weight = freq / freq.sum()
    bag = network.bag
    optimiser = torch.optim.Adam(bag.gate.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = (torch.sqrt(weight) * (F.softplus(bag.gate(unit)[:, 0]) - idf) ** 2).sum() / torch.sqrt(weight).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        gate = F.softplus(bag.gate(unit)[:, 0]) * freq
        bag.center.copy_((gate[:, None] * unit).sum(0) / gate.sum())
        torch.nn.init.eye_(bag.project.weight)
        for silent in (network.decoder[-1], network.binary_decoder[-1], network.bilinear):
            for parameter in silent.parameters():
                torch.nn.init.zeros_(parameter)
