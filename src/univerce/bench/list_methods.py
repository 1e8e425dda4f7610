"""What can be benchmarked."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

import pandas as pd

from univerce.bench._registry import known_methods


def list_methods() -> pd.DataFrame:
    """The methods that are known by name.

    Returns
    -------
    A row for each ``name``: ``zero_shot`` (nothing is fitted to the cells), ``uses_batch`` and ``uses_labels`` (it is
    told what it is scored on), ``control`` (an end of the scale, no method), ``extra`` that installs what it needs and
    whether that is ``available``, ``license`` and ``citation``. Weights of foundation models are not part of an extra.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.bench.list_methods().set_index("name").loc["PCA", "zero_shot"]
    np.False_
    """
    rows = [
        {
            "name": m.name,
            "zero_shot": m.zero_shot,
            "uses_batch": m.uses_batch,
            "uses_labels": m.uses_labels,
            "control": m.control,
            "extra": m.extra,
            "available": _available(m.extra),
            "license": m.license,
            "citation": m.citation,
        }
        for m in known_methods().values()
    ]
    return pd.DataFrame(rows)


def _available(extra: str) -> bool:
    """Whether every package of an extra of univerce is installed."""
    marked = re.compile(rf"""([\w.-]+).*;.*extra\s*==\s*['"]{re.escape(extra)}['"]""")
    try:
        for text in requires("univerce") or () if extra else ():
            if found := marked.match(text):
                version(found[1])
    except PackageNotFoundError:
        return False
    return True
