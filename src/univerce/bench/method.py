"""A method with options."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from univerce.bench import methods
from univerce.bench._method import Method


def method(
    name: str, *, rename: str | None = None, pretrained_on: Sequence[str] | None = None, **options: Any
) -> Method:
    """Set options of a method.

    Parameters
    ----------
    name
        Name of a built-in method, see :func:`univerce.bench.list_methods`.
    rename
        Name in the tables, such as ``"UCE 33 layers"``.
    pretrained_on
        Ids of the data sets that the weights were trained on (``dataset_id`` of CELLxGENE), in place of the published
        description, so that :func:`univerce.bench.run` can name those that it finds in the data.
    **options
        Arguments of the method, such as ``model="uce-33l"`` or ``n_top_genes=4000``.

    Returns
    -------
    The method, for :func:`univerce.bench.run`.

    Raises
    ------
    ValueError
        If there is no such method.
    TypeError
        If it has no such option.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.bench.method("PCA", rename="PCA, 20 components", n_comps=20).options
    {'n_comps': 20}
    """
    found = find_method(name)
    parameters = inspect.signature(found.embed).parameters
    given = ("batch_key", "groupby", "rng")
    known = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name not in given]
    unknown = sorted(set(options) - set(known))
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise TypeError(f"{found.name} has no option {unknown[0]!r}; its options are: {', '.join(known) or 'none'}.")
    corpus = found.pretrained_on if pretrained_on is None else pretrained_on
    options = {**found.options, **options}
    return dataclasses.replace(found, name=rename or found.name, options=options, pretrained_on=corpus)


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
