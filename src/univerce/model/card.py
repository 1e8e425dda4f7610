"""Model cards in the format of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from huggingface_hub import ModelCardData

from univerce.genes.release.fetch import human_size
from univerce.genes.release.models import BRAIN, MODELS, PAPER
from univerce.model.listing import list_models

_PAPER_DOI = "10.1038/s41586-026-10689-z"
_LICENSES = {"BSD-3-Clause": "bsd-3-clause", "CC BY 4.0": "cc-by-4.0"}
_ABOUT = {
    PAPER: """
A transformer reads a sentence of genes sampled from the raw counts of a cell. Each gene is represented by the ESM2
embedding of its protein. The network was trained without labels to predict which genes a cell expresses, and is applied
to new data unchanged.
""",
    BRAIN: """
A second family of UCE networks by the same laboratory (snap-stanford/UCE-brain, 2026). It reads sentences of genes as
UCE does, with a smaller network. Its authors publish no scores.
""",
    "uce-mini": """
A weighted sum of one vector per gene, fitted to public data sets in closed form and without labels. It has no
transformer and is not a model of the UCE paper. For learning, tests, a first look, and as a baseline.
""",
    "uce-tiny": """
The network of the UCE paper at a small size. It demonstrates sentences and sampling noise and is not meant for results.
""",
}


def model_card(name: str) -> str:
    """Write the model card of a bundled model or a public checkpoint.

    Parameters
    ----------
    name
        A name that :func:`univerce.model.list_models` lists.

    Returns
    -------
    Markdown with YAML front matter, the ``README.md`` of a repository on the Hugging Face hub. It states what is on
    record in this package; nothing is fetched.

    Raises
    ------
    ValueError
        If there is no model of that name; the message lists the names.

    Examples
    --------
    >>> import univerce as uc
    >>> print(uc.model.model_card("uce-33l").partition("# ")[0])
    ---
    base_model: minwoosun/uce-650m
    library_name: univerce
    license: cc-by-4.0
    ...
    """
    models = {row["name"]: row for row in list_models().to_dict("records")}
    if name not in models:
        raise ValueError(f"There is no model {name!r} on record; the names are {', '.join(models)}.")
    model = models[name]
    licenses = [hub for stated, hub in _LICENSES.items() if model["license"].startswith(stated)]
    data = ModelCardData(
        base_model=model["repository"] or None,
        library_name="univerce",
        license=licenses[0] if licenses else "unknown",
        pipeline_tag="feature-extraction",
        tags=["biology", "single-cell", "transcriptomics", "cell-embeddings", "cross-species", model["family"]],
    )
    return f"---\n{data.to_yaml()}\n---\n{_text(name, model)}"


def _text(name: str, model: Mapping[Any, Any]) -> str:
    about = _ABOUT.get(name) or _ABOUT[model["family"]]
    facts = "\n".join(f"| {fact} | {value} |" for fact, value in _facts(name, model).items())
    return f"""
# {name}
{about}
## Use

```python
import univerce as uc

uc.tl.uce_embed(adata, species="human", model="{name}")  # raw counts; writes obsm["X_uce"]
```

Embeddings of this model compare with each other and with those of no other model. Compare them with principal
components of log-normalized expression, and check the weights with `univerce models verify {name}`.

## On record

| | |
|---|---|
{facts}

## Citation

Rosen et al. *Universal cell embedding provides a foundation model for cell biology.* Nature (2026).
[doi:{_PAPER_DOI}](https://doi.org/{_PAPER_DOI})
"""


def _facts(name: str, model: Mapping[Any, Any]) -> dict[str, object]:
    facts = {
        "family": model["family"],
        "layers × width": "" if pd.isna(model["layers"]) else f"{model['layers']} × {model['width']:,}",
        "tokens": "" if pd.isna(model["vocabulary"]) else f"{model['vocabulary']:,}",
        "species": model["species"],
        "training data": model["training"],
        "weights": model["repository"] and f"https://huggingface.co/{model['repository']}",
        "revision": model["revision"],
        "download": model["download_bytes"] and human_size(int(model["download_bytes"])),
        "license": model["license"],
    }
    public = MODELS.get(name)
    if public and public.ids:
        ids = ", ".join(f"{key} {value}" for key, value in public.ids.items())
        facts["special tokens"] = f"{ids} (stated by: {public.ids_from})"
    return {fact: value for fact, value in facts.items() if value}
