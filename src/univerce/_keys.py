"""Names of the keys the package writes."""

from __future__ import annotations

from typing import Final

X_UCE: Final = "X_uce"
"""``obsm`` (embedding)."""

RECORDS: Final = "univerce"
"""``uns``: what made each embedding, by its key in ``obsm``. scanpy's ``key_added`` replaces ``uns["X_uce"]``."""

ATLAS: Final = "univerce_atlas"
"""``uns`` of an atlas: its data sets and options."""

UCE_GENE: Final = "uce_gene"
"""``var`` (gene of the table behind every variable) and ``uns`` (coverage report)."""

CELL_TYPE_TRANSFERRED: Final = "cell_type_transferred"
"""``obs`` (labels) and ``uns``: result of :func:`univerce.tl.transfer_labels` for the column ``cell_type``."""

UNKNOWN: Final = "unknown"
"""Label of cells below the threshold of :func:`univerce.tl.transfer_labels`."""

UCE_SENTENCES: Final = "uce_sentences"
"""``obsm`` (token ids) and ``uns`` (parameters)."""
