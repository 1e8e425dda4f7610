"""MatrixMarket files, also damaged ones."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from univerce.io.mtx import read_mtx

X = sp.random(30, 20, density=0.2, random_state=0, format="coo")


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_matrix_is_read_with_and_without_a_last_line_end(end):
    written = io.BytesIO()
    scipy.io.mmwrite(written, X, precision=17)
    found = read_mtx(io.BytesIO(written.getvalue().rstrip() + end))
    np.testing.assert_array_equal(found.toarray(), X.toarray())
    dense = read_mtx(io.BytesIO(b"%%MatrixMarket matrix array integer general\n2 1\n3\n4" + end))
    np.testing.assert_array_equal(dense, [[3], [4]])


@pytest.mark.parametrize(
    "last", ["1 1 5\\x8a", "1 1 5\\x0b", "1 1 5\\x1a", "1 1 5\\0", "1 1 5\\0\\n2 2 3", "1 1", "9 1 5"]
)
def test_a_damaged_last_line_is_refused_and_ends_no_process(last):
    code = f"""
import io
from univerce.io.mtx import read_mtx
try:
    print(read_mtx(io.BytesIO(b"%%MatrixMarket matrix coordinate integer general\\n2 2 1\\n{last}")).toarray().sum())
except ValueError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ("5\n" if "x0b" in last or "x8a" in last else "refused\n")
