"""Benchmark embeddings against baselines."""

from univerce.bench._method import Method
from univerce.bench.compare import compare
from univerce.bench.degrade import degrade
from univerce.bench.embed_open_problems import embed_open_problems
from univerce.bench.export_open_problems import export_open_problems
from univerce.bench.list_methods import list_methods
from univerce.bench.method import method
from univerce.bench.predict_open_problems import predict_open_problems
from univerce.bench.published import published
from univerce.bench.read_open_problems import read_open_problems
from univerce.bench.run import run
from univerce.bench.run_transfer import run_transfer

__all__ = [
    "Method",
    "compare",
    "degrade",
    "embed_open_problems",
    "export_open_problems",
    "list_methods",
    "method",
    "predict_open_problems",
    "published",
    "read_open_problems",
    "run",
    "run_transfer",
]


def __dir__() -> list[str]:
    return __all__
