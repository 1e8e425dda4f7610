"""Add a method: latent semantic indexing, compared with principal components."""

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer

import univerce as uc


def embed(adata, *, batch_key, groupby, rng, n_dims=30):
    """Embed counts as ``[n_obs, n_dims]``."""
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(adata.X)
    svd = TruncatedSVD(n_dims, random_state=rng)
    return svd.fit_transform(weighted).astype(np.float32)


lsi = uc.bench.Method(
    name="LSI", embed=embed, citation="Deerwester et al. 1990", license="BSD-3-Clause", zero_shot=False
)
adata = uc.datasets.pbmc68k_reduced()
scores = uc.bench.run(adata, groupby="cell_type", methods=[lsi, "PCA", "random"], scib=False)
print(scores.query("metric == 'kNN accuracy'").groupby("method")["value"].mean().round(2))
print(uc.bench.compare(adata, "LSI", "PCA")[["metric", "difference", "low", "high", "winner"]])
