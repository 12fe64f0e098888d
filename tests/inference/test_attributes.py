"""p_attribute against enumeration and against a plain loop over the same relabellings."""

import numpy as np
import pytest

from speechbias.inference import attributes
from speechbias.inference import selections as selecting
from speechbias.inference.attributes import attribute_test
from speechbias.inference.designs import relabel_attributes
from speechbias.inference.options import ALTERNATIVES
from statistics_reference import (
    attribute_d,
    attribute_labellings,
    clips_of,
    oriented,
    p_attribute_by_enumeration,
)

# Speakers of A and of B.
CASES = {
    "talkers in both sets": (["t", "t", "u", "u", "u"], ["t", "t", "u", "u"]),
    "whole talkers": (["t", "t", "u", "v"], ["w", "x", "x", "x", "y"]),
    "some in both, others fixed": (["t", "t", "u", "v", "v"], ["t", "t", "w"]),
    "unknown": ([""] * 4, [""] * 5),
    "one in both, unknown ones fixed": (["t", "t", "", ""], ["t", "t", ""]),
    "unequal": ([""] * 2, [""] * 7),
    "two and two": ([""] * 2, [""] * 2),
}
cases = pytest.mark.parametrize(("a", "b"), CASES.values(), ids=CASES)
every_alternative = pytest.mark.parametrize("alternative", ALTERNATIVES)
N_X, N_Y = 6, 5


def cosines_of(count, states=3, seed=0, targets=N_X + N_Y):
    rng = np.random.default_rng(seed)
    aligned = np.outer(np.arange(targets) < N_X, np.linspace(0.6, -0.6, count))
    return np.clip(rng.normal(scale=0.2, size=(states, targets, count)) + 0.3 * aligned, -1, 1)


def run(cosines, a, b, alternative, *, permutations=400, seed=1, n_x=N_X):
    return attribute_test(
        cosines,
        relabel_attributes((a, b)),
        n_x=n_x,
        n_a=len(a),
        alternative=alternative,
        permutations=permutations,
        rng=np.random.default_rng(seed),
    )


@cases
@every_alternative
def test_exact_p_is_that_of_the_enumeration(a, b, alternative):
    every = attribute_labellings(a, b)
    for seed in range(3):
        cosines = cosines_of(len(a) + len(b), seed=seed)
        found, least = run(cosines, a, b, alternative)
        expected = [p_attribute_by_enumeration(state, N_X, len(a), every, alternative) for state in cosines]
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        assert np.all(found >= least)


@every_alternative
def test_negative_cosines_and_ties_count_as_any_others(alternative):
    a, b = CASES["unequal"]
    cosines = np.random.default_rng(3).integers(-4, -1, size=(3, N_X + N_Y, len(a) + len(b))) / 4
    cosines[0] = cosines[0] / 2.5 + 0.3  # 0 and others that no float holds: what is a tie goes by the largest
    found, _ = run(cosines, a, b, alternative)
    every = attribute_labellings(a, b)
    expected = [p_attribute_by_enumeration(state, N_X, len(a), every, alternative) for state in cosines]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@cases
@every_alternative
@pytest.mark.parametrize("leading", [(0, 0), (1, 1), (2, 3), (4, 24)])
def test_sampled_p_is_that_of_a_plain_loop_over_the_same_relabellings(monkeypatch, a, b, alternative, leading):
    monkeypatch.setattr(selecting, "EXACT_UP_TO", 0)
    monkeypatch.setattr(attributes, "LEADING", leading[0])
    monkeypatch.setattr(attributes, "FURTHER", leading[1])
    cosines, relabelling = cosines_of(len(a) + len(b), seed=4), relabel_attributes((a, b))
    found, least = run(cosines, a, b, alternative, permutations=300)
    draws = [
        clips_of(relabelling.units, selected)
        for chunk in selecting.selections(relabelling, permutations=300, rng=np.random.default_rng(1))
        for selected in chunk
    ]
    for state, p in zip(cosines, found, strict=True):
        observed = oriented(attribute_d(state, N_X, set(range(len(a)))), alternative)
        hits = sum(oriented(attribute_d(state, N_X, clips), alternative) >= observed - 1e-9 for clips in draws)
        assert p == pytest.approx(max((1 + hits) / 301, least), rel=1e-13)


@every_alternative
def test_many_attributes_take_every_stage_of_the_bounds(monkeypatch, alternative):
    """60 attribute clips and nothing aligned: four eigenvectors leave much open, 28 some."""
    a, b = [f"t{i % 6}" for i in range(30)], [f"t{i % 6}" for i in range(30)]
    rng = np.random.default_rng(0)
    cosines = rng.normal(scale=0.1, size=(2, 40, 60))
    cosines[1] *= np.linspace(1, 0.1, 60)
    asked = []
    count = attributes._Form.count
    monkeypatch.setattr(
        attributes._Form, "count", lambda form, *args: asked.append(len(args[2])) or count(form, *args)
    )
    found, _ = run(cosines, a, b, alternative, permutations=300, n_x=20)
    assert sum(asked) > 20
    relabelling = relabel_attributes((a, b))
    chunks = selecting.selections(relabelling, permutations=300, rng=np.random.default_rng(1))
    draws = [clips_of(relabelling.units, row) for chunk in chunks for row in chunk]
    for state, p in zip(cosines, found, strict=True):
        observed = oriented(attribute_d(state, 20, set(range(30))), alternative)
        hits = sum(oriented(attribute_d(state, 20, clips), alternative) >= observed - 1e-9 for clips in draws)
        assert p == pytest.approx((1 + hits) / 301, rel=1e-13)


@every_alternative
def test_few_targets_leave_the_form_without_full_rank(alternative):
    a, b = [""] * 5, [""] * 4
    cosines = cosines_of(9, targets=4)  # 4 targets, 9 attribute clips: rank 3
    every = attribute_labellings(a, b)
    found, _ = run(cosines, a, b, alternative, n_x=2)
    expected = [p_attribute_by_enumeration(state, 2, 5, every, alternative) for state in cosines]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_relabelling_without_any_spread_counts_against_the_finding():
    """Each clip of A has a twin: where both twins of each pair stand on different sides, all s are 0."""
    clips = cosines_of(2, states=1)
    cosines = clips[:, :, [0, 0, 1, 1]]  # of the 6 labellings 4 part the twins
    found, _ = run(cosines, [""] * 2, [""] * 2, "two-sided")
    assert found[0] == 1
    found, _ = run(cosines, [""] * 2, [""] * 2, "greater")
    observed = attribute_d(cosines[0], N_X, {0, 1})
    assert observed > 0
    assert found[0] == 5 / 6


def test_swapping_a_and_b_swaps_the_tails():
    a, b = CASES["whole talkers"]
    cosines = cosines_of(9)
    swapped = np.concatenate([cosines[:, :, len(a) :], cosines[:, :, : len(a)]], axis=2)
    for alternative, other in (("two-sided", "two-sided"), ("greater", "less"), ("less", "greater")):
        here, there = run(cosines, a, b, alternative)[0], run(swapped, b, a, other)[0]
        np.testing.assert_allclose(here, there, rtol=1e-13)
