"""Intervals against a slow loop over the same resamples, an independent BCa, and scipy's."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from speechbias.errors import InputError
from speechbias.inference import intervals
from speechbias.inference.cautions import warn_of_interval
from speechbias.inference.intervals import (
    Strata,
    attribute_interval,
    bootstrap_interval,
    d_from_moments,
    moments,
    target_interval,
    variance_scale,
)
from statistics_reference import bca, d_of

# Labels of the units in X and in Y: clips, speakers with unequal counts, speakers in both, pairs.
UNITS = {
    "clips": ([f"x{i}" for i in range(9)], [f"y{i}" for i in range(7)]),
    "speakers": (list("aaabbcd"), list("eefghhh")),
    "in both": (list("aabbc"), list("abbbcc")),
    "in both, and singles": (list("aabcd"), list("abbefg")),
    "pairs": (list("abcdef"), list("fedcba")),
}
units = pytest.mark.parametrize(("x", "y"), UNITS.values(), ids=UNITS)


def weighted_d(s, n_x, clips, ddof):
    """D of the clips of one resample, those of X being below n_x; with repetitions."""
    x, y = [s[i] for i in clips if i < n_x], [s[i] for i in clips if i >= n_x]
    return (np.mean(x) - np.mean(y)) / (np.std(x + y) * np.sqrt(len(s) / (len(s) - ddof)))


def clips_in(strata, drawn):
    return [clip for unit in drawn for clip in strata.units[unit]]


def leave_one_out(strata, statistic):
    """Statistic without each unit, one list per stratum."""
    every = range(len(strata.units))
    return [[statistic([u for u in every if u != left]) for left in stratum] for stratum in strata.strata]


@units
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_target_interval_is_that_of_a_slow_loop(x, y, ddof, confidence):
    rng = np.random.default_rng(0)
    n_x = len(x)
    s = rng.normal(size=(n_x + len(y), 2)) + 5.0
    s[:n_x, 1] += 0.8
    strata = Strata.of(x, y)
    found = target_interval(
        s, strata, n_x=n_x, ddof=ddof, resamples=401, confidence=confidence, rng=np.random.default_rng(1)
    )
    drawn = strata.draw(401, np.random.default_rng(1))
    for state, column in enumerate(s.T):
        draws = [weighted_d(column, n_x, clips_in(strata, row), ddof) for row in drawn]
        jackknife = leave_one_out(strata, lambda kept, c=column: weighted_d(c, n_x, clips_in(strata, kept), ddof))
        limits, z0, a = bca(np.array(draws), d_of(column, set(range(n_x)), ddof), jackknife, confidence)
        np.testing.assert_allclose([found.low[state], found.high[state]], limits, atol=1e-9)
        assert z0 != 0
        assert a != 0
    assert found.method == ("bca", "bca")
    assert not found.redrawn.any()


def two_way_d(cosines, n_x, n_a, targets, attributes, ddof):  # noqa: PLR0917
    """D of resampled targets and attribute clips, with repetitions; NaN where a set is empty."""
    a, b = [i for i in attributes if i < n_a], [i for i in attributes if i >= n_a]
    if not a or not b:
        return np.nan
    return weighted_d(cosines[:, a].mean(axis=1) - cosines[:, b].mean(axis=1), n_x, targets, ddof)


TALKERS = {
    "in both": ([f"t{i % 5}" for i in range(7)], [f"t{i % 5}" for i in range(6)]),
    "in one": (list("abbcd"), list("efghii")),
    "mixed": (list("ttuuva"), list("tuvvbb")),
}


@units
@pytest.mark.parametrize(("a", "b"), TALKERS.values(), ids=TALKERS)
@pytest.mark.parametrize("ddof", [0, 1])
def test_attribute_interval_is_that_of_a_slow_loop(x, y, a, b, ddof):
    rng = np.random.default_rng(2)
    n_x, n_a = len(x), len(a)
    cosines = rng.normal(scale=0.2, size=(2, n_x + len(y), n_a + len(b)))
    cosines[1, :n_x, :n_a] += 0.1
    targets, talkers = Strata.of(x, y), Strata.of(a, b)
    found, left_out = attribute_interval(
        cosines,
        targets,
        talkers,
        n_x=n_x,
        n_a=n_a,
        ddof=ddof,
        resamples=300,
        confidence=0.9,
        rng=np.random.default_rng(3),
    )
    same = np.random.default_rng(3)
    drawn = list(zip(targets.draw(300, same), talkers.draw(300, same), strict=True))
    all_targets, all_talkers = range(n_x + len(y)), range(n_a + len(b))
    for state, c in enumerate(cosines):
        draws = [two_way_d(c, n_x, n_a, clips_in(targets, t), clips_in(talkers, u), ddof) for t, u in drawn]
        jackknife = leave_one_out(
            targets, lambda kept, c=c: two_way_d(c, n_x, n_a, clips_in(targets, kept), all_talkers, ddof)
        ) + leave_one_out(
            talkers, lambda kept, c=c: two_way_d(c, n_x, n_a, all_targets, clips_in(talkers, kept), ddof)
        )
        d = two_way_d(c, n_x, n_a, all_targets, all_talkers, ddof)
        limits, _, _ = bca(np.array(draws), d, jackknife, 0.9)
        np.testing.assert_allclose([found.low[state], found.high[state]], limits, atol=1e-9)
        by_talker = [
            two_way_d(
                c, n_x, n_a, all_targets, clips_in(talkers, [u for u in range(len(talkers.units)) if u != t]), ddof
            )
            for t in range(len(talkers.units))
        ]
        np.testing.assert_allclose(left_out[:, state], by_talker, atol=1e-9)
    assert found.method == ("bca", "bca")


@units
def test_between_gives_differences_of_the_same_resamples(x, y):
    rng = np.random.default_rng(5)
    n_x, (a, b) = len(x), TALKERS["mixed"]
    cosines = rng.normal(scale=0.2, size=(3, n_x + len(y), len(a) + len(b)))
    cosines[1, :n_x, : len(a)] += 0.1
    targets, talkers = Strata.of(x, y), Strata.of(a, b)
    options = {"n_x": n_x, "n_a": len(a), "ddof": 1}
    pairs = (np.array([0, 2]), np.array([1, 0]))
    drawn = intervals._TwoWay(cosines, targets, talkers, **options).draw(300, np.random.default_rng(3))
    of_pairs = intervals._TwoWay(cosines, targets, talkers, between=pairs, **options)
    differences = np.column_stack([drawn[:, i] - drawn[:, j] for i, j in ((0, 1), (2, 0))])
    np.testing.assert_allclose(of_pairs.draw(300, np.random.default_rng(3)), differences, atol=1e-12)
    sampling = {"resamples": 300, "confidence": 0.9}
    _, left_out = attribute_interval(cosines, targets, talkers, rng=rng, **options, **sampling)
    _, found = attribute_interval(cosines, targets, talkers, rng=rng, between=pairs, **options, **sampling)
    expected = np.column_stack([left_out[:, 0] - left_out[:, 1], left_out[:, 2] - left_out[:, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_scipy_agrees_up_to_the_one_unit_less():
    """Scipy draws m of m, this m - 1: at 60 the widths differ by sqrt(59 / 60)."""
    rng = np.random.default_rng(4)
    s = rng.exponential(size=120)
    s[:60] += 0.7

    def d(x, y, axis):
        together = np.concatenate([x, y], axis=axis)
        return (x.mean(axis=axis) - y.mean(axis=axis)) / together.std(axis=axis, ddof=1)

    theirs = bootstrap(
        (s[:60], s[60:]), d, n_resamples=40_000, method="BCa", vectorized=True, rng=np.random.default_rng(5)
    ).confidence_interval
    strata = Strata.of(*([f"{side}{i}" for i in range(60)] for side in "xy"))
    ours = target_interval(
        s[:, None], strata, n_x=60, ddof=1, resamples=40_000, confidence=0.95, rng=np.random.default_rng(6)
    )
    width = theirs.high - theirs.low
    assert ours.low[0] == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high[0] == pytest.approx(theirs.high, abs=0.03 * width)
    assert ours.high[0] - ours.low[0] == pytest.approx(width * np.sqrt(60 / 59), rel=0.025)


@units
def test_each_stratum_of_m_units_is_drawn_m_minus_1_times(x, y):
    strata = Strata.of(x, y)
    drawn = strata.draw(4000, np.random.default_rng(7))
    assert drawn.dtype == np.int32
    assert drawn.shape[1] == sum(max(len(stratum) - 1, 1) for stratum in strata.strata)
    start = 0
    for stratum in strata.strata:
        m, size = len(stratum), max(len(stratum) - 1, 1)
        part = drawn[:, start : start + size]
        counts = np.array([np.sum(part == unit) for unit in stratum])
        assert counts.sum() == part.size
        assert np.abs(counts - part.size / m).max() < 5 * np.sqrt(part.size / m)
        start += size


def test_units_are_drawn_where_they_stand():
    strata = Strata.of(list("aabcd"), list("abbef"))
    assert [{strata.units[u] for u in stratum} for stratum in strata.strata] == [
        {(3,), (4,)},  # c, d: in X only
        {(8,), (9,)},  # e, f: in Y only
        {(0, 1, 5), (2, 6, 7)},  # a, b: in both, jointly
    ]
    assert strata.indicator().sum(axis=0).tolist() == [1] * 10


def constant_pair(resamples, seed=0, columns=1, **options):
    """Two clips a side of which one from each side are equal: half or more of the resamples have no spread."""
    s = np.array([[1.0, 0.3], [2.0, 0.8], [1.0, 0.7], [1.0, 0.1]])[:, :columns]
    strata = Strata.of(["a", "b"], ["c", "d"])
    return target_interval(
        s, strata, n_x=2, ddof=1, resamples=resamples, confidence=0.95, rng=np.random.default_rng(seed), **options
    )


def test_degenerate_resamples_are_drawn_again_and_counted():
    found = constant_pair(10_000)
    assert 0.9 < found.redrawn[0] / 10_000 < 1.1  # half of 10,000, and again half of those drawn for them ...
    assert np.isfinite([found.low[0], found.high[0]]).all()
    both = constant_pair(10_000, columns=2)
    assert both.redrawn[1] == 0
    assert both.redrawn[0] == found.redrawn[0]
    assert (both.low[0], both.high[0]) == (found.low[0], found.high[0])  # whichever state stands beside it


def test_places_are_filled_in_order_and_tries_are_counted(monkeypatch):
    monkeypatch.setattr(intervals, "CHUNK", 4)
    nan = np.nan
    columns = [
        [1, nan, 3, nan, nan, 6, nan, nan, 9, 10, 11, nan, 13, 14],
        [1, 2, 3, 4, 5, 6, nan, 8, 9, 10, 11, 12, 13, 14],
    ]
    columns = np.array([column[:6] + [nan] * 4 + column[6:] for column in columns])
    columns[1, 6:10] = [20, 21, 22, 23]  # nothing of the second is missing
    place = [0]

    def draw(count):
        place[0] += count
        return columns[:, place[0] - count : place[0]].T

    draws, redrawn = intervals.resample(draw, 6)
    # the first: 1 - 3 - | - 6, then four that are NaN, then two NaN, 9, 10, then 11
    assert draws.T.tolist() == [[1, 9, 3, 10, 11, 6], [1, 2, 3, 4, 5, 6]]
    assert redrawn.tolist() == [9, 0]


def test_a_spread_of_rounding_is_none_and_d_of_it_nan():
    for excess, known in ((1e-13, False), (1e-11, True)):  # of the mean square, where X and Y have the same mean
        sums = np.array([[2, 2, 1, 1, (1 + excess) * 1.0]])
        assert np.isfinite(d_from_moments(sums, 1, 1.0)[0, 0]) == known
    apart = np.array([[1, 1, 1e9, 1e9 + 1, (2e9 + 1) ** 2 / 2]])  # rounding has left no variance
    assert np.isnan(d_from_moments(apart, 1, 1.0)).all()
    strata = Strata.of("ab", "cd")
    problem = intervals._TwoWay(np.ones((1, 4, 4)), strata, strata, n_x=2, n_a=2, ddof=1)
    for step, known in ((1e-15, False), (1e-11, True)):
        s = 0.5 + step * np.arange(4.0)[None]
        assert np.isfinite(problem._d(s, np.ones((1, 4)))[0]) == known


def test_too_many_degenerate_resamples_are_an_error(monkeypatch):
    monkeypatch.setattr(intervals, "REDRAWS", 0)
    with pytest.raises(InputError, match="spread"):
        constant_pair(100)


@units
def test_what_is_computed_from_sums_has_the_interval_of_d(x, y):
    n_x, n = len(x), len(x) + len(y)
    s = np.random.default_rng(4).normal(size=(n, 2)) + np.outer(np.arange(n) < n_x, [0, 1])
    strata, options = Strata.of(x, y), {"resamples": 200, "confidence": 0.9}
    found = bootstrap_interval(
        moments(s, n_x),
        lambda sums: d_from_moments(sums, 2, variance_scale(n, 1)),
        strata,
        rng=np.random.default_rng(2),
        **options,
    )
    own = target_interval(s, strata, n_x=n_x, ddof=1, rng=np.random.default_rng(2), **options)
    np.testing.assert_array_equal([found.low, found.high, found.redrawn], [own.low, own.high, own.redrawn])
    assert found.method == own.method == ("bca", "bca")


def test_units_of_the_smaller_group_are_counted_also_where_they_stand_in_both():
    for x, y, fewest in (("aabc", "abb", 2), ("aab", "abbc", 2), ("aaa", "bc", 1), ("ab", "cc", 1), ("ab", "bb", 1)):
        strata = Strata.of(list(x), list(y))
        assert strata.fewest(len(x)) == fewest
        assert strata.one_sided(len(x)) == (fewest == 1)


def test_percentile_where_bca_is_not_defined():
    found = constant_pair(2000)  # left without clip b, all s are equal: no acceleration
    assert found.method == ("percentile",)
    s = np.array([1.0, 0.9, 0.8, 0.0, 0.1, 0.05])[:, None]
    strata = Strata.of(["a"] * 3, ["b"] * 3)  # one speaker a side: every resample is the data
    found = target_interval(s, strata, n_x=3, ddof=1, resamples=50, confidence=0.95, rng=np.random.default_rng())
    d = d_of(s[:, 0], {0, 1, 2})
    assert found.method == ("percentile",)
    np.testing.assert_allclose([found.low[0], found.high[0]], d, atol=1e-12)


def test_percentile_intervals_say_so():
    assert warn_of_interval("bca") == warn_of_interval("none") == []
    assert "percentile" in warn_of_interval("percentile")[0]


def test_percentile_limits_are_quantiles():
    draws = np.linspace(0, 1, 101)[:, None]
    limits = intervals.bca_limits(draws, np.array([2.0]), np.array([0.0]), np.zeros(1, np.int64), 0.9)
    assert limits.method == ("percentile",)  # d beyond all resamples: z0 is infinite
    assert (limits.low[0], limits.high[0]) == pytest.approx((0.05, 0.95))
    limits = intervals.bca_limits(draws, np.array([0.5]), np.array([0.0]), np.zeros(1, np.int64), 0.9)
    assert limits.method == ("bca",)  # ties at half: z0 is 0
    both = intervals.bca_limits(np.tile(draws, 2), np.array([0.5, 2.0]), np.zeros(2), np.zeros(2, np.int64), 0.9)
    assert both.method == ("bca", "percentile")  # one state's does not depend on the other's
    assert (limits.low[0], limits.high[0]) == pytest.approx((0.05, 0.95))


def test_a_speaker_alone_in_its_stratum_has_no_part_in_the_acceleration():
    rng = np.random.default_rng(9)
    s = rng.normal(size=(12, 1))
    found = target_interval(
        s, Strata.of(["a"] * 5, list("bcdefgh")), n_x=5, ddof=1, resamples=500, confidence=0.95, rng=rng
    )
    assert found.method == ("bca",)
    assert found.low[0] < found.high[0]


def test_chunks_do_not_change_what_is_drawn_in_all(monkeypatch):
    rng = np.random.default_rng(10)
    s = rng.normal(size=(20, 1))
    monkeypatch.setattr(intervals, "CHUNK", 100)
    strata = Strata.of(*([f"{side}{i}" for i in range(10)] for side in "xy"))
    found = target_interval(s, strata, n_x=10, ddof=1, resamples=950, confidence=0.95, rng=np.random.default_rng(1))
    monkeypatch.setattr(intervals, "CHUNK", 4000)
    other = target_interval(s, strata, n_x=10, ddof=1, resamples=950, confidence=0.95, rng=np.random.default_rng(1))
    assert found.low[0] == pytest.approx(other.low[0], abs=0.15)
