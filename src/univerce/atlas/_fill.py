"""Data sets into an atlas that is being written."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from tqdm.auto import tqdm

from univerce.atlas._collect import check_source, collect
from univerce.atlas._recipe import Recipe, Source
from univerce.atlas._space import Space
from univerce.atlas._store import Writer


def check_sources(sources: Sequence[Source], recipe: Recipe, space: Space) -> None:
    """Raise what can be known to be wrong before anything is computed."""
    for source in sources:
        check_source(source, recipe, space)


def fill(writer: Writer, sources: Sequence[Source], recipe: Recipe, space: Space) -> pd.DataFrame:
    """Write the data sets, one in memory at a time.

    Returns
    -------
    What is recorded of each, by its name.
    """
    records = {}
    for source in tqdm(sources, desc="atlas", unit="data set", disable=not recipe.show):
        part = collect(source, recipe)
        records[source.name] = part.record
        if len(part.values):
            space.enter(f"data[{source.name!r}]", part.values.shape[1], {"params": part.params})
        writer.add(part.values, part.obs)
    return pd.DataFrame.from_dict(records, orient="index")


def coarse_table(recipe: Recipe) -> dict[str, pd.DataFrame]:
    """The map of coarse types as ``uns["atlas"]`` keeps it."""
    if not recipe.coarse_map:
        return {}
    pairs = sorted(recipe.coarse_map.items())
    return {"coarse_map": pd.DataFrame(pairs, columns=["cell_type", "coarse_type"]).astype(str)}
