"""A method with options."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

from univerce.bench._method import Method
from univerce.bench._registry import find_method


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
