"""How sure is d? Permutation p-values under four designs, p_attribute, intervals, max-T (contract, section 1)."""

from speechbias.inference.association import (
    ALTERNATIVES,
    Alternative,
    AssociationTest,
    associate,
    association_test,
    check_options,
    p_from_effect_size,
)
from speechbias.inference.designs import DESIGNS, Design, resolve_design

__all__ = [
    "ALTERNATIVES",
    "DESIGNS",
    "Alternative",
    "AssociationTest",
    "Design",
    "associate",
    "association_test",
    "check_options",
    "p_from_effect_size",
    "resolve_design",
]
