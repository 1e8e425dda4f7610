"""Find a model by name or directory."""

from __future__ import annotations

from pathlib import Path

from univerce._settings import settings
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.release.fetch import fetch
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.model.config import RELEASED
from univerce.model.directory import CONFIG, WEIGHTS, Model, is_model, read_model

_BUNDLED = Path(__file__).resolve().parents[1] / "data"


def find_model(model: str | Path | None = None) -> Model:
    """Find a model by name or directory and check its digest.

    Parameters
    ----------
    model
        ``None`` or ``"uce-mini"`` is the bundled model; ``"uce-4l"`` and ``"uce-33l"`` are fetched and converted at
        first use; anything else is a directory written by :func:`save_model` or :func:`convert_checkpoint`.

    Returns
    -------
    The model's config, digest and directory.

    Raises
    ------
    ValueError
        If there is no such model, or its files were changed after they were written.
    FileNotFoundError
        If a released model has to be fetched and ``settings.offline`` is set.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.find_model().config.model_id
    'uce-mini'
    """
    if model is None or model == BUNDLED_MODEL:
        path = _BUNDLED / BUNDLED_MODEL
    elif model in RELEASED_MODELS:
        path = _released(str(model))
    else:
        path = Path(model)
    if not is_model(path):
        raise ValueError(
            f"There is no model {str(model)!r}; use {', '.join((BUNDLED_MODEL, *RELEASED))} or a directory with a "
            f"{CONFIG} and a {WEIGHTS}."
        )
    return read_model(path)


def _released(model: str) -> Path:
    """Return the directory of a released model, converting it at first use in one process only."""
    from filelock import FileLock

    from univerce.model.convert import convert_checkpoint

    path = settings.cache_dir / "models" / model
    if not (path / CONFIG).is_file():
        source = fetch(RELEASED_MODELS[model])
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{model}.lock")):
            if not (path / CONFIG).is_file():
                convert_checkpoint(source, path, config=RELEASED[model])
    return path
