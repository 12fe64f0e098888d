"""d adjusted: a slow oracle, planted confounds, true associations, level of the test, coverage of the interval."""

import itertools

import numpy as np
import pytest

from speechbias.confounds.matching import match
from speechbias.confounds.regression import adjust, adjusted_interval, freedman_lane
from speechbias.errors import InputError
from speechbias.inference.designs import relabel
from speechbias.inference.intervals import Strata


def solve_by_hand(rows, right):
    """Normal equations by Gauss and Jordan, number by number."""
    k = len(rows[0])
    table = [
        [sum(r[i] * r[j] for r in rows) for j in range(k)] + [sum(r[i] * b for r, b in zip(rows, right, strict=True))]
        for i in range(k)
    ]
    for i in range(k):
        pivot = max(range(i, k), key=lambda row: abs(table[row][i]))
        table[i], table[pivot] = table[pivot], table[i]
        table[i] = [value / table[i][i] for value in table[i]]
        for j in range(k):
            if j != i:
                table[j] = [a - table[j][i] * b for a, b in zip(table[j], table[i], strict=True)]
    return [row[-1] for row in table]


def slow_adjusted(s, z, n_x, ddof):
    rows = [[1.0, float(i < n_x), *map(float, z[i])] for i in range(len(s))]
    mean = sum(s) / len(s)
    sd = (sum((value - mean) ** 2 for value in s) / (len(s) - ddof)) ** 0.5
    return solve_by_hand(rows, list(map(float, s)))[1] / sd


def confounded(rng, *, n=30, effect=0.0, apart=1.5, slope=1.0):
    """s (2n, 1) and a covariate in which the groups lie ``apart`` SDs and which drives s; ``effect`` of the group."""
    z = rng.normal(size=(2 * n, 1)) + apart * (np.arange(2 * n) < n)[:, None]
    s = effect * (np.arange(2 * n) < n)[:, None] + slope * z + rng.normal(size=(2 * n, 1))
    return s, z


def clips(n):
    return Strata.of([f"x{i}" for i in range(n)], [f"y{i}" for i in range(n)])


def independent(n):
    return relabel("independent", ([""] * n, [""] * n))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("covariates", [1, 3])
def test_adjusted_equals_normal_equations_by_hand(ddof, covariates):
    rng = np.random.default_rng(covariates)
    z, s = rng.normal(size=(25, covariates)) * [[1, 50, 0.01][:covariates]], rng.normal(size=(25, 2))
    z[:11] += z.std(axis=0)
    found = adjust(s, z, n_x=11, ddof=ddof)
    for state in range(2):
        assert found.adjusted[state] == pytest.approx(slow_adjusted(s[:, state], z, 11, ddof))
    np.testing.assert_allclose(found.raw, found.adjusted + found.shares.sum(axis=0))
    np.testing.assert_allclose(found.raw, (s[:11].mean(axis=0) - s[11:].mean(axis=0)) / s.std(axis=0, ddof=ddof))


def test_the_interval_does_the_regression_again_in_every_resample():
    rng = np.random.default_rng(3)
    s, z = confounded(rng, n=9)
    units = Strata.of(list("aabbccdde"), list("ffgghhiij"))
    drawn = units.draw(400, np.random.default_rng(5))
    values = []
    for row in drawn:
        rows = np.array([clip for unit in row for clip in units.units[unit]])
        rows = np.concatenate([rows[rows < 9], rows[rows >= 9]])
        sd = s[rows, 0].std() * np.sqrt(18 / 17)  # the factor of the data, not of the resample
        values.append(slow_adjusted(s[rows, 0], z[rows], int((rows < 9).sum()), 0) * s[rows, 0].std() / sd)
    found = adjusted_interval(s, z, units, n_x=9, ddof=1, resamples=400, confidence=0.95, rng=np.random.default_rng(5))
    assert found.method == ("bca",)
    assert any(np.isclose(np.quantile(values, level), found.low[0], atol=0.02) for level in np.linspace(0, 0.2, 81))
    assert min(values) <= found.low[0] < found.high[0] <= max(values)


def test_a_planted_confound_is_taken_away_and_a_true_association_is_not():
    rng = np.random.default_rng(0)
    planted, true, both = [], [], []
    for _ in range(40):
        planted.append(adjust(*confounded(rng), n_x=30, ddof=1))
        true.append(adjust(*confounded(rng, effect=1.5, apart=0.0, slope=0.0), n_x=30, ddof=1))
        both.append(adjust(*confounded(rng, effect=-1.0), n_x=30, ddof=1))  # the confound hides its sign

    def means(found):
        return np.mean([each.raw[0] for each in found]), np.mean([each.adjusted[0] for each in found])

    raw, adjusted = means(planted)
    assert raw > 0.8
    assert abs(adjusted) < 0.12
    raw, adjusted = means(true)
    assert raw == pytest.approx(adjusted, abs=0.03)
    assert raw > 0.9
    raw, adjusted = means(both)
    assert raw > 0.1
    assert adjusted < -0.4


def p_values(rng, runs, *, design="clips", **planted):
    found = []
    for _ in range(runs):
        if design == "clips":
            s, z = confounded(rng, n=15, **planted)
            relabelling, n_x = independent(15), 15
        elif design == "pair":
            levels = np.tile(rng.normal(size=(15, 1)), (2, 1))  # what the two of a pair share
            s, z = confounded(rng, n=15, apart=1.5, **planted)
            s, z, n_x = s + levels, z + levels, 15
            pairs = {name: [f"{i}" for i in range(15)] for name in "XY"}
            relabelling = relabel("pair", ([""] * 15, [""] * 15), pairs)
        else:
            s, z = confounded(rng, n=12, **planted)
            s = np.repeat(s, 2, axis=0) + 0.3 * rng.normal(size=(48, 1))  # two clips of every voice
            z, n_x = np.repeat(z, 2, axis=0), 24
            names = [f"{i // 2}" for i in range(48)]
            relabelling = relabel("speaker", (names[:24], names[24:]))
        found.append(
            freedman_lane(
                s, z, relabelling, n_x=n_x, alternative="two-sided", permutations=199, rng=np.random.default_rng(1)
            )[0]
        )
    return np.array(found)


@pytest.mark.parametrize("design", ["clips", "speaker", "pair"])
def test_p_holds_its_level_under_a_confound(design):
    found = p_values(np.random.default_rng(7), 600, design=design)
    assert (found <= 0.05).mean() == pytest.approx(0.05, abs=0.027)  # three SDs
    assert (found <= 0.5).mean() == pytest.approx(0.5, abs=0.061)


def test_p_has_power_against_a_true_association():
    assert (p_values(np.random.default_rng(8), 60, effect=1.5) <= 0.05).mean() > 0.5


def test_p_equals_all_permutations_refitted_one_by_one():
    rng = np.random.default_rng(2)
    s, z = confounded(rng, n=4)
    rest, full = [np.column_stack([np.ones(8), z]), np.column_stack([np.ones(8), z, np.arange(8) < 4])]
    fitted = rest @ np.linalg.lstsq(rest, s[:, 0], rcond=None)[0]
    residuals = s[:, 0] - fitted

    def t(values):
        slope = np.linalg.lstsq(full, values, rcond=None)[0]
        left = ((values - full @ slope) ** 2).sum()
        return abs(slope[2]) / np.sqrt(left * np.linalg.inv(full.T @ full)[2, 2])

    observed = t(s[:, 0])
    orders = list(itertools.permutations(range(8)))
    some = [orders[i] for i in rng.choice(len(orders), 3000, replace=False)]
    share = np.mean([t(fitted + residuals[list(order)]) >= observed - 1e-9 for order in some])
    (p,) = freedman_lane(
        s, z, independent(4), n_x=4, alternative="two-sided", permutations=20_000, rng=np.random.default_rng(0)
    )
    assert p == pytest.approx(share, abs=0.03)


def test_one_sided_ps_add_up():
    s, z = confounded(np.random.default_rng(4), n=10, effect=0.5)
    options = {"n_x": 10, "permutations": 4000}
    greater, less = (
        freedman_lane(s, z, independent(10), alternative=side, rng=np.random.default_rng(0), **options)[0]
        for side in ("greater", "less")
    )
    assert greater + less == pytest.approx(1, abs=0.01)
    assert greater < less


def test_the_interval_covers_the_adjusted_d():
    rng = np.random.default_rng(9)
    large = [adjust(*confounded(rng, n=4000, effect=0.8), n_x=4000, ddof=1).adjusted[0] for _ in range(3)]
    truth, covered = np.mean(large), 0
    for run in range(100):
        s, z = confounded(rng, effect=0.8)
        found = adjusted_interval(
            s, z, clips(30), n_x=30, ddof=1, resamples=500, confidence=0.95, rng=np.random.default_rng(run)
        )
        covered += found.low[0] <= truth <= found.high[0]
    assert covered >= 87


def test_covariates_that_fix_the_group_are_refused():
    s, z = confounded(np.random.default_rng(0), n=6)
    with pytest.raises(InputError, match="fix the group"):
        adjust(s, (np.arange(12) < 6).astype(float)[:, None], n_x=6, ddof=1)
    with pytest.raises(InputError, match="fewer with --covariates"):
        adjust(s, np.column_stack([z, 2 * z + 1]), n_x=6, ddof=1)


def test_too_few_units_give_no_p():
    s, z = confounded(np.random.default_rng(0), n=3)
    options = {"n_x": 3, "alternative": "two-sided", "permutations": 99, "rng": np.random.default_rng(0)}
    assert freedman_lane(s, z, independent(3), **options) is not None
    assert freedman_lane(s, np.column_stack([z, z**2]), independent(3), **options) is None


def slow_matching(z, n_x, caliper, spread):
    """The most pairs within the caliper, then the closest: every injection of X into Y or nothing."""
    best = (0, 0.0)
    n_y = len(z) - n_x
    choices = [*range(n_y), None]
    for chosen in itertools.product(choices, repeat=n_x):
        taken = [c for c in chosen if c is not None]
        if len(set(taken)) < len(taken):
            continue
        gaps = [abs(z[i] - z[n_x + c]) / spread for i, c in enumerate(chosen) if c is not None]
        if all((gap <= caliper).all() for gap in gaps):
            best = max(best, (len(gaps), -float(sum(np.sqrt((gap**2).sum()) for gap in gaps))))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_matching_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(9, 2))
    x, y = match(z, n_x=4, caliper=0.8)
    squares = ((z[:4] - z[:4].mean(axis=0)) ** 2).sum(axis=0) + ((z[4:] - z[4:].mean(axis=0)) ** 2).sum(axis=0)
    spread = np.sqrt(squares / 7)
    gaps = np.abs(z[x] - z[y]) / spread
    pairs, distance = slow_matching(z, 4, 0.8, spread)
    assert len(x) == pairs
    assert -np.sqrt((gaps**2).sum(axis=1)).sum() == pytest.approx(distance)
    assert (gaps <= 0.8).all()
    assert len(set(y.tolist())) == len(y)
    assert all(partner >= 4 for partner in y)


def test_matched_clips_no_longer_differ():
    s, z = confounded(np.random.default_rng(1), n=60)
    x, y = match(z, n_x=60)
    assert len(x) > 15
    assert abs(z[x].mean() - z[y].mean()) < 0.1
    raw, matched = ((s[a].mean() - s[b].mean()) / s.std() for a, b in ((range(60), range(60, 120)), (x, y)))
    assert raw > 0.8
    assert abs(matched) < 0.4


def test_a_covariate_without_spread_matches_equal_clips_only():
    z = np.array([[1.0], [1.0], [1.0], [1.0]])
    assert len(match(z, n_x=2)[0]) == 2
    z[2:] = 2.0
    assert len(match(z, n_x=2)[0]) == 0
