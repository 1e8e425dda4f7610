"""Small ontologies of cell types as OBO files."""

from __future__ import annotations

from pathlib import Path

OBO = """format-version: 1.2
data-version: toy/1
ontology: toy

[Term]
id: T:0
name: cell

[Term]
id: T:1
name: lymphocyte
is_a: T:0 ! cell

[Term]
id: T:2
name: T cell
alt_id: T:20
alt_id: T:21
synonym: "T-lymphocyte" EXACT []
synonym: "cell that says \\"T\\"" EXACT [GOC:x]
synonym: "killer" RELATED []
synonym: "shared" EXACT []
is_a: T:1 ! lymphocyte
relationship: part_of T:5 ! thymus

[Term]
id: T:3
name: B cell
synonym: "shared" EXACT []
synonym: "t CELL" EXACT []
is_a: T:1 ! lymphocyte

[Term]
id: T:4
name: CD8 T cell
is_a: T:2 ! T cell
is_a: T:6 ! killer

[Term]
id: T:5
name: thymus

[Term]
id: T:6
name: killer
is_a: T:0 ! cell

[Term]
id: T:7
name: obsolete T-like cell
is_obsolete: true
replaced_by: T:8

[Term]
id: T:8
name: obsolete T-ish cell
is_obsolete: true
replaced_by: T:20

[Term]
id: T:9
name: obsolete something
is_obsolete: true
consider: T:3
consider: T:6
"""
"""Terms with alternative, replaced and obsolete ids, and synonyms."""

TERMS: dict[str, tuple[str, list[str]]] = {
    "CL:0": ("cell", []),
    "CL:1": ("blood cell", ["CL:0"]),
    "CL:2": ("epithelial cell", ["CL:0"]),
    "CL:3": ("lymphocyte", ["CL:1"]),
    "CL:4": ("myeloid cell", ["CL:1", "CL:9"]),
    "CL:5": ("T cell", ["CL:3"]),
    "CL:6": ("B cell", ["CL:3"]),
    "CL:7": ("monocyte", ["CL:4"]),
    "CL:8": ("macrophage", ["CL:4", "CL:9"]),
    "CL:9": ("motile cell", ["CL:0"]),
    "CL:10": ("enterocyte", ["CL:2"]),
    "CL:11": ("goblet cell", ["CL:2"]),
    "CL:12": ("CD4 T cell", ["CL:5"]),
    "CL:13": ("CD8 T cell", ["CL:5"]),
}
"""``{id: (name, parents)}``"""
IDS = {name: term for term, (name, _) in TERMS.items()}


def write_obo(path: Path, terms: dict[str, tuple[str, list[str]]] = TERMS) -> Path:
    lines = ["format-version: 1.2", "ontology: small", ""]
    for term, (name, parents) in terms.items():
        lines += ["[Term]", f"id: {term}", f"name: {name}", *(f"is_a: {p} ! {terms[p][0]}" for p in parents), ""]
    path.write_text("\n".join(lines))
    return path
