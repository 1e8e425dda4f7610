"""Where the forward pass of four layers spends its time on the CPU: the plain one and ours in both precisions.

Writes ``forward-profile.md`` and ``forward-profile.png`` to ``--docs``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measurement import Run
from benchmarks.networks import network, reference
from univerce.model.config import UCE_4L, UCEConfig
from univerce.model.layers import pack

LENGTH, REPEATS = 1073, 3
KINDS = {
    "products": ("addmm", "::mm", "bmm", "matmul", "linear"),
    "attention": ("scaled_dot_product", "softmax", "multi_head_attention"),
    "norms and activations": ("norm", "clamp", "relu", "gelu", "div", "linalg"),
    "sums and copies": ("",),
}
"""Kinds of work by parts of the names of torch's operators; the first that fits counts."""


def main(run: Run) -> None:
    """Profile one cell."""
    seconds = measure(UCE_4L, LENGTH)
    header = ("", *KINDS, "all")
    rows = [(name, *parts.values(), sum(parts.values())) for name, parts in seconds.items()]
    run.record("forward-profile", f"Seconds per cell, 4 layers, sentences of {LENGTH:,} tokens", header, rows)
    if run.docs is not None:
        draw(seconds, run.docs / "forward-profile.png")


def measure(config: UCEConfig, length: int) -> dict[str, dict[str, float]]:
    """Seconds of each kind of work in the fastest of some passes."""
    features, tokens = torch.randn(1, length, config.token_dim), torch.randn(1, length, config.d_model)
    works: dict[str, Callable[[], object]] = {"plain, float32": partial(reference(config), features)}
    for precision in ("float32", "bfloat16"):
        made = network(config, precision)
        pack(made)
        works[precision] = partial(made.embed, tokens)
    out = {}
    for name, work in works.items():
        with torch.inference_mode():
            work()
            passes = [_profile(work) for _ in range(REPEATS)]
        out[name] = min(passes, key=lambda parts: sum(parts.values()))
    return out


def _profile(work: Callable[[], object]) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    parts = dict.fromkeys(KINDS, 0.0)
    for event in profiled.key_averages():
        kind = next(kind for kind, words in KINDS.items() if any(word in event.key for word in words))
        parts[kind] += event.self_cpu_time_total / 1e6
    return parts


def draw(seconds: dict[str, dict[str, float]], path) -> None:
    """Stacked bars."""
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, ax = plt.subplots(figsize=(6.4, 2.2), layout="constrained")
        names = list(seconds)
        left = [0.0] * len(names)
        for kind, color in zip(KINDS, ("#4477aa", "#ee6677", "#ccbb44", "#bbbbbb"), strict=True):
            width = [seconds[name][kind] for name in names]
            ax.barh(names, width, left=left, color=color, label=kind, height=0.6)
            left = [a + b for a, b in zip(left, width, strict=True)]
        ax.invert_yaxis()
        ax.set_xlabel("seconds per cell")
        figure.legend(frameon=False, loc="outside lower center", ncols=len(KINDS))
        figure.savefig(path, dpi=150)
        plt.close(figure)
