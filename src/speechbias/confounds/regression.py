"""d with covariates held equal by regression: s of the clips on the group and the covariates, one slope for both.

s = b0 + b g + sum_k c_k z_k, g = 1 in X and 0 in Y. d adjusted is b over the SD that raw d has (that of s over X and
Y together), so that both are on one scale and d = d_adjusted + sum_k share_k exactly, share_k = c_k (mean_X z_k -
mean_Y z_k) / SD: what of d goes along with covariate k (Gelbach 2016). The residual SD would not do as a divisor: it
shrinks with every covariate that explains s, related to the group or not (so covariate-adjusted effect sizes keep
the raw SD: What Works Clearinghouse, Procedures Handbook; Borenstein et al. 2009).

p: Freedman and Lane (1983), residuals of the model without the group permuted between exchangeable units; the
statistic is the partial correlation of s and the group (Winkler et al. 2014 compare such schemes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.inference.designs import Relabelling
from speechbias.inference.intervals import Interval, Strata, bootstrap_interval
from speechbias.inference.permutation import TIE, share

Array = NDArray[np.float64]

LEAST_UNITS = 3  # more units than group, intercept and covariates together take
CHUNK = 1024  # permutations at a time
ILL = 1e10  # condition of the normal equations of a resample, from which on it is degenerate


@dataclass(frozen=True)
class Adjusted:
    """Of every state, beside raw d; ``shares`` (covariates, states) are what the covariates take of it."""

    raw: Array  # (states,)
    adjusted: Array
    shares: Array


def adjust(s: Array, z: Array, *, n_x: int, ddof: int) -> Adjusted:
    """Regress ``s`` (clips, states), X first, on the group and ``z`` (clips, covariates).

    InputError where the covariates leave nothing of the group, or repeat each other.
    """
    design = _design(z, n_x)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            "The covariates fix the group, or one another: d cannot be adjusted. Name fewer with --covariates."
        )
    coefficients = np.linalg.lstsq(design, s, rcond=None)[0]
    spread = s.std(axis=0, ddof=ddof)
    apart = design[:n_x, 2:].mean(axis=0) - design[n_x:, 2:].mean(axis=0)
    raw = (s[:n_x].mean(axis=0) - s[n_x:].mean(axis=0)) / spread
    return Adjusted(raw, coefficients[1] / spread, coefficients[2:] * apart[:, None] / spread)


def _design(z: Array, n_x: int) -> Array:
    """Columns 1, g and the covariates in SDs, (clips, 2 + covariates)."""
    group = (np.arange(len(z)) < n_x).astype(np.float64)
    centred = z - z.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    scaled = centred / np.where(spread > 0, spread, 1)
    return np.column_stack([np.ones(len(z)), group, scaled])


def adjusted_interval(
    s: Array,
    z: Array,
    units: Strata,
    *,
    n_x: int,
    ddof: int,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> Interval:
    """BCa interval of d adjusted over the design's units: in every resample the regression is done again."""
    design, states = _design(z, n_x), s.shape[1]
    centred, columns = s - s.mean(axis=0), design.shape[1]
    upper = np.triu_indices(columns)
    products = design[:, upper[0]] * design[:, upper[1]]
    with_s = (design[:, :, None] * centred[:, None, :]).reshape(len(s), -1)
    moments = np.column_stack([products, with_s, centred**2])
    ends = np.cumsum([products.shape[1], columns * states])

    def statistic(sums: Array) -> Array:
        flat, cross, squares = np.split(sums, ends, axis=1)
        normal = np.empty((len(sums), columns, columns))
        normal[:, upper[0], upper[1]] = normal[:, upper[1], upper[0]] = flat
        cross = cross.reshape(len(sums), columns, states)
        usable = np.linalg.cond(normal) < ILL
        normal[~usable] = np.eye(columns)
        slopes = np.linalg.solve(normal, cross)[:, 1]
        n = flat[:, :1]
        variance = len(s) / (len(s) - ddof) * (squares - cross[:, 0] ** 2 / n) / n
        good = usable[:, None] & (variance > 1e-12 * squares / n)
        return np.where(good, slopes / np.sqrt(np.where(good, variance, 1)), np.nan)

    return bootstrap_interval(moments, statistic, units, resamples=resamples, confidence=confidence, rng=rng)


def freedman_lane(
    s: Array,
    z: Array,
    relabelling: Relabelling,
    *,
    n_x: int,
    alternative: str,
    permutations: int,
    rng: np.random.Generator,
) -> Array | None:
    """P-values, one per state, for the hypothesis that the group adds nothing to the covariates: (1 + hits) / (1 + N).

    Units of several clips count by their means, and are permuted within their stratum of the design. Each stratum has
    a level of its own: residuals are exchangeable only where strata do not differ. None where there are hardly more
    units than coefficients.
    """
    units = [list(unit) for unit in relabelling.units]
    design = _design(z, n_x)
    s, design = (np.stack([values[unit].mean(axis=0) for unit in units]) for values in (s, design))
    strata = [np.arange(a, b) for a, b in zip(relabelling.starts[:-1], relabelling.starts[1:], strict=True)]
    levels = np.zeros((len(units), len(strata)))
    for column, stratum in enumerate(strata):
        levels[stratum, column] = 1
    group, rest = design[:, 1], np.column_stack([levels, design[:, 2:]])
    columns = 1 + rest.shape[1]
    if len(units) < columns + LEAST_UNITS or np.linalg.matrix_rank(np.column_stack([group, rest])) < columns:
        return None
    basis = np.linalg.qr(rest)[0]
    group = group - basis @ (basis.T @ group)
    directions = np.column_stack([group / np.linalg.norm(group), basis])
    residuals = s - basis @ (basis.T @ s)
    squares = (residuals**2).sum(axis=0)
    sign = -1.0 if alternative == "less" else 1.0

    def statistic(permuted: Array) -> Array:
        """Partial correlation of every draw, (draws, states), from residuals (draws, units, states)."""
        along = np.einsum("ijk,jl->ilk", permuted, directions)
        left = np.maximum(squares - (along[:, 1:] ** 2).sum(axis=1), 1e-300)
        found = sign * along[:, 0] / np.sqrt(left)
        return np.asarray(np.abs(found) if alternative == "two-sided" else found)

    observed = statistic(residuals[None])[0]
    hits = np.zeros(s.shape[1], np.int64)
    for first in range(0, permutations, CHUNK):
        order = _shuffled(strata, min(CHUNK, permutations - first), rng)
        hits += (statistic(residuals[order]) >= observed - TIE).sum(axis=0)
    return share(hits, permutations, exact=False)


def _shuffled(strata: Sequence[NDArray[np.int64]], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Orders of the units, (count, units), permuted within each stratum."""
    return np.concatenate([rng.permuted(np.tile(each, (count, 1)), axis=1) for each in strata], axis=1)
