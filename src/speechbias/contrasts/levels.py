"""Targets put into groups by a column of their CSV: its values, or bands of a number.

``accent`` has a group for every value; ``age:30,50`` three: below 30, 30 to below 50, 50 and more. A blank value is
no group. Groups of fewer than two clips are left out, and said to be.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speechbias.corpora.corpus import suggest
from speechbias.errors import InputError

LEAST = 2  # clips of a group, as of a set
MOST = 40  # groups: more are a column of numbers or of free text


@dataclass(frozen=True)
class Levels:
    """``codes`` (targets,) number the groups; -1 is none of them."""

    column: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    warnings: tuple[str, ...] = ()

    @property
    def no_value(self) -> int:
        """How many targets are in none."""
        return int((self.codes < 0).sum())

    def rows(self, name: str) -> NDArray[np.intp]:
        """The targets of a group."""
        return np.flatnonzero(self.codes == self.names.index(name))

    def with_reference(self, name: str) -> "Levels":
        """The same groups with this one first. InputError where there is none of this name."""
        if name not in self.names:
            raise InputError(f"{self.column} has no group {name!r} for --reference. {suggest(name, self.names)}")
        order = [self.names.index(name), *(i for i, other in enumerate(self.names) if other != name)]
        place = np.argsort(order)
        codes = np.where(self.codes < 0, -1, place[self.codes])
        return replace(self, names=tuple(self.names[i] for i in order), codes=codes)


def find_levels(columns: Mapping[str, Sequence[str]], by: str) -> Levels:
    """The groups of ``by``: a column, or COLUMN:BOUND[,BOUND] for bands.

    InputError for an unknown column, bounds or values that are no numbers, and fewer than two groups.
    """
    column, mark, bounds = by.partition(":")
    values = _column(columns, column)
    if mark:
        names, codes = _bands(column, values, bounds)
    else:
        names = tuple(dict.fromkeys(value for value in values if value))
        codes = np.array([names.index(value) if value else -1 for value in values], dtype=np.int64)
    return _checked(Levels(column, names, codes), numeric=not mark)


def cross(first: Levels, second: Levels) -> Levels:
    """The cells of two factors, those of the first level of the first factor first; InputError for an empty one."""
    if first.column == second.column:
        raise InputError(f"--by {first.column} is given twice. Two factors are two columns.")
    names = tuple(f"{a}, {b}" for a in first.names for b in second.names)
    either = (first.codes < 0) | (second.codes < 0)
    codes = np.where(either, -1, first.codes * len(second.names) + second.codes)
    counts = np.bincount(codes[~either], minlength=len(names))
    if small := [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < LEAST]:
        raise InputError(
            f"{first.column} by {second.column}: too few clips of {'; '.join(small)}. Every cell needs {LEAST}: give "
            "wider bands, or leave a level blank in the CSV."
        )
    return Levels(f"{first.column} by {second.column}", names, codes, (*first.warnings, *second.warnings))


def find_numbers(columns: Mapping[str, Sequence[str]], column: str, *, bands: bool = False) -> NDArray[np.float64]:
    """A column's numbers, NaN where blank, (targets,). InputError for an unknown column and for what is no number."""
    values = _column(columns, column)
    numbers = np.array([_number(value) for value in values])
    if odd := Counter(value for value, number in zip(values, numbers, strict=True) if value and math.isnan(number)):
        value, count = odd.most_common(1)[0]
        more = f" and {len(odd) - 1} other text{'s' * (len(odd) > 2)}" if len(odd) > 1 else ""
        way = "Write one number for each clip, or leave it blank (no value)"
        way += "." if bands else f"; or compare its values as groups: --by {column}."
        raise InputError(f"{column} holds {value!r} in {count} clip{'s' * (count > 1)}{more}: no number. {way}")
    if np.isnan(numbers).all():
        raise InputError(f"{column} is blank for all targets. Name another column.")
    return numbers


def _column(columns: Mapping[str, Sequence[str]], column: str) -> Sequence[str]:
    if column not in columns:
        raise InputError(f"The stimuli have no column {column!r}. {suggest(column, columns)}")
    return columns[column]


def _bands(column: str, values: Sequence[str], text: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    bounds = [_number(part) for part in text.split(",")]
    if any(map(math.isnan, bounds)) or sorted(set(bounds)) != bounds:
        raise InputError(f"--by {column}:{text}: bounds are rising numbers, for example {column}:30,50.")
    numbers = find_numbers({column: values}, column, bands=True)
    codes = np.where(np.isnan(numbers), -1, np.searchsorted(bounds, numbers, side="right"))
    between = [f"{low:g} to below {high:g}" for low, high in pairwise(bounds)]
    return (f"below {bounds[0]:g}", *between, f"{bounds[-1]:g} and more"), codes


def _checked(levels: Levels, *, numeric: bool) -> Levels:
    """Without groups that are too small. InputError where fewer than two are left, or too many to be groups."""
    counts = np.bincount(levels.codes[levels.codes >= 0], minlength=len(levels.names))
    kept = [i for i, count in enumerate(counts) if count >= LEAST]
    if len(kept) < 2:
        found = ", ".join(f"{name} {count}" for name, count in zip(levels.names, counts, strict=True)) or "no value"
        raise InputError(f"{levels.column}: two groups of {LEAST} clips or more are needed, there is {found}.")
    if len(kept) > MOST:
        way = (
            f"give bands, --by {levels.column}:BOUND,BOUND, or --slope {levels.column}" if numeric else "fewer bounds"
        )
        raise InputError(f"{levels.column} has {len(kept)} groups, more than {MOST}: {way}.")
    warnings = tuple(
        f"{levels.names[i]} is left out: {count} clip{'' if count == 1 else 's'}, a group needs {LEAST}"
        for i, count in enumerate(counts)
        if count < LEAST
    )
    place = np.full(len(levels.names) + 1, -1)
    place[kept] = np.arange(len(kept))
    return replace(levels, names=tuple(levels.names[i] for i in kept), codes=place[levels.codes], warnings=warnings)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
