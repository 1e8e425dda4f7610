"""Writers that are killed, or write at once, leave the old, the new, or what the same call resumes.

``python -m benchmarks kills`` tries every writer at more steps.
"""

from __future__ import annotations

import sys

import pytest

from tests.helpers.killed import kill_everywhere, write_twice
from tests.helpers.writers import WRITERS

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="forks"), pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    ["embedding store", "model", "checksums", "univerce embed -o .zarr --overwrite"],
)
def test_a_killed_writer_leaves_the_old_the_new_or_what_the_same_call_resumes(tmp_path, name):
    outcomes = kill_everywhere(WRITERS[name](), tmp_path, power=True, most=5)
    assert len(outcomes) > 4
    assert [outcome for outcome in outcomes if not outcome.held] == []
    assert outcomes[0].state in ("old", "none")
    assert outcomes[-1].state == "new"


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("name", ["embedding store", "univerce embed -o .zarr --overwrite"])
def test_two_processes_write_one_target(tmp_path, name, n):
    assert write_twice(WRITERS[name](), tmp_path, n)
