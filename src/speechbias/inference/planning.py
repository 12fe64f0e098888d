"""How many speakers and clips an interval of d needs, from the variance of d's influence function.

For S speakers in a group, each with c clips, var d = sum over groups of (between + within / c) / S, where between and
within are the variances of n psi (``influence``; n the group's clips) among speakers and among the clips of one. For
normal s with intraclass correlation rho, and w^2 = 1 - d^2 / 4 in groups of equal size,

    between = w^6 rho + d^2 w^4 rho^2 / 8        within = w^6 (1 - rho) + d^2 w^4 (1 - rho^2) / 8

in each group: without repeated speakers var d = 2 w^6 / n + d^2 w^4 / (4 n), and the design effect of the first term
is the usual 1 + (c - 1) rho (Kish 1965). Where all speakers stand in both groups, what a speaker adds to both cancels,
and one sum takes the place of two. A pilot gives the variances without any assumption of normality.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from speechbias.errors import InputError
from speechbias.inference.designs import relabel
from speechbias.inference.influence import influence
from speechbias.inference.intervals import Strata
from speechbias.inference.permutation import smallest_p

Array = NDArray[np.float64]

MOST_SPEAKERS = 100_000


@dataclass(frozen=True)
class Components:
    """Variances of n psi among speakers and within one, a pair per group; one pair where speakers are in both."""

    between: tuple[float, ...]
    within: tuple[float, ...]

    @property
    def crossed(self) -> bool:
        """Whether every speaker stands in both groups."""
        return len(self.between) == 1

    def standard_error(self, speakers: int, clips: float) -> float:
        """Of d, with so many speakers in each group and so many clips of each of them in it."""
        parts = zip(self.between, self.within, strict=True)
        return float(np.sqrt(sum(between + within / clips for between, within in parts) / speakers))

    def width(self, speakers: int, clips: float, confidence: float = 0.95) -> float:
        """Of the interval of d."""
        return 2 * float(ndtri((1 + confidence) / 2)) * self.standard_error(speakers, clips)

    def speakers_for(self, width: float, clips: float, confidence: float = 0.95) -> int | None:
        """Speakers in each group for an interval no wider than ``width``; None beyond 100,000."""
        times = self.width(1, clips, confidence) / width
        if times > np.sqrt(MOST_SPEAKERS):
            return None
        return max(int(np.ceil(times**2 - 1e-9)), 2)


def expect_components(d: float, correlation: float, *, crossed: bool = False) -> Components:
    """For normal s, groups of equal size, and a correlation of a speaker's clips (intraclass) of s within groups."""
    if not abs(d) < 2:
        raise InputError(f"d is {d:g}. It stays below 2 in groups of equal size: take a value from -2 to 2.")
    if not 0 <= correlation < 1:
        raise InputError(f"The correlation of a speaker's clips is {correlation:g}. Take a value from 0 to below 1.")
    w2, rho = 1 - d * d / 4, correlation
    linear, square = w2**3, d * d * w2**2 / 8
    if crossed:
        return Components((4 * square * rho**2,), (2 * (linear * (1 - rho) + square * (1 - rho**2)),))
    between, within = linear * rho + square * rho**2, linear * (1 - rho) + square * (1 - rho**2)
    return Components((between, between), (within, within))


def estimate_components(s: Array, units: Strata, n_x: int, ddof: int) -> Components:
    """From a pilot: ``s`` (targets,), X first, of the speakers ``units``; analysis of variance of n psi.

    Where nobody has two clips in a group, all variance counts as one between speakers. Speakers who stand in both
    groups are taken together if all do; else each group is taken by itself.
    """
    psi = influence(s[:, None], n_x, ddof)[:, 0]
    sides = [[[c for c in unit if (c < n_x) == first] for unit in units.units] for first in (True, False)]
    scaled = [psi * n_x, psi * (len(s) - n_x)]
    found = [
        _anova([side[clips] for clips in units_of if clips]) for side, units_of in zip(scaled, sides, strict=True)
    ]
    if all(x and y for x, y in zip(*sides, strict=True)):
        within = [part[1] for part in found]
        sums = np.array([scaled[0][x].mean() + scaled[1][y].mean() for x, y in zip(*sides, strict=True)])
        noise = np.mean([within[0] / len(x) + within[1] / len(y) for x, y in zip(*sides, strict=True)])
        return Components((max(float(sums.var(ddof=1) - noise), 0.0),), (float(sum(within)),))
    return Components((found[0][0], found[1][0]), (found[0][1], found[1][1]))


def _anova(groups: Sequence[Array]) -> tuple[float, float]:
    """Variance between and within groups of unequal size (Searle, Casella and McCulloch 1992, section 3.6)."""
    sizes = np.array([len(group) for group in groups])
    n, k = sizes.sum(), len(groups)
    means = np.array([group.mean() for group in groups])
    grand = float((sizes * means).sum() / n)
    if n == k:
        return float(means.var(ddof=1)), 0.0
    within = sum(float(((group - mean) ** 2).sum()) for group, mean in zip(groups, means, strict=True)) / (n - k)
    if k == 1:
        return 0.0, within
    among = float((sizes * (means - grand) ** 2).sum() / (k - 1))
    typical = (n - (sizes**2).sum() / n) / (k - 1)
    return max((among - within) / typical, 0.0), within


def correlation_of(components: Components) -> float | None:
    """The share of the variance that is between speakers; None where speakers stand in both groups."""
    if components.crossed:
        return None
    between, within = sum(components.between), sum(components.within)
    return between / (between + within) if between + within > 0 else None


def smallest_p_of(speakers_x: int, speakers_y: int, clips: int, *, crossed: bool = False) -> float:
    """``p_min`` of the design that so many speakers with so many clips each call for, two-sided."""
    if crossed:
        ids = [f"{number}" for number in range(speakers_x) for _ in range(clips)]
        return smallest_p(relabel("within-speaker", (ids, ids)), "two-sided", None)
    sides = [[f"{side}{k}" for k in range(m)] for side, m in (("x", speakers_x), ("y", speakers_y))]
    return smallest_p(relabel("independent", (sides[0], sides[1])), "two-sided", None)
