"""The training configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainConfig:
    """Training configuration. The defaults describe a short run of a small network.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.PretrainConfig(steps=100).mask_fraction
    0.2
    """

    steps: int = 300
    """Optimizer steps."""
    batch_size: int = 64
    """Cells in a step."""
    n_queries: int = 256
    """Query genes per cell, half of them expressed."""
    mask_fraction: float = 0.2
    """Share of the expressed genes that is masked (the paper's default; 0.1 did better in its ablation)."""
    learning_rate: float = 1e-3
    """Maximum learning rate."""
    warmup: int = 50
    """Steps of linear warmup of the learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    clip: float = 1.0
    """Maximum norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones exported."""
    temperature: float = 0.7
    """A data set is sampled with probability proportional to its number of cells to this power."""
    accumulate: int = 1
    """Number of parts in which each process computes its cells of a step, to save memory."""
    frequency_offset: bool = True
    """Give the head each gene's frequency in its data set, so that the loss measures what frequency does not explain;
    not in the paper."""
    continue_from: str | None = None
    """Name or directory of the model to start from; the result is a new embedding space."""
    held_out: float = 0.05
    """Share of every data set's cells kept for validation, at most 1,000 cells."""
    held_out_sets: tuple[str, ...] = ()
    """Names of data sets used for validation only."""
    validation_cells: int = 64
    """Held-out cells of every data set in an evaluation."""
    autocast: bool = True
    """bfloat16 products."""
    buffer_cells: int = 65536
    """Cells of all data sets on disk that are in memory at a time, about 16 kB each."""
    block_rows: int = 256
    """Cells of a data set on disk that are read at a time."""
    seed: int = 0
    """Seed of the weights, the split and the batches."""
    evaluate_every: int = 100
    """Steps between two evaluations."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        """Validate the fields."""
        object.__setattr__(self, "held_out_sets", tuple(self.held_out_sets))
        for name in (
            "steps", "batch_size", "accumulate", "validation_cells", "buffer_cells", "block_rows", "evaluate_every",
            "checkpoint_every",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.n_queries % 2 or self.n_queries < 2:
            raise ValueError(f"n_queries={self.n_queries} must be even: half of the queries are expressed genes.")
        if not 0 < self.mask_fraction < 1:
            raise ValueError(f"mask_fraction={self.mask_fraction} must be between 0 and 1.")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be at least 0 and below 1.")
