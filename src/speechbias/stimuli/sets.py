"""The four sets of a test, and what must hold of them together."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

from speechbias.errors import InputError
from speechbias.results import SETS


class Skipped(TypedDict):
    """One row that ``--skip-bad`` left out, as the record lists it."""

    row: int
    path: str
    why: str


@dataclass(frozen=True)
class Stimulus:
    """One clip: where its audio lies, in which set it stands, and what the CSV says of it."""

    path: Path  # absolute or relative to the working directory, ready to open
    set: str  # X, Y, A or B
    group: str
    speaker: str = ""  # blank: unknown
    pair: str = ""
    row: int = 0  # line in the CSV, the header being line 1
    written: str = ""  # the path as the CSV has it
    columns: Mapping[str, str] = field(default_factory=dict)  # any further columns


@dataclass(frozen=True)
class StimulusSet:
    """The four sets of one test, in the order of the CSV."""

    name: str
    X: tuple[Stimulus, ...]
    Y: tuple[Stimulus, ...]
    A: tuple[Stimulus, ...]
    B: tuple[Stimulus, ...]
    warnings: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()  # rows that were left out while reading

    @property
    def stimuli(self) -> tuple[Stimulus, ...]:
        """All stimuli: X, then Y, A and B."""
        return self.X + self.Y + self.A + self.B

    @property
    def sets(self) -> dict[str, tuple[Stimulus, ...]]:
        """The stimuli of each set."""
        return {"X": self.X, "Y": self.Y, "A": self.A, "B": self.B}

    @property
    def groups(self) -> dict[str, str]:
        """What each set is called: its group label, several joined by " / ", the set's letter where all are blank."""
        labels = {key: dict.fromkeys(s.group for s in members if s.group) for key, members in self.sets.items()}
        return {key: " / ".join(found) or key for key, found in labels.items()}

    @property
    def speakers(self) -> dict[str, tuple[str, ...]]:
        """The speaker of every stimulus, per set; "" where unknown."""
        return {key: tuple(s.speaker for s in members) for key, members in self.sets.items()}

    @property
    def pairs(self) -> dict[str, tuple[str, ...]]:
        """The pair id of every target, for X and Y; "" where there is none."""
        return {"X": tuple(s.pair for s in self.X), "Y": tuple(s.pair for s in self.Y)}

    def partners(self, rows: Collection[int]) -> dict[int, int]:
        """Targets outside ``rows`` whose pair partner is in ``rows``: row -> a partner's row."""
        paired = [s for s in self.X + self.Y if s.pair]
        lost = {s.pair: s.row for s in paired if s.row in rows}
        return {s.row: lost[s.pair] for s in paired if s.pair in lost and s.row not in rows}

    def without(self, rows: Iterable[int]) -> "StimulusSet":
        """The same test without these rows (lines of the CSV) and without their pair partners."""
        gone = set(rows)
        gone |= set(self.partners(gone))
        x, y, a, b = (tuple(s for s in members if s.row not in gone) for members in self.sets.values())
        left = replace(self, X=x, Y=y, A=a, B=b)
        return replace(left, warnings=_warn_of_sets(left))


def make_stimulus_set(name: str, stimuli: Iterable[Stimulus]) -> StimulusSet:
    """Sort stimuli into the four sets of a test and check what concerns them together.

    Refused, all problems at once: a set below 2 stimuli, one file in two sets. Warned about: a file twice in a set,
    unequal groups, a set of one speaker only, several groups in a set, incomplete pairs. Rows are numbered as
    ``write_stimuli`` would write them where they have no number.
    """
    made = sort_stimuli(name, stimuli)
    problems = find_small_sets(made) + find_shared_files(made)
    if problems:
        raise InputError(*problems)
    return replace(made, warnings=_warn_of_sets(made))


def sort_stimuli(name: str, stimuli: Iterable[Stimulus]) -> StimulusSet:
    """The four sets of a test, unchecked."""
    members = list(stimuli)
    x, y, a, b = (tuple(s for s in members if s.set == key) for key in SETS)
    return number_rows(StimulusSet(name, x, y, a, b))


def number_rows(stimuli: StimulusSet) -> StimulusSet:
    """Rows as ``write_stimuli`` would write them, unless every stimulus has a row of its own already."""
    rows = {s.row for s in stimuli.stimuli}
    if 0 not in rows and len(rows) == len(stimuli.stimuli):
        return stimuli
    numbers = iter(range(2, 2 + len(stimuli.stimuli)))
    x, y, a, b = (tuple(replace(s, row=next(numbers)) for s in members) for members in stimuli.sets.values())
    return replace(stimuli, X=x, Y=y, A=a, B=b)


def locate(stimulus: Stimulus) -> Path:
    """The file itself, whatever links and detours the path takes."""
    return Path(os.path.realpath(stimulus.path))


def name_clip(stimulus: Stimulus) -> str:
    """What messages and records call a clip: its path as the CSV has it, never an absolute one of ours."""
    return stimulus.written or stimulus.path.name


def find_small_sets(stimuli: StimulusSet) -> list[str]:
    """One line per set below 2 stimuli."""
    return [
        f"{stimuli.name}.csv: set {key} has {len(members)} of the 2 or more stimuli that it needs. Add clips."
        for key, members in stimuli.sets.items()
        if len(members) < 2
    ]


def find_shared_files(stimuli: StimulusSet) -> list[str]:
    """One line per file that stands in two sets, however its path is written."""
    places = defaultdict(list)
    for s in stimuli.stimuli:
        places[locate(s)].append(s)
    problems = []
    for found in places.values():
        first = {s.set: s for s in reversed(found)}
        if len(first) > 1:
            rows = sorted(first.values(), key=lambda s: s.row)
            where = " and ".join(f"{s.set} (row {s.row})" for s in rows)
            what = f"{name_clip(rows[1])} stands in sets {where}"
            problems.append(f"{stimuli.name}.csv, row {rows[1].row}: {what}. Keep it in one set.")
    return problems


def _warn_of_sets(stimuli: StimulusSet) -> tuple[str, ...]:
    warnings = []
    for key, members in stimuli.sets.items():
        twice = len(members) - len({locate(s) for s in members})
        if twice:
            warnings.append(f"set {key} holds {twice} clip(s) more than once: they weigh more, and p is too small")
        speakers = {s.speaker for s in members}
        if len(speakers) == 1 and "" not in speakers:
            warnings.append(f"set {key} ({stimuli.groups[key]}) is of one speaker only: a voice, not a group")
        labels = dict.fromkeys(s.group for s in members)
        if len(labels) > 1:
            warnings.append(
                f"set {key} holds {len(labels)} groups: {', '.join(label or '(blank)' for label in labels)}"
            )
    for first, second in (("X", "Y"), ("A", "B")):
        sizes = len(stimuli.sets[first]), len(stimuli.sets[second])
        if sizes[0] != sizes[1]:
            warnings.append(f"unequal groups: {sizes[0]} clips in {first}, {sizes[1]} in {second}")
    return (*warnings, *_warn_of_pairs(stimuli))


def _warn_of_pairs(stimuli: StimulusSet) -> list[str]:
    in_x, in_y = (Counter(ids) for ids in stimuli.pairs.values())
    used = [pair for pair in in_x | in_y if pair]
    odd = [pair for pair in used if in_x[pair] != 1 or in_y[pair] != 1]
    if not odd:
        return []
    some = ", ".join(odd[:5]) + (" ..." if len(odd) > 5 else "")
    return [f"{len(odd)} of {len(used)} pair ids do not stand once in X and once in Y ({some})"]


def stimuli_sha256(stimuli: StimulusSet, audio_sha256: Mapping[Path, str]) -> str:
    """What was measured, as one hash: (set, group, speaker, pair, SHA-256 of the audio) of every stimulus in order.

    File names and further columns do not count: they change no number.
    """
    digest = hashlib.sha256()
    for s in stimuli.stimuli:
        digest.update(json.dumps([s.set, s.group, s.speaker, s.pair, audio_sha256[s.path]]).encode() + b"\n")
    return digest.hexdigest()
