"""The one space in which all embeddings of an atlas lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._version import __version__
from univerce.embeddings.cells import check_comparable

ATLAS = "atlas"
"""What messages call the atlas that grows."""


class Space:
    """What is known of it, gathered from data set to data set.

    Parameters
    ----------
    use_rep
        Key of the embedding, for messages.
    check
        Whether the spaces of the data sets must be the same; their widths always are.
    """

    def __init__(self, use_rep: str, *, check: bool) -> None:
        self.use_rep = use_rep
        self.check = check
        self._known: ad.AnnData | None = None

    def enter(self, called: str, width: int, entry: Any) -> None:
        """Compare a data set with those before it.

        Parameters
        ----------
        called
            How messages call the data set, or :data:`ATLAS` for all those that are in it already.
        width
            Width of its embedding.
        entry
            Its ``uns[use_rep]``.

        Raises
        ------
        ValueError
            When the spaces or widths differ.
        KeyError
            When nothing is recorded of its space, and it is to be checked.
        """
        mine = _holder(self.use_rep, width, entry)
        known = mine if self._known is None else self._known
        try:
            check_comparable(
                mine, known, self.use_rep, check_space=self.check, names=(called, "the data sets before it")
            )
        except (KeyError, ValueError) as error:
            what = "" if called == ATLAS else f"{called} cannot join the atlas. "
            raise type(error)(f"{what}{error.args[0]}") from error
        params = mine.uns[self.use_rep]["params"]
        merged = known.uns[self.use_rep]["params"]
        if self._known is None:
            self._known = mine
        elif params and merged:  # without a check, some data sets may say nothing of their space
            merged["table_digest"] |= params["table_digest"]
            merged["species"] = sorted({*merged["species"], *params["species"]})

    @property
    def uns(self) -> dict[str, Any]:
        """What the atlas records of it; nothing when it was not checked."""
        if self._known is None or not self.check:
            return {}
        return {self.use_rep: {"params": self._known.uns[self.use_rep]["params"] | {"univerce_version": __version__}}}


def known_params(entry: Any) -> dict[str, Any]:
    """What ``uns[use_rep]`` says of the space: model, digests, species; empty when it does not."""
    params = entry.get("params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or not {"model", "model_digest", "table_digest"} <= set(params):
        return {}
    return {
        "model": str(params["model"]),
        "model_digest": str(params["model_digest"]),
        "table_digest": {str(k): str(v) for k, v in params["table_digest"].items()},
        "species": sorted(map(str, np.atleast_1d(params.get("species", [])))),
    }


def _holder(use_rep: str, width: int, entry: Any) -> ad.AnnData:
    return ad.AnnData(
        obs=pd.DataFrame(index=["0"]),
        obsm={use_rep: np.zeros((1, width))},
        uns={use_rep: {"params": known_params(entry)}},
    )
