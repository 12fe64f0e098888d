"""Adjusted p's of a table against the definitions."""

import numpy as np
import pytest

from speechbias.inference.multiplicity import benjamini_hochberg, holm


def holm_by_hand(p):
    """Reject one after the other, the smallest first; the adjusted p is the alpha from which on it goes."""
    adjusted = {}
    so_far = 0.0
    for place, (value, number) in enumerate(sorted((value, number) for number, value in enumerate(p))):
        so_far = max(so_far, min(1.0, (len(p) - place) * value))
        adjusted[number] = so_far
    return [adjusted[number] for number in range(len(p))]


def bh_by_hand(p):
    return [min(len(p) * q / sum(r <= q for r in p) for q in [*p, 1.0] if q >= value) for value in p]


@pytest.mark.parametrize(
    "p", [[0.01], [0.04, 0.01, 0.03], [0.5, 0.5, 0.001, 0.9, 0.02, 0.02], [1.0, 1.0], [1, 0, 1], []]
)
def test_adjusted_ps_are_those_by_hand(p):
    np.testing.assert_allclose(holm(p), holm_by_hand(p))
    np.testing.assert_allclose(benjamini_hochberg(p), bh_by_hand(p))
    assert holm(p).dtype == benjamini_hochberg(p).dtype == np.float64
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
