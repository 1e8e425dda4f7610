"""What makes the features of a protein: protein language models, k-mers, text, and vectors made elsewhere."""

from __future__ import annotations
