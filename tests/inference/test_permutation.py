"""p_value and max-T: exact against enumeration, Monte-Carlo against exact and a plain loop, draws uniform."""

from collections import Counter
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from speechbias.inference import selections as selecting
from speechbias.inference.designs import relabel
from speechbias.inference.options import ALTERNATIVES
from speechbias.inference.permutation import permutation_test
from statistics_reference import clips_of, d_of, labellings, oriented, p_by_enumeration

PAIRS = {"X": ["p", "q", "r", "s", "t"], "Y": ["s", "r", "t", "p", "q"]}
CASES = {
    "clips": ("independent", [""] * 4, [""] * 6),
    "more x than y": ("independent", [""] * 7, [""] * 2),
    "whole speakers": ("speaker", ["a", "a", "a", "b", "e"], ["c", "c", "d", "f"]),
    "more x speakers": ("speaker", ["a", "a", "b", "e", "g"], ["c", "c", "", "c"]),
    "each in both": ("within-speaker", ["a", "a", "b", "b", "b"], ["a", "b", "b", "b"]),
    "in both, and singles": ("within-speaker", ["a", "a", "c", ""], ["a", "d", "", "e"]),
    "in both, and a single x": ("within-speaker", ["a", "a", "c", "b"], ["a", "b", "b"]),
    "pairs": ("pair", [""] * 5, [""] * 5),
}
cases = pytest.mark.parametrize(("design", "x", "y"), CASES.values(), ids=CASES)
every_alternative = pytest.mark.parametrize("alternative", ALTERNATIVES)


def values(n, states=3, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, size=(n, states)).astype(float) if ties else rng.normal(size=(n, states)) + 0.5


def run(s, design, x, y, *, alternative="two-sided", permutations=2000, seed=1, family=(), saddlepoint=False):
    return permutation_test(
        s,
        relabel(design, (x, y), PAIRS),
        n_x=len(x),
        alternative=alternative,
        permutations=permutations,
        rng=np.random.default_rng(seed),
        family=family,
        saddlepoint=saddlepoint,
    )


@pytest.fixture
def sampled(monkeypatch):
    """No design is small enough to be enumerated."""
    monkeypatch.setattr(selecting, "EXACT_UP_TO", 0)


def test_a_million_relabellings_are_still_counted(monkeypatch):
    assert selecting.EXACT_UP_TO == 1_000_000
    relabelling = relabel("independent", ([""] * 3, [""] * 3))  # 20 of them
    for most, exact in ((20, True), (19, False)):
        monkeypatch.setattr(selecting, "EXACT_UP_TO", most)
        assert selecting.is_exact(relabelling) == exact


@cases
@every_alternative
@pytest.mark.parametrize("ties", [False, True])
def test_exact_p_is_that_of_the_enumeration(design, x, y, alternative, ties):
    every = labellings(design, x, y, PAIRS)
    for seed in range(4):
        s = values(len(x) + len(y), seed=seed, ties=ties)
        found = run(s, design, x, y, alternative=alternative)
        expected = [p_by_enumeration(column, every, len(x), alternative) for column in s.T]
        np.testing.assert_allclose(found.p_value, expected, rtol=1e-13)
        assert found.method == ("exact",) * 3
        assert np.all(found.p_value >= found.p_min)


@cases
def test_the_most_extreme_data_reach_the_smallest_p(design, x, y):
    s = np.zeros((len(x) + len(y), 1))
    s[: len(x)] = 10
    s += values(len(s), states=1) * 1e-3
    for alternative in ("two-sided", "greater"):
        found = run(s, design, x, y, alternative=alternative)
        assert found.p_value[0] == pytest.approx(found.p_min, rel=1e-13)
    assert run(s, design, x, y, alternative="less").p_value[0] == 1


@cases
@every_alternative
def test_sampled_p_is_that_of_a_plain_loop_over_the_same_relabellings(sampled, design, x, y, alternative):
    s, relabelling = values(len(x) + len(y), ties=True), relabel(design, (x, y), PAIRS)
    found = run(s, design, x, y, alternative=alternative, permutations=500, family=(0, 2))
    draws = [
        clips_of(relabelling.units, selected)
        for chunk in selecting.selections(relabelling, permutations=500, rng=np.random.default_rng(1))
        for selected in chunk
    ]
    assert len(draws) == 500
    permuted = np.array([[oriented(d_of(column, clips), alternative) for column in s.T] for clips in draws])
    observed = np.array([oriented(d_of(column, set(range(len(x)))), alternative) for column in s.T])
    expected = np.maximum((1 + (permuted >= observed - 1e-9).sum(axis=0)) / 501, found.p_min)
    np.testing.assert_allclose(found.p_value, expected, rtol=1e-13)
    largest = permuted[:, [0, 2]].max(axis=1)
    for state in (0, 2):
        in_all = (1 + np.sum(largest >= observed[state] - 1e-9)) / 501
        assert found.p_adjusted[state] == pytest.approx(in_all, rel=1e-13)
    assert np.isnan(found.p_adjusted[1])
    assert found.p_min == max(1 / 501, (1 + (alternative == "two-sided" and relabelling.mirrored)) / relabelling.count)


@cases
@every_alternative
def test_exact_max_t_is_that_of_a_plain_loop(design, x, y, alternative):
    s = values(len(x) + len(y), seed=5)
    found = run(s, design, x, y, alternative=alternative, family=(0, 1, 2))
    every = labellings(design, x, y, PAIRS)
    largest = np.array([max(oriented(d_of(column, clips), alternative) for column in s.T) for clips in every])
    for state, column in enumerate(s.T):
        observed = oriented(d_of(column, set(range(len(x)))), alternative)
        assert found.p_adjusted[state] == pytest.approx(np.mean(largest >= observed - 1e-9), rel=1e-13)
    assert np.all(found.p_adjusted >= found.p_value)


@cases
def test_sampled_p_is_near_the_exact_one(monkeypatch, design, x, y):
    s = values(len(x) + len(y), states=4, seed=3)
    exact = run(s, design, x, y).p_value
    monkeypatch.setattr(selecting, "EXACT_UP_TO", 0)
    found = run(s, design, x, y, permutations=40_000)
    assert found.method == ("monte-carlo",) * 4
    np.testing.assert_allclose(found.p_value, exact, atol=4.5 * np.sqrt(0.25 / 40_000))


def test_every_choice_of_units_is_equally_likely(sampled):
    relabelling = relabel("independent", ([""] * 3, [""] * 4))
    draws = np.concatenate(list(selecting.selections(relabelling, permutations=70_000, rng=np.random.default_rng(7))))
    found = Counter(tuple(sorted(row)) for row in draws.tolist())
    assert len(found) == comb(7, 3)
    assert chi_square(np.array(list(found.values()))) > 1e-3


def test_every_unit_of_every_stratum_is_chosen_equally_often(sampled):
    x, y = ["a", "a", "b", "c", ""], ["a", "b", "b", "b", "d", "", "", "e"]
    relabelling = relabel("within-speaker", (x, y))
    draws = np.concatenate(list(selecting.selections(relabelling, permutations=50_000, rng=np.random.default_rng(8))))
    chosen = np.bincount(draws.ravel(), minlength=len(relabelling.units))
    assert chosen.sum() == 50_000 * len(x)
    assert all(len(set(row)) == len(x) for row in draws[:1000].tolist())
    for first, last, k in zip(relabelling.starts[:-1], relabelling.starts[1:], relabelling.chosen, strict=True):
        m = last - first
        # counts of a draw without replacement vary by (m - k) / (m - 1) of what independent ones would
        excess = chosen[first:last] - 50_000 * k / m
        assert chi2.sf((excess**2).sum() / (50_000 * k / m) * (m - 1) / (m - k), m - 1) > 1e-3


def chi_square(counts):
    return chi2.sf(((counts - counts.mean()) ** 2).sum() / counts.mean(), len(counts) - 1)


@cases
def test_exact_selections_are_every_relabelling_once(design, x, y):
    relabelling = relabel(design, (x, y), PAIRS)
    rows = np.concatenate(list(selecting.selections(relabelling, permutations=1, rng=np.random.default_rng())))
    found = {frozenset(clips_of(relabelling.units, row)) for row in rows.tolist()}
    assert len(rows) == len(found) == relabelling.count
    assert found == {frozenset(c) for c in labellings(design, x, y, PAIRS)}


def test_many_units_on_one_side_need_little_memory():
    s = np.arange(402.0)[::-1, None] ** 2
    found = run(s, "independent", [""] * 400, [""] * 2)
    assert found.method == ("exact",)
    larger = run(s, "independent", [""] * 400, [""] * 2, alternative="greater")
    assert larger.p_value[0] == pytest.approx(1 / comb(402, 2), rel=1e-9)
    mean = s[:, 0].mean()
    pairs = [abs((a + b) / 2 - mean) for i, a in enumerate(s[:, 0]) for b in s[:i, 0]]
    assert found.p_value[0] == np.mean(np.array(pairs) >= pairs[-1] - 1e-6)


@given(st.integers(0, 2**20), st.integers(2, 5), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_swapping_the_sides_swaps_the_tails(seed, n_x, n_y):
    s = values(n_x + n_y, states=1, seed=seed)
    swapped = np.concatenate([s[n_x:], s[:n_x]])
    x, y = [""] * n_x, [""] * n_y
    for alternative, other in (("two-sided", "two-sided"), ("greater", "less"), ("less", "greater")):
        p = run(s, "independent", x, y, alternative=alternative).p_value
        assert p == pytest.approx(run(swapped, "independent", y, x, alternative=other).p_value)
        assert p == pytest.approx(run(-s, "independent", x, y, alternative=other).p_value)
        assert p == pytest.approx(run(3 * s + 7, "independent", x, y, alternative=alternative).p_value)


def test_a_tie_counts_in_full_for_each_side():
    s = np.array([[1.0], [1.0], [1.0], [1.0], [1.0], [0.0]])  # the 0 falls into Y in half of the relabellings
    x, y = [""] * 3, [""] * 3
    assert run(s, "independent", x, y).p_value[0] == 1
    assert run(s, "independent", x, y, alternative="greater").p_value[0] == 0.5
    assert run(s, "independent", x, y, alternative="less").p_value[0] == 1


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_rounding_decides_no_tie(offset):
    s = np.array([0.1, 0.2, 0.3, 0.6, 0.3, 0.3, 0.2, 0.1])[:, None]
    every = labellings("independent", [""] * 4, [""] * 4)
    expected = p_by_enumeration(s[:, 0], every, 4, "two-sided")
    assert run(s + offset, "independent", [""] * 4, [""] * 4).p_value[0] == expected


def test_the_saddlepoint_takes_over_below_ten_hits_only():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(60, 3))
    s[:30] += [0.0, 0.45, 3.0]
    x = [""] * 30
    sampled = run(s, "independent", x, x, permutations=10_000)
    found = run(s, "independent", x, x, permutations=10_000, saddlepoint=True)
    assert found.method == ("monte-carlo", "monte-carlo", "saddlepoint")
    np.testing.assert_array_equal(found.p_value[:2], sampled.p_value[:2])
    assert found.p_min == 2 / comb(60, 30)
    assert found.p_min <= found.p_value[2] < 1e-9 < sampled.p_value[2]
    assert sampled.p_value[2] == sampled.p_min == 1 / 10_001
    graded = rng.normal(size=(60, 1)) + np.outer(np.arange(60) < 30, np.linspace(0.3, 1, 400))
    every = run(graded, "independent", x, x, permutations=10_000)
    hits = np.rint(every.p_value * 10_001 - 1).astype(int)
    assert {9, 10} <= set(hits.tolist())
    method = run(graded, "independent", x, x, permutations=10_000, saddlepoint=True).method
    assert [each == "saddlepoint" for each in method] == (hits < 10).tolist()
    unasked = permutation_test(
        s,
        relabel("independent", (x, x)),
        n_x=30,
        alternative="two-sided",
        permutations=100,
        rng=np.random.default_rng(1),
    )
    assert unasked.method == ("monte-carlo",) * 3


def test_perfect_separation_has_the_smallest_p():
    s = np.concatenate([np.arange(30.0) + 100, np.arange(30.0)])[:, None]
    for alternative, tails in (("two-sided", 2), ("greater", 1)):
        found = run(
            s, "independent", [""] * 30, [""] * 30, alternative=alternative, permutations=100, saddlepoint=True
        )
        assert found.p_value[0] == found.p_min == tails / comb(60, 30)
    lowest = run(s, "independent", [""] * 30, [""] * 30, alternative="less", permutations=100, saddlepoint=True)
    assert lowest.p_value[0] == 1
