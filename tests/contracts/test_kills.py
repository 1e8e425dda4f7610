"""Writers that are killed, or write at once, leave the old, the new, or what the same call resumes."""

from __future__ import annotations

import sys

import pytest

from tests.helpers.killed import kill_everywhere, write_twice
from tests.helpers.writers import WRITERS

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="forks"), pytest.mark.slow]


@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_the_old_the_new_or_what_the_same_call_resumes(tmp_path, name):
    outcomes = kill_everywhere(WRITERS[name](), tmp_path, every=False, power=True)
    assert len(outcomes) > 4
    assert [outcome for outcome in outcomes if not outcome.held] == []
    assert outcomes[0].state in ("old", "none")
    assert outcomes[-1].state == "new"


@pytest.mark.parametrize("n", [0, 1, 3, 8])
@pytest.mark.parametrize("name", ["embedding store", "univerce embed -o .zarr --overwrite", "checksums", "model"])
def test_two_processes_write_one_target(tmp_path, name, n):
    assert write_twice(WRITERS[name](), tmp_path, n)
