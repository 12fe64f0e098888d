"""Comparison of two models on the same clips: level and power of p, coverage of the interval (bootstrap-t).

Scores s of two models are normal (or of one model log-normal), correlated between the models, and within a speaker's
clips by 0.5. Beside the test in use: BCa limits of d1 - d2 from the same kind of resamples.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, coverage, level, power
from calibration.groups import Array, Groups, blocks, skewed
from speechbias.inference.differences import differences
from speechbias.inference.intervals import bootstrap_interval, d_from_moments, moments, variance_scale

SETTINGS = {  # and whether one model is skewed
    "60 + 60 clips": (Groups(60, 60), False),
    "30 + 20 clips": (Groups(30, 20), False),
    "12 + 12 speakers x 5 clips": (Groups(12, 12, 5, "speaker"), False),
    "12 + 8 speakers x 5 clips": (Groups(12, 8, 5, "speaker"), False),
    "8 + 8 speakers x 4 clips": (Groups(8, 8, 4, "speaker"), False),
    "5 + 5 speakers x 4 clips": (Groups(5, 5, 4, "speaker"), False),
    "10 speakers, 3 clips in each group": (Groups(10, 10, 3, "within-speaker"), False),
    "30 + 20 clips, one model skewed": (Groups(30, 20), True),
}
RHOS = (0.3, 0.9)
EQUAL = (0.0, 0.5, 1.0)
UNEQUAL = ((0.0, 0.8), (0.3, 1.2), (1.5, 0.9))
SIZES = (10, 20, 40, 60, 100)
GAPS = (0.2, 0.5, 0.8)
DRAWS, FEW = 1_000, 300


def cells() -> Iterator[Cell]:
    """Equal d's at two correlations, unequal ones, and gaps against size."""
    for name in SETTINGS:
        for rho in RHOS:
            for d in EQUAL:
                yield _cell(name, rho, (d, d), DRAWS)
        for true in UNEQUAL:
            yield _cell(name, 0.9, true, DRAWS)
    for n in SIZES:
        for gap in GAPS:
            settings: dict[str, Any] = {"groups": Groups(n, n), "rho": 0.9, "true": (0.3 + gap, 0.3), "bca": False}
            yield Cell("compare", f"{n} + {n} clips, gap {gap}", FEW, settings)


def _cell(name: str, rho: float, true: tuple[float, float], draws: int) -> Cell:
    groups, skew = SETTINGS[name]
    settings = {"groups": groups, "skew": skew, "rho": rho, "true": true, "bca": rho == 0.9 and true[0] == true[1]}
    return Cell("compare", f"{name}, {rho}, {true[0]:g} and {true[1]:g}", draws, settings)


def run(
    draws: int,
    rng: np.random.Generator,
    *,
    groups: Groups,
    rho: float,
    true: tuple[float, float],
    skew: bool = False,
    bca: bool = False,
) -> dict[str, float]:
    """Shares in which p is below 5 %, the interval holds the truth, and BCa limits leave it out."""
    apart, units = true[0] - true[1], groups.units
    small, held, out = 0, 0, 0
    options: dict[str, Any] = {"resamples": 999, "confidence": 0.95}
    for count in blocks(draws, 25):
        first, second = np.arange(count), np.arange(count) + count
        s = _scores(groups, rng, count, rho, true, skew=skew)
        found = differences(s, (first, second), units, n_x=groups.n_x, ddof=1, rng=rng, **options)
        small += int(np.count_nonzero(found.p_value < 0.05))
        held += int(np.count_nonzero((found.low <= apart) & (apart <= found.high)))
        if bca:
            limits = _bca(s, groups, rng, **options)
            out += int(np.count_nonzero((limits[0] > apart) | (apart > limits[1])))
    return {"below 0.05": small / draws, "interval": held / draws, "BCa leaves out": out / draws}


def _scores(
    groups: Groups, rng: np.random.Generator, count: int, rho: float, true: tuple[float, float], *, skew: bool
) -> Array:
    """S of so many pairs of models, (clips, 2 x count), all first ones first."""
    one = groups.noise(rng, count)
    other = rho * one + np.sqrt(1 - rho**2) * groups.noise(rng, count)
    other = skewed(other) if skew else other
    for s, d in ((one, true[0]), (other, true[1])):
        s[: groups.n_x] += groups.shift(d)
    return np.concatenate([one, 3 * other], axis=1)


def _bca(s: Array, groups: Groups, rng: np.random.Generator, **options: Any) -> tuple[Array, Array]:
    """BCa limits of d1 - d2, which the package does not use for differences."""
    members = s.shape[1]

    def difference(sums: Array) -> Array:
        d = d_from_moments(sums, members, variance_scale(len(s), 1))
        return np.asarray(d[:, : members // 2] - d[:, members // 2 :])

    found = bootstrap_interval(moments(s, groups.n_x), difference, groups.units, rng=rng, **options)
    return found.low, found.high


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "Comparison of two models",
        "equal d's: p below 5 % in 5 %; the interval of d1 - d2 holds it in 95 %",
        "999 resamples, one draw for both models. In the setting called skewed one model's s is log-normal "
        "(skewness 2.3). `students`, `compare --layers` and the differences in Figure 3 are the same computation.",
        [_equal(found), _unequal(found), _power(found)],
        "",
        "`inference/differences.py`",
    )


def _equal(found: Found) -> Table:
    rows = []
    for name in SETTINGS:
        for rho in RHOS:
            results = [found[f"{name}, {rho}, {d:g} and {d:g}"] for d in EQUAL]
            row: list[Figure | str] = [level(each["below 0.05"], each.draws) for each in results]
            bca = [f"{100 * each['BCa leaves out']:.1f}" for each in results]
            rows.append((f"{name}, correlation {rho}", [*row, " / ".join(bca) + " %" if rho == 0.9 else ""]))
    caption = (
        "**Level at 5 %, both d's as in the header.** The last column is what BCa limits of d1 - d2 would do, at "
        "the same three d's: why they are not used."
    )
    return Table(caption, [*(f"d = {d:g}" for d in EQUAL), "BCa instead"], rows, "design")


def _unequal(found: Found) -> Table:
    rows = []
    pairs = [*((d, d) for d in EQUAL), *UNEQUAL]
    for name in SETTINGS:
        results = [found[f"{name}, 0.9, {one:g} and {other:g}"] for one, other in pairs]
        rows.append((name, [coverage(each["interval"], each.draws) for each in results]))
    header = [f"{one:g} and {other:g}" for one, other in pairs]
    return Table("**Coverage of the 95 % interval, correlation 0.9, by the two d's.**", header, rows, "design")


def _power(found: Found) -> Table:
    rows = []
    for n in SIZES:
        results = [found[f"{n} + {n} clips, gap {gap}"] for gap in GAPS]
        rows.append((f"{n} + {n} clips", [power(each["below 0.05"], each.draws) for each in results]))
    caption = "**Power, correlation 0.9, d2 = 0.3 and d1 larger by as much as the header says.**"
    return Table(caption, [f"{gap}" for gap in GAPS], rows, "clips")
