"""Methods by name: ``METHOD`` or ``METHODS`` of each module of ``bench/methods``."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from univerce.bench import methods
from univerce.bench._method import Method


@cache
def known_methods() -> dict[str, Method]:
    """Methods by name, controls last. Their modules import nothing heavy."""
    found: list[Method] = []
    for module in pkgutil.iter_modules(methods.__path__):
        if not module.name.startswith("_"):
            content = vars(import_module(f"{methods.__name__}.{module.name}"))
            found += [content["METHOD"]] if "METHOD" in content else content.get("METHODS", ())
    return {m.name: m for m in sorted(found, key=lambda m: (m.control, m.name.lower()))}


def find_method(name: str) -> Method:
    """The method of a name, ignoring case; ``ValueError`` if there is none."""
    by_name = {known.lower(): m for known, m in known_methods().items()}
    if name.lower() not in by_name:
        raise ValueError(f"Unknown method {name!r}; the methods are {', '.join(map(repr, known_methods()))}.")
    return by_name[name.lower()]
