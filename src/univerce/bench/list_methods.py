"""List the methods of the benchmark."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

import pandas as pd

from univerce.bench.method import known_methods


def list_methods() -> pd.DataFrame:
    """List the built-in methods.

    Returns
    -------
    A row for each ``name``: ``zero_shot`` (not fitted to the cells), ``uses_batch`` and ``uses_labels`` (sees what it
    is scored on), ``control``, ``extra`` with its requirements and whether it is ``available``, ``license`` and
    ``citation``, and ``pretrained_on``, the published corpus of the weights, whose cells the method has seen. Weights
    of foundation models are not part of an extra.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.bench.list_methods().set_index("name").loc["PCA", "zero_shot"]
    np.False_
    """
    fields = (
        "name", "zero_shot", "uses_batch", "uses_labels", "control", "extra", "license", "citation",
        "pretrained_on",
    )  # fmt: skip
    table = pd.DataFrame([{name: getattr(m, name) for name in fields} for m in known_methods().values()])
    table.insert(6, "available", table["extra"].map({extra: _available(extra) for extra in set(table["extra"])}))
    return table


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
