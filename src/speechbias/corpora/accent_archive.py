"""Speech Accent Archive (accent.gmu.edu): one English paragraph read by speakers from all over the world.

Read from its public copy (``speakers_all.csv`` and ``recordings/*.mp3``) or from folders as SpEAT keeps them
(``clip_info.csv`` beside ``<id>.wav`` or ``<id>.mp3``). Without ``--count`` the targets are SpEAT's own lists
(``accent_archive_lists.csv``: ids, groups and pairs from the clip_info.csv files of github.com/isaacOnline/SpEAT,
commit e08f05ec): Gender 60, Native 59, Age 58 per group in a full archive. With ``--count`` they are drawn anew, by
rule. Every speaker speaks once.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from itertools import zip_longest
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from speechbias.corpora.corpus import (
    AUDIO_SUFFIXES,
    Corpus,
    Part,
    Request,
    abbreviate,
    need_columns,
    read_rows,
    refuse_folder,
)
from speechbias.errors import InputError
from speechbias.paper import SILENCES
from speechbias.stimuli import Stimulus

Pair = tuple["Speaker", "Speaker"]
ENGLISH = "english"
LANGUAGE_COUNT = 10  # speakers of a native language, where nothing else is asked


@dataclass(frozen=True)
class Speaker:
    """One speaker of the archive whose recording is there, as either layout describes them."""

    id: str
    name: str  # english104: the name of the recording in the archive
    sex: str
    age: float  # years; NaN where unknown
    native_language: str
    country: str
    path: Path

    def place(self, key: str, group: str, *, pair: str = "") -> Stimulus:
        """The speaker's recording as a stimulus of set ``key``."""
        columns = {
            "gender": self.sex,
            "age": "" if math.isnan(self.age) else f"{self.age:g}",
            "native_language": self.native_language,
            "country": self.country,
            "corpus": "Speech Accent Archive",
        }
        return Stimulus(self.path, key, group, self.id, pair, columns=columns)


# ---- SpEAT's lists ----

_GROUPS = {
    "gender": ("Female", "Male"),
    "native": ("US", "Korean"),
    "age": ("Young", "Old"),
    "age-uk": ("Young", "Old"),
}


@dataclass(frozen=True)
class Listed:
    """One line of SpEAT's lists."""

    group: str
    pair: str  # blank where the category is not paired
    id: str
    name: str
    sex: str


def read_list(category: str) -> tuple[Listed, ...]:
    """SpEAT's stimuli of ``gender``, ``native``, ``age`` or ``age-uk``."""
    file = resources.files("speechbias.corpora") / "accent_archive_lists.csv"
    with resources.as_file(file) as path:
        rows = read_rows(path)
    return tuple(
        Listed(row["group"], row["pair"], row["id"], row["name"], row["sex"])
        for row in rows
        if row["category"] == category
    )


def _build_listed_pairs(category: str, request: Request) -> Part:
    """Complete pairs of SpEAT's list; a missing recording drops its pair partner too."""
    archive, listed = read_archive(request), read_list(category)
    pairs = defaultdict(list)
    for each in listed:
        pairs[each.pair].append(each)
    missing = [each for each in listed if each.id not in archive]
    lost = {each.pair for each in missing}
    placed = [
        archive[each.id].place("XY"[_GROUPS[category].index(each.group)], each.group, pair=each.pair)
        for each in listed
        if each.pair not in lost
    ]
    notes = [f"{category}: {len(pairs) - len(lost)} of SpEAT's {len(pairs)} pairs"]
    if lost:
        names = abbreviate(each.name for each in missing)
        notes[0] += f"; {len(lost)} left out, because a recording is not in this copy ({names})"
    if category == "native":
        silence = SILENCES["native-count"]
        notes.append(f"{silence.topic}. Here: {silence.chosen}; {silence.reason}")
    _refuse_if_empty(request, placed, category)
    return Part(tuple(placed), tuple(notes))


def _build_listed_ages(category: str, request: Request) -> Part:
    """SpEAT's list cut down to equal numbers of women and men in both groups; the most extreme ages stay."""
    archive, listed = read_archive(request), read_list(category)
    cells: dict[tuple[str, str], list[Speaker]] = {(each.group, each.sex): [] for each in listed}
    for each in listed:
        if each.id in archive:
            cells[each.group, each.sex].append(archive[each.id])
    size = min(len(cell) for cell in cells.values())
    full = len(listed) // len(cells)
    placed = []
    for (group, _), cell in cells.items():
        cell.sort(key=lambda speaker: (speaker.age if group == "Young" else -speaker.age, _order(speaker)))
        placed += [speaker.place("XY"[_GROUPS[category].index(group)], group) for speaker in cell[:size]]
    notes = [f"{category}: {2 * size} of SpEAT's {2 * full} per group, {size} women and {size} men each"]
    if size < full:
        missing = [each.name for each in listed if each.id not in archive]
        balanced = sum(len(cell) - size for cell in cells.values())
        notes[0] += (
            f"; {len(missing)} recordings are not in this copy ({abbreviate(missing)}), {balanced} more left out to "
            "balance sex"
        )
    _refuse_if_empty(request, placed, category)
    return Part(tuple(placed), tuple(notes))


def _refuse_if_empty(request: Request, placed: Sequence[object], category: str) -> None:
    if not placed:
        raise InputError(f"{request.folder} holds no recording of the category {category}. Is the corpus complete?")


# ---- By rule ----


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


def _build_by_rule(category: str, request: Request, count: int) -> Part:
    if category not in _RULES:
        raise InputError(f"accent-archive:{category} has no rule for --count. Leave --count out, or use age.")
    if category == "age" and count % 2:
        raise InputError(
            f"accent-archive:age takes as many women as men: --count {count} is odd. Give an even number."
        )
    draw, rule = _RULES[category]
    archive = [speaker for speaker in read_archive(request).values() if not math.isnan(speaker.age)]
    archive.sort(key=_order)  # not the order of files on disk
    pairs = draw(archive, count, request.rng)
    paired = category != "age"
    placed = []
    for key, group, side in zip("XY", _GROUPS[category], (0, 1), strict=True):
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
    _refuse_if_empty(request, placed, category)
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
    return {name: sorted(turns[name][:count], key=_order) for name in names}


def _build_languages(request: Request) -> Part:
    """X: native English, USA; Y: all other native languages with enough speakers. `groups` takes them apart again."""
    count = LANGUAGE_COUNT if request.count is None else request.count
    speakers = sorted(read_archive(request).values(), key=_order)
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


# ---- The archive on disk ----


def read_archive(request: Request) -> dict[str, Speaker]:
    """Speakers by archive id whose recording is there."""
    folder = request.folder
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give the folder of {CORPUS.about}: accent-archive:CATEGORY=FOLDER.")
    if (folder / "speakers_all.csv").is_file():
        speakers = _read_public_copy(folder)
    elif tables := sorted([*folder.glob("clip_info.csv"), *folder.glob("*/clip_info.csv")]):
        speakers = [speaker for table in tables for speaker in _read_clip_info(table)]
    else:
        raise refuse_folder(request, CORPUS, "speakers_all.csv (nor SpEAT's clip_info.csv)")
    if not speakers:
        raise refuse_folder(request, CORPUS, "recording beside its table (recordings/*.mp3, or <id>.wav)")
    return {speaker.id: speaker for speaker in speakers}


def _read_public_copy(folder: Path) -> list[Speaker]:
    table = folder / "speakers_all.csv"
    rows = read_rows(table)
    need_columns(table, rows, ("age", "filename", "native_language", "sex", "speakerid", "country"))
    audio = _index_audio(folder, folder / "recordings", folder / "recordings" / "recordings")
    return [
        _make_speaker(row, audio[row["filename"]], row["speakerid"], row["filename"], row["country"])
        for row in rows
        if row["filename"] in audio
    ]


def _read_clip_info(table: Path) -> list[Speaker]:
    rows = read_rows(table)
    need_columns(table, rows, ("id", "name", "birth_place", "native_language", "age", "sex"))
    audio = _index_audio(table.parent)
    found = [(row, audio.get(row["id"]) or audio.get(row["name"])) for row in rows]
    return [
        _make_speaker(row, path, row["id"], row["name"], row["birth_place"].rsplit(",", 1)[-1].strip())
        for row, path in found
        if path is not None
    ]


def _order(speaker: Speaker) -> tuple[int, str]:
    """Ids in numerical order."""
    return len(speaker.id), speaker.id


def _parse_age(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _make_speaker(row: Mapping[str, str], path: Path, identity: str, name: str, country: str) -> Speaker:
    sex = row["sex"].replace("famale", "female")  # one row of the public copy
    return Speaker(identity, name, sex, _parse_age(row["age"]), row["native_language"], country, path)


def _index_audio(*folders: Path) -> dict[str, Path]:
    """Recordings by name without suffix."""
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return {path.stem: path for path in reversed(found) if path.suffix.lower() in AUDIO_SUFFIXES}


def _build(category: str, request: Request) -> Part:
    if request.count is not None:
        return _build_by_rule(category, request, request.count)
    build = _build_listed_ages if category.startswith("age") else _build_listed_pairs
    return build(category, request)


CORPUS = Corpus(
    name="accent-archive",
    about="the Speech Accent Archive (speakers_all.csv and recordings/*.mp3)",
    source="https://www.kaggle.com/datasets/rtatman/speech-accent-archive or https://accent.gmu.edu",
    licence="CC BY-NC-SA 4.0",
    categories={category: partial(_build, category) for category in _GROUPS} | {"languages": _build_languages},
)
