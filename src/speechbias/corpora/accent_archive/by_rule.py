"""Targets drawn anew from the archive: of SpEAT's categories by a rule like its own, and of native languages."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import numpy as np
from scipy.optimize import linear_sum_assignment

from speechbias.corpora.accent_archive.speakers import GROUPS, Speaker, in_order, read_archive, refuse_if_empty
from speechbias.corpora.corpus import Part, Request
from speechbias.errors import InputError

Pair = tuple[Speaker, Speaker]
ENGLISH = "english"
LANGUAGE_COUNT = 10  # speakers of a native language, where nothing else is asked


def _is_from_usa(speaker: Speaker) -> bool:
    return speaker.native_language == "english" and speaker.country == "usa" and speaker.sex in ("female", "male")


def draw_gender(speakers: Sequence[Speaker], count: int, rng: np.random.Generator) -> list[Pair]:
    """Pairs of a woman and a man of the same age in years, native English, USA."""
    cells = defaultdict(list)
    for speaker in _shuffle([s for s in speakers if _is_from_usa(s)], rng):
        cells[speaker.age, speaker.sex].append(speaker)
    ages = sorted({age for age, _ in cells})
    pairs = [pair for age in ages for pair in zip(cells[age, "female"], cells[age, "male"], strict=False)]
    return [pairs[index] for index in sorted(rng.permutation(len(pairs))[:count])]


def draw_native(speakers: Sequence[Speaker], count: int, rng: np.random.Generator) -> list[Pair]:
    """Pairs of an American and a Korean of one sex with the least sum of age differences; the closest pairs stay."""
    shuffled = _shuffle(speakers, rng)
    pairs: list[Pair] = []
    for sex in ("female", "male"):
        us = [s for s in shuffled if _is_from_usa(s) and s.sex == sex]
        korean = [s for s in shuffled if s.native_language == "korean" and s.sex == sex]
        distance = np.abs(np.subtract.outer([s.age for s in us], [s.age for s in korean]))  # (us, korean) years
        rows, columns = linear_sum_assignment(distance)
        pairs += [(us[row], korean[column]) for row, column in zip(rows, columns, strict=True)]
    return sorted(pairs, key=lambda pair: abs(pair[0].age - pair[1].age))[:count]


def draw_age(speakers: Sequence[Speaker], count: int, rng: np.random.Generator) -> list[Pair]:
    """The count / 2 youngest and oldest women, and as many men, native English, USA: (young, old), no one is both."""
    shuffled = _shuffle([s for s in speakers if _is_from_usa(s)], rng)
    cells = [sorted((s for s in shuffled if s.sex == sex), key=lambda s: s.age) for sex in ("female", "male")]
    size = min(count // 2, *(len(cell) // 2 for cell in cells))
    return [pair for cell in cells for pair in zip(cell[:size], cell[::-1][:size], strict=True)]


def _shuffle(speakers: Sequence[Speaker], rng: np.random.Generator) -> list[Speaker]:
    return [speakers[index] for index in rng.permutation(len(speakers))]


_RULES: Mapping[str, tuple[Callable[[Sequence[Speaker], int, np.random.Generator], list[Pair]], str]] = {
    "gender": (draw_gender, "pairs of the same age, native English, USA"),
    "native": (draw_native, "pairs of the same sex and of like age"),
    "age": (draw_age, "youngest and oldest of each sex, native English, USA"),
}


def build_by_rule(category: str, request: Request, count: int) -> Part:
    """``count`` clips per group of SpEAT's categories. InputError for one without a rule."""
    if category not in _RULES:
        raise InputError(f"accent-archive:{category} has no rule for --count. Leave --count out, or use age.")
    if category == "age" and count % 2:
        raise InputError(
            f"accent-archive:age takes as many women as men: --count {count} is odd. Give an even number."
        )
    draw, rule = _RULES[category]
    archive = [speaker for speaker in read_archive(request).values() if not math.isnan(speaker.age)]
    archive.sort(key=in_order)  # not the order of files on disk
    pairs = draw(archive, count, request.rng)
    paired = category != "age"
    placed = []
    for key, group, side in zip("XY", GROUPS[category], (0, 1), strict=True):
        for number, pair in enumerate(pairs):
            placed.append(pair[side].place(key, group, pair=str(number) if paired else ""))
    notes = [f"{category}: {len(pairs)} per group by rule ({rule}), seed {request.seed}"]
    if len(pairs) < count:
        notes.append(f"{count} per group were asked for; this copy gives {len(pairs)}")
    if category == "native" and pairs:
        notes.append(f"native: ages within a pair differ by up to {max(abs(x.age - y.age) for x, y in pairs):g} years")
    if category == "age" and pairs:
        young, old = max(x.age for x, _ in pairs), min(y.age for _, y in pairs)
        notes.append(f"age: Young up to {young:g}, Old from {old:g} years")
    refuse_if_empty(request, placed, category)
    return Part(tuple(placed), tuple(notes))


def draw_languages(speakers: Sequence[Speaker], count: int, rng: np.random.Generator) -> dict[str, list[Speaker]]:
    """``count`` speakers of every native language that has so many, women and men in turn; English: of the USA.

    English comes first, then the others by name.
    """
    cells: dict[str, tuple[list[Speaker], list[Speaker]]] = {}
    for speaker in _shuffle([s for s in speakers if s.sex in ("female", "male")], rng):
        if speaker.native_language != ENGLISH or _is_from_usa(speaker):
            cells.setdefault(speaker.native_language, ([], []))[speaker.sex == "male"].append(speaker)
    turns = {name: [s for pair in zip_longest(*cell) for s in pair if s] for name, cell in cells.items()}
    names = sorted((name for name, found in turns.items() if len(found) >= count), key=lambda n: (n != ENGLISH, n))
    return {name: sorted(turns[name][:count], key=in_order) for name in names}


def build_languages(request: Request) -> Part:
    """X: native English, USA; Y: all other native languages with enough speakers. `groups` takes them apart again."""
    count = LANGUAGE_COUNT if request.count is None else request.count
    speakers = sorted(read_archive(request).values(), key=in_order)
    drawn = draw_languages(speakers, count, request.rng)
    if ENGLISH not in drawn or len(drawn) < 2:
        raise InputError(
            f"{request.folder}: native English of the USA and another language with {count} speakers each are needed. "
            "Ask for fewer with --count, or complete the archive."
        )
    placed = [
        each.place("X" if name == ENGLISH else "Y", "English" if name == ENGLISH else "Other languages")
        for name, found in drawn.items()
        for each in found
    ]
    others = ", ".join(name for name in drawn if name != ENGLISH)
    return Part(tuple(placed), (f"languages: {count} speakers each of English (USA), {others}; seed {request.seed}",))
