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

Array = NDArray[np.float64]
OfValues = Callable[[Array], Array]  # values (draws, clips) -> (draws,)
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
        return round(1 - self.confidence, 12)


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


def attribute_p(
    cosines: Array, talkers: tuple[Sequence[str], Sequence[str]], statistic: OfS, observed: Array, settings: Settings
) -> tuple[Array, float]:
    """``p_attribute`` of every member of a statistic of s, and the smallest that these talkers allow."""
    rng = np.random.default_rng([settings.seed, 1])
    relabelling, drawn = other_attributes(cosines, talkers, permutations=settings.permutations, rng=rng)
    hits, draws = np.zeros(len(observed), np.int64), 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for s in drawn:
            hits += (~(np.abs(statistic(s)) < np.abs(observed) * (1 - TIE))).sum(axis=0)  # NaN counts against it
            draws += len(s)
    least = smallest_p(relabelling, "two-sided", settings.permutations)
    return np.maximum(share(hits, draws, exact=is_exact(relabelling)), least), least


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
