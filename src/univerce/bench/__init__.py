"""The benchmark: what fills ``obsm`` from raw counts, and how good it is beside its baselines."""

from univerce.bench._method import Method
from univerce.bench.compare import compare
from univerce.bench.list_methods import list_methods
from univerce.bench.method import method
from univerce.bench.run import run
from univerce.bench.run_transfer import run_transfer

__all__ = ["Method", "compare", "list_methods", "method", "run", "run_transfer"]
