"""Self-supervised pretraining: predict whether a gene that is masked in the sentence is expressed in the cell."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from univerce._errors import FileError
from univerce._settings import settings
from univerce._validate import as_path
from univerce.genes.table import gene_table_info
from univerce.io.atomic import replacing
from univerce.io.seal import is_intact, seal
from univerce.model.checkpoint import read_network
from univerce.model.config import UCEConfig
from univerce.model.directory import Model
from univerce.model.families import build_network
from univerce.model.find import find_model
from univerce.model.network import UCE
from univerce.training.config import PretrainConfig
from univerce.training.corpus import Corpus
from univerce.training.monitor import Log, evaluate, validation_batches
from univerce.training.objective import Objective, Task
from univerce.training.processes import launch, n_processes, seeded
from univerce.training.training_set import TrainingSet

_STATES = ("network", "average", "optimizer")


def pretrain(
    sets: Sequence[TrainingSet],
    model: UCEConfig,
    config: PretrainConfig,
    out_dir: Path | str,
    *,
    devices: int = 1,
    tensorboard: bool = False,
) -> UCE:
    """Train a UCE network on raw counts without labels (Rosen et al., Methods, "Training objective").

    Needs lightning (``pip install "univerce[train]"``) and trains on ``settings.device``. Data sets on disk are read in
    blocks, which are shuffled in a buffer; memory holds ``config.buffer_cells`` cells of them. The result depends on
    the configuration and the data; the number of processes changes it by rounding only.

    Parameters
    ----------
    sets
        The data sets with their gene tables, see :func:`univerce.pp.training_set`.
    model
        The network to train. With ``config.continue_from`` it has the architecture of that model and a new
        ``model_id``.
    config
        The training configuration.
    out_dir
        Directory for ``checkpoint.pt`` and ``log.csv``. Interrupted runs resume when the call is repeated.
    devices
        Number of devices of this machine to train on. Processes that ``torchrun`` started are used instead. With
        several devices, call this under ``if __name__ == "__main__":``.
    tensorboard
        Also write the log for TensorBoard.

    Returns
    -------
    The network with the averaged weights, in evaluation mode; :func:`univerce.model.save_model` writes it.

    Raises
    ------
    ValueError
        If ``out_dir`` holds a checkpoint of another configuration, model or data, the gene tables do not fit the model,
        no data set has two cells for validation, a batch cannot be split evenly between devices, or a data set has no
        counts or no cell to train on.
    ImportError
        If lightning or TensorBoard is needed and not installed.

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
    parts = config.accumulate * n_processes(devices)
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size={config.batch_size} cannot be shared evenly by {n_processes(devices)} processes with "
            f"accumulate={config.accumulate}; make it a multiple of {parts}."
        )
    out_dir = as_path(out_dir)
    sets = [s.portable() for s in sets] if devices > 1 else list(sets)
    launch(
        partial(
            _train, sets=sets, model=model, config=config, out_dir=out_dir, tensorboard=tensorboard,
            progress=settings.progress,
        ),
        devices,
    )  # fmt: skip
    with seeded(torch.device("cpu"), config.seed):
        average: Any = AveragedModel(build_network(model))
    average.load_state_dict(_load(out_dir / "checkpoint.pt", "cpu")["average"])
    network: UCE = average.module
    return network.requires_grad_(requires_grad=False).eval()


def _train(
    fabric: Any,
    *,
    sets: Sequence[TrainingSet],
    model: UCEConfig,
    config: PretrainConfig,
    out_dir: Path,
    tensorboard: bool,
    progress: bool,
) -> None:
    corpus = Corpus(sets, model, config)
    if (width := corpus.vocabulary.features.shape[1]) != model.token_dim:
        raise ValueError(f"The gene tables have {width} features, the model reads {model.token_dim}.")
    if other := {str(gene_table_info(s.table)["encoder"]) for s in sets} - {model.token_encoder}:
        raise ValueError(f"The gene tables are of {', '.join(sorted(other))}, the model reads {model.token_encoder!r}.")
    if not (corpus.sizes(validation=True)[~corpus.is_held_out] >= 2).any():
        raise ValueError(f"held_out={config.held_out} leaves no data set two cells to validate on; increase it.")
    source = None if config.continue_from is None else find_source(config.continue_from, model)
    if fabric.is_global_zero:
        out_dir.mkdir(parents=True, exist_ok=True)
    run = _Run(corpus, out_dir, fabric, source=source, tensorboard=tensorboard)
    steps = range(run.step, config.steps)
    try:
        for step in tqdm(steps, initial=run.step, total=config.steps, disable=not (progress and fabric.is_global_zero)):
            run.train_step(step)
            if (step + 1) % config.evaluate_every == 0 or step + 1 == config.steps:
                run.evaluate()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                run.save()
    finally:
        run.close()


class _Run:
    def __init__(self, corpus: Corpus, out_dir: Path, fabric: Any, *, source: Model | None, tensorboard: bool) -> None:
        self.corpus, self.config, self.out_dir, self.fabric = corpus, corpus.config, out_dir, fabric
        config, model = corpus.config, corpus.model
        self.recipe = json.dumps(
            {
                "model": model.to_dict(), "pretrain": dataclasses.asdict(config), "sets": corpus.description,
                "source": None if source is None else source.digest,
            }
        )  # fmt: skip
        with seeded(fabric.device, config.seed):
            self.network = build_network(model).to(fabric.device)
            self.vocabulary = torch.from_numpy(corpus.vocabulary.features).to(fabric.device)
            if source is not None:
                self.network.load_state_dict(read_network(source).state_dict())
        self.average: Any = AveragedModel(self.network, multi_avg_fn=_moving_average(config.ema)).eval()
        self.average.n_averaged.fill_(1)  # the first weights count
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.step, self.loss = 0, math.nan
        self._resume()
        self.objective = fabric.setup_module(Objective(self.network, self.vocabulary, config))
        self._log = Log(out_dir, self.step, tensorboard=tensorboard) if fabric.is_global_zero else None
        self._ahead = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[list[Task]]] | None = None
        self._validation: dict[int, Any] | None = None
        self._seconds, self._cells = 0.0, 0

    def train_step(self, step: int) -> None:
        began = time.perf_counter()
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.fabric.device)
        tasks = self._tasks_of(step)
        for i, task in enumerate(tasks, start=1):
            with (
                seeded(self.fabric.device, task.seed),  # dropout follows from the step, so a resumed run repeats it
                self.fabric.no_backward_sync(self.objective, enabled=i < len(tasks)),
            ):
                loss = self.objective(task) / len(tasks)
                self.fabric.backward(loss)
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step = step + 1
        self.loss = self.fabric.all_reduce(total).item()
        self._cells += config.batch_size
        self._seconds += time.perf_counter() - began

    def _tasks_of(self, step: int) -> list[Task]:
        """The tasks of a step; those of the next one are prepared meanwhile, in the thread that moves the windows."""
        ahead, self._next = self._next, None
        tasks = ahead[1] if ahead is not None and ahead[0] == step else self._ahead.submit(self._prepare, step)
        if step + 1 < self.config.steps:
            self._next = step + 1, self._ahead.submit(self._prepare, step + 1)
        return tasks.result()

    def _prepare(self, step: int) -> list[Task]:
        """Prepare this process's share of the parts of a step, ``accumulate`` for every process."""
        rank, n = self.fabric.global_rank, self.config.accumulate
        n_parts = n * self.fabric.world_size
        rng = np.random.default_rng([self.config.seed, step])
        plan = self.corpus.plan(self.config.batch_size, rng, step=step)
        seeds = rng.integers(2**62, size=n_parts).tolist()
        return [Task(self.corpus.draw(plan.share(i, n_parts)), seeds[i]) for i in range(rank * n, (rank + 1) * n)]

    def evaluate(self) -> None:
        """Score the averaged network and log it."""
        if self._log is not None:
            if self._validation is None:
                self._validation = validation_batches(self.corpus, self.config)
            scores = evaluate(self.average.module, self.corpus, self.vocabulary, self.config, batches=self._validation)
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
        if self.fabric.is_global_zero:
            state = {name: getattr(self, name).state_dict() for name in _STATES}
            with replacing(self.out_dir / "checkpoint.pt") as part:
                torch.save({"recipe": self.recipe, "step": self.step, **state}, part)
                seal(part)
        self.fabric.barrier()

    def close(self) -> None:
        """Stop the thread and close the log."""
        self._ahead.shutdown(cancel_futures=True)
        if self._log is not None:
            self._log.close()

    def _resume(self) -> None:
        path = self.out_dir / "checkpoint.pt"
        if not path.exists():
            return
        saved = _load(path, self.fabric.device)
        if saved["recipe"] != self.recipe:
            raise ValueError(
                f"{path} belongs to another training run{_difference(saved['recipe'], self.recipe)}; use a new "
                "out_dir or remove it."
            )
        for name in _STATES:
            getattr(self, name).load_state_dict(saved[name])
        self.step = saved["step"]


def _load(checkpoint: Path, device: torch.device | str) -> dict[str, Any]:
    if not is_intact(checkpoint):
        raise FileError(f"{checkpoint} is damaged. Restore it from an intact copy, or remove it to start over.")
    return torch.load(checkpoint, weights_only=True, map_location=device)


def _moving_average(ema: float) -> Callable[[Any, Any, Tensor | int], None]:
    """An exponential moving average, whose decay rises to ``ema`` in the first steps."""

    def update(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
        n = int(n_averaged)
        get_ema_multi_avg_fn(min(ema, n / (9 + n)))(averaged, current, n_averaged)

    return update


def _difference(saved: str, mine: str) -> str:
    old, new = json.loads(saved), json.loads(mine)
    found = [
        f"{key}={new[part].get(key)!r} instead of {old[part].get(key)!r}"
        for part in ("model", "pretrain")
        for key in sorted({*old[part], *new[part]})
        if old[part].get(key) != new[part].get(key)
    ]
    if old.get("sets") != new["sets"]:
        found.append("other data sets")
    if old.get("source") != new["source"]:
        found.append("other weights to continue from")
    return f" ({', '.join(found)})" if found else ""


def _schedule(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def find_source(name: str, model: UCEConfig) -> Model:
    """Find the model to continue from, which must have the architecture of ``model`` and another name."""
    source = find_model(name)
    free = {"model_id": "", "dropout": 0.0, "n_sample": 1, "sampling": "multinomial"}
    mine, theirs = (config.to_dict() | free for config in (model, source.config))
    if different := [
        f"{key}={value!r} (it has {theirs[key]!r})" for key, value in mine.items() if value != theirs[key]
    ]:
        raise ValueError(f"continue_from={name!r} has another architecture than the model: {', '.join(different)}.")
    if model.model_id == source.config.model_id:
        raise ValueError(
            f"model_id={model.model_id!r} is the name of the model to continue from; the result is a new embedding "
            "space and needs a new name."
        )
    return source
