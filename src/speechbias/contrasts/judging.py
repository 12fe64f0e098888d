"""p's and intervals of whatever is computed from s and a value for each clip: the two questions behind every d.

p_value: could the values (groups, ages) have been dealt to other speakers? p_attribute: is what they go along with
aligned with A against B at all? Both two-sided, (1 + hits) / (1 + N) unless all relabellings are counted, and by the
same random streams as ``associate``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.contrasts.relabelled import Dealing, other_attributes
from speechbias.inference.intervals import Statistic, Strata, bootstrap_interval
from speechbias.inference.permutation import TIE, share, smallest_p
from speechbias.inference.selections import is_exact
from speechbias.level import alpha_of

Array = NDArray[np.float64]
OfValues = Callable[[Array], Array]  # values (draws, clips) -> (draws,)
MOST_STORED = 20_000  # relabellings of A and B whose statistics are kept
ROUNDING = 1e-6  # of float32

OfS = Callable[[Array], Array]  # s (draws, clips) -> (draws, members)


@dataclass(frozen=True)
class Settings:
    """How sure, and by how many draws; as in the record that is asked about."""

    permutations: int
    resamples: int
    confidence: float
    ddof: int
    seed: int

    @property
    def alpha(self) -> float:
        """The level that belongs to the intervals."""
        return alpha_of(self.confidence)


def dealt_p(
    values: Array, dealing: Dealing | None, statistic: OfValues, settings: Settings, *, observed: float | None = None
) -> dict[str, Any]:
    """``p_value`` of a statistic of the values, which are dealt anew; None where nothing can be.

    ``observed``: what the draws are compared with, where it is not the statistic of the values as they are.
    """
    if dealing is None:
        return {"p_value": None, "p_min": None, "design": None}
    rng = np.random.default_rng([settings.seed, 0])
    seen = abs(float(statistic(values[None])[0]) if observed is None else observed)
    hits = sum(
        int((np.abs(statistic(dealt)) >= seen * (1 - TIE)).sum())
        for dealt in dealing.deal(values, settings.permutations, rng)
    )
    least = max(1 / dealing.count(values), 1 / (1 + settings.permutations))
    p = (1 + hits) / (1 + settings.permutations)
    return {"p_value": max(p, least), "p_min": least, "design": dealing.design}


@dataclass(frozen=True)
class AttributeP:
    """``p_attribute`` of every member of a statistic, and adjusted for their number; the smallest that can be."""

    p: Array
    adjusted: Array
    least: float


def attribute_p(
    cosines: Array, talkers: tuple[Sequence[str], Sequence[str]], statistic: OfS, observed: Array, settings: Settings
) -> AttributeP:
    """Both for a statistic of s whose members share their relabellings of A and B.

    Adjusted: the share of relabellings in which the smallest p of any member is no larger (min-P, Westfall and Young
    1993). It is one relabelling of A and B that all members are asked about, so no partial hypotheses are needed.
    """
    rng = np.random.default_rng([settings.seed, 1])
    permutations = min(settings.permutations, MOST_STORED)
    relabelling, drawn = other_attributes(cosines, talkers, permutations=permutations, rng=rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = np.concatenate([np.abs(statistic(s)).astype(np.float32) for s in drawn])
    draws[np.isnan(draws)] = np.inf  # counts against a finding
    seen = np.abs(observed).astype(np.float32) * np.float32(1 - ROUNDING)
    exact = is_exact(relabelling)
    least = smallest_p(relabelling, "two-sided", permutations)
    ranked = np.sort(draws, axis=0)
    reach = np.stack([len(draws) - np.searchsorted(of, d) for of, d in zip(ranked.T, draws.T, strict=True)], axis=1)
    hits = np.array([len(draws) - np.searchsorted(of, d) for of, d in zip(ranked.T, seen, strict=True)])
    smallest = np.sort(reach.min(axis=1))
    below = np.searchsorted(smallest, hits + (not exact), side="right")  # the data are one of the relabellings
    p, adjusted = (np.maximum(share(each, len(draws), exact=exact), least) for each in (hits, below))
    return AttributeP(p, np.maximum(p, adjusted), least)


def interval_of(sums: Array, statistic: Statistic, units: Strata, settings: Settings) -> list[dict[str, Any]]:
    """Limits of every member from sums over clips; None where a stratum of the bootstrap has one unit only."""
    if min(map(len, units.strata)) < 2:
        members = statistic(sums.sum(axis=0)[None]).shape[1]
        return [{"ci_low": None, "ci_high": None, "ci_method": "none"}] * members
    found = bootstrap_interval(
        sums,
        statistic,
        units,
        resamples=settings.resamples,
        confidence=settings.confidence,
        rng=np.random.default_rng([settings.seed, 2]),
    )
    limits = zip(found.low.tolist(), found.high.tolist(), found.method, strict=True)
    return [dict(zip(("ci_low", "ci_high", "ci_method"), each, strict=True)) for each in limits]
