"""A family judged together: max-T against enumeration and against ``associate``, the band against a slow loop."""

import numpy as np
import pytest

from speechbias.errors import InputError
from speechbias.inference import associate
from speechbias.inference.intervals import Strata, joint_level, target_interval
from speechbias.inference.simultaneous import simultaneous
from speechbias.speat import association
from statistics_reference import d_of, labellings, oriented

SPEAKERS = {"X": list("aabbcd"), "Y": list("eeffgh")}


def scores(n_x=5, n_y=6, members=4, seed=0, shift=0.6):
    s = np.random.default_rng(seed).normal(size=(n_x + n_y, members))
    s[:n_x] += np.linspace(0, shift, members)
    return s


@pytest.mark.parametrize("design", ["independent", "speaker"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_p_counts_the_labellings_whose_largest_d_reaches_each(design, alternative):
    speakers = SPEAKERS if design == "speaker" else {"X": [""] * 5, "Y": [""] * 6}
    n_x, n_y = map(len, speakers.values())
    s = scores(n_x, n_y)
    found = simultaneous(s, n_x=n_x, speakers=speakers, alternative=alternative, resamples=100)
    every = labellings(design, speakers["X"], speakers["Y"])
    largest = [max(oriented(d_of(column, chosen), alternative) for column in s.T) for chosen in every]
    for member, column in enumerate(s.T):
        observed = oriented(d_of(column, set(range(n_x))), alternative)
        reached = sum(value >= observed - 1e-9 for value in largest)
        assert found.p_adjusted[member] == pytest.approx(reached / len(every))
        assert found.d[member] == pytest.approx(d_of(column, set(range(n_x))))


def test_a_family_of_states_is_that_of_associate():
    """Monte-Carlo, and the same relabellings."""
    rng = np.random.default_rng(3)
    X, Y, A, B = (rng.normal(size=(n, 3, 8)) + shift for n, shift in ((16, 0.4), (15, 0.0), (9, 0.3), (8, 0.0)))
    options = {"permutations": 2000, "resamples": 200, "seed": 5}
    tests = associate(X, Y, A, B, simultaneous=range(3), **options)
    s = np.column_stack([association(np.concatenate([X, Y])[:, k], A[:, k], B[:, k]) for k in range(3)])
    found = simultaneous(s, n_x=16, **options)
    assert found.p_adjusted.tolist() == [test.p_adjusted for test in tests]
    assert found.d == pytest.approx([test.d for test in tests])


@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_the_band_is_that_of_a_slow_loop(confidence):
    s, n_x = scores(6, 6, seed=2), 6
    found = simultaneous(
        s, n_x=n_x, speakers=SPEAKERS, permutations=10, resamples=301, confidence=confidence, seed=9, ddof=0
    )
    strata = Strata.of(SPEAKERS["X"], SPEAKERS["Y"])
    ds = []
    for drawn in strata.draw(301, np.random.default_rng([9, 2])):
        clips = [clip for unit in drawn for clip in strata.units[unit]]
        x, y = [i for i in clips if i < n_x], [i for i in clips if i >= n_x]
        ds.append([(c[x].mean() - c[y].mean()) / c[clips].std() for c in s.T])
    ds = np.array(ds)
    levels = []
    for row in ds:  # the least central range of each member that holds the resample, of the worst member
        ranks = [sum(other < value for other in column) + 0.5 for value, column in zip(row, ds.T, strict=True)]
        levels.append(max(1 - 2 * min(rank, 301 - rank) / 301 for rank in ranks))
    level = np.quantile(levels, confidence)
    for member in range(s.shape[1]):
        own = target_interval(
            s[:, [member]],
            strata,
            n_x=n_x,
            ddof=0,
            resamples=301,
            confidence=level,
            rng=np.random.default_rng([9, 2]),
        )
        np.testing.assert_allclose([found.low[member], found.high[member]], [own.low[0], own.high[0]])
    assert level > confidence


def test_equal_resamples_are_ranked_in_their_order():
    draws = np.random.default_rng(0).integers(0, 3, size=(500, 2)).astype(float)
    worst = np.zeros(500)
    for column in draws.T:
        for rank, row in enumerate(sorted(range(500), key=column.__getitem__)):
            worst[row] = max(worst[row], 1 - (2 * min(rank, 499 - rank) + 1) / 500)
    for confidence in (0.5, 0.8):
        assert joint_level(draws, confidence) == pytest.approx(np.quantile(worst, confidence))


def test_the_band_of_one_member_is_its_interval():
    s = scores(12, 13, members=1, seed=4)
    found = simultaneous(s, n_x=12, permutations=10, resamples=2000, seed=1)
    strata = Strata.of([f"x{i}" for i in range(12)], [f"y{i}" for i in range(13)])
    own = target_interval(
        s, strata, n_x=12, ddof=1, resamples=2000, confidence=0.95, rng=np.random.default_rng([1, 2])
    )
    np.testing.assert_allclose([found.low, found.high], [own.low, own.high], atol=0.02)


def test_a_member_alone_has_its_own_p_and_more_members_only_raise_it():
    s = scores(members=5)
    options = {"n_x": 5, "resamples": 100}
    alone = [simultaneous(s[:, [k]], **options).p_adjusted[0] for k in range(5)]
    together = simultaneous(s, **options)
    assert all(p >= q for p, q in zip(together.p_adjusted, alone, strict=True))
    assert any(p > q for p, q in zip(together.p_adjusted, alone, strict=True))
    twice = simultaneous(
        np.column_stack([s[:, 4], s[:, 4]]), **options
    )  # a member that says nothing new costs nothing
    assert twice.p_adjusted.tolist() == [alone[4]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "true", "least"), [(40, 0.0, 0.9), (40, 1.0, 0.88), (16, 0.0, 0.9), (16, 1.0, 0.87), (8, 0.0, 0.9)]
)
def test_the_band_holds_all_members_at_once_about_as_often_as_it_says(n, true, least):
    """Steps that are alike, as those of a run are; true d's are those of the population."""
    rng, held, runs = np.random.default_rng(n), 0, 200
    shift = true / np.sqrt(1 - true**2 / 4)  # over the SD of both groups together
    for number in range(runs):
        common = rng.normal(size=(2 * n, 1))
        s = 0.8 * common + 0.6 * rng.normal(size=(2 * n, 6))
        s[:n] += shift
        found = simultaneous(s, n_x=n, permutations=1, resamples=600, seed=number)
        held += bool(((found.low < true) & (true < found.high)).all())
    assert held / runs >= least


def test_what_no_band_can_be_given_for():
    found = simultaneous(scores(), n_x=5, speakers={"X": ["a"] * 5, "Y": list("bcdefg")}, resamples=100)
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    with pytest.raises(InputError, match="the same s in member 1"):
        simultaneous(np.column_stack([scores()[:, 0], np.ones(11)]), n_x=5)
