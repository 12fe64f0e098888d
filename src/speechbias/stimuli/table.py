"""The CSV of a test: read, with everything that is wrong with it at once, and written whole or not at all."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from speechbias.errors import InputError, not_utf8, os_reason
from speechbias.results import SETS, write_whole
from speechbias.stimuli.sets import (
    Skipped,
    Stimulus,
    StimulusSet,
    find_shared_files,
    make_stimulus_set,
    sort_stimuli,
)

REQUIRED = ("path", "set", "group", "speaker")


def read_stimuli(path: str | Path, *, skip_bad: bool = False) -> StimulusSet:
    """Read one test's CSV; every problem in it is collected into one InputError, a line each. Opens no audio.

    With ``skip_bad`` a row without a path is left out, like a row whose audio cannot be used (``check_audio``).
    """
    path = Path(path)
    header, rows = _read_table(path)
    problems = _find_header_problems(path.name, header)
    if problems:
        raise InputError(*problems)
    stimuli, skipped = [], []
    for line, values in rows:
        found = _find_row_problems(header, values)
        if skip_bad and found == [_BLANK_PATH]:
            skipped.append(Skipped(row=line, path="", why="has no path"))
        elif found:
            problems += [f"{path.name}, row {line}: {problem}" for problem in found]
        else:
            stimuli.append(_make_stimulus(path, line, dict(zip(header, values, strict=False))))
    if problems:  # whether a set is too small shows only once every row is right
        raise InputError(*problems, *find_shared_files(sort_stimuli(path.stem, stimuli)))
    return replace(make_stimulus_set(path.stem, stimuli), skipped=tuple(skipped))


def write_stimuli(stimuli: StimulusSet, path: str | Path) -> None:
    """Write a test's CSV with paths relative to it, whole or not at all; sets in the order X, Y, A, B."""
    path = Path(path)
    further = dict.fromkeys(column for s in stimuli.stimuli for column in s.columns)
    paired = ["pair"] if any(s.pair for s in stimuli.stimuli) else []
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*REQUIRED, *paired, *further])
    for s in stimuli.stimuli:
        fixed = [_relative(s.path, path.parent), s.set, s.group, s.speaker, *([s.pair] if paired else [])]
        writer.writerow(fixed + [s.columns.get(column, "") for column in further])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, table.getvalue().encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({os_reason(error)}). Choose another file with -o.") from None


def _relative(audio: Path, folder: Path) -> str:
    """``audio`` as seen from ``folder``; links in the folders are followed, a linked file keeps its name."""
    return Path(os.path.relpath(audio.parent.resolve() / audio.name, folder.resolve())).as_posix()


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows, each with the line on which it begins; blank lines are passed over."""
    if not path.is_file():
        what = "is a folder, not a CSV" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: this stimulus list {what}. Give the CSV of one test (`speechbias stimuli`).")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path.name} cannot be read as UTF-8 text ({not_utf8(error)}). Save it as CSV UTF-8."
        ) from None
    if "\0" in text:
        raise InputError(f"{path.name} holds NUL characters, so it is no text. Save it as CSV UTF-8 again.")
    reader, rows, line = csv.reader(io.StringIO(text, newline="")), [], 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                rows.append((line, [value.strip() for value in values]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path.name}, row {reader.line_num}: {error}. Save it as CSV UTF-8 again.") from None
    if len(rows) < 2:
        what = "has a header but no rows" if rows else "is empty"
        raise InputError(f"{path.name} {what}. It needs the header {','.join(REQUIRED)} and one row per clip.")
    return rows[0][1], rows[1:]


def _find_header_problems(name: str, header: list[str]) -> list[str]:
    if missing := [column for column in REQUIRED if column not in header]:
        separated = any(mark in "".join(header) for mark in ";\t") and len(header) < len(REQUIRED)
        remedy = "Separate columns by commas" if separated else f"The header is {','.join(REQUIRED)}, then any other"
        columns = ", ".join(f"`{column}`" for column in missing)
        return [f"{name} has no column {columns}. {remedy}."]
    twice = [column for column, count in Counter(header).items() if column and count > 1]
    return [
        f"{name} has the column `{column}` {header.count(column)} times. Rename or remove one." for column in twice
    ]


_BLANK_PATH = "`path` is blank. Write the path of the clip, relative to the CSV, or remove the row."


def _find_row_problems(header: list[str], values: list[str]) -> list[str]:
    row = dict(zip(header, values, strict=False))
    problems = []
    if any(values[len(header) :]):
        problems.append(f"{len(values)} fields under {len(header)} columns. Put text that holds commas in quotes.")
    if row.get("set") not in SETS:
        problems.append(f"unknown set {row.get('set', '')!r}. `set` is X or Y (targets), A or B (attributes).")
    if not row.get("path"):
        problems.append(_BLANK_PATH)
    return problems


def _make_stimulus(table: Path, line: int, row: Mapping[str, str]) -> Stimulus:
    own = {*REQUIRED, "pair", ""}
    return Stimulus(
        path=table.parent / row["path"],
        set=row["set"],
        group=row.get("group", ""),
        speaker=row.get("speaker", ""),
        pair=row.get("pair", ""),
        row=line,
        written=row["path"],
        columns={column: value for column, value in row.items() if column not in own},
    )
