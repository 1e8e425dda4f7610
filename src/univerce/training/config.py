"""How a network is trained."""

from __future__ import annotations

from dataclasses import dataclass

_ORDERS = ("genome", "shuffled")


@dataclass(frozen=True)
class PretrainConfig:
    """How a network is trained; the defaults are those of the bundled ``uce-mini``.

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
    """Share of the expressed genes that is hidden (the paper's default; 0.1 did better in its ablation)."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    warmup: int = 50
    """Steps in which the learning rate rises."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones exported."""
    temperature: float = 0.7
    """A data set is picked with probability proportional to its number of cells to this power."""
    sets_per_step: int = 0
    """Data sets that share the cells of a step evenly; 0 lets every cell draw its own."""
    accumulate: int = 1
    """Parts in which every process works through its cells of a step, to save memory."""
    frequency_offset: bool = True
    """Give the head each gene's frequency in its data set: the loss pays only for what frequency leaves open."""
    start_from_bag: bool = True
    """Start the bag of a network that has one as the inverse-frequency weighted mean of the features."""
    train_bag: bool = False
    """Train the bag too; by default it stays as it starts (see the model card of ``uce-mini`` for why)."""
    order: str = "genome"
    """Order of the genes in a sentence: ``"genome"``, or ``"shuffled"``, an ablation that is judged by its validation
    loss alone: no embedding is made of such sentences."""
    chromosome_tokens: bool = True
    """Keep the tokens that begin and end a chromosome; without them it is an ablation as above."""
    hard_negatives: bool = False
    """Draw the genes without a count in proportion to their frequency in the data set; in validation never."""
    contrastive: float = 0.0
    """Weight of InfoNCE between two views of each cell, against the other cells of its data set (not in the paper).
    Needs several cells of a data set in every part of a step: see ``sets_per_step``."""
    continue_from: str | None = None
    """Model, by name or directory, whose weights to begin with; the result is another space all the same."""
    held_out: float = 0.05
    """Share of every data set's cells kept for validation, at most 1,000 cells."""
    held_out_sets: tuple[str, ...] = ()
    """Names of data sets that are only validated on."""
    validation_cells: int = 64
    """Held-out cells of every data set that an evaluation looks at."""
    autocast: bool = True
    """bfloat16 products."""
    buffer_cells: int = 65536
    """Cells of data sets on disk that are in memory at a time, all sets together: some 16 kB each."""
    block_rows: int = 256
    """Cells of a data set on disk that are read at a time."""
    seed: int = 0
    """Seed of the weights, the split and the batches."""
    evaluate_every: int = 100
    """Steps between two evaluations."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from its cause."""
        object.__setattr__(self, "held_out_sets", tuple(self.held_out_sets))
        for name in (
            "steps", "batch_size", "accumulate", "validation_cells", "buffer_cells", "block_rows", "evaluate_every",
            "checkpoint_every",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.order not in _ORDERS:
            raise ValueError(f"order={self.order!r} is not known; use one of {', '.join(_ORDERS)}.")
        if self.sets_per_step < 0 or (self.sets_per_step and self.batch_size % self.sets_per_step):
            raise ValueError(f"sets_per_step={self.sets_per_step} must divide batch_size={self.batch_size}, or be 0.")
        if self.contrastive < 0:
            raise ValueError(f"contrastive={self.contrastive} must not be negative.")
