"""Differences of d's against a slow loop over the same resamples; influence functions against weights, jackknife."""

import math

import numpy as np
import pytest

from speechbias.inference.designs import relabel
from speechbias.inference.differences import _with_zero as with_zero
from speechbias.inference.differences import differences
from speechbias.inference.influence import fisher, influence, standard_errors
from speechbias.inference.intervals import Strata, moments, variance_scale
from speechbias.inference.permutation import permutation_test
from speechbias.inference.selections import sum_units
from statistics_reference import d_of, labellings

UNITS = {
    "clips": ([f"x{i}" for i in range(9)], [f"y{i}" for i in range(7)]),
    "speakers": (list("aaabbcd"), list("eefghhh")),
    "in both, and singles": (list("aabcd"), list("abbefg")),
}
units = pytest.mark.parametrize(("x", "y"), UNITS.values(), ids=UNITS)
BETWEEN = (np.array([1, 2, 2]), np.array([0, 0, 1]))


def scores(x, y, *, seed=0):
    """Three correlated members of other scales."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(len(x) + len(y), 1)) + rng.normal(size=(len(x) + len(y), 3))
    s[: len(x)] += [0.0, 1.5, 0.6]
    return s * [1.0, 10.0, 0.1] + 2.0


def weighted_d(s, weights, n_x, ddof):
    """D when clip i stands there weights[i] times, the N of the SD's denominator being that of the data."""
    w_x, w_y = weights[:n_x], weights[n_x:]
    mean = np.average(s, weights=weights)
    v = np.average((s - mean) ** 2, weights=weights) * len(s) / (len(s) - ddof)
    return (np.average(s[:n_x], weights=w_x) - np.average(s[n_x:], weights=w_y)) / np.sqrt(v)


@units
@pytest.mark.parametrize("ddof", [0, 1])
def test_psi_is_the_slope_of_d_in_a_clips_weight(x, y, ddof):
    s = scores(x, y)
    psi = influence(s, len(x), ddof)
    np.testing.assert_allclose(psi.sum(axis=0), 0, atol=1e-12)
    for clip in range(len(s)):
        for member in range(3):
            step = np.zeros(len(s))
            step[clip] = 1e-6
            up, down = (weighted_d(s[:, member], 1 + sign * step, len(x), ddof) for sign in (1, -1))
            assert psi[clip, member] == pytest.approx((up - down) / 2e-6, abs=1e-7)


def variance(psi, strata):
    """Of a sum over clips whose units are drawn, from their spread in each stratum."""
    total = 0.0
    for stratum in strata.strata:
        sums = np.array([psi[list(strata.units[unit]), 0].sum() for unit in stratum])
        total += len(sums) * sums.var(ddof=1)
    return total


def test_its_standard_error_is_that_of_the_jackknife_and_of_the_formula():
    rng = np.random.default_rng(1)
    n = 400
    s = rng.normal(size=(2 * n, 1))
    s[:n] += 1.0
    strata = Strata.of([f"x{i // 2}" for i in range(n)], [f"y{i // 2}" for i in range(n)])
    found = math.sqrt(variance(influence(s, n, 1), strata))
    kept = [[c for u, unit in enumerate(strata.units) if u != left for c in unit] for left in range(n)]
    left_out = np.array([d_of(s[k, 0], set(range(sum(c < n for c in k)))) for k in kept])
    jackknife = math.sqrt(
        sum((len(t) - 1) / len(t) * ((left_out[list(t)] - left_out[list(t)].mean()) ** 2).sum() for t in strata.strata)
    )
    assert found == pytest.approx(jackknife, rel=0.01)
    d, alone = d_of(s[:, 0], set(range(n))), Strata.of([f"x{i}" for i in range(n)], [f"y{i}" for i in range(n)])
    w2 = 1 - d**2 / 4
    formula = math.sqrt(2 * w2**3 / n + d**2 * w2**2 / (4 * n))
    assert math.sqrt(variance(influence(s, n, 1), alone)) == pytest.approx(formula, rel=0.05)


def by_hand(s, strata, drawn, n_x):
    """(d1 - d2, its se) and the same of Fisher's z, in the clips of the units ``drawn`` (a list per stratum)."""
    clips = [c for stratum in drawn for unit in stratum for c in strata.units[unit]]
    in_x = sum(c < n_x for c in clips)
    order = sorted(clips, key=lambda c: c >= n_x)
    scale = math.sqrt(len(s) / (len(s) - 1) / (len(order) / (len(order) - 1)))  # the N of the data, not of the draw
    to_r = math.sqrt(in_x * (len(order) - in_x) * len(s) / (len(s) - 1)) / len(order)
    d, psi, z, psi_z = [], [], [], []
    for column in s.T:
        d.append(d_of(column[order], set(range(in_x))) / scale)
        each = dict(zip(order, influence(column[order][:, None], in_x, 1)[:, 0] / scale, strict=True))
        psi.append(each)
        z.append(math.atanh(d[-1] * to_r))
        psi_z.append({c: value * to_r / (1 - (d[-1] * to_r) ** 2) for c, value in each.items()})

    def se(first, second):
        total = 0.0
        for stratum in drawn:
            sums = np.array([sum(first[c] - second[c] for c in strata.units[unit]) for unit in stratum])
            if len(sums) > 1:
                total += len(sums) * sums.var(ddof=1)
        return math.sqrt(total)

    return (d[0] - d[1], se(*psi)), (z[0] - z[1], se(*psi_z))


@units
def test_differences_are_those_of_a_slow_loop(x, y):
    s, strata, n_x = scores(x, y), Strata.of(x, y), len(x)
    options = {"n_x": n_x, "ddof": 1, "resamples": 199, "confidence": 0.9}
    found = differences(s, BETWEEN, strata, rng=np.random.default_rng(5), **options)
    rows = strata.draw(199, np.random.default_rng(5))
    ends = np.cumsum([max(len(stratum) - 1, 1) for stratum in strata.strata])[:-1]
    t = np.empty((199, 2, 3))
    observed = []
    for k, (i, j) in enumerate(zip(*BETWEEN, strict=True)):
        pair = s[:, [i, j]]
        observed.append(by_hand(pair, strata, strata.strata, n_x))
        for row, drawn in enumerate(rows):
            star = by_hand(pair, strata, np.split(drawn, ends), n_x)
            for scale in (0, 1):
                away, se = abs(star[scale][0] - observed[k][scale][0]), star[scale][1]
                t[row, scale, k] = away / se if se > 1e-9 else math.inf if away > 1e-9 else 0.0
    observed = np.array(observed)  # (pairs, scale, (difference, se))
    np.testing.assert_allclose(found.difference, observed[:, 0, 0])
    np.testing.assert_allclose(found.standard_error, observed[:, 0, 1])
    least = abs(observed[:, 1, 0]) / observed[:, 1, 1]
    p = (1 + (t[:, 1] >= least).sum(axis=0)) / 200
    np.testing.assert_allclose(found.p_value, p)
    np.testing.assert_allclose(found.p_adjusted, (1 + (t[:, 1].max(axis=1)[:, None] >= least).sum(axis=0)) / 200)
    for k in range(3):
        half = np.sort(t[:, 0, k])[math.ceil(0.9 * 198)] * observed[k, 0, 1]
        middle = observed[k, 0, 0]
        most = 2 * math.sqrt(len(s) * (len(s) - 1) / (n_x * len(y)))
        low, high = max(middle - half, -most), min(middle + half, most)
        if (p[k] < 0.1) == (low < 0 < high):  # p's 0 goes before the quantile's
            low, high = (0, high) if middle > 0 else (low, 0)
        assert (found.low[k], found.high[k]) == (pytest.approx(low), pytest.approx(high))


def some(n=30, shift=0.0, seed=3):
    x, y = [f"x{i}" for i in range(n)], [f"y{i}" for i in range(n)]
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(2 * n, 1)) + 0.5 * rng.normal(size=(2 * n, 4))
    s[:n] += np.linspace(0, shift, 4)
    return s, Strata.of(x, y), n


def judged(s, between, strata, n_x, **changes):
    options = {"n_x": n_x, "ddof": 1, "resamples": 999, "confidence": 0.95} | changes
    return differences(s, tuple(map(np.array, between)), strata, rng=np.random.default_rng(0), **options)


def test_signs_scales_and_a_member_against_itself():
    s, strata, n = some(shift=0.6)
    one, other = judged(s, ([1], [0]), strata, n), judged(s * [1, -3, 1, 1], ([0], [1]), strata, n)
    same = judged(s * [5, 0.01, 1, 1] + 7, ([1], [0]), strata, n)
    turned = judged(s, ([0], [1]), strata, n)
    for name in ("difference", "p_value", "low", "high"):
        np.testing.assert_allclose(getattr(same, name), getattr(one, name), atol=1e-8)
    np.testing.assert_allclose([turned.low, turned.high], [-one.high, -one.low])
    assert other.difference == pytest.approx(one.d[0] + one.d[1])
    itself = judged(np.column_stack([s[:, 0], 3 * s[:, 0]]), ([1], [0]), strata, n)
    assert (itself.p_value, itself.p_adjusted) == (1, 1)
    np.testing.assert_allclose([itself.difference, itself.low, itself.high], 0, atol=1e-6)
    copied = judged(s[:, [0, 0]], ([1], [0]), strata, n)
    assert (copied.p_value, copied.difference, copied.low, copied.high) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("difference", "low", "high", "differs", "expected"),
    [
        (0.5, -0.1, 1.1, True, (0, 1.1)),
        (0.5, 0.1, 0.9, False, (0, 0.9)),
        (0.5, 0.1, 0.9, True, (0.1, 0.9)),
        (0.5, -0.1, 1.1, False, (-0.1, 1.1)),
        (-0.5, -1.1, 0.1, True, (-1.1, 0)),
        (-0.5, -0.9, -0.1, False, (-0.9, 0)),
        (-0.5, -0.9, -0.1, True, (-0.9, -0.1)),
        (-0.5, -1.1, 0.1, False, (-1.1, 0.1)),
        (0.0, -0.2, 0.2, False, (-0.2, 0.2)),
    ],
)
def test_zero_lies_where_p_says(difference, low, high, differs, expected):
    found = with_zero(*(np.array([value]) for value in (difference, low, high, differs)))
    assert tuple(limit[0] for limit in found) == expected


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_leaves_zero_out_exactly_where_p_is_below_alpha(seed):
    s, strata, n = some(12, shift=1.0, seed=seed)
    found = judged(s, ([1, 2, 3, 2, 3, 3], [0, 0, 0, 1, 1, 2]), strata, n)
    assert ((found.p_value < 0.05) <= ((found.low >= 0) | (found.high <= 0))).all()
    assert ((found.p_value >= 0.05) <= ((found.low <= 0) & (found.high >= 0))).all()
    assert (found.low <= found.difference).all()
    assert (found.difference <= found.high).all()


def test_more_comparisons_raise_p_adjusted_and_widen_the_band():
    s, strata, n = some(shift=0.8)
    alone, together = judged(s, ([3], [0]), strata, n), judged(s, ([3, 2, 1], [0, 0, 0]), strata, n)
    assert alone.p_adjusted == alone.p_value == together.p_value[:1]
    assert (alone.band_low, alone.band_high) == (alone.low, alone.high)
    assert together.p_adjusted[0] >= alone.p_adjusted
    assert together.band_high[0] > alone.band_high
    twice = judged(s[:, [0, 3, 3]], ([1, 2], [0, 0]), strata, n)  # says nothing new: costs nothing
    np.testing.assert_allclose(twice.p_adjusted, [alone.p_value[0]] * 2)
    alike, strata, n = some(shift=0.0)
    lone, beside = judged(alike, ([1], [0]), strata, n), judged(alike, ([1, 0], [0, 0]), strata, n)
    assert lone.p_value > 0.5
    np.testing.assert_array_equal(beside.p_adjusted, [lone.p_adjusted[0], 1])  # nor does a member beside itself
    assert beside.redrawn.shape == beside.p_value.shape


def test_two_units_a_group_give_finite_limits_that_exclude_nothing():
    s, strata = scores("aabb", "ccdd"), Strata.of("aabb", "ccdd")
    found = judged(s, ([1], [0]), strata, 4)
    assert found.p_value > 0.3
    assert np.isfinite([found.low, found.high]).all()
    assert found.low < 0 < found.high


def test_the_kernel_without_spread_says_nan():
    s = np.column_stack([np.ones(8), np.arange(8.0)])
    strata = Strata.of("abcd", "efgh")
    values = sum_units(moments(s, 4), strata.units)
    every = np.arange(8, dtype=np.int32)[None]
    found = standard_errors(
        values.sum(axis=0)[None],
        values,
        every,
        np.array([0, 4, 8]),
        np.array([0]),
        np.array([1]),
        variance_scale(8, 1),
    )
    assert np.isnan(found).all()


def test_fisher_is_artanh_of_the_correlation_with_the_group():
    s, _, n = some(shift=1.0)
    group = np.repeat([1.0, 0.0], n)
    for column in s.T:
        d = d_of(column, set(range(n)))
        r = np.corrcoef(column, group)[0, 1]
        assert fisher(d, n, n, variance_scale(2 * n, 1)) == pytest.approx(np.arctanh(r))
    for d in (-2.0, 2.0):  # groups of two equal clips each: r is 1
        assert fisher(d, 2, 2, 1.0) == pytest.approx(np.sign(d) * np.arctanh(1 - 1e-12))


def test_many_curves_at_once_are_relabelled_as_one_by_one_by_hand():
    """As many members as layers x steps, every relabelling enumerated."""
    rng = np.random.default_rng(8)
    s = rng.normal(size=(8, 260))
    s[:4] += np.linspace(0, 2, 260)
    blank = [""] * 4, [""] * 4
    found = permutation_test(
        s, relabel("independent", blank), n_x=4, alternative="two-sided", permutations=10,
        rng=np.random.default_rng(0), family=range(260),
    )  # fmt: skip
    stars = np.array([[abs(d_of(c, set(clips))) for c in s.T] for clips in labellings("independent", *blank)])
    observed = np.array([abs(d_of(c, set(range(4)))) for c in s.T])
    np.testing.assert_allclose(found.p_value, (stars >= observed - 1e-9).mean(axis=0))
    np.testing.assert_allclose(found.p_adjusted, (stars.max(axis=1)[:, None] >= observed - 1e-9).mean(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("d", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["60 + 60 clips", "12 + 12 speakers x 5 clips"])
def test_the_level_is_kept_where_both_ds_are_equal(name, d):
    """docs/validity.md has more draws; these few would show a doubled level."""
    compare = pytest.importorskip("calibration.compare", reason="calibration/ is not on the path")
    groups, _ = compare.SETTINGS[name]
    found = compare.run(200, np.random.default_rng(0), groups=groups, rho=0.9, true=(d, d))
    assert 0.005 <= found["below 0.05"] <= 0.095
    assert found["interval"] >= 0.9
