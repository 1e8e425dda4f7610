"""``univerce pretrain``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import RESUMED, add_command, at_least, device_name, path
from univerce.cli._files import say
from univerce.io.atomic import replacing


def add(commands: Any) -> None:
    """Add the command."""
    text = "Train a model on raw counts. Interrupted runs resume."
    examples = "univerce pretrain recipe.toml --device cuda"
    pretrain = add_command(commands, "pretrain", _pretrain, text, examples=examples, resumed=RESUMED)
    pretrain.add_argument("config", type=path, metavar="CONFIG", help="a .toml with [model], [pretrain] and [[data]]")
    pretrain.add_argument("--device", type=device_name, help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    pretrain.add_argument("--devices", type=at_least(1), help="number of devices (default: as in CONFIG, or 1)")


def _pretrain(args: argparse.Namespace) -> None:
    from univerce import pp
    from univerce.model import pretrain, save_model
    from univerce.training.processes import is_first
    from univerce.training.recipe import place_tables, read_recipe

    recipe = read_recipe(args.config)
    config = recipe.pretrain
    report = say if is_first() else lambda text: None
    sets = []
    for entry in recipe.data:
        s = pp.training_set(
            entry.path, name=entry.name, species=entry.species, model=recipe.tables, layer=entry.layer,
            gene_key=entry.gene_key,
        )  # fmt: skip
        report(f"{s}{', held out' if entry.name in config.held_out_sets else ''}".removeprefix("TrainingSet "))
        sets.append(s)
    model = recipe.model_config(sets[0].table)
    report(
        f"{model.model_id}: {model.n_layers} layers of width {model.d_model}, {config.steps:,} steps of "
        f"{config.batch_size} cells; the log is {recipe.out / 'log.csv'}"
    )
    if config.continue_from is not None:
        report(f"Continues from {config.continue_from}: the result is a new embedding space")
    if (recipe.out / "checkpoint.pt").exists():
        report(f"Resumes {recipe.out / 'checkpoint.pt'}")
    devices = args.devices or recipe.devices
    network = pretrain(sets, model, config, recipe.out, devices=devices, tensorboard=recipe.tensorboard)
    if not is_first():
        return
    with replacing(recipe.out / "model") as part:
        digest = save_model(network, part, pretraining=config).digest
        place_tables(recipe, part / "tables")
    print(f"{recipe.out / 'model'}: {model.model_id}, digest {digest[:12]}...; embed with model=, or --model.")
