"""Check the counts of a downloaded file."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def whole_counts(values: Any, name: str) -> sp.csr_matrix:
    """Convert counts ``[n_cells, n_genes]`` to CSR int32; ``ValueError`` if they are not whole numbers."""
    counts = sp.csr_matrix(values)
    whole = counts.astype(np.int32)
    if not np.array_equal(whole.data, counts.data):
        raise ValueError(f"{name} does not hold counts: its values are not whole numbers.")
    return whole
