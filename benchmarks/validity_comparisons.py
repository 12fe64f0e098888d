"""Does the comparison of two models keep its level? Type-I errors and coverage by simulation (docs/validity.md).

Scores s of two models are normal (or of one model log-normal), correlated between the models by RHO, and within a
speaker's clips by 0.5; the true d's are those of endlessly many speakers. Beside the test in use: BCa limits of
d1 - d2 from the same kind of resamples.

    python -m benchmarks.validity_comparisons [DRAWS]
"""

import sys

import numpy as np
from threadpoolctl import threadpool_limits

from speechbias.inference.differences import differences
from speechbias.inference.intervals import (
    Strata,
    acceleration_of,
    bca_limits,
    d_from_moments,
    moments,
    resample,
    variance_scale,
)
from speechbias.inference.selections import sum_selected, sum_units

DRAWS, RESAMPLES = 800, 999
SETTINGS = {  # speakers in X and Y, clips of each, in both groups, whether one model is skewed
    "12 + 12 speakers x 5 clips": (12, 12, 5, False, False),
    "8 + 8 speakers x 4 clips": (8, 8, 4, False, False),
    "5 + 5 speakers x 4 clips": (5, 5, 4, False, False),
    "10 speakers x 3 clips in both groups": (10, 10, 3, True, False),
    "60 + 60 clips": (60, 60, 1, False, False),
    "30 + 20 clips, one model skewed": (30, 20, 1, False, True),
}
RHOS = (0.3, 0.9)
EQUAL = ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0))
UNEQUAL = ((0.0, 0.8), (0.3, 1.2), (1.5, 0.9))
BETWEEN = (np.array([0]), np.array([1]))


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    print(f"{draws} draws each, {RESAMPLES} resamples, alpha 5 %")
    print("| | RHO | d, d | rejected | BCa rejects | interval covers |\n| --- | --- | --- | --- | --- | --- |")
    with threadpool_limits(1):
        for name in SETTINGS:
            for rho in RHOS:
                for true in EQUAL + (UNEQUAL if rho == RHOS[-1] else ()):
                    rejected, by_bca, covered = rates(name, rho, true, draws)
                    levels = f"{rejected:.1%} | {by_bca:.1%}" if true in EQUAL else "- | -"
                    print(f"| {name} | {rho} | {true[0]}, {true[1]} | {levels} | {covered:.1%} |", flush=True)


def rates(name: str, rho: float, true: tuple[float, float], draws: int) -> tuple[float, float, float]:
    """Shares of draws in which p is below 0.05, BCa limits leave out the truth, and the interval holds it."""
    found = []
    for number in range(draws):
        s, n_x, units = scores(name, rho, true, np.random.default_rng([number, round(10 * rho), *map(round, true)]))
        options = {"n_x": n_x, "ddof": 1, "resamples": RESAMPLES, "confidence": 0.95}
        each = differences(s, BETWEEN, units, rng=np.random.default_rng(number), **options)
        low, high = bca(s, units, n_x, np.random.default_rng(number)) if true in EQUAL else (0.0, 0.0)
        apart = true[0] - true[1]
        found.append((each.p_value[0] < 0.05, not low <= apart <= high, each.low[0] <= apart <= each.high[0]))
    rejected, by_bca, covered = np.mean(found, axis=0)
    return float(rejected), float(by_bca), float(covered)


def scores(
    name: str, rho: float, true: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, int, Strata]:
    """S of two models (clips, 2), X first, with n_X and the units."""
    in_x, in_y, clips, crossed, skewed = SETTINGS[name]
    ids = [
        [f"{'' if crossed else side}{k}" for k in range(m) for _ in range(clips)]
        for side, m in zip("xy", (in_x, in_y), strict=True)
    ]
    z = correlated(rng, in_x * clips + in_y * clips, rho)
    if clips > 1:
        voices = [correlated(rng, m, rho) for m in (in_x, in_y)]
        voices = [voices[0], voices[0]] if crossed else voices
        z = (z + np.concatenate([np.repeat(v, clips, axis=0) for v in voices])) / np.sqrt(2)
    if skewed:
        z[:, 1] = (np.exp(0.6 * z[:, 1]) - np.exp(0.18)) / np.sqrt((np.exp(0.36) - 1) * np.exp(0.36))
    share = in_x / (in_x + in_y)
    z[: in_x * clips] += [d / np.sqrt(1 - d**2 * share * (1 - share)) for d in true]
    return z * [1.0, 3.0], in_x * clips, Strata.of(*ids)


def correlated(rng: np.random.Generator, count: int, rho: float) -> np.ndarray:
    z = rng.normal(size=(count, 2))
    z[:, 1] = rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]
    return z


def bca(s: np.ndarray, units: Strata, n_x: int, rng: np.random.Generator) -> tuple[float, float]:
    """BCa limits of d1 - d2."""
    values = sum_units(moments(s, n_x), units.units)

    def difference(sums: np.ndarray) -> np.ndarray:
        d = d_from_moments(sums, 2, variance_scale(len(s), 1))
        return d[:, :1] - d[:, 1:]

    draws, redrawn = resample(lambda count: difference(sum_selected(values, units.draw(count, rng))), RESAMPLES)
    left_out = difference(values.sum(axis=0) - values)
    acceleration = acceleration_of([left_out[list(stratum)] for stratum in units.strata])
    limits = bca_limits(draws, difference(values.sum(axis=0)[None])[0], acceleration, redrawn, 0.95)
    return float(limits.low[0]), float(limits.high[0])


if __name__ == "__main__":
    main()
