"""Embed a file in a fresh process and print as JSON what that took.

``python -m benchmarks.embed_file CELLS HOW OUT [MODEL]``: HOW is memory, backed, lazy or dask (a cluster of
one process); OUT is a zarr store, or ``-`` for ``obsm``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time


def main() -> None:
    """Embed, and print seconds by stage, the cells and the peak of the resident memory."""
    cells, how, out, *model = sys.argv[1:]
    import anndata as ad

    import univerce as uc
    from benchmarks.measurement import memory

    stages = {}

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stages.update(getattr(record, "stages", {}))

    logger = logging.getLogger("univerce")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Keep())
    if how == "memory":
        adata = ad.read_h5ad(cells) if cells.endswith(".h5ad") else ad.read_zarr(cells)
    elif how == "backed":
        adata = ad.read_h5ad(cells, backed="r")
    else:
        adata = ad.experimental.read_lazy(cells)
    before = memory("VmRSS")
    begin = time.perf_counter()
    options = {"model": model[0] if model else None, "store": None if out == "-" else out}
    if how == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster,
            Client(cluster) as client,
        ):
            uc.tl.uce_embed(adata[:1].to_memory(), species="human", client=client, **options | {"store": None})
            begin = time.perf_counter()  # the worker has started and loaded the model
            uc.tl.uce_embed(adata, species="human", client=client, **options)
            seconds = time.perf_counter() - begin
    else:
        uc.tl.uce_embed(adata, species="human", **options)
        seconds = time.perf_counter() - begin
    print(
        json.dumps({"stages": stages, "seconds": seconds, "peak": memory("VmHWM"), "opened": before, "n": adata.n_obs})
    )
    sys.stdout.flush()
    os._exit(0)  # a worker that is slow to close is not what is measured


if __name__ == "__main__":
    main()
