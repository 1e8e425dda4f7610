"""The models that can be named, and what is here of them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from univerce._settings import settings
from univerce.genes.load import available_species
from univerce.genes.release.models import BRAIN, MODELS, PAPER, PublicModel
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.genes.release.source import is_fetched

_TABLE_ROW = {PAPER: 5120 * 2, BRAIN: 5120 * 4}  # bytes of a gene in a converted table


def list_models() -> pd.DataFrame:
    """List the bundled models and the public UCE checkpoints; nothing is fetched.

    Returns
    -------
    One row per model:

    ``name``
        For ``model=``; any other checkpoint on the Hugging Face hub is ``"hf://owner/name"``.
    ``family``
        Of the network: ``"uce"`` (Rosen et al. 2026), ``"uce-brain"``, or that of the bundled model.
    ``layers``, ``width``
        Of the transformer.
    ``vocabulary``
        Rows of the token table.
    ``species``
        Names, separated by commas.
    ``training``, ``license``
        As stated by its authors.
    ``repository``, ``revision``
        On the hub; the revision is ``""`` if the commit of the first fetch is recorded instead.
    ``download_bytes``, ``disk_bytes``
        Size of the download, and of the converted network with the gene tables of all species; rounded.
    ``cached``
        Whether the weights are in the cache, downloaded or converted.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.list_models().query("family == 'uce-brain'")["vocabulary"].max().item()
    266403
    """
    bundled = sorted(path for path in BUNDLED_TABLES.parents[1].iterdir() if (path / "config.json").is_file())
    rows = [*map(_bundled, bundled), *map(_public, MODELS.values())]
    numbers = ["layers", "width", "vocabulary", "download_bytes", "disk_bytes"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "Int64") | {"cached": bool})


def _bundled(path: Path) -> dict[str, object]:
    written = json.loads((path / "config.json").read_text())
    config = written["config"]
    return {
        "name": path.name, "family": written.get("family", "uce"), "layers": config.get("n_layers"),
        "width": config.get("d_model"), "vocabulary": None, "species": ", ".join(available_species()),
        "training": "this package", "license": "BSD-3-Clause", "repository": "", "revision": "", "download_bytes": 0,
        "disk_bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()), "cached": True,
    }  # fmt: skip


def _public(model: PublicModel) -> dict[str, object]:
    return {
        "name": model.name, "family": model.family, "layers": model.n_layers, "width": model.d_model,
        "vocabulary": model.vocabulary, "species": ", ".join(sorted(model.species)), "training": model.training,
        "license": model.license, "repository": model.repository, "revision": model.revision or "",
        "download_bytes": model.download_bytes,
        "disk_bytes": model.network_bytes + model.vocabulary * _TABLE_ROW[model.family], "cached": _is_here(model.name),
    }  # fmt: skip


def _is_here(name: str) -> bool:
    converted = (settings.cache_dir / "models").glob(f"{name}*/config.json")
    return any(path.parent.name.partition("@")[0] == name for path in converted) or is_fetched(MODELS[name])
