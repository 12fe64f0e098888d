"""What every corpus offers: categories, each a function from a folder on disk to stimuli.

A corpus is a module with a ``CORPUS``. Its categories give targets (X and Y) or attributes (A and B); what they could
not do as asked (clips missing, fewer than wanted) they say in notes.
"""

import csv
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechbias.errors import InputError, not_utf8
from speechbias.stimuli import Stimulus

COUNT = 60  # clips per set that a rule draws when nothing else is asked: the paper's largest category (Table 1)
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")


@dataclass(frozen=True)
class Request:
    """What a category is asked for."""

    folder: Path
    count: int | None = None  # clips per set; None: what the corpus's published rule or ``COUNT`` gives
    seed: int = 0
    select: Mapping[str, str] = field(default_factory=dict)  # set -> filter; `csv` only
    each: str = ""  # a column: ``count`` targets of each of its values; `csv` only

    @property
    def rng(self) -> np.random.Generator:
        """A fresh stream of random numbers, the same for the same seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Part:
    """Two sets of a test (or, of a table, those that were asked for), with remarks for the user."""

    stimuli: tuple[Stimulus, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A corpus: its name on the command line, where to get it, and what can be built from it."""

    name: str
    about: str
    source: str  # where to get it
    licence: str
    categories: Mapping[str, Callable[[Request], Part]]
    default: str = ""  # the category when none is named; blank: it must be named


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus, before it stands in a set."""

    path: Path
    speaker: str
    kind: str = ""  # what a draw also spreads over, for example the emotion
    columns: Mapping[str, str] = field(default_factory=dict)

    def place(self, key: str, group: str, *, pair: str = "") -> Stimulus:
        """The clip as a stimulus of set ``key``."""
        return Stimulus(self.path, key, group, self.speaker, pair, columns=dict(self.columns))


def spread(clips: Sequence[Clip], count: int, rng: np.random.Generator) -> list[Clip]:
    """At most ``count`` clips, as evenly as can be over speakers, and over kinds within a speaker; sorted by path."""
    drawn = [clips[index] for index in rng.permutation(len(clips))]
    keys: tuple[Callable[[Clip], object], ...] = (lambda clip: (clip.speaker, clip.kind), lambda clip: clip.speaker)
    for key in keys:
        seen: Counter[object] = Counter()
        turns = []
        for clip in drawn:
            turns.append(seen[key(clip)])  # how many of its kind come before: its turn
            seen[key(clip)] += 1
        drawn = [drawn[index] for index in np.argsort(turns, kind="stable")]
    return sorted(drawn[:count], key=lambda clip: clip.path)


def contrast(request: Request, sets: Mapping[str, tuple[str, Sequence[Clip]]]) -> Part:
    """Two sets of equal size, {set: (group, its clips)}, spread over speakers: ``count`` clips each, or what there is.

    InputError where a group has fewer than 2 clips.
    """
    wanted = COUNT if request.count is None else request.count
    if poor := [
        f"{request.folder} has {len(clips)} clips of {group}" for group, clips in sets.values() if len(clips) < 2
    ]:
        raise InputError(*(f"{problem}; 2 or more are needed. Is the corpus complete?" for problem in poor))
    size = min(wanted, *(len(clips) for _, clips in sets.values()))
    rng, stimuli, notes = request.rng, [], []
    for key, (group, clips) in sets.items():
        chosen = spread(clips, size, rng)
        speakers = len({clip.speaker for clip in chosen})
        stimuli += [clip.place(key, group) for clip in chosen]
        notes.append(f"{key} {group}: {size} of {len(clips)} clips, spread over {speakers} speakers")
    if request.count is not None and size < wanted:
        notes.append(f"{wanted} clips per set were asked for; the smaller group has {size}")
    return Part(tuple(stimuli), tuple(notes))


def find_file(request: Request, corpus: Corpus, *names: str) -> Path:
    """The first of these files that the folder has; InputError says what was looked for and where to get it."""
    if not request.folder.is_dir():
        raise InputError(f"{request.folder} is no folder. Give the folder of {corpus.about}: {corpus.name}=FOLDER.")
    for name in names:
        if (path := request.folder / name).is_file():
            return path
    raise refuse_folder(request, corpus, " or ".join(names))


def refuse_folder(request: Request, corpus: Corpus, wanted: str) -> InputError:
    """The error for a folder that is not the corpus."""
    return InputError(
        f"{request.folder} has no {wanted}. {corpus.name} is {corpus.about}; get it from {corpus.source} "
        f"({corpus.licence}) and give the folder that holds it."
    )


def read_rows(path: Path, *, delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a corpus's table, stripped; columns without a name are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text ({not_utf8(error)}). Get the corpus again.") from None
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    return [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in rows]


def need_columns(path: Path, rows: Sequence[Mapping[str, str]], columns: Iterable[str]) -> None:
    """InputError unless the table has rows, and these columns."""
    if not rows:
        raise InputError(f"{path} has no rows. Get the corpus again.")
    if missing := [column for column in columns if column not in rows[0]]:
        raise InputError(f"{path} has no column {', '.join(missing)}. Is it the corpus's own file?")


def find_audio(folder: Path, *, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """All audio files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def suggest(word: str, valid: Iterable[str]) -> str:
    """The valid names for an error message, the nearest one first."""
    valid = [name for name in valid if name]
    near = difflib.get_close_matches(word.lower(), valid, n=1, cutoff=0.5)
    return (f"Did you mean {near[0]}? " if near else "") + f"There are: {', '.join(valid)}."


def abbreviate(names: Iterable[str], *, most: int = 6) -> str:
    """Some names, for a note that stays one line."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
