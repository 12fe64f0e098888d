"""p's by dealing and by relabelled attributes, against counting."""

from itertools import product

import numpy as np
import pytest

from speechbias.contrasts.judging import Settings, attribute_p, dealt_p, interval_of
from speechbias.contrasts.relabelled import find_dealing, resampling

SETTINGS = Settings(permutations=20_000, resamples=100, confidence=0.95, ddof=1, seed=0)


def test_min_p_against_counting():
    """Six talkers, each with a clip in A and one in B: 64 relabellings, and four statistics of s."""
    rng = np.random.default_rng(0)
    cosines = rng.normal(size=(6, 12))
    weights = rng.normal(size=(6, 4))
    cosines[:, :6] += 0.5 * weights[:, :1]

    def statistic(s):
        return s @ weights

    every = np.array(
        [
            np.mean([cosines[:, t] if keep else cosines[:, 6 + t] for t, keep in enumerate(kept)], axis=0)
            - np.mean([cosines[:, 6 + t] if keep else cosines[:, t] for t, keep in enumerate(kept)], axis=0)
            for kept in product((True, False), repeat=6)
        ]
    )
    reached = np.abs(statistic(every))  # (64, 4), the data first
    p = (reached[None] >= reached[:, None] - 1e-9).mean(axis=1)  # of every relabelling
    talkers = (list("abcdef"), list("abcdef"))
    found = attribute_p(cosines, talkers, statistic, statistic(every[:1])[0], SETTINGS)
    assert found.p == pytest.approx(p[0])
    assert found.adjusted == pytest.approx([(p.min(axis=1) <= each + 1e-9).mean() for each in p[0]])
    assert (found.adjusted > found.p).any()
    assert found.least == 2 / 64


def test_what_is_dealt_keeps_to_units_and_strata():
    people, values = list("aabbccdd"), [0, 0, 1, 1, 0, 0, 1, 1]
    dealing = find_dealing(values, people, list("xxxxyyyy"))
    assert (dealing.design, len(dealing.units), dealing.count(np.array(values, float))) == ("speaker", 4, 4.0)
    (dealt,) = dealing.deal(np.array(values, float), 50, np.random.default_rng(0))
    assert (dealt[:, ::2] == dealt[:, 1::2]).all()
    assert (dealt[:, :4].sum(axis=1) == 2).all()
    assert len(np.unique(dealt, axis=0)) == 4


def test_nothing_can_be_dealt_where_some_change_and_others_do_not():
    assert find_dealing([0, 1, 0, 0], list("aabb")) is None
    found = dealt_p(np.zeros(4), None, lambda values: values[:, 0], SETTINGS)
    assert found == {"p_value": None, "p_min": None, "design": None}


def test_clips_without_a_group_of_more_than_one_speaker_have_no_interval():
    units = resampling(list("aabc"), [0, 0, 1, 1])
    sums = np.column_stack([np.ones(4), np.arange(4.0)])

    def mean(totals):
        return totals[:, 1:] / totals[:, :1]

    assert interval_of(sums, mean, units, SETTINGS) == [{"ci_low": None, "ci_high": None, "ci_method": "none"}]
    wider = resampling(list("aabb"), [0, 0, 0, 0])
    assert interval_of(sums, mean, wider, SETTINGS)[0]["ci_low"] < 1.5
