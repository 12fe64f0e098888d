"""Standardised differences between two sets of clips: (mean - mean) / SD within groups, with an interval.

The SD is the one within groups, pooled over both (n - 2 degrees of freedom), as Cohen's d has it and as balance is
judged in matching (Rubin 2001; Stuart 2010); SpEAT's own d divides by the SD over both groups together, in which the
difference itself stands. Intervals: BCa over the same units as those of d.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.confounds.covariates import THRESHOLD
from speechbias.errors import InputError
from speechbias.inference.intervals import Strata, bootstrap_interval

Array = NDArray[np.float64]

ROUNDING = 1e-9  # of the values: a spread below it is none


@dataclass(frozen=True)
class Difference:
    """None where it is not defined: a set of fewer than 2 clips, or groups that differ without a spread within."""

    value: float | None
    low: float | None  # None where a group is one speaker, or resamples have no spread
    high: float | None
    flagged: bool  # beyond 0.5, or groups that differ and have no spread within


def within_sd(x: Array, y: Array) -> float:
    """SD within the two groups, pooled over both: n - 2 degrees of freedom."""
    squares = ((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum()
    return float(np.sqrt(squares / (len(x) + len(y) - 2)))


def standardised_difference(
    x: Array,
    y: Array,
    labels: tuple[Sequence[str], Sequence[str]],
    *,
    least: float = 0.0,
    resamples: int,
    confidence: float,
    seed: int,
) -> Difference:
    """Of one covariate: ``x`` and ``y`` are its values, without NaN; ``labels`` say of which unit each clip is.

    Means less than ``least`` apart (in the covariate's unit) are not flagged.
    """
    if min(len(x), len(y)) < 2:
        return Difference(None, None, None, flagged=False)
    spread, apart = within_sd(x, y), x.mean() - y.mean()
    rounding = ROUNDING * max(np.abs(x).max(), np.abs(y).max())
    if spread <= rounding:
        same = bool(abs(apart) <= max(rounding, least))
        return Difference(0.0 if same else None, None, None, flagged=not same)
    value = float(apart / spread)
    low, high = _interval(x, y, Strata.of(*labels), resamples=resamples, confidence=confidence, seed=seed)
    return Difference(value, low, high, flagged=bool(abs(value) > THRESHOLD and abs(apart) >= least))


def _interval(
    x: Array, y: Array, units: Strata, *, resamples: int, confidence: float, seed: int
) -> tuple[float | None, float | None]:
    if units.one_sided(len(x)):
        return None, None
    values = np.concatenate([x, y])
    values = values - values.mean()
    in_x = (np.arange(len(values)) < len(x)).astype(np.float64)
    moments = np.column_stack([in_x, 1 - in_x, in_x * values, (1 - in_x) * values, values**2])
    scale = len(values) / (len(values) - 2)  # of the data, or fewer draws would shift every difference
    rng = np.random.default_rng([seed, 2])
    try:
        interval = bootstrap_interval(
            moments, lambda sums: _from_sums(sums, scale), units, resamples=resamples, confidence=confidence, rng=rng
        )
    except InputError:  # a few clips hold all the spread
        return None, None
    return float(interval.low[0]), float(interval.high[0])


def _from_sums(sums: Array, scale: float) -> Array:
    """The difference of every draw, (draws, 1); NaN without a spread."""
    n_x, n_y, sum_x, sum_y, squares = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = scale * (squares - sum_x**2 / n_x - sum_y**2 / n_y) / (n_x + n_y)
        found = (sum_x / n_x - sum_y / n_y) / np.sqrt(variance)
        usable = (variance > 1e-12 * squares / (n_x + n_y)) & np.isfinite(found)
    return np.where(usable, found, np.nan)[:, None]
