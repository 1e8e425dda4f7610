"""Blood cells with and without interferon."""

from __future__ import annotations

import anndata as ad

from univerce.datasets._published import retrieve, whole_counts

_SOURCE = "Kang et al. 2018, GSE96583, as distributed by pertpy"


def kang_2018() -> ad.AnnData:
    """Load 24,673 human blood cells of eight donors, with and without interferon beta.

    Peripheral blood mononuclear cells of patients with lupus, 10x Genomics (Kang et al. 2018, doi:10.1038/nbt.4042,
    GSE96583). The file is that of pertpy (38 MB), downloaded to ``<cache_dir>/datasets`` at the first call.

    Returns
    -------
    AnnData with counts in ``X``, CSR int32 ``[24673, 15706]``; ``obs["cell_type"]`` (8 types), ``obs["condition"]``
    (``"control"``, ``"interferon"``), ``obs["donor"]``; ``uns["organism"]`` and ``uns["source"]``.

    Raises
    ------
    FileNotFoundError
        If the file is not in the cache and ``settings.offline`` is set.
    OSError
        If no source serves the file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.kang_2018()  # doctest: +SKIP
    >>> adata.obs["condition"].value_counts()  # doctest: +SKIP
    """
    published = ad.read_h5ad(retrieve("kang_2018.h5ad"))
    obs = published.obs[["cell_type"]].copy()
    names = {"ctrl": "control", "stim": "interferon"}
    obs["condition"] = published.obs["label"].astype(str).map(names).astype("category")
    obs["donor"] = published.obs["replicate"].astype(str).astype("category")
    return ad.AnnData(
        whole_counts(published.X, "kang_2018.h5ad"),
        obs=obs,
        var=published.var[[]].copy(),
        uns={"organism": "Homo sapiens", "source": _SOURCE},
    )
