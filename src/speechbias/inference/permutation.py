"""p_value: are X and Y exchangeable in s? T = mean_X s - mean_Y s over clips, under the design's relabellings.

All states are relabelled at once, so max-T (Westfall and Young 1993) costs nothing extra. Exact where there are at
most a million relabellings: all of them, the observed one included. Else Monte-Carlo, (1 + hits) / (1 + N), never 0
(Phipson and Smyth 2010). A relabelled |T*| counts from |T| - 1e-12 max|s| on, so that rounding decides no tie.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.compiled import compiled
from speechbias.inference.designs import Relabelling
from speechbias.inference.saddlepoint import tail_probability
from speechbias.inference.selections import is_exact, selections, sum_selected, sum_units

Array = NDArray[np.float64]

FEW_HITS = 10  # below this Monte-Carlo says little, and the saddlepoint takes over where it can
TIE = 1e-12  # of max|s|


@dataclass(frozen=True)
class Permutation:
    """The result for all states: p, its method, the smallest p possible, and max-T over the family."""

    p_value: Array  # (states,)
    method: tuple[str, ...]  # exact, monte-carlo or saddlepoint, per state
    p_min: float
    p_adjusted: Array  # (states,), NaN outside the family


def permutation_test(
    s: Array,
    relabelling: Relabelling,
    *,
    n_x: int,
    alternative: str,
    permutations: int,
    rng: np.random.Generator,
    family: Sequence[int] = (),
    saddlepoint: bool = False,
) -> Permutation:
    """Test every column of ``s`` (clips, states), X first; ``family`` are the states of max-T.

    ``saddlepoint`` allows it for states with few hits; the design must then be one stratum of clips.
    """
    exact = is_exact(relabelling)
    drawn = selections(relabelling, permutations=permutations, rng=rng)
    hits, hits_max, draws = _count(s, relabelling, drawn, n_x=n_x, alternative=alternative, family=list(family))
    least = smallest_p(relabelling, alternative, permutations if not saddlepoint else None)
    p_value = np.maximum(share(hits, draws, exact=exact), least)
    method = ["exact" if exact else "monte-carlo"] * s.shape[1]
    if saddlepoint and not exact:
        for state in np.flatnonzero(hits < FEW_HITS):
            tail = tail_probability(s[:, state], n_x, alternative=alternative)
            if not np.isnan(tail):
                p_value[state], method[state] = max(tail, least), "saddlepoint"
    adjusted = np.full(s.shape[1], np.nan)
    adjusted[list(family)] = share(hits_max, draws, exact=exact)
    return Permutation(p_value, tuple(method), least, adjusted)


def share(hits: NDArray[np.int64], draws: int, *, exact: bool) -> Array:
    """The p from a count: hits / all where all were counted (the observed one is among them), else with the + 1."""
    return hits / draws if exact else (1 + hits) / (1 + draws)


def smallest_p(relabelling: Relabelling, alternative: str, permutations: int | None) -> float:
    """The smallest p that a design can give; ``permutations`` None: it is not limited by sampling."""
    least = (2 if alternative == "two-sided" and relabelling.mirrored else 1) / relabelling.count
    if permutations is None or is_exact(relabelling):
        return min(least, 1.0)
    return max(least, 1 / (1 + permutations))


def _count(
    s: Array,
    relabelling: Relabelling,
    drawn: Iterator[NDArray[np.int32]],
    *,
    n_x: int,
    alternative: str,
    family: list[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Relabellings at least as far out as the data, per state, and for the maximum of d* over the family."""
    s = -s if alternative == "less" else s
    two_sided = alternative == "two-sided"
    observed = s[:n_x].mean(axis=0) - s[n_x:].mean(axis=0)
    least = (np.abs(observed) if two_sided else observed) - TIE * np.abs(s).max(axis=0)
    sizes = np.array([len(unit) for unit in relabelling.units], dtype=np.float64)
    padding = np.zeros((len(sizes), -(1 + s.shape[1]) % 8))  # whole vectors of the processor: a third less time
    values = np.column_stack([sizes, sum_units(s, relabelling.units), padding])
    hits, hits_max, draws = np.zeros(s.shape[1], np.int64), np.zeros(len(family), np.int64), 0
    states = np.array(family, dtype=np.int64)
    for selected in drawn:
        sums = sum_selected(values, selected)
        _count_reached(sums, s.sum(axis=0), len(s), two_sided, least, s.std(axis=0), states, hits, hits_max)
        draws += len(selected)
    return hits, hits_max, draws


@compiled
def _count_reached(sums, total, clips, two_sided, least, sd, family, hits, hits_max):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917
    """Add to ``hits`` the draws whose T* reaches ``least``, and to ``hits_max`` those whose largest d* does.

    ``sums`` (draws, 1 + states and more): the number of clips labelled X, then their sums of s.
    """
    t = np.empty(len(total))
    for draw in range(len(sums)):
        clips_x = sums[draw, 0]
        scale, shift = 1 / clips_x + 1 / (clips - clips_x), 1 / (clips - clips_x)
        for state in range(len(total)):
            value = sums[draw, 1 + state] * scale - total[state] * shift
            t[state] = abs(value) if two_sided else value
            hits[state] += t[state] >= least[state]
        largest = -np.inf
        for state in family:
            largest = max(largest, t[state] / sd[state])
        for k in range(len(family)):
            hits_max[k] += largest >= least[family[k]] / sd[family[k]]
