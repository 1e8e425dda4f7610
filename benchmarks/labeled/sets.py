"""The labeled sets, and which of their labels mean the same.

A classifier is trained on all coarse types of one side, and tested on the cells of the other side whose type is among
them. Labels that the tables leave out have no counterpart that is safe to name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FACS = "human_pbmc_facs_zheng_fasttopics"
SORTED = "human_pbmc_sorted_zheng_mudan"
IFNB = "human_pbmc_ifnb_kang_2800_14k"
MIXOLOGY = "human_cellines_sc_mixology"
BRAIN = "human_brain_darmanis"
BREAST = "human_breast_tumor_wu_cid4465"
EPIDERMIS = "mouse_epidermis_joost_rsoptsc"
GUT = "mouse_stomach_intestine_mca_scgoclust"
ZEBRAFISH = "zebrafish_hema_tang_escape"
FLY = "fly_gut_fca_scgoclust"

BATCHED = {MIXOLOGY: "batch", IFNB: "batch", BRAIN: "batch"}
"""Sets whose batches are not their cell types, for scores of integration."""


def _types(**labels: list[str]) -> dict[str, str]:
    """Published label to coarse type."""
    return {label: coarse.replace("_", " ") for coarse, published in labels.items() for label in published}


# The two Zheng sets are cells of one study (no barcode is in both): what passes between them is the same laboratory.
_FACS = _types(
    B=["CD19+ B"],
    CD34=["CD34+"],
    NK=["CD56+ NK"],
    CD4_T=["CD4+ T Helper2", "CD4+/CD45RO+ Memory", "CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T"],
    CD8_T=["CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic"],
    CD14_monocyte=["CD14+ Monocyte"],
)
_SORTED = _types(
    B=["bcells"],
    NK=["nk"],
    CD4_T=["memoryt", "regulatoryt", "thelper", "naivet"],
    CD8_T=["cytotoxict", "naivecytotoxic"],
    CD14_monocyte=["monocytes"],
)
# Left out: "T activated", which may be CD4 or CD8.
_IFNB = _types(
    B=["B", "B Activated"],
    NK=["NK"],
    CD4_T=["CD4 Naive T", "CD4 Memory T"],
    CD8_T=["CD8 T"],
    CD14_monocyte=["CD14 Mono"],
    FCGR3A_monocyte=["CD16 Mono"],
    DC=["DC"],
    pDC=["pDC"],
    megakaryocyte=["Mk"],
    erythroid=["Eryth"],
)

_IFNB_IMMUNE = _types(
    B=["B", "B Activated"],
    T=["CD4 Naive T", "CD4 Memory T", "CD8 T", "T activated"],
    monocyte_or_macrophage=["CD14 Mono", "CD16 Mono"],
    DC=["DC"],
    pDC=["pDC"],
)
_GUT_IMMUNE = _types(
    B=["B cell"],
    T=["T cell"],
    monocyte_or_macrophage=["Macrophage"],
    DC=["Dendritic cell"],
    pDC=["Plasmacytoid dendritic cell"],
)
# Left out: perivascular-like cells, which are neither fibroblasts nor visceral muscle, plasmablasts, cycling myeloid.
_BREAST = _types(
    epithelial=["Cancer Cycling", "Cancer Basal SC", "Cancer LumB SC", "Mature Luminal", "Luminal Progenitors"],
    fibroblast=["CAFs myCAF-like", "CAFs MSC iCAF-like"],
    endothelial=["Endothelial ACKR1", "Endothelial CXCL12", "Endothelial RGS5", "Endothelial Lymphatic LYVE1"],
    B=["B cells Memory"],
    T=["T cells CD4+", "T cells CD8+", "Cycling T-cells"],
    monocyte_or_macrophage=["Macrophage", "Monocyte"],
    DC=["DCs"],
)
# Left out: endocrine and tuft cells, whose epithelial nature their transcripts hardly show.
_GUT = _GUT_IMMUNE | _types(
    epithelial=[
        "Chief cell", "Enterocyte", "Epithelial cell", "Goblet cell", "Paneth cell", "Pit cell", "Parietal cell",
        "Proliferating epithelial cell", "Squamous epithelium",
    ],
    fibroblast=["Fibroblast"],
    endothelial=["Endothelial cell"],
)  # fmt: skip
# All keratinocytes: this set can be tested on, not trained on.
_EPIDERMIS = _types(epithelial=["Basal", "IFE-DI", "IFE-DII", "IFE-KI", "IFE-KII"])

_FACS_LINEAGES = _types(
    B=["CD19+ B"],
    T=[label for label, coarse in _FACS.items() if coarse in ("CD4 T", "CD8 T")],
    myeloid=["CD14+ Monocyte"],
    progenitor=["CD34+"],
)
# Gates of reporters, not types: rag2 marks mostly B cells in kidney marrow, lck T cells with some NK cells, mpx
# neutrophils, whose next relatives among the human cells are monocytes.
_ZEBRAFISH_LINEAGES = _types(
    B=["rag2_GFP"], T=["lck_GFP", "lck_GFP_rag1"], myeloid=["mpx_EGFP"], progenitor=["cd41_GFPlow", "Runx123_GFP"]
)

_GUT_FUNCTIONS = _types(
    enterocyte=["Enterocyte"], endocrine=["Enteroendocrine cell", "Endocrine cell"], muscle=["Smooth muscle cell"]
)
_FLY_FUNCTIONS = _types(
    enterocyte=[
        "adult differentiating enterocyte", "adult midgut enterocyte", "enterocyte of anterior adult midgut epithelium",
        "enterocyte of posterior adult midgut epithelium", "enterocyte-like",
    ],
    endocrine=["enteroendocrine cell"],
    muscle=["muscle cell", "visceral muscle of the crop", "visceral muscle of the midgut"],
)  # fmt: skip

TERMS = {
    "B": "CL:0000236", "NK": "CL:0000623", "T": "CL:0000084", "CD4 T": "CL:0000624", "CD8 T": "CL:0000625",
    "CD14 monocyte": "CL:0001054", "FCGR3A monocyte": "CL:0002396", "monocyte or macrophage": "CL:0000113",
    "DC": "CL:0000451", "pDC": "CL:0000784", "megakaryocyte": "CL:0000556", "erythroid": "CL:0000764",
    "CD34": "CL:0008001", "myeloid": "CL:0000763", "progenitor": "CL:0008001", "epithelial": "CL:0000066",
    "fibroblast": "CL:0000057", "endothelial": "CL:0000115", "enterocyte": "CL:0000584", "endocrine": "CL:0000164",
    "muscle": "CL:0000187", "B Activated": "CL:0000236", "T activated": "CL:0000084", "CD4 Naive T": "CL:0000895",
    "CD4 Memory T": "CL:0000897", "CD14 Mono": "CL:0001054", "CD16 Mono": "CL:0002396", "Mk": "CL:0000556",
    "Eryth": "CL:0000764",
}  # fmt: skip
"""Terms of the Cell Ontology of the types between which labels are transferred; cell lines have none."""


@dataclass(frozen=True)
class Side:
    """Some cells of a set under coarse types."""

    name: str
    """The set."""
    types: Mapping[str, str] | None = None
    """Published label to coarse type; None keeps the labels of the set."""
    column: str | None = None
    """Column of ``obs`` that chooses cells."""
    value: str = ""
    """What it must hold."""

    @property
    def label(self) -> str:
        return " ".join(filter(None, [*self.name.split("_")[:3], self.value]))


@dataclass(frozen=True)
class Transfer:
    """Train on one side, test on the other, and the other way round unless it is one way."""

    kind: str
    train: Side
    test: Side
    one_way: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.train.label} and {self.test.label}"

    def directions(self) -> list[tuple[Side, Side]]:
        return [(self.train, self.test)] if self.one_way else [(self.train, self.test), (self.test, self.train)]


TRANSFERS = [
    Transfer("study", Side(FACS, _FACS), Side(SORTED, _SORTED)),
    Transfer("study", Side(FACS, _FACS), Side(IFNB, _IFNB)),
    Transfer("study", Side(SORTED, _SORTED), Side(IFNB, _IFNB)),
    Transfer(
        "technology", Side(MIXOLOGY, None, "technology", "CEL-seq2"), Side(MIXOLOGY, None, "technology", "Drop-seq")
    ),
    Transfer("condition", Side(IFNB, None, "batch", "CTRL"), Side(IFNB, None, "batch", "STIM")),
    Transfer("tissue", Side(GUT, _GUT), Side(EPIDERMIS, _EPIDERMIS), one_way=True),
    Transfer("species", Side(BREAST, _BREAST), Side(GUT, _GUT)),
    Transfer("species", Side(BREAST, _BREAST), Side(EPIDERMIS, _EPIDERMIS), one_way=True),
    Transfer("species", Side(IFNB, _IFNB_IMMUNE), Side(GUT, _GUT_IMMUNE)),
    Transfer("species", Side(FACS, _FACS_LINEAGES), Side(ZEBRAFISH, _ZEBRAFISH_LINEAGES)),
    Transfer("far species", Side(GUT, _GUT_FUNCTIONS), Side(FLY, _FLY_FUNCTIONS)),
]
