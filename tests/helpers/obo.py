"""A small ontology of cell types, written as an OBO file."""

from __future__ import annotations

from pathlib import Path

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


def write_obo(path: Path, terms: dict[str, tuple[str, list[str]]] = TERMS) -> Path:
    lines = ["format-version: 1.2", "ontology: small", ""]
    for term, (name, parents) in terms.items():
        lines += ["[Term]", f"id: {term}", f"name: {name}", *(f"is_a: {p} ! {terms[p][0]}" for p in parents), ""]
    path.write_text("\n".join(lines))
    return path
