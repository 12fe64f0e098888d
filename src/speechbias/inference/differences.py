"""Differences of d's on the same clips, d1 - d2: intervals, p-values, max-T (contract, "Comparison of two models").

All d's are of the same resamples of the design's units, so what two models have in common cancels. Both parts are a
bootstrap-t (Efron and Tibshirani 1993, section 12.5) with the standard error of the influence function, in the data
and in every resample:

- p: t = (z1 - z2) / se on the scale of Fisher's z, where the spread hardly depends on d, and where equal d's are equal
  z's. BCa limits, or t of d1 - d2 itself, keep the level less well where speakers are few (docs/validity.md).
- interval: d1 - d2 +- q se, q the quantile of |t*| of d1 - d2. 0 lies within it exactly where p is not below alpha: a
  limit that says otherwise is moved to 0.

max-T over the differences (Westfall and Young 1993): the largest |t| of a resample, for p and for the band.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.influence import fisher, standard_errors
from speechbias.inference.intervals import Between, Strata, d_from_moments, moments, resample, variance_scale
from speechbias.inference.permutation import share
from speechbias.inference.selections import sum_selected, sum_units
from speechbias.level import alpha_of

Array = NDArray[np.float64]

SAME = 1e-12  # se and difference of two z's below it: nothing but rounding


@dataclass(frozen=True)
class Differences:
    """``d`` (members,); everything else (differences,)."""

    d: Array
    difference: Array
    low: Array
    high: Array
    p_value: Array
    p_adjusted: Array  # max-T over these differences
    band_low: Array  # all of them at once
    band_high: Array
    standard_error: Array  # of d1 - d2, from the influence function
    redrawn: NDArray[np.int64]


def differences(
    s: Array,
    between: Between,
    units: Strata,
    *,
    n_x: int,
    ddof: int,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> Differences:
    """The d's of the columns of ``s`` (targets, members), X first, and their differences ``between``: first - second.

    Every column needs a spread, and X and Y two units each.
    """
    first, second = between
    values, scale = sum_units(moments(s, n_x), units.units), variance_scale(len(s), ddof)

    def estimate(sums: Array) -> Array:
        """Differences of d's and of z's, (rows, 2, differences)."""
        d = d_from_moments(sums, s.shape[1], scale)
        both = np.stack([d, fisher(d, sums[:, :1], sums[:, 1:2], scale)], axis=1)
        return np.asarray(both[:, :, first] - both[:, :, second])

    sizes = [len(stratum) for stratum in units.strata]
    every = np.concatenate([np.array(stratum, dtype=np.int32) for stratum in units.strata])[None]
    whole = values.sum(axis=0)[None]
    observed = estimate(whole)[0]
    se = standard_errors(whole, values, every, _bounds(sizes), first, second, scale)[0]
    slots = _bounds([max(m - 1, 1) for m in sizes])

    def draw(count: int) -> Array:
        """|t*| of both, (count, 2 x differences)."""
        selected = units.draw(count, rng)
        sums = sum_selected(values, selected)
        own = standard_errors(sums, values, selected, slots, first, second, scale)
        return _studentise(np.abs(estimate(sums) - observed), own).reshape(count, -1)

    t, redrawn = resample(draw, resamples)
    d = d_from_moments(whole, s.shape[1], scale)[0]
    most = 2 * np.sqrt(len(s) * (len(s) - ddof) / (n_x * (len(s) - n_x)))  # |d1 - d2| of any data
    t = t.reshape(resamples, 2, -1)
    return _judge(d, observed, se, t, redrawn=redrawn[: len(first)], confidence=confidence, most=float(most))


def _bounds(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _studentise(away: Array, se: Array) -> Array:
    """|t|: infinite, a hit, where what is away from the estimate has no spread to divide by; NaN where ``away`` is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > SAME, away / se, np.where(away > SAME, np.inf, 0.0))
    return np.asarray(np.where(np.isnan(away), np.nan, t))


def _judge(
    d: Array,
    observed: Array,
    se: Array,
    t: Array,
    *,
    redrawn: NDArray[np.int64],
    confidence: float,
    most: float,
) -> Differences:
    """P's and limits from the |t*| of the resamples, (resamples, 2, differences)."""
    difference, alpha = observed[0], alpha_of(confidence)
    least = _studentise(np.abs(observed[1]), se[1])

    def judge(of_d: Array, of_z: Array) -> tuple[Array, Array, Array]:
        p = share((of_z >= least).sum(axis=0), len(t), exact=False)
        q = np.quantile(of_d, confidence, axis=0, method="higher")
        half = np.where(se[0] > SAME, q, 0) * np.maximum(se[0], SAME)  # infinite where q is
        return (p, *_with_zero(difference, difference - half, difference + half, p < alpha))

    p_value, low, high = judge(t[:, 0], t[:, 1])
    p_adjusted, band_low, band_high = judge(*(t.max(axis=2)[:, [k]] for k in (0, 1)))
    low, high, band_low, band_high = (np.clip(limit, -most, most) for limit in (low, high, band_low, band_high))
    return Differences(d, difference, low, high, p_value, p_adjusted, band_low, band_high, se[0], redrawn)


def _with_zero(difference: Array, low: Array, high: Array, differs: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The limits, with 0 where p says that it is."""
    low = np.where(difference > 0, np.where(differs, np.maximum(low, 0), np.minimum(low, 0)), low)
    high = np.where(difference < 0, np.where(differs, np.minimum(high, 0), np.maximum(high, 0)), high)
    return low, high
