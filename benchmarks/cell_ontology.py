"""Build the Cell Ontology of the package from the JSON of CELLxGENE.

``python -m benchmarks cell_ontology version=2026-03-26``; ``out=FILE`` writes elsewhere than into the package.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measurement import Run
from univerce.io.cell_ontology import FILE

_LICENSE = (
    "Cell Ontology, release {version} (Diehl et al. 2016; https://obophenotype.github.io/cell-ontology), licensed "
    "under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0). Changed: ids, names, synonyms and parents of "
    "its terms only."
)


def main(run: Run) -> None:
    """Write the file."""
    version = str(run.option("version"))
    release = run.data / "ontology" / f"cl_{version}.json.gz"
    content = compact(json.loads(gzip.decompress(release.read_bytes())), version)
    Path(run.option("out", str(FILE))).write_bytes(content)


def compact(terms: Mapping[str, Mapping[str, Any]], version: str) -> bytes:
    """Write what :func:`read_cell_ontology` reads, from the JSON of CELLxGENE (``{id: {label, ancestors, ...}}``).

    ``ancestors`` maps each ancestor to the number of edges to it; those at one edge are parents.
    """
    kept, obsolete = {}, {}
    for term, entry in sorted(terms.items()):
        if entry["deprecated"]:
            replaced_by = [entry["replaced_by"]] if entry.get("replaced_by") else []
            obsolete[term] = (entry["label"], replaced_by, entry.get("consider", []))
            continue
        parents = sorted(parent for parent, n_edges in entry["ancestors"].items() if n_edges == 1)
        kept[term] = (entry["label"], parents, entry.get("synonyms", []))
    content = {"license": _LICENSE.format(version=version), "version": version, "terms": kept, "obsolete": obsolete}
    return gzip.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), mtime=0)
