"""ESM2, the protein language model of the released gene tables (Lin et al. 2023), in transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from univerce._device import choose_device, choose_precision
from univerce._settings import settings
from univerce.genes.fasta import Protein
from univerce.io.text import read_json

if TYPE_CHECKING:
    from torch import Tensor

MAX_RESIDUES = 1022
"""The released tables cut proteins off here: with BOS and EOS that is the length ESM2 was trained with."""
SIZES = {  # layers and width of the published checkpoints
    "esm2_t6_8M_UR50D": (6, 320),
    "esm2_t12_35M_UR50D": (12, 480),
    "esm2_t30_150M_UR50D": (30, 640),
    "esm2_t33_650M_UR50D": (33, 1280),
    "esm2_t36_3B_UR50D": (36, 2560),
    "esm2_t48_15B_UR50D": (48, 5120),
}
_ELSEWHERE = "Download it where there is a network (hf download ...) and pass its directory as encoder=."
_WEIGHTS = ("*.safetensors", "*.bin")


class ESM2:
    """Encode proteins with an ESM2 checkpoint, as in the released gene tables.

    The output of the last layer, after its layer norm, is averaged over the first 1,022 residues of a protein, without
    BOS and EOS. Weights are loaded with the first protein, on ``settings.device`` in ``settings.precision``.

    Parameters
    ----------
    checkpoint
        A published checkpoint such as ``"esm2_t33_650M_UR50D"``, which transformers fetches; or a directory with
        ``config.json``, weights and ``vocab.txt``, named after its weights unless it has the name and shape of a
        published one.
    batch_tokens
        Residues in a batch, padding included; fewer need less memory and change results only by rounding.

    Examples
    --------
    >>> from univerce.genes import ESM2
    >>> encoder = ESM2("esm2_t48_15B_UR50D")
    >>> encoder.name, encoder.dim
    ('esm2_t48_15B_UR50D', 5120)
    """

    reads = "sequences"

    def __init__(self, checkpoint: Path | str = "esm2_t48_15B_UR50D", *, batch_tokens: int = 8192) -> None:
        text = str(checkpoint).removeprefix("facebook/")
        published = text in SIZES and not Path(checkpoint).is_dir()
        self.checkpoint = f"facebook/{text}" if published else str(checkpoint)
        self.batch_tokens = batch_tokens
        self.name, self.dim = (text, SIZES[text][1]) if published else _directory(Path(checkpoint))
        self._model: Any = None
        self._vocabulary: dict[str, int] = {}

    @property
    def precision(self) -> str:
        """Precision of the network, ``settings.precision``."""
        return settings.precision

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """Compute the features of proteins.

        Parameters
        ----------
        proteins
            Proteins with sequences.

        Returns
        -------
        ``[n_proteins, dim]`` float32.

        Raises
        ------
        ImportError
            If transformers is not installed.
        ValueError
            If the checkpoint is not ESM2 or lacks weights, or a feature is not finite.
        OSError
            If the checkpoint is not in the cache of transformers and cannot be fetched.
        """
        import torch

        self._load()
        sequences = [p.sequence[:MAX_RESIDUES] for p in proteins]
        out = np.empty((len(sequences), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for rows in _batches([len(s) for s in sequences], self.batch_tokens):
                out[rows] = self._means([sequences[i] for i in rows]).cpu().numpy()
        if not np.isfinite(out).all():
            worst = proteins[int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])].id
            raise ValueError(
                f"The features of {worst!r} are not finite in this precision; set uc.settings.precision = 'float32'."
            )
        return out

    def _means(self, sequences: Sequence[str]) -> Tensor:
        """Compute means over the residues of a batch, ``[n, dim]`` float32."""
        import torch

        word = self._vocabulary
        lengths = [len(s) for s in sequences]
        ids = torch.full((len(sequences), max(lengths) + 2), word["<pad>"])
        for row, sequence in zip(ids, sequences, strict=True):
            letters = [word.get(letter, word["<unk>"]) for letter in sequence]
            row[: len(letters) + 2] = torch.tensor([word["<cls>"], *letters, word["<eos>"]])
        place = torch.arange(ids.shape[1])
        length = torch.tensor(lengths)[:, None]
        device = self._model.device
        mask = (place < length + 2).to(device)
        hidden = self._model(input_ids=ids.to(device), attention_mask=mask.long()).last_hidden_state.float()
        residues = ((place > 0) & (place <= length)).to(device, torch.float32)
        return (hidden * residues[..., None]).sum(dim=1) / residues.sum(dim=1, keepdim=True)

    def _load(self) -> None:
        if self._model is not None:
            return
        import torch

        try:
            from transformers import EsmModel, EsmTokenizer
        except ImportError as error:
            raise ImportError('ESM2 needs transformers: pip install "univerce[species]"') from error

        device = choose_device()
        precision = choose_precision(device, self.dim)
        checkpoint = self._cached() if settings.offline and not Path(self.checkpoint).is_dir() else self.checkpoint
        try:
            loaded: Any = EsmModel.from_pretrained(
                checkpoint, add_pooling_layer=False, dtype=getattr(torch, precision), output_loading_info=True
            )
            vocabulary = EsmTokenizer.from_pretrained(checkpoint).get_vocab()
        except OSError as error:
            raise OSError(f"The checkpoint {self.checkpoint!r} cannot be loaded: {error} {_ELSEWHERE}") from error
        model, info = loaded
        if missing := [name for name in info["missing_keys"] if not name.startswith("contact_head")]:
            raise ValueError(f"The checkpoint {self.checkpoint!r} lacks the weights {', '.join(sorted(missing)[:5])}.")
        self._model, self._vocabulary = model.to(device).eval(), vocabulary

    def _cached(self) -> str:
        """Find the checkpoint in the cache of transformers, which would otherwise ask the network."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.checkpoint, "config.json")
        if not isinstance(found, str):
            raise FileNotFoundError(
                f"The checkpoint {self.checkpoint!r} is not in the cache of transformers, and uc.settings.offline "
                f"forbids fetching it. {_ELSEWHERE}"
            )
        return str(Path(found).parent)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group rows of similar length, with at most ``budget`` residues per batch, padding included."""
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable")[::-1].tolist():
        if batch and (len(batch) + 1) * (lengths[batch[0]] + 2) > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _directory(path: Path) -> tuple[str, int]:
    """Get the name and width of a checkpoint in a directory."""
    if not (path / "config.json").is_file():
        raise ValueError(f"There is no ESM2 checkpoint {str(path)!r}; use {', '.join(SIZES)}, or a directory.")
    config = read_json(path / "config.json")
    shape = config.get("num_hidden_layers"), config.get("hidden_size")
    if config.get("model_type") != "esm" or not isinstance(shape[1], int):
        raise ValueError(f"{path} is a model of type {config.get('model_type')!r}, not an ESM2 checkpoint.")
    if SIZES.get(path.name) == shape:
        return path.name, shape[1]
    files = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            sha.update(hashlib.file_digest(content, "sha256").digest())
    return f"{path.name}-{sha.hexdigest()[:8]}", shape[1]
