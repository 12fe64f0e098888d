"""Intervals of d: BCa bootstrap over the design's units (Efron 1987; DiCiccio and Efron 1996).

Units are resampled within X and within Y, jointly where a unit stands in both: clips, whole speakers or pairs as the
design says. A stratum of m units is resampled by drawing m - 1 of them (Rao and Wu 1988): drawing m makes the variance
(m - 1)/m of what it should be, which shows in the coverage with few speakers. The acceleration is the multi-sample
jackknife's. ``attribute_interval`` resamples the attribute talkers too, A and B jointly.

Shapes: s (clips, states), X first; cosines (states, targets, attributes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from speechbias.errors import InputError
from speechbias.inference.selections import CHUNK, sum_selected, sum_units
from speechbias.speat import ROUNDING_SPREAD

Array = NDArray[np.float64]
Between = tuple[NDArray[np.intp], NDArray[np.intp]]  # numbers of the states whose d's are subtracted: first - second
Statistic = Callable[[Array], Array]  # (draws, sums) -> (draws, members)

REDRAWS = 1000  # chunks of further resamples before giving up


@dataclass(frozen=True)
class Interval:
    """Limits per state, how they were made, and how many degenerate resamples were drawn again for it."""

    low: Array
    high: Array
    method: tuple[str, ...]  # bca; percentile where BCa is not defined; none where a group is one unit
    redrawn: NDArray[np.int64]


@dataclass(frozen=True)
class Strata:
    """Units of a bootstrap: clips of each, and which units are drawn from each other's place."""

    units: tuple[tuple[int, ...], ...]
    strata: tuple[tuple[int, ...], ...]  # numbers of units: in the first set only, in the second only, in both

    @classmethod
    def of(cls, first: Sequence[str], second: Sequence[str]) -> "Strata":
        """Units by label of two sets; clips are numbered through the first, then the second."""
        clips: dict[str, list[int]] = {}
        for clip, label in enumerate((*first, *second)):
            clips.setdefault(label, []).append(clip)
        sides = (set(first) - set(second), set(second) - set(first), set(first) & set(second))
        names = list(clips)
        strata = tuple(tuple(i for i, name in enumerate(names) if name in side) for side in sides if side)
        return cls(tuple(tuple(c) for c in clips.values()), strata)

    def indicator(self) -> Array:
        """Membership of clips in units, (units, clips)."""
        matrix = np.zeros((len(self.units), sum(map(len, self.units))))
        for row, clips in enumerate(self.units):
            matrix[row, list(clips)] = 1
        return matrix

    def one_sided(self, n_x: int) -> bool:
        """Whether the first ``n_x`` clips, or the others, are of one unit: nothing tells how units of it vary."""
        return self.fewest(n_x) == 1

    def fewest(self, n_x: int) -> int:
        """How many units stand in the first ``n_x`` clips or in the others, whichever are fewer."""
        touched = [(any(c < n_x for c in unit), any(c >= n_x for c in unit)) for unit in self.units]
        return min(sum(first for first, _ in touched), sum(second for _, second in touched))

    def draw(self, resamples: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Units of each resample, (resamples, drawn units): m - 1 of each stratum's m, with replacement."""
        parts = [
            np.array(stratum, dtype=np.int32)[
                rng.integers(len(stratum), size=(resamples, max(len(stratum) - 1, 1)), dtype=np.int32)
            ]
            for stratum in self.strata
        ]
        return np.concatenate(parts, axis=1)

    def without_each(self) -> Array:
        """Weights of the units when one is left out, (units, units)."""
        return 1 - np.eye(len(self.units))


def target_interval(
    s: Array, units: Strata, *, n_x: int, ddof: int, resamples: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """Interval of d for these attribute clips; ``s`` (clips, states)."""
    return bca_limits(*_resampled(s, units, n_x=n_x, ddof=ddof, resamples=resamples, rng=rng), confidence)


def bootstrap_interval(
    clips: Array, statistic: Statistic, units: Strata, *, resamples: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """Intervals of whatever can be computed from sums over clips: ``statistic`` of the sums of ``clips``.

    ``clips`` (clips, sums); ``statistic`` takes (draws, sums) and gives (draws, members), NaN where a resample is
    degenerate. InputError where hardly a resample is not.
    """
    values = sum_units(clips, units.units)
    draws, redrawn = resample(lambda count: statistic(sum_selected(values, units.draw(count, rng))), resamples)
    jackknife = statistic(values.sum(axis=0) - values)
    acceleration = acceleration_of([jackknife[list(stratum)] for stratum in units.strata])
    return bca_limits(draws, statistic(values.sum(axis=0)[None])[0], acceleration, redrawn, confidence)


def joint_interval(
    s: Array, units: Strata, *, n_x: int, ddof: int, resamples: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """Intervals of all columns of ``s`` (clips, members) that are to hold at the same time.

    Those of ``target_interval`` at a higher level, the same for all: the least at which a share ``confidence`` of the
    resamples lies within the central range of every member. Of one member it is its own interval.
    """
    draws, d, acceleration, redrawn = _resampled(s, units, n_x=n_x, ddof=ddof, resamples=resamples, rng=rng)
    return bca_limits(draws, d, acceleration, redrawn, joint_level(draws, confidence))


def joint_level(draws: Array, confidence: float) -> float:
    """The level at which intervals of all columns hold together, from ``draws`` (resamples, members)."""
    ranks = draws.argsort(axis=0, kind="stable").argsort(axis=0) + 0.5
    central = 1 - 2 * np.minimum(ranks, len(draws) - ranks) / len(draws)  # the range that just holds each resample
    return min(float(np.quantile(central.max(axis=1), confidence)), 1 - 1 / len(draws))


def _resampled(
    s: Array,
    units: Strata,
    *,
    n_x: int,
    ddof: int,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """The d of every resample, d itself, BCa's a, and how many resamples were drawn again."""
    values = sum_units(moments(s, n_x), units.units)

    def statistic(sums: Array) -> Array:
        return d_from_moments(sums, s.shape[1], variance_scale(len(s), ddof))

    def draw(count: int) -> Array:
        return statistic(sum_selected(values, units.draw(count, rng)))

    draws, redrawn = resample(draw, resamples)
    jackknife = statistic(values.sum(axis=0) - values)
    acceleration = acceleration_of([jackknife[list(stratum)] for stratum in units.strata])
    return draws, statistic(values.sum(axis=0)[None])[0], acceleration, redrawn


def whole_range(interval: Interval, n_x: int, n_y: int, ddof: int) -> Interval:
    """What stands where no interval can be given: all values that d can have with so many clips."""
    n = n_x + n_y
    bound = np.full(len(interval.low), np.sqrt(n * (n - ddof) / (n_x * n_y)))
    return Interval(-bound, bound, ("none",) * len(bound), interval.redrawn)


def moments(s: Array, n_x: int) -> Array:
    """Per clip: in X, in Y, s in X, s in Y, s squared; s about its mean, so that squares lose no digits."""
    centred = s - s.mean(axis=0)
    in_x = (np.arange(len(s)) < n_x).astype(np.float64)[:, None]
    return np.column_stack([in_x, 1 - in_x, centred * in_x, centred * (1 - in_x), centred**2])


def variance_scale(clips: int, ddof: int) -> float:
    """From the mean square to the variance that d divides by; of the data, or fewer draws would shift every d."""
    return clips / (clips - ddof)


def d_from_moments(sums: Array, states: int, scale: float) -> Array:
    """The d of every row of sums over clips of ``moments``, (rows, states); NaN where s has no spread."""
    n_x, n_y = sums[:, :1], sums[:, 1:2]
    sum_x, sum_y, squares = np.split(sums[:, 2:], [states, 2 * states], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = scale * (squares - (sum_x + sum_y) ** 2 / (n_x + n_y)) / (n_x + n_y)
        floor = 1e-12 * squares / (n_x + n_y)
        d = (sum_x / n_x - sum_y / n_y) / np.sqrt(variance)
        return np.where((variance > floor) & np.isfinite(d), d, np.nan)


def resample(draw: Callable[[int], Array], resamples: int) -> tuple[Array, NDArray[np.int64]]:
    """The d of every resample (resamples, states) from ``draw(count)``, and how many were drawn again per state.

    A state's degenerate resamples (NaN) are replaced in order by the good ones of further draws, which are the same
    whichever states are drawn together.
    """
    draws = np.concatenate([draw(min(CHUNK, resamples - first)) for first in range(0, resamples, CHUNK)])
    missing = [np.flatnonzero(column) for column in np.isnan(draws).T]
    redrawn = np.zeros(draws.shape[1], np.int64)
    for _ in range(REDRAWS):
        if not any(map(len, missing)):
            return draws, redrawn
        further = draw(CHUNK)
        for state, rows in enumerate(missing):
            good = np.flatnonzero(~np.isnan(further[:, state]))[: len(rows)]
            draws[rows[: len(good)], state] = further[good, state]
            missing[state] = rows[len(good) :]
            redrawn[state] += _tries(good, len(rows), len(further))
    raise InputError("Hardly a resample of the clips has any spread in s. Do the sets repeat a few clips?")


def _tries(good: NDArray[np.intp], wanted: int, drawn: int) -> int:
    """How many further resamples were looked at to fill ``wanted`` places."""
    if not wanted:
        return 0
    return int(good[-1]) + 1 if len(good) == wanted else drawn


def acceleration_of(jackknife: Sequence[Array]) -> Array:
    """BCa's a from the leave-one-out d's of each stratum, (units, states)."""
    cubes, squares = np.zeros(jackknife[0].shape[1]), np.zeros(jackknife[0].shape[1])
    for stratum in jackknife:
        values = np.ascontiguousarray(stratum.T)  # a state's digits do not depend on the others
        m = values.shape[1]
        if m == 1:
            continue  # the only unit of its stratum is in every resample
        influence = (m - 1) / m * (values.mean(axis=1, keepdims=True) - values)
        cubes = cubes + (influence**3).sum(axis=1)
        squares = squares + (influence**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(cubes / (6 * squares**1.5))


def bca_limits(draws: Array, d: Array, acceleration: Array, redrawn: NDArray[np.int64], confidence: float) -> Interval:
    """BCa limits of every state; percentile limits where z0 or a is not finite."""
    share = ((draws < d).sum(axis=0) + 0.5 * (draws == d).sum(axis=0)) / len(draws)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    with np.errstate(invalid="ignore"):
        z0 = ndtri(share)
        z = z0[:, None] + ndtri(tails)
        levels = ndtr(z0[:, None] + z / (1 - acceleration[:, None] * z))  # (states, 2)
    usable = np.isfinite(levels).all(axis=1) & (levels[:, 0] < levels[:, 1])
    levels = np.where(usable[:, None], levels, tails)
    limits = np.array([np.quantile(draws[:, k], levels[k]) for k in range(draws.shape[1])])
    return Interval(limits[:, 0], limits[:, 1], tuple("bca" if u else "percentile" for u in usable), redrawn)


def attribute_interval(
    cosines: Array,
    targets: Strata,
    attributes: Strata,
    *,
    n_x: int,
    n_a: int,
    ddof: int,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
    between: Between | None = None,
) -> tuple[Interval, Array]:
    """Interval of d over targets and attribute talkers, and the d's without each talker (talkers, states).

    ``between``: of differences of d's instead, in the place of states.
    """
    problem = _TwoWay(cosines, targets, attributes, n_x=n_x, n_a=n_a, ddof=ddof, between=between)
    draws, redrawn = resample(lambda count: problem.draw(count, rng), resamples)
    whole = (np.ones((1, len(targets.units))), np.ones((1, len(attributes.units))))
    one_target = problem.d(targets.without_each(), np.ones((len(targets.units), len(attributes.units))))
    one_talker = problem.d(np.ones((len(attributes.units), len(targets.units))), attributes.without_each())
    acceleration = acceleration_of(
        [one_target[list(stratum)] for stratum in targets.strata]
        + [one_talker[list(stratum)] for stratum in attributes.strata]
    )
    return bca_limits(draws, problem.d(*whole)[0], acceleration, redrawn, confidence), one_talker


class _TwoWay:
    """d, or a difference of d's, as a function of the weights of target units and of attribute talkers."""

    def __init__(
        self,
        cosines: Array,
        targets: Strata,
        attributes: Strata,
        *,
        n_x: int,
        n_a: int,
        ddof: int,
        between: Between | None = None,
    ) -> None:
        self.between = between
        self.cosines, self.targets, self.attributes = cosines, targets, attributes
        self.n_x, self.n_a, self.scale = n_x, n_a, variance_scale(cosines.shape[1], ddof)
        self.of_targets, self.of_attributes = targets.indicator(), attributes.indicator()

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """The d of ``count`` resamples, (count, states)."""
        return self.d(_counts(self.targets, count, rng), _counts(self.attributes, count, rng))

    def d(self, target_weights: Array, talker_weights: Array) -> Array:
        """The d of each row of weights on units, (draws, units) and (draws, talkers)."""
        w, v = target_weights @ self.of_targets, talker_weights @ self.of_attributes
        with np.errstate(divide="ignore", invalid="ignore"):
            in_a = v * (np.arange(v.shape[1]) < self.n_a)
            g = in_a / in_a.sum(axis=1, keepdims=True) - (v - in_a) / (v - in_a).sum(axis=1, keepdims=True)
            d = np.column_stack([self._d(g @ state.T, w) for state in self.cosines])
            return d if self.between is None else d[:, self.between[0]] - d[:, self.between[1]]

    def _d(self, s: Array, w: Array) -> Array:
        """The d of weighted targets, s and w (draws, targets)."""
        x, y = w[:, : self.n_x], w[:, self.n_x :]
        n_x, n_y = x.sum(axis=1), y.sum(axis=1)
        sum_x = np.einsum("ij,ij->i", x, s[:, : self.n_x])
        sum_y = np.einsum("ij,ij->i", y, s[:, self.n_x :])
        mean = (sum_x + sum_y) / (n_x + n_y)
        centred = s - mean[:, None]
        variance = self.scale * np.einsum("ij,ij,ij->i", w, centred, centred) / (n_x + n_y)
        d = (sum_x / n_x - sum_y / n_y) / np.sqrt(variance)
        return np.where((variance > ROUNDING_SPREAD**2) & np.isfinite(d), d, np.nan)


def _counts(units: Strata, count: int, rng: np.random.Generator) -> Array:
    """How often each unit was drawn, (count, units)."""
    drawn = units.draw(count, rng)
    flat = drawn + np.arange(count)[:, None] * len(units.units)
    counts = np.bincount(flat.ravel(), minlength=count * len(units.units))
    return counts.reshape(count, len(units.units)).astype(np.float64)
