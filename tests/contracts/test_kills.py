"""Writers that are killed, or write at once, leave the old, the new, or what the same call resumes.

``python -m benchmarks kills`` tries every writer at more steps. Writers are forked from a process of their own: a fork
of this one would wait for locks that threads of earlier tests hold.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="forks"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
KILL = """
for name in sys.argv[2:]:
    outcomes = kill_everywhere(WRITERS[name](), scratch / name, power=True, most=5)
    assert len(outcomes) > 4, name
    assert [outcome for outcome in outcomes if not outcome.held] == [], name
    assert outcomes[0].state in ("old", "none"), name
    assert outcomes[-1].state == "new", name
"""
TWICE = """
for name in sys.argv[2:]:
    for n in (0, 1, 3):
        assert write_twice(WRITERS[name](), scratch / name / str(n), n), (name, n)
"""


def _run(code: str, scratch: Path, *names: str) -> None:
    """All writers in one process, whose imports take longer than most of them."""
    head = "import sys\nfrom pathlib import Path\nfrom tests.helpers.killed import kill_everywhere, write_twice\n"
    head += "from tests.helpers.writers import WRITERS\nscratch = Path(sys.argv[1])\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", head + code, str(scratch), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


STORE, OUTPUT = "embedding store", "univerce embed -o .zarr --overwrite"


def test_a_killed_writer_leaves_the_old_the_new_or_what_the_same_call_resumes(tmp_path):
    _run(KILL, tmp_path, STORE, "model", "checksums", "compressed index of search_atlas", OUTPUT)


def test_two_processes_write_one_target(tmp_path):
    _run(TWICE, tmp_path, STORE, OUTPUT)
