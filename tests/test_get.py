"""Tables read from ``uns``."""

from __future__ import annotations

import anndata as ad
import pandas as pd
import pytest

import univerce as uc


def test_a_table_is_read_as_a_copy_and_a_missing_one_is_an_error_that_lists_the_tables():
    table = pd.DataFrame({"x": [1, 2]})
    adata = ad.AnnData(obs=pd.DataFrame(index=["a"]), uns={"found": {"table": table}, "X_uce": {"params": {}}, "n": 3})
    read = uc.get.table(adata, "found")
    pd.testing.assert_frame_equal(read, table)
    read["x"] = 0
    assert table["x"].tolist() == [1, 2]
    for key in ("X_uce", "n", "nowhere"):
        with pytest.raises(KeyError, match=rf"uns\['{key}'\] has no table; keys with a table are: 'found'"):
            uc.get.table(adata, key)
