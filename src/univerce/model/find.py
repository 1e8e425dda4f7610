"""Find a model by name or directory."""

from __future__ import annotations

from pathlib import Path

from univerce._validate import as_path
from univerce.genes.load import BUNDLED_MODEL, BUNDLED_MODELS
from univerce.genes.release.hub import parse_hub
from univerce.genes.release.models import MODELS
from univerce.genes.release.source import Source, find_source
from univerce.io.atomic import locked
from univerce.model.directory import CONFIG, WEIGHTS, Model, is_model, read_family, read_model

_BUNDLED = Path(__file__).resolve().parents[1] / "data"


def find_model(model: str | Path | None = None) -> Model:
    """Find a model by name or directory and check its digest.

    Parameters
    ----------
    model
        ``None`` or ``"uce-mini"`` is the bundled model, ``"uce-tiny"`` the bundled demonstration of sentences. A name
        that :func:`list_models` lists, or ``"hf://owner/name[@revision]"``, is fetched and converted at first use.
        Anything else is a directory, written by :func:`save_model` or :func:`convert_checkpoint`, or with a checkpoint
        in a public layout, which is converted into the cache.

    Returns
    -------
    The model's config, digest and directory.

    Raises
    ------
    ValueError
        If there is no such model, its files were changed after they were written, or it cannot be converted, see
        :func:`convert_checkpoint`.
    FileNotFoundError
        If a model has to be fetched and ``settings.offline`` is set.
    FetchError
        An ``OSError``, if no source serves a file.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.find_model().config.model_id
    'uce-mini'
    """
    if model is None or model in BUNDLED_MODELS:
        path = _BUNDLED / (model or BUNDLED_MODEL)
    elif model not in MODELS and is_model(as_path(model)):  # a name wins over a directory of the same name
        path = as_path(model)
    elif (source := find_source(model)) is not None:
        path = _converted(source)
    else:
        raise _unknown(model)
    return read_model(path)


def check_name(model: str | Path | None) -> None:
    """Raise ``ValueError`` if there cannot be such a model; nothing is fetched or read."""
    known = model is None or model in BUNDLED_MODELS or model in MODELS or parse_hub(str(model)) is not None
    if not known and not Path(str(model)).exists():
        raise _unknown(model)


def _unknown(model: str | Path | None) -> ValueError:
    return ValueError(
        f"There is no model {str(model)!r}; use {', '.join((*BUNDLED_MODELS, *MODELS))}, hf://owner/name, or a "
        f"directory with a {CONFIG} and a {WEIGHTS}, or a checkpoint in a public layout."
    )


def reads_sentences(model: str | Path | None) -> bool:
    """Whether a model reads sentences, without fetching it; public checkpoints do."""
    path = _find_here(model)
    return True if path is None else read_family(path).sentences


def hash_weights(model: str | Path | None) -> None:
    """Compute the digest of a model on disk, which :func:`find_model` then knows; do nothing if it is not here."""
    if (path := _find_here(model)) is not None:
        read_model(path)


def _find_here(model: str | Path | None) -> Path | None:
    """The directory of a model on disk, without asking anybody."""
    if model is None or model in BUNDLED_MODELS:
        return _BUNDLED / (model or BUNDLED_MODEL)
    path = as_path(model)
    if (entry := MODELS.get(str(model))) is not None and entry.asset is not None and (source := find_source(model)):
        path = source.converted
    return path if is_model(path) else None


def _converted(source: Source) -> Path:
    """Return the directory of a public model, converting it at first use in one process only."""
    path = source.converted
    if not (path / CONFIG).is_file():
        from univerce.model.convert import convert_source

        source.weights()  # before anything is made: nothing may be fetched, or nobody answers
        with locked(path):
            if not (path / CONFIG).is_file():
                convert_source(source, path)
    return path
