"""p-values of a table of tests, adjusted for their number: Holm (1979), and Benjamini and Hochberg (1995).

Holm: with probability 1 - alpha none of the adjusted p's below alpha is a false finding, however the tests depend on
each other. Benjamini-Hochberg: of those below alpha a share alpha is expected to be false, for independent tests and
such as rise and fall together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

Array = NDArray[np.float64]


def holm(p_values: Sequence[float] | Array) -> Array:
    """Holm's step-down adjusted p's, in the order given: the i-th smallest of m times m - i + 1, never falling."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float] | Array) -> Array:
    """Adjusted p's of the false discovery rate, in the order given (scipy's ``false_discovery_control``)."""
    p = np.asarray(p_values, dtype=np.float64)
    return np.asarray(false_discovery_control(p, method="bh")) if len(p) else p
