"""The public UCE checkpoints as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from univerce.genes.release.registry import RELEASED_SPECIES, UCE_100M, UCE_650M

PAPER, BRAIN = "uce", "uce-brain"  # families of networks


@dataclass(frozen=True)
class PublicModel:
    """One public checkpoint: where it is, what is in it and what is known of it."""

    name: str
    family: str
    repository: str
    """On the Hugging Face hub."""
    revision: str | None
    """Commit; ``None`` is the one that was recorded at the first fetch."""
    n_layers: int
    d_model: int
    vocabulary: int
    """Rows of the token table."""
    species: tuple[str, ...]
    download_bytes: int
    """Of the weights, rounded."""
    network_bytes: int
    """Of the weights once converted: without the token table, rounded."""
    training: str
    license: str
    asset: str | None = None
    """File of the release of 2023 with the weights, tried before the hub."""
    ids: Mapping[str, int] | None = None
    """Special tokens and lengths of sentences, for checkpoints that do not state them."""
    ids_from: str = ""
    gene_data: str | None = None
    """Asset with the genes and their tokens, if the repository has none."""


# The README of snap-stanford/UCE-brain states these for the three checkpoints before v2026-09.
_LEGACY = MappingProxyType(
    {
        "pad_token_idx": 0, "cls_token_idx": 1, "chrom_token_offset": 1000, "chrom_token_right_idx": 2000,
        "sample_size": 1024, "pad_length": 2048,
    }
)  # fmt: skip
_LEGACY_FROM = "README of snap-stanford/UCE-brain"
_TEN = (*RELEASED_SPECIES, "callithrix_jacchus", "pan_troglodytes")
_TWELVE = (
    "human", "mouse", "macaca_mulatta", "callithrix_jacchus", "zebrafish", "mouse_lemur", "rat", "pan_troglodytes",
    "pig", "monodelphis_domestica", "aotus_nancymaae", "tupaia_chinensis",
)  # fmt: skip
_PAPER_LICENSE = "CC BY 4.0 according to figshare; the copies on the hub state other terms"
_NO_LICENSE = "none stated: do not redistribute"


def _brain(
    name: str, vocabulary: int, species: tuple[str, ...], download_bytes: int, training: str, *, legacy: bool = False,
    gene_data: str | None = None,
) -> PublicModel:  # fmt: skip
    return PublicModel(
        name=name, family=BRAIN, repository=f"KuanP/{name}", revision=None, n_layers=8, d_model=512,
        vocabulary=vocabulary, species=species, download_bytes=download_bytes, network_bytes=116_000_000,
        training=training, license=_NO_LICENSE, ids=_LEGACY if legacy else None,
        ids_from=_LEGACY_FROM if legacy else "", gene_data=gene_data,
    )  # fmt: skip


def _paper(
    name: str, n_layers: int, asset: str, repository: tuple[str, str | None], sizes: tuple[int, int]
) -> PublicModel:
    return PublicModel(
        name=name, family=PAPER, repository=repository[0], revision=repository[1], n_layers=n_layers, d_model=1280,
        vocabulary=145_469, species=tuple(RELEASED_SPECIES), download_bytes=sizes[0], network_bytes=sizes[1],
        training="36 million cells of eight species (Rosen et al. 2026)", license=_PAPER_LICENSE, asset=asset,
    )  # fmt: skip


MODELS: Mapping[str, PublicModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            _paper("uce-4l", 4, "4layer_model.torch", UCE_100M, (3_400_000_000, 417_000_000)),
            _paper("uce-33l", 33, "33l_8ep_1024t_1280.torch", UCE_650M, (5_700_000_000, 2_700_000_000)),
            _brain("brain-uce-pilot-mix-v3", 266_403, _TWELVE, 5_575_765_828,
                   "147.7 million cells of 13 species, more brain and more rare species"),
            _brain("brain-uce-pilot-mix-v2", 266_403, _TWELVE, 5_575_765_828,
                   "147.7 million cells of 13 species, sampled uniformly"),
            _brain("uce-multispecies-2025-11-08", 178_331, _TEN, 3_770_000_000, "ten species", legacy=True),
            _brain("uce-cxg-2025-baseline-8l-512d", 145_469, ("human",), 3_100_000_000, "CELLxGENE of 2025",
                   legacy=True, gene_data="human_gene_dict.json"),
            _brain("uce-brain-pilot-8l-512d", 145_469, ("human",), 3_100_000_000, "brain organoids", legacy=True,
                   gene_data="human_gene_dict.json"),
        )
    }
)  # fmt: skip


def is_public(model: str) -> bool:
    """Whether a name is that of a public checkpoint, which can be found again by it."""
    return model in MODELS or model.startswith("hf://")
