"""p's of comparisons between several groups, adjusted for their number by closed testing with relabellings.

Under the hypothesis that some groups are alike, their speakers, and no others, may be dealt anew among them; the test
of that hypothesis is the largest |d| of its comparisons. A comparison's adjusted p is the largest p of all hypotheses
(partitions of the groups into classes that are alike) that contain it: no comparison whose groups are alike is called
different but for a chance of alpha, whatever the others are (Marcus, Peritz and Gabriel 1976; Petrondas and Gabriel
1983). One relabelling over all groups would not do: it presumes that all are alike to say of two that they are not.

So that small groups do not rule the maximum, |d| counts times sqrt(m1 m2 / (m1 + m2)), m the speakers.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.permutation import TIE

Array = NDArray[np.float64]
Pair = tuple[int, int]
Classes = frozenset[frozenset[int]]

MOST_GROUPS = 7  # 877 partitions; of more groups Holm's adjustment
CHUNK = 2048  # relabellings at a time


def closed_p_values(
    units: Array,
    groups: NDArray[np.int64],
    own: Mapping[Pair, float],
    *,
    ddof: int,
    permutations: int,
    rng: np.random.Generator,
) -> dict[Pair, float]:
    """Adjusted p of every comparison, from its own p.

    ``units`` (units, 3): clips of each speaker, their sum of s and of s squared; ``groups`` (units,): the group of
    each. ``own``: p of the comparisons (i, j), which is that of the hypothesis that these two alone are alike.
    """
    hypotheses = _hypotheses(sorted(set(groups.tolist())), list(own))
    needed = {members for classes in hypotheses if not _is_one_pair(classes) for members in classes}
    largest = {
        members: _largest(units, groups, members, list(own), ddof=ddof, permutations=permutations, rng=rng)
        for members in sorted(needed, key=sorted)
    }
    p = {classes: _p_value(classes, own, largest) for classes in hypotheses}
    return {
        pair: max(found for classes, found in p.items() if any(set(pair) <= members for members in classes))
        for pair in own
    }


def _hypotheses(groups: Sequence[int], pairs: Sequence[Pair]) -> set[Classes]:
    """Partitions of the groups; classes within which nothing is compared do not count."""
    found = set()
    for partition in _partitions(list(groups)):
        classes = frozenset(frozenset(each) for each in partition if _within(frozenset(each), pairs))
        if classes:
            found.add(classes)
    return found


def _partitions(groups: list[int]) -> Iterator[list[list[int]]]:
    if not groups:
        yield []
        return
    first, rest = groups[0], groups[1:]
    for partition in _partitions(rest):
        yield [[first], *partition]
        for place, members in enumerate(partition):
            yield [*partition[:place], [first, *members], *partition[place + 1 :]]


def _within(members: frozenset[int], pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if set(pair) <= members]


def _is_one_pair(classes: Classes) -> bool:
    return len(classes) == 1 and len(next(iter(classes))) == 2


def _p_value(classes: Classes, own: Mapping[Pair, float], largest: Mapping[frozenset[int], Array]) -> float:
    """Of the hypothesis that the groups of every class are alike."""
    if _is_one_pair(classes):
        return next(p for pair, p in own.items() if set(pair) in classes)
    draws = np.max([largest[members] for members in sorted(classes, key=sorted)], axis=0)
    return float((draws >= draws[0] * (1 - TIE)).mean())  # the data are the first of the relabellings


def _largest(
    units: Array,
    groups: NDArray[np.int64],
    members: frozenset[int],
    pairs: Sequence[Pair],
    *,
    ddof: int,
    permutations: int,
    rng: np.random.Generator,
) -> Array:
    """The largest scaled |d| within a class: of the data, then of each relabelling, (1 + permutations,)."""
    order = np.argsort(groups, kind="stable")
    order = order[np.isin(groups[order], list(members))]
    names, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    place = {int(name): number for number, name in enumerate(names)}
    asked = [(place[i], place[j]) for i, j in _within(members, pairs)]
    weight = [np.sqrt(sizes[i] * sizes[j] / (sizes[i] + sizes[j])) for i, j in asked]
    values = units[order]
    drawn = chain([values[None]], (_deal(values, count, rng) for count in _chunks(permutations)))
    return np.concatenate([_reach(np.add.reduceat(each, starts, axis=1), asked, weight, ddof) for each in drawn])


def _chunks(permutations: int) -> list[int]:
    return [min(CHUNK, permutations - first) for first in range(0, permutations, CHUNK)]


def _deal(values: Array, count: int, rng: np.random.Generator) -> Array:
    order = rng.permuted(np.tile(np.arange(len(values)), (count, 1)), axis=1)
    return np.asarray(values[order])


def _reach(sums: Array, pairs: Sequence[Pair], weight: Sequence[float], ddof: int) -> Array:
    """The largest scaled |d| from the sums of each group, (draws, groups, 3); infinite where s has no spread."""
    found = np.zeros(len(sums))
    for (i, j), scale in zip(pairs, weight, strict=True):
        n, total, squares = np.moveaxis(sums[:, i] + sums[:, j], -1, 0)
        variance = (squares - total**2 / n) / (n - ddof)
        apart = np.abs(sums[:, i, 1] / sums[:, i, 0] - sums[:, j, 1] / sums[:, j, 0])
        flat = variance <= TIE * squares / n
        d = np.where(flat, np.inf, apart / np.sqrt(np.where(flat, 1, variance)))
        found = np.maximum(found, scale * d)
    return found
