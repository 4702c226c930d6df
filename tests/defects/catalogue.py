"""The catalogue of planted port mistakes: what is wrong, and what must be said of it.

Places: a layer is ``network.path``; a parameter or buffer has Torch's name after it; a function called in
a layer's forward is ``network.path/function``, and one called outside the networks ``step/function``; the
others are ``optimizers.NAME``, ``schedulers.NAME``, ``losses.NAME``, ``inputs.NAME``, and a network's name
for its mode. Where a mistake touches all layers of a kind, any of them may be named first. The causes are
those of `parity.causes`.
"""

from tests.defects.catalogue_discogan import DISCOGAN_DEFECTS
from tests.defects.catalogue_mixed import KNOWN_DIFFERENCES, MIXED_DEFECTS
from tests.defects.defect import Several

CATALOGUE = (*DISCOGAN_DEFECTS, *MIXED_DEFECTS, *KNOWN_DIFFERENCES)
"""Every case, the known framework differences among them."""
BY_ID = {defect.id: defect for defect in CATALOGUE}

TRIPLES = (
    Several("dg-three", "discogan", ("dg-slope-of-one", "dg-bn-epsilon-of-one", "dg-padding-mode")),
    Several(
        "dg-three-in-training",
        "discogan",
        ("dg-slope-of-one", "dg-bn-epsilon-of-one", "dg-padding-mode"),
        {"mode": "train"},
    ),
    Several("mx-three", "mixed", ("mx-slope", "mx-layer-norm-epsilon", "mx-padding-mode")),
    Several("mx-three-kinds", "mixed", ("mx-fc-untransposed", "mx-gelu-tanh", "mx-loss-weight")),
)
"""Independent mistakes planted at once; what each must be named is in the catalogue."""
