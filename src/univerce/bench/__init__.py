"""The benchmark: what fills ``obsm`` from raw counts, and how good it is beside its baselines."""

from univerce.bench._method import Method

__all__ = ["Method"]
