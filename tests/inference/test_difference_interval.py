"""Differences of two d's on the same clips: against a slow loop, p of the interval, and how often they are wrong."""

import numpy as np
import pytest

from speechbias.inference.intervals import Strata, difference_interval, target_interval
from statistics_reference import bca, d_of

UNITS = {
    "clips": ([f"x{i}" for i in range(9)], [f"y{i}" for i in range(7)]),
    "speakers": (list("aaabbcd"), list("eefghhh")),
    "in both": (list("aabbc"), list("abbbcc")),
}
OPTIONS = {"ddof": 1, "resamples": 401, "confidence": 0.9}


def weighted_d(s, n_x, strata, drawn):
    """D of the clips of some units, with repetitions."""
    clips = [clip for unit in drawn for clip in strata.units[unit]]
    x, y = [s[i] for i in clips if i < n_x], [s[i] for i in clips if i >= n_x]
    return (np.mean(x) - np.mean(y)) / (np.std(x + y) * np.sqrt(len(s) / (len(s) - 1)))


def correlated(n_x, n_y, columns, rng, *, shift=0.8, noise=0.6):
    """S of models that hear the same clips."""
    common = rng.normal(size=(n_x + n_y, 1))
    s = common + noise * rng.normal(size=(n_x + n_y, columns))
    s[:n_x] += shift
    return s


@pytest.mark.parametrize(("x", "y"), UNITS.values(), ids=UNITS)
def test_it_is_that_of_a_slow_loop_over_shared_resamples(x, y):
    n_x, strata = len(x), Strata.of(x, y)
    s = correlated(n_x, len(y), 3, np.random.default_rng(0))
    found, _ = difference_interval(s, strata, n_x=n_x, rng=np.random.default_rng(1), **OPTIONS)
    drawn = strata.draw(401, np.random.default_rng(1))

    def less(other, units):
        return weighted_d(s[:, 0], n_x, strata, units) - weighted_d(s[:, other], n_x, strata, units)

    for other in (1, 2):
        draws = np.array([less(other, row) for row in drawn])
        every = range(len(strata.units))
        jackknife = [[less(other, [u for u in every if u != left]) for left in side] for side in strata.strata]
        difference = d_of(s[:, 0], set(range(n_x))) - d_of(s[:, other], set(range(n_x)))
        limits, z0, a = bca(draws, difference, jackknife, 0.9)
        np.testing.assert_allclose([found.low[other - 1], found.high[other - 1]], limits, atol=1e-9)
        assert z0 != 0
        assert a != 0


def test_p_is_the_level_at_which_the_interval_ends_at_zero():
    rng = np.random.default_rng(3)
    strata, seen = Strata.of([*map(str, range(12))], [*map(str, range(12, 24))]), []
    for _ in range(12):
        s = correlated(12, 12, 2, rng)
        s[:12, 0] += rng.uniform(-1, 1)
        same = {"n_x": 12, "ddof": 1, "resamples": 3000}
        _, p = difference_interval(s, strata, confidence=0.9, rng=np.random.default_rng(4), **same)
        at, _ = difference_interval(s, strata, confidence=1 - p[0], rng=np.random.default_rng(4), **same)
        width = at.high[0] - at.low[0]
        assert 0 < p[0] <= 1
        if 0.01 < p[0] < 0.99:  # in the tails a quantile is between few resamples
            assert min(abs(at.low[0]), abs(at.high[0])) < 0.03 * width + 1e-3
            seen.append(p[0])
    assert len(seen) >= 5


def test_models_apart_beyond_every_resample_have_the_least_p_and_equal_ones_the_largest():
    strata = Strata.of([*map(str, range(20))], [*map(str, range(20, 40))])
    s = np.random.default_rng(0).normal(size=(40, 1)) * [[1, 1, 1]]
    s[:20, 1] += 30
    found, p = difference_interval(s, strata, n_x=20, rng=np.random.default_rng(1), **OPTIONS)
    assert 1 / 401 <= p[0] < 2 / 401
    assert found.high[0] < 0
    assert (found.low[1], found.high[1], p[1]) == (0, 0, 1)  # the same model


def test_what_both_share_cancels():
    strata = Strata.of([*map(str, range(30))], [*map(str, range(30, 60))])
    s = correlated(30, 30, 2, np.random.default_rng(0), noise=0.2)
    options = {"n_x": 30, "ddof": 1, "resamples": 2000, "confidence": 0.95}
    alone = target_interval(s, strata, rng=np.random.default_rng(1), **options)
    found, _ = difference_interval(s, strata, rng=np.random.default_rng(1), **options)
    assert found.high[0] - found.low[0] < 0.5 * (alone.high - alone.low).min()


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_equal_models_differ_seldom(shift):
    """The share of p below 5 % where the true d's are equal, of 400 pairs with 25 clips a group."""
    rng = np.random.default_rng(5)
    strata = Strata.of([*map(str, range(25))], [*map(str, range(25, 50))])
    wrong = 0
    for _ in range(400):
        s = correlated(25, 25, 2, rng, shift=shift)
        _, p = difference_interval(s, strata, n_x=25, ddof=1, resamples=300, confidence=0.95, rng=rng)
        wrong += p[0] < 0.05
    assert 0.02 <= wrong / 400 <= 0.09  # three standard errors around 5 %, and some
