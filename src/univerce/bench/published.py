"""Published results."""

from __future__ import annotations

import pandas as pd

_ATLAS = "Tabula Sapiens v2 (581,430 cells)"
_ROSEN = "Rosen et al., Nature 2026, doi 10.1038/s41586-026-10689-z; numbers of bioRxiv 2023.11.28.568918"
_METRICS = ("Bio conservation", "Batch correction", "Total", "KMeans NMI", "KMeans ARI")
_SCORES = {
    "UCE": (0.624, 0.497, 0.573, 0.705, 0.230),
    "scArches": (0.612, 0.502, 0.568, 0.682, 0.219),
    "scVI": (0.593, 0.494, 0.553, 0.670, 0.194),
    "Geneformer": (0.536, 0.452, 0.503, 0.554, 0.143),
    "tGPT": (0.522, 0.445, 0.491, 0.497, 0.111),
    "scGPT": (0.436, 0.374, 0.411, 0.290, 0.039),
}
_CENTROIDS = (
    ("green monkey to the atlas", "centroid top 1", 13, 17),
    ("green monkey to the atlas", "centroid top 3", 17, 17),
    ("naked mole rat to the atlas", "centroid top 1", 17, 24),
    ("chicken heart to the atlas", "centroid top 2", 12, 15),
)


def published() -> pd.DataFrame:
    """Return the results that Rosen et al. published for UCE and other methods.

    They were measured on other data than those of this documentation.

    Returns
    -------
    A row for each ``data``, ``method`` and ``metric`` with its ``value``, the same as ``text``, and its ``source``.

    Examples
    --------
    >>> import univerce as uc
    >>> table = uc.bench.published()
    >>> table.query("method == 'UCE' and metric == 'Total'")["value"].item()
    0.573
    """
    rows = [
        {"data": _ATLAS, "method": method, "metric": metric, "value": value, "text": f"{metric} {value:.3f}"}
        for method, values in _SCORES.items()
        for metric, value in zip(_METRICS, values, strict=True)
    ]
    rows += [
        {"data": data, "method": "UCE", "metric": metric, "value": hits / n, "text": f"{metric}: {hits} of {n} types"}
        for data, metric, hits, n in _CENTROIDS
    ]
    return pd.DataFrame(rows).assign(source=_ROSEN)
