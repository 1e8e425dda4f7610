"""Embed cells in a fresh process, as a user would, and print as JSON what that took.

``python -m benchmarks.embed_process MODEL CELLS PRECISION OUT STARTED``: STARTED is the time at which the process was
asked for.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Time the steps of ``uc.tl.uce_embed`` from the outside."""
    model, cells, precision, out, started = sys.argv[1:]
    import anndata as ad
    import numpy as np

    import univerce as uc
    from benchmarks.measurement import memory

    embed_cells = uc.tl.uce_embed  # imports the subpackage
    from univerce.inference import embed

    def elapsed() -> float:
        return time.time() - float(started)

    figures = {"imports": elapsed(), "encoding": 0.0}
    encoder_of = embed.encoder_of

    def timed_encoder(*args, **options):
        encoder = encoder_of(*args, **options)
        from univerce.inference.embedder import Embedder  # not before: torch is imported when it is needed

        forward, encode = Embedder._forward, Embedder._encode

        def timed_forward(self, *args):
            figures.setdefault("first_forward", elapsed())
            return forward(self, *args)

        def timed_encode(self, *args):
            begin = elapsed()
            encode(self, *args)
            figures["encoding"] += elapsed() - begin

        Embedder._forward, Embedder._encode = timed_forward, timed_encode
        return encoder

    embed.encoder_of = timed_encoder
    adata = ad.read_h5ad(cells)
    uc.settings.precision = precision
    embed_cells(adata, species="human", model=model)
    figures["forward"] = elapsed() - figures["first_forward"]
    figures["peak"] = memory("VmHWM")
    np.save(out, adata.obsm["X_uce"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
