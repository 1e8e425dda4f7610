"""What a download makes of every known behavior of a server, one of them after the other on this machine."""

from __future__ import annotations

import math
import re

from benchmarks.measurement import Run, check
from tests.helpers.server import BEHAVIORS, BODY, NAME, Behavior, Server, in_turn, patience, registered
from univerce.genes.release.download import FetchError
from univerce.genes.release.fetch import fetch


def main(run: Run) -> None:
    """Fetch a small file from a server of each behavior."""
    rows = [(name, *_tried(run, name, behavior)) for name, behavior in BEHAVIORS.items()]
    header = ("server", "requests", "seconds waited", "outcome")
    run.record("servers", "A file of 0.4 MB from a server on this machine", header, rows)


def _tried(run: Run, name: str, behavior: Behavior) -> tuple[str, str, str]:
    with (
        Server() as server,
        registered(run.scratch(), f"{server.url}/a", **behavior.options),
        patience(behavior.patience) as waits,
    ):
        server.answers["/a"] = in_turn(behavior.answers())
        try:
            path = fetch(NAME)
        except FetchError as error:
            check(ok=bool(behavior.refused), goal=f"{name}: the file")
            said = str(error).splitlines()[1].removeprefix(f"- {server.url}/a: ")
            said = re.sub(r" that begins with .*| \(read timeout.*|\('.*', |HTTPConnectionPool\(.*?\): ", "", said)
            outcome = f"refused: {said}"
        else:
            check(ok=path.read_bytes() == BODY and not behavior.refused, goal=f"{name}: nothing but the file")
            outcome = "the file"
        waited = ", ".join(f"{math.ceil(seconds)}" for seconds in waits if seconds)
        return str(len(server.requests)), waited, outcome
