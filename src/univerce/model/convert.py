"""Convert public checkpoints to model directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from univerce._validate import as_path
from univerce.genes.release.checksums import file_sha256
from univerce.genes.release.models import PAPER
from univerce.genes.release.source import Source, find_source
from univerce.genes.release.tables import convert_once, source_species
from univerce.genes.release.tensors import TABLES, open_tensors
from univerce.genes.release.unpickle import check_torch
from univerce.model.brain import own_name
from univerce.model.checkpoint import check_names, check_weight, save_weights, weight_shapes
from univerce.model.config import RELEASED
from univerce.model.directory import CONFIG, Model, write_model
from univerce.model.layers import sinusoids
from univerce.model.makers_config import brain_config, paper_config

_POSITIONS = "pos_encoder.pe"


def convert_checkpoint(
    source: Path | str,
    out_dir: Path | str,
    *,
    config: Any = None,
    species: Sequence[str] | None = None,
    ids: Mapping[str, int] | None = None,
) -> Model:
    """Convert a public checkpoint to a model directory with its gene tables; only tensors are unpickled.

    The layout and the family are recognized: a state dict of torch (``4layer_model.torch``, ``pytorch_model.bin``,
    ``model.pt``), ``model.safetensors`` or its shards, with ``config.json``, ``config.yaml`` and the list of genes next
    to them, as on the Hugging Face hub.

    Parameters
    ----------
    source
        A file, a directory, a name that :func:`list_models` lists, or ``"hf://owner/name[@revision]"``.
    out_dir
        The model directory to write; it must not hold a model.
    config
        The architecture; by default that of the checkpoint.
    species
        Species whose gene tables are written to ``out_dir/tables``. By default all of the second family
        (``"uce-brain"``), whose token table is in the checkpoint only, at 20 kB a gene; none of the first, whose tables
        all models share, see :func:`univerce.genes.convert_released`.
    ids
        Special tokens and lengths of sentences that a checkpoint of the second family does not state, such as
        ``{"chrom_token_offset": 1000, "chrom_token_right_idx": 2000}``.

    Returns
    -------
    The model written. Its ``config.json`` records the source, the SHA-256 of its files, and the origin of each token.

    Raises
    ------
    ValueError
        If there is no UCE checkpoint (missing or unknown tensors, other shapes, values that are not finite, another
        position table), its tokens are not stated, a file contains code, or ``out_dir`` holds a model.
    FileNotFoundError
        If files have to be fetched and ``settings.offline`` is set.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = Path(directory) / "checkpoint.torch"
    ...     torch.save(uc.model.UCE(config).state_dict(), checkpoint)
    ...     uc.model.convert_checkpoint(checkpoint, Path(directory) / "model", config=config).config.n_layers
    1
    """
    origin = find_source(source)
    if origin is None:
        raise ValueError(f"There is no UCE checkpoint at {str(source)!r}: no weights in any public layout.")
    out_dir = as_path(out_dir)
    if (out_dir / CONFIG).exists():
        raise ValueError(f"{out_dir} already holds a model; choose another directory or remove it.")
    if species is None:
        species = () if origin.family() == PAPER else source_species(origin)
    elif unknown := sorted(set(species) - set(source_species(origin))):
        raise ValueError(
            f"{origin.name} has no genes of {', '.join(unknown)}; its species are {', '.join(source_species(origin))}."
        )
    return convert_source(origin, out_dir, config=config, species=species, ids=ids)


def convert_source(
    source: Source,
    out_dir: Path,
    *,
    config: Any = None,
    species: Sequence[str] = (),
    ids: Mapping[str, int] | None = None,
) -> Model:
    """Convert a checkpoint; ``config.json``, which makes the directory a model, comes last."""
    read = _read_paper if source.family() == PAPER else _read_brain
    state, config, record, write_table = read(source, config, ids)
    weights = source.weights()
    for file in weights:
        check_torch(file)
    state = _checked(state, config, weights[0])
    for name in species:
        write_table(name, out_dir / "tables")
    files = {file.name: file_sha256(file) for file in weights}
    origin = {"name": source.name, "files": files} | ({"commit": source.commit} if source.commit else {})
    return write_model(config, out_dir, lambda path: save_weights(state, path), {"source": origin, **record})


_Read = tuple[dict[str, Tensor], Any, dict[str, Any], Callable[[str, Path], Any]]


def _read_paper(source: Source, config: Any, ids: Mapping[str, int] | None) -> _Read:
    """Weights, config, entries for the record, and how to write a gene table, of the first family."""
    if ids:
        raise ValueError(f"{source.name} is of the first family, whose tokens are fixed: leave out ids=.")
    tensors = open_tensors(source.weights())
    config = config or RELEASED.get(source.name) or paper_config(tensors, source)
    _check_positions(tensors, config, source.weights()[0])
    state = {name: tensors[name] for name in tensors if name not in (*TABLES, _POSITIONS)}
    return state, config, {}, lambda species, directory: convert_once(source, species, directory)


def _read_brain(source: Source, config: Any, ids: Mapping[str, int] | None) -> _Read:
    """Weights, config, entries for the record, and how to write a gene table, of the second family."""
    tokens = source.ids(ids)
    encoder = source.encoder(tokens)
    tensors = open_tensors(source.weights())
    if config is None:
        config = brain_config(tensors, source, tokens, encoder)
    state = {own_name(name): tensors[name] for name in tensors if name not in TABLES}
    if config.positions == "sinusoidal":
        _check_positions(state, config, source.weights()[0])
        state.pop(_POSITIONS, None)

    def write_table(species: str, directory: Path) -> None:
        source.write_table(species, directory / f"{species}.h5ad", ids=tokens, encoder=encoder)

    return state, config, {"tokens": tokens.record()}, write_table


def _check_positions(tensors: Mapping[str, Tensor], config: Any, path: Path) -> None:
    """Compare the position table, which is not kept, with the one that follows from the config."""
    if _POSITIONS not in tensors:
        return
    found, expected = tensors[_POSITIONS].float(), sinusoids(config)
    rows = min(len(found), len(expected))
    if (
        len(found) < len(expected)
        or found.shape[1:] != expected.shape[1:]
        or not torch.allclose(found[:rows], expected[:rows], atol=1e-5)
    ):
        raise ValueError(f"{path}: {_POSITIONS} is not the sinusoidal table of this configuration.")


def _checked(state: Mapping[str, Tensor], config: Any, path: Path) -> dict[str, Tensor]:
    """The weights of a network in float32; ``FileError`` if they are others."""
    expected = weight_shapes(config)
    check_names(state, expected, path)
    weights = {name: state[name].float() if state[name].is_floating_point() else state[name] for name in expected}
    return {name: check_weight(weights[name], name, shape, path) for name, shape in expected.items()}
