"""What may be exchanged with what where there are more than two groups, and what s would be with other attributes.

Values (groups, or a number such as age) are dealt anew among units: whole speakers where each has one value; clips
within each speaker where every repeated speaker has several. What is neither has no such test. Strata hold what is to
stay apart: the levels of a second factor.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.designs import Relabelling, relabel_attributes
from speechbias.inference.intervals import Strata
from speechbias.inference.selections import selections

Array = NDArray[np.float64]
CHUNK = 1024


@dataclass(frozen=True)
class Dealing:
    """``units`` are clips that move together; ``strata`` hold the units that may change places."""

    design: str  # independent, speaker or within-speaker
    units: tuple[tuple[int, ...], ...]
    strata: tuple[tuple[int, ...], ...]

    def count(self, values: Array) -> float:
        """How many ways there are to deal ``values`` (clips,), as a float: it may be large."""
        ways = 1
        for stratum in self.strata:
            alike = Counter(float(values[self.units[unit][0]]) for unit in stratum)
            ways *= factorial(len(stratum)) // prod(map(factorial, alike.values()))
        return float(min(ways, 10**300))

    def deal(self, values: Array, draws: int, rng: np.random.Generator) -> Iterator[Array]:
        """``values`` (clips,) dealt anew: chunks of (draws, clips)."""
        unit_of = np.empty(len(values), dtype=np.int64)
        for number, clips in enumerate(self.units):
            unit_of[list(clips)] = number
        of_unit = np.array([values[clips[0]] for clips in self.units])
        for first in range(0, draws, CHUNK):
            dealt = np.tile(of_unit, (min(CHUNK, draws - first), 1))
            for stratum in self.strata:
                dealt[:, stratum] = rng.permuted(dealt[:, stratum], axis=1)
            yield dealt[:, unit_of]


def find_dealing(
    values: Sequence[Hashable], people: Sequence[str], apart: Sequence[Hashable] | None = None
) -> Dealing | None:
    """How ``values`` (clips,) can be dealt among ``people``, within levels of ``apart``; None where they cannot."""
    kept_apart = list(apart) if apart is not None else [0] * len(people)
    clips: dict[str, list[int]] = {}
    for clip, name in enumerate(people):
        clips.setdefault(name, []).append(clip)
    several = {name for name, own in clips.items() if len({values[clip] for clip in own}) > 1}
    repeated = {name for name, own in clips.items() if len(own) > 1}
    if not several:
        places = [frozenset(kept_apart[clip] for clip in own) for own in clips.values()]
        design = "speaker" if repeated else "independent"
        return Dealing(design, tuple(map(tuple, clips.values())), _strata(places))
    if several != repeated:
        return None
    keys = [(name if name in repeated else "", kept_apart[clip]) for clip, name in enumerate(people)]
    return Dealing("within-speaker", tuple((clip,) for clip in range(len(people))), _strata(keys))


def _strata(keys: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    found: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return tuple(map(tuple, found.values()))


def resampling(people: Sequence[str], places: Sequence[Hashable]) -> Strata:
    """Speakers as units of a bootstrap, drawn in each other's place where they stand in the same ``places``."""
    clips: dict[str, list[int]] = {}
    for clip, name in enumerate(people):
        clips.setdefault(name, []).append(clip)
    where = [frozenset(places[clip] for clip in own) for own in clips.values()]
    return Strata(tuple(map(tuple, clips.values())), _strata(where))


def other_attributes(
    cosines: Array, talkers: tuple[Sequence[str], Sequence[str]], *, permutations: int, rng: np.random.Generator
) -> tuple[Relabelling, Iterator[Array]]:
    """S of the targets with A and B relabelled within their talkers: chunks of (draws, targets)."""
    relabelling = relabel_attributes(talkers)
    members = np.zeros((len(relabelling.units), cosines.shape[1]))
    for number, clips in enumerate(relabelling.units):
        members[number, list(clips)] = 1

    def draw() -> Iterator[Array]:
        for chosen in selections(relabelling, permutations=permutations, rng=rng):
            is_a = np.zeros((len(chosen), len(members)))
            np.put_along_axis(is_a, chosen.astype(np.int64), 1, axis=1)
            in_a = is_a @ members
            n_a = in_a.sum(axis=1, keepdims=True)
            yield (in_a / n_a - (1 - in_a) / (in_a.shape[1] - n_a)) @ cosines.T

    return relabelling, draw()
