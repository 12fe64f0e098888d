"""How sure is d? Permutation p-values under four designs, p_attribute, intervals, max-T (contract, section 1)."""

from speechbias.inference.association import AssociationTest, associate, association_test
from speechbias.inference.designs import DESIGNS, Design, resolve_design
from speechbias.inference.options import ALTERNATIVES, DEFAULTS, Alternative, Options, check_options
from speechbias.inference.published import p_from_effect_size

__all__ = [
    "ALTERNATIVES",
    "DEFAULTS",
    "DESIGNS",
    "Alternative",
    "AssociationTest",
    "Design",
    "Options",
    "associate",
    "association_test",
    "check_options",
    "p_from_effect_size",
    "resolve_design",
]
