"""Relabellings as arrays: which units are labelled X, all of them or independent random ones, in chunks.

One representation for both p-values: a chunk is (draws, slots), each row the units that one relabelling chooses.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from speechbias.compiled import compiled
from speechbias.inference.designs import Relabelling

Units = NDArray[np.int32]

EXACT_UP_TO = 1_000_000
CHUNK = 8192  # draws at a time: their sums stay in the cache


def is_exact(relabelling: Relabelling) -> bool:
    """Whether all relabellings are counted, because there are at most a million."""
    return relabelling.count <= EXACT_UP_TO


def selections(
    relabelling: Relabelling, *, permutations: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int32]]:
    """Chunks of chosen units (draws, slots): each relabelling once where ``is_exact``, else ``permutations`` draws."""
    if is_exact(relabelling):
        yield from _every(relabelling)
        return
    order = np.arange(len(relabelling.units), dtype=np.int32)
    slots = int(relabelling.chosen.sum())
    for first in range(0, permutations, CHUNK):
        size = (min(CHUNK, permutations - first), (slots + 1) // 2)
        words = rng.integers(2**64, size=size, dtype=np.uint64).view(np.uint32)  # half the price of 32 bits each
        yield _shuffle(order, relabelling.starts, relabelling.chosen, slots, words)


def _every(relabelling: Relabelling) -> Iterator[NDArray[np.int32]]:
    """Count through the product of each stratum's combinations."""
    sizes = np.diff(relabelling.starts).tolist()
    chosen = relabelling.chosen.tolist()
    tables = [_combinations(m, min(k, m - k)) for m, k in zip(sizes, chosen, strict=True)]
    for first in range(0, relabelling.count, CHUNK):
        number = np.arange(first, min(first + CHUNK, relabelling.count))
        columns = []
        for start, m, k, table in zip(
            relabelling.starts[:-1], sizes, relabelling.chosen.tolist(), tables, strict=True
        ):
            number, digit = np.divmod(number, len(table))
            units = table[digit] if 2 * k <= m else _complement(table[digit], m)
            columns.append(units + np.int32(start))
        yield np.concatenate(columns, axis=1)


@lru_cache(maxsize=16)
def _combinations(m: int, k: int) -> NDArray[np.int32]:
    """All choices of k of m, (C(m, k), k)."""
    flat = np.fromiter(chain.from_iterable(combinations(range(m), k)), dtype=np.int32)
    return flat.reshape(-1, k) if k else np.empty((1, 0), dtype=np.int32)


def _complement(left_out: NDArray[np.int32], m: int) -> NDArray[np.int32]:
    """The units of m that are not in each row: a table of 1000 out of 1002 would not fit into memory."""
    chosen = np.ones((len(left_out), m), dtype=np.bool_)
    np.put_along_axis(chosen, left_out, values=False, axis=1)
    return np.nonzero(chosen)[1].reshape(len(left_out), -1).astype(np.int32)


@compiled
def _shuffle(order, starts, chosen, slots, words):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Partial Fisher-Yates in every stratum: uniform whatever ``order`` the draw before left, so it is never reset.

    ``words`` (draws, slots or one more) are uniform in 32 bits; scaled to m places, no place is off by more than
    m / 2^32 of its share.
    """
    selected = np.empty((len(words), slots), np.int32)
    for draw in range(len(words)):
        slot = 0
        for stratum in range(len(chosen)):
            end = starts[stratum + 1]
            for i in range(starts[stratum], starts[stratum] + chosen[stratum]):
                j = i + np.int64((np.uint64(words[draw, slot]) * np.uint64(end - i)) >> np.uint64(32))
                order[i], order[j] = order[j], order[i]
                selected[draw, slot] = order[i]
                slot += 1
    return selected


def sum_units(values: NDArray[np.float64], units: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Sums of ``values`` (clips, columns) over each unit's clips, (units, columns); alike alone or among others."""
    columns = np.ascontiguousarray(values.T)
    return np.stack([np.ascontiguousarray(columns[:, list(clips)]).sum(axis=1) for clips in units])


@compiled
def sum_selected(values, selected):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sums of ``values`` (units, columns) over the chosen units of each draw, (draws, columns), in float64."""
    draws, slots = selected.shape
    sums = np.zeros((draws, values.shape[1]))
    for draw in range(draws):
        row = sums[draw]
        for slot in range(0, slots - 3, 4):  # four units at a time, so that the sums are not stored after each
            first, second = values[selected[draw, slot]], values[selected[draw, slot + 1]]
            third, fourth = values[selected[draw, slot + 2]], values[selected[draw, slot + 3]]
            for column in range(values.shape[1]):
                row[column] += (first[column] + second[column]) + (third[column] + fourth[column])
        for slot in range(slots - slots % 4, slots):
            last = values[selected[draw, slot]]
            for column in range(values.shape[1]):
                row[column] += last[column]
    return sums
