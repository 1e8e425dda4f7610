"""Self-supervised pretraining: is a gene, hidden from the sentence, expressed in the cell?"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from tqdm.auto import tqdm

from univerce._settings import settings
from univerce.genes.table import gene_table_info
from univerce.model.checkpoint import Model, find_model, read_network
from univerce.model.config import UCEConfig
from univerce.model.network import UCE
from univerce.training.config import PretrainConfig
from univerce.training.corpus import Corpus, TrainingSet
from univerce.training.monitor import Log, evaluate, validation_batches
from univerce.training.objective import Objective, Task
from univerce.training.processes import Alone, launch, n_processes, seeded
from univerce.training.start import start_from_bag
from univerce.training.window import OnDisk

_START_CELLS = 17_000


def pretrain(
    sets: Sequence[TrainingSet],
    model: UCEConfig,
    config: PretrainConfig,
    out_dir: Path | str,
    *,
    device: str = "cpu",
    devices: int = 1,
    tensorboard: bool = False,
) -> UCE:
    """Train a UCE network on raw counts without labels (Rosen et al., Methods, "Training objective").

    Data sets on disk are read in blocks, which are shuffled in a buffer; memory holds ``config.buffer_cells`` cells of
    them. The result depends on the recipe and the data, not on how many processes share the work, beyond the last bits.

    Parameters
    ----------
    sets
        The data sets with their gene tables, see :func:`univerce.pp.training_set`.
    model
        The network to train. With ``config.continue_from`` it has the shape of that model and a ``model_id`` of its
        own.
    config
        The recipe.
    out_dir
        Gets ``checkpoint.pt`` and ``log.csv``; an interrupted call with the same arguments continues from there.
    device
        Torch device, or ``"auto"``.
    devices
        Number of devices of this machine to train on; more than one needs lightning (``pip install univerce[train]``).
        Started by ``torchrun``, its processes are taken instead. A script that asks for several must be importable:
        call this under ``if __name__ == "__main__":``.
    tensorboard
        Write the log for TensorBoard too.

    Returns
    -------
    The network with the averaged weights, in evaluation mode. :func:`univerce.model.save_model` writes it.

    Raises
    ------
    ValueError
        When ``out_dir`` holds a checkpoint of another recipe, model or data, the gene tables do not fit the model, no
        data set has two cells to validate on, or the cells of a step cannot be shared evenly; and for a data set
        without counts, or without a cell to train on.
    ImportError
        When lightning or TensorBoard is needed and not installed.

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
    ...     network = uc.model.pretrain([cells], config, recipe, directory)
    >>> network.training
    False
    """
    if config.batch_size % (config.accumulate * n_processes(devices)):
        raise ValueError(
            f"batch_size={config.batch_size} cannot be shared evenly by {n_processes(devices)} processes with "
            f"accumulate={config.accumulate}; make it a multiple of {config.accumulate * n_processes(devices)}."
        )
    out_dir = Path(out_dir)
    show = settings.progress
    args: tuple[Any, ...] = (list(sets), model, config, out_dir, tensorboard, show)
    if devices > 1:
        args = ([_portable(s) for s in sets], *args[1:])
    network = launch(_train, *args, device=device, devices=devices)
    if network is None:
        saved = torch.load(out_dir / "checkpoint.pt", weights_only=True, map_location="cpu")
        network = UCE(model).requires_grad_(requires_grad=False)
        network.load_state_dict(saved["average"])
    return network.eval()


def _portable(s: TrainingSet) -> TrainingSet:
    """The data set as it can be sent to another process."""
    if not (isinstance(s.counts, np.ndarray | OnDisk) or sparse.issparse(s.counts)):
        raise ValueError(
            f"The data set {s.name!r} is an open {type(s.counts).__name__}, which cannot be sent to other processes; "
            "pass its path to univerce.pp.training_set."
        )
    return dataclasses.replace(s, table=s.table.to_memory()) if s.table.isbacked else s


def _train(
    fabric: Any,
    sets: Sequence[TrainingSet],
    model: UCEConfig,
    config: PretrainConfig,
    out_dir: Path,
    tensorboard: bool,
    show: bool,
) -> UCE:
    """Train in one of the processes."""
    corpus = Corpus(
        sets, n_queries=config.n_queries, mask_fraction=config.mask_fraction, n_sample=model.n_sample,
        systematic=model.sampling == "systematic", max_length=model.max_length, shuffled=config.order == "shuffled",
        chromosome_tokens=config.chromosome_tokens, hard_negatives=config.hard_negatives, held_out=config.held_out,
        held_out_sets=config.held_out_sets, temperature=config.temperature, cells_per_step=config.batch_size,
        block_rows=config.block_rows, buffer_cells=config.buffer_cells, seed=config.seed,
    )  # fmt: skip
    if corpus.features.shape[1] != model.token_dim:
        raise ValueError(f"The gene tables are {corpus.features.shape[1]} wide, the model reads {model.token_dim}.")
    if other := {str(gene_table_info(s.table)["encoder"]) for s in sets} - {model.token_encoder}:
        raise ValueError(f"The gene tables are of {', '.join(sorted(other))}, the model reads {model.token_encoder!r}.")
    if not (corpus.sizes(validation=True)[~corpus.is_held_out] >= 2).any():
        raise ValueError(f"held_out={config.held_out} leaves no data set two cells to validate on; raise it.")
    source = _find_source(config.continue_from, model) if config.continue_from is not None else None
    out_dir.mkdir(parents=True, exist_ok=True)
    run = _Run(corpus, model, config, out_dir, fabric, source=source, tensorboard=tensorboard)
    show = show and fabric.global_rank == 0
    try:
        for step in tqdm(range(run.step, config.steps), initial=run.step, total=config.steps, disable=not show):
            run.train_step(step)
            if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
                run.evaluate()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                run.save()
    finally:
        run.close()
    return run.average


def _find_source(name: str, model: UCEConfig) -> Model:
    """The model to continue from, which must have the shape of ``model`` and another name."""
    source = find_model(name)
    free = {"model_id": "", "dropout": 0.0, "n_sample": 1, "sampling": "multinomial"}
    mine, theirs = (config.to_dict() | free for config in (model, source.config))
    if different := [
        f"{key}={value!r} (it has {theirs[key]!r})" for key, value in mine.items() if value != theirs[key]
    ]:
        raise ValueError(f"continue_from={name!r} has another shape than the model: {', '.join(different)}.")
    if model.model_id == source.config.model_id:
        raise ValueError(
            f"model_id={model.model_id!r} is the name of the model that is continued from; the result is a space of "
            "its own and needs a name of its own."
        )
    return source


class _Run:
    """The state of a training: what a checkpoint holds."""

    def __init__(
        self,
        corpus: Corpus,
        model: UCEConfig,
        config: PretrainConfig,
        out_dir: Path,
        fabric: Any = None,
        *,
        source: Model | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.corpus, self.config, self.out_dir = corpus, config, out_dir
        self.fabric = Alone("cpu") if fabric is None else fabric
        self.device: torch.device = self.fabric.device
        self.recipe = json.dumps(
            {
                "model": model.to_dict(), "pretrain": dataclasses.asdict(config), "sets": corpus.describe(),
                "source": None if source is None else source.digest,
            }
        )  # fmt: skip
        with seeded(self.device, config.seed):
            self.network = UCE(model).to(self.device)
            self.vocabulary = torch.from_numpy(corpus.features).to(self.device)
            if source is not None:
                self.network.load_state_dict(read_network(source).state_dict())
            elif model.bag and config.start_from_bag:
                counts, cell_sets = corpus.whole_cells(_START_CELLS, np.random.default_rng(config.seed))
                start_from_bag(self.network, self.vocabulary, corpus.token_frequency(), counts, cell_sets)
        if model.bag and not config.train_bag:
            self.network.bag.requires_grad_(requires_grad=False)
        self.average = copy.deepcopy(self.network).requires_grad_(requires_grad=False).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.step = 0
        self.loss = math.nan
        self._resume()
        self.objective = self.fabric.setup_module(Objective(self.network, self.vocabulary, config))
        self._log = Log(out_dir, self.step, tensorboard=tensorboard) if self._is_first else None
        self._ahead = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[Task]]] | None = None
        self._validation: dict[int, Any] | None = None
        self._seconds = 0.0
        self._cells = 0

    def train_step(self, step: int) -> None:
        began = time.perf_counter()
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        tasks = self._tasks_of(step)
        for i, task in enumerate(tasks, start=1):
            with (
                seeded(self.device, task.seed),  # dropout depends on the step alone, so a resumed run repeats it
                self.fabric.no_backward_sync(self.objective, enabled=i < len(tasks)),
            ):
                loss = self.objective(task) / len(tasks)
                self.fabric.backward(loss)
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(self.average.parameters(), self.network.parameters(), strict=True):
                a.lerp_(b, 1 - decay)
        self.step = step + 1
        self.loss = self.fabric.all_reduce(total).item()
        self._cells += config.batch_size
        self._seconds += time.perf_counter() - began

    def _tasks_of(self, step: int) -> list[Task]:
        """What to do in a step; that of the next one is prepared meanwhile."""
        ahead, self._next = self._next, None
        # Only the thread moves the windows over data on disk.
        tasks = ahead[1] if ahead is not None and ahead[0] == step else self._ahead.submit(self._prepare, step)
        if step + 1 < self.config.steps:
            self._next = step + 1, self._ahead.submit(self._prepare, step + 1)
        return tasks.result()

    def _prepare(self, step: int) -> list[Task]:
        """The cells of a step, in as many parts as there are processes and accumulated gradients; those of this one.

        A part does not depend on the process that works on it.
        """
        config, fabric = self.config, self.fabric
        rng = np.random.default_rng([config.seed, step])
        plan = self.corpus.plan(config.batch_size, rng, step=step, sets_per_step=config.sets_per_step)
        n_parts = config.accumulate * fabric.world_size
        seeds = rng.integers(2**62, size=n_parts)
        tasks = []
        for i in range(fabric.global_rank * config.accumulate, (fabric.global_rank + 1) * config.accumulate):
            mine = plan.share(i, n_parts)
            views = self.corpus.views(mine) if config.contrastive else None
            tasks.append(Task(self.corpus.draw(mine), views, int(seeds[i])))
        return tasks

    def evaluate(self) -> None:
        """Score the averaged network and log it."""
        if self._log is not None:
            if self._validation is None:
                self._validation = validation_batches(self.corpus, self.config)
            scores = evaluate(self.average, self.corpus, self.vocabulary, self.config, batches=self._validation)
            self._log.write(
                {
                    "step": self.step, "learning_rate": float(f"{self.optimizer.param_groups[0]['lr']:.4g}"),
                    "train_loss": round(self.loss, 5), "cells_per_second": round(self._cells / self._seconds, 1),
                } | {name: round(score, 5) for name, score in scores.items()}
            )  # fmt: skip
            self._cells, self._seconds = 0, 0.0
        self.fabric.barrier()

    def save(self) -> None:
        """Write the checkpoint."""
        if self._is_first:
            temporary = self.out_dir / "checkpoint.pt.part"
            torch.save(
                {
                    "recipe": self.recipe, "step": self.step, "network": self.network.state_dict(),
                    "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
                },
                temporary,
            )  # fmt: skip
            os.replace(temporary, self.out_dir / "checkpoint.pt")
        self.fabric.barrier()

    def close(self) -> None:
        """End the thread and close the log."""
        self._ahead.shutdown(cancel_futures=True)
        if self._log is not None:
            self._log.close()

    @property
    def _is_first(self) -> bool:
        return int(self.fabric.global_rank) == 0

    def _resume(self) -> None:
        path = self.out_dir / "checkpoint.pt"
        if not path.exists():
            return
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        if saved["recipe"] != self.recipe:
            raise ValueError(
                f"{path} belongs to another recipe{_difference(saved['recipe'], self.recipe)}; use a new out_dir or "
                "remove it."
            )
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]


def _difference(saved: str, mine: str) -> str:
    """What differs between two recipes, for a message."""
    old, new = json.loads(saved), json.loads(mine)
    found = [
        f"{key}={new[part].get(key)!r} instead of {old[part].get(key)!r}"
        for part in ("model", "pretrain")
        for key in sorted({*old[part], *new[part]})
        if old[part].get(key) != new[part].get(key)
    ]
    if old.get("sets") != new["sets"]:
        found.append("the data sets are not the same")
    if old.get("source") != new["source"]:
        found.append("the model that is continued from is another")
    return f" ({', '.join(found)})" if found else ""


def _schedule(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
