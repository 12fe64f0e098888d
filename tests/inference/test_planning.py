"""Plans: the formula against simulated d's, a pilot against the truth, widths against the intervals of the package."""

import math

import numpy as np
import pytest

from speechbias.errors import InputError
from speechbias.inference.designs import relabel
from speechbias.inference.influence import influence
from speechbias.inference.intervals import Strata, target_interval
from speechbias.inference.permutation import smallest_p
from speechbias.inference.planning import (
    MOST_SPEAKERS,
    Components,
    correlation_of,
    estimate_components,
    expect_components,
    smallest_p_of,
)


def draw(rng, *, d, rho, speakers, clips, crossed=False, draws=1):
    """S (draws, 2 x speakers x clips), X first: normal, total SD about 1, correlation rho within a speaker."""
    voices = rng.normal(size=(draws, 2, speakers, 1))
    if crossed:
        voices[:, 1] = voices[:, 0]
    z = math.sqrt(rho) * voices + math.sqrt(1 - rho) * rng.normal(size=(draws, 2, speakers, clips))
    z[:, 0] += d / math.sqrt(1 - d * d / 4)
    return z.reshape(draws, -1)


def effect_sizes(s):
    n = s.shape[1] // 2
    return (s[:, :n].mean(axis=1) - s[:, n:].mean(axis=1)) / s.std(axis=1, ddof=1)


def strata(speakers, clips, *, crossed=False):
    return Strata.of(
        *([f"{'' if crossed else side}{k}" for k in range(speakers) for _ in range(clips)] for side in "xy")
    )


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize(
    ("d", "rho", "clips"), [(0.0, 0.0, 1), (1.0, 0.0, 1), (0.0, 0.5, 4), (1.0, 0.5, 4), (1.5, 0.8, 3)]
)
def test_the_formula_is_the_spread_of_simulated_ds(d, rho, clips, crossed):
    speakers = 80
    s = draw(np.random.default_rng(1), d=d, rho=rho, speakers=speakers, clips=clips, crossed=crossed, draws=4000)
    expected = expect_components(d, rho, crossed=crossed).standard_error(speakers, clips)
    assert effect_sizes(s).std() == pytest.approx(expected, rel=0.05)


def test_published_standard_errors():
    """spec: SD of d over resampled targets of 59 and 59 clips."""
    for d, se in ((0.2, 0.18), (0.5, 0.17), (1.0, 0.13)):
        assert expect_components(d, 0.0).standard_error(59, 1) == pytest.approx(se, abs=0.005)


def test_more_speakers_for_narrower_intervals_and_clips_do_not_replace_them():
    plan = expect_components(0.5, 0.3)
    assert plan.speakers_for(0.5, 1) > plan.speakers_for(0.5, 4) > plan.speakers_for(0.5, 1000)
    assert plan.speakers_for(0.5, 1000) >= (2 * 1.96 / 0.5) ** 2 * 2 * plan.between[0] - 1
    for width, clips in ((0.5, 1), (0.3, 4), (1.2, 2)):
        speakers = plan.speakers_for(width, clips)
        assert plan.width(speakers, clips) <= width < plan.width(speakers - 1, clips)
    assert plan.speakers_for(1e-4, 1) is None
    assert expect_components(0.5, 0.3, crossed=True).speakers_for(0.5, 4) < plan.speakers_for(0.5, 4)


@pytest.mark.parametrize("crossed", [False, True])
def test_a_large_pilot_finds_the_components(crossed):
    s = draw(np.random.default_rng(2), d=0.8, rho=0.4, speakers=4000, clips=4, crossed=crossed)[0]
    found = estimate_components(s, strata(4000, 4, crossed=crossed), len(s) // 2, 1)
    expected = expect_components(0.8, 0.4, crossed=crossed)
    assert found.crossed == crossed
    np.testing.assert_allclose(found.within, expected.within, rtol=0.1)
    np.testing.assert_allclose(found.between, expected.between, rtol=0.15, atol=0.01)
    assert correlation_of(found) is None if crossed else correlation_of(found) == pytest.approx(0.38, abs=0.05)


def components_by_hand(groups):
    """Between and within of a one-way analysis of variance, unequal groups, number by number."""
    n, k = sum(map(len, groups)), len(groups)
    grand = sum(map(sum, groups)) / n
    means = [sum(group) / len(group) for group in groups]
    within = sum((v - mean) ** 2 for group, mean in zip(groups, means, strict=True) for v in group) / (n - k)
    among = sum(len(group) * (mean - grand) ** 2 for group, mean in zip(groups, means, strict=True)) / (k - 1)
    return max((among - within) / ((n - sum(len(group) ** 2 for group in groups) / n) / (k - 1)), 0), within


def pilot(x, y, *, seed, spread=1.0):
    """S of the speakers x and y, who differ by ``spread``, and their strata."""
    rng = np.random.default_rng(seed)
    voices = {name: spread * rng.normal() for name in sorted({*x, *y})}
    return np.array([voices[name] for name in (*x, *y)]) + rng.normal(size=len(x) + len(y)), Strata.of(x, y)


@pytest.mark.parametrize(("x", "y"), [("aaabbcd", "eefghhhhij"), ("aabbbcz", "ddeefz"), ("aab", "ccddde")])
@pytest.mark.parametrize("spread", [2.0, 0.0])
def test_components_of_a_pilot_are_those_by_hand(x, y, spread):
    """Also where a speaker stands in both groups and others in one."""
    s, units = pilot(x, y, seed=len(x), spread=spread)
    psi = influence(s[:, None], len(x), 0)[:, 0]
    found = estimate_components(s, units, len(x), 0)
    for side, (names, values) in enumerate(((x, psi[: len(x)] * len(x)), (y, psi[len(x) :] * len(y)))):
        groups = [[v for v, name in zip(values, names, strict=True) if name == each] for each in dict.fromkeys(names)]
        assert (found.between[side], found.within[side]) == pytest.approx(components_by_hand(groups), rel=1e-9)
    assert not found.crossed


@pytest.mark.parametrize("spread", [3.0, 0.0])
def test_components_of_speakers_in_both_groups_are_those_by_hand(spread):
    x, y = "aaabbccccd", "abbcdd"
    s, units = pilot(x, y, seed=1, spread=spread)
    s[:5] += spread  # what a speaker's groups do not share
    psi = influence(s[:, None], len(x), 1)[:, 0]
    values = {name: ([], []) for name in "abcd"}
    for clip, name in enumerate((*x, *y)):
        values[name][clip >= len(x)].append(psi[clip] * (len(x) if clip < len(x) else len(y)))
    within = [components_by_hand([values[name][side] for name in "abcd"])[1] for side in (0, 1)]
    sums = [np.mean(one) + np.mean(other) for one, other in values.values()]
    noise = np.mean([within[0] / len(one) + within[1] / len(other) for one, other in values.values()])
    found = estimate_components(s, units, len(x), 1)
    assert found.between == pytest.approx((max(np.var(sums, ddof=1) - noise, 0),), rel=1e-9)
    assert (found.between[0] > 0) == (spread > 0)
    assert found.within == pytest.approx((sum(within),), rel=1e-9)


def test_one_speaker_in_a_group_says_nothing_of_others():
    s, units = pilot("aaa", "bbcc", seed=0)
    psi = 3 * influence(s[:, None], 3, 1)[:3, 0]
    found = estimate_components(s, units, 3, 1)
    assert (found.between[0], found.within[0]) == (0, pytest.approx(psi.var(ddof=1)))


def test_expected_components_are_the_formulas():
    w2, rho = 0.75, 0.4  # at d = 1
    between, within = w2**3 * rho + w2**2 * rho**2 / 8, w2**3 * (1 - rho) + w2**2 * (1 - rho**2) / 8
    for d in (1.0, -1.0):
        found = expect_components(d, rho)
        assert found.between == pytest.approx((between, between))
        assert found.within == pytest.approx((within, within))
    crossed = expect_components(1.0, rho, crossed=True)
    assert crossed.between == pytest.approx((w2**2 * rho**2 / 2,))
    assert crossed.within == pytest.approx((2 * within,))
    assert not found.crossed
    assert crossed.crossed


def test_widths_and_numbers_of_speakers_by_hand():
    plan = Components((1.0, 2.0), (4.0, 6.0))
    assert plan.standard_error(5, 2) == pytest.approx(math.sqrt((3 + 10 / 2) / 5))
    assert plan.width(5, 2) == pytest.approx(2 * 1.959963985 * math.sqrt(8 / 5))
    assert plan.width(5, 2, 0.9) == pytest.approx(2 * 1.644853627 * math.sqrt(8 / 5))
    for confidence in (0.95, 0.8):
        for speakers in (2, 9, MOST_SPEAKERS):  # exactly as wide: no speaker more
            width = plan.width(speakers, 2, confidence)
            assert plan.speakers_for(width * (1 + 1e-14), 2, confidence) == speakers
    assert plan.speakers_for(plan.width(9, 2), 2) == 9
    assert plan.speakers_for(plan.width(9, 2) * 0.999, 2) == 10
    assert plan.speakers_for(plan.width(MOST_SPEAKERS, 2) * 0.999, 2) is None
    assert plan.speakers_for(1e6, 2) == 2


def test_the_correlation_is_the_share_between_speakers():
    assert correlation_of(Components((1.0, 2.0), (4.0, 5.0))) == 3 / 12
    assert correlation_of(Components((0.0, 0.0), (0.0, 0.0))) is None
    assert correlation_of(Components((0.0, 0.0), (0.3, 0.2))) == 0


def test_one_clip_each_is_all_between_speakers():
    s = draw(np.random.default_rng(3), d=0.0, rho=0.0, speakers=50, clips=1)[0]
    found = estimate_components(s, strata(50, 1), 50, 1)
    assert found.within == (0.0, 0.0)
    psi = influence(s[:, None], 50, 1)[:, 0]
    assert found.between == pytest.approx([np.var(50 * psi[:50], ddof=1), np.var(50 * psi[50:], ddof=1)])
    assert found.standard_error(50, 1) == found.standard_error(50, 8)


def test_smallest_p_of_designs():
    assert smallest_p_of(5, 5, 4) == pytest.approx(2 / 252)
    assert smallest_p_of(3, 4, 1) == pytest.approx(1 / 35)
    assert smallest_p_of(3, 5, 1) == smallest_p_of(5, 3, 1) == pytest.approx(1 / 56)
    ids = [f"{k}" for k in range(3) for _ in range(2)]
    assert smallest_p_of(3, 3, 2, crossed=True) == smallest_p(relabel("within-speaker", (ids, ids)), "two-sided", None)
    assert 0 <= smallest_p_of(5000, 5000, 1) < 1e-300


@pytest.mark.parametrize(
    ("d", "rho"), [(2.0, 0.1), (-2.0, 0.1), (0.0, 1.0), (0.0, -0.1), (math.nan, 0.0), (0.0, math.nan)]
)
def test_what_cannot_be(d, rho):
    with pytest.raises(InputError, match=f"is {d if rho == 0.1 or math.isnan(d) else rho:g}. "):
        expect_components(d, rho)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "rho", "speakers", "clips"), [(0.0, 0.0, 60, 1), (0.8, 0.4, 25, 4), (1.2, 0.6, 40, 2)])
def test_planned_widths_are_those_of_the_intervals(d, rho, speakers, clips):
    s = draw(np.random.default_rng(4), d=d, rho=rho, speakers=speakers, clips=clips, draws=60).T
    found = target_interval(
        s, strata(speakers, clips), n_x=len(s) // 2, ddof=1, resamples=1000, confidence=0.95,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    planned = expect_components(d, rho).width(speakers, clips)
    assert np.mean(found.high - found.low) == pytest.approx(planned, rel=0.07)
