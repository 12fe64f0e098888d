"""On whom a test was run and with which encoders: what a page says beside the numbers, never with names of people."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechbias.report.grid import Column, Grid, Row, group_names
from speechbias.report.names import clean, redact
from speechbias.report.numerals import format_seconds
from speechbias.report.options import shorten_hash
from speechbias.report.sentences import DESIGNS
from speechbias.results import SETS, BiasResult

ROLES = {"X": "first group", "Y": "second group", "A": "attribute", "B": "opposite attribute"}


@dataclass(frozen=True)
class SetLine:
    """One of the four sets of a test: texts for a table."""

    role: str
    group: str
    clips: str
    speakers: str
    audio: str


@dataclass(frozen=True)
class Population:
    """The clips of one test as some of its rows used them; ``rows`` is empty where all of them did."""

    sets: tuple[SetLine, ...]
    design: str
    talkers: int
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    """What one row of the report measured."""

    label: str
    family: str
    states: str
    dim: str
    dtype: str
    weights: str
    parameters: str
    recipe: tuple[tuple[str, str], ...]


def describe_populations(grid: Grid, column: Column) -> list[Population]:
    """The distinct populations of one test: several only where rows left out other clips or used another design."""
    found: dict[tuple[tuple[SetLine, ...], str, int], list[str]] = {}
    for row, record in grid.column_cells(column):
        key = tuple(_set_line(record, letter) for letter in SETS), record.design, record.attribute_talkers
        found.setdefault(key, []).append(row.label)
    several = len(found) > 1
    return [
        Population(sets, DESIGNS.get(design, design), talkers, tuple(rows) if several else ())
        for (sets, design, talkers), rows in found.items()
    ]


def _set_line(record: BiasResult, letter: str) -> SetLine:
    seconds, speakers = record.seconds.get(letter), record.n_speakers.get(letter)
    return SetLine(
        role=ROLES[letter],
        group=group_names(record)[letter],
        clips=f"{record.n.get(letter, 0):,}",
        speakers=f"{speakers:,}" if speakers else "unknown",
        audio=format_seconds(seconds) if seconds else "unknown",
    )


def describe_encoders(grid: Grid) -> list[Encoder]:
    """One per row of the grid."""
    first: dict[Row, BiasResult] = {}
    for row, _, record in grid.measurements():
        first.setdefault(row, record)
    return [_encoder(row, first[row]) for row in grid.rows]


def group_recipes(encoders: Sequence[Encoder]) -> list[tuple[list[str], tuple[tuple[str, str], ...]]]:
    """Each recipe once, with the labels of those that share it; those without one in none."""
    shared: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for encoder in encoders:
        if encoder.recipe:
            shared.setdefault(encoder.recipe, []).append(encoder.label)
    return [(labels, recipe) for recipe, labels in shared.items()]


def _encoder(row: Row, record: BiasResult) -> Encoder:
    return Encoder(
        label=row.label,
        family=clean(record.family),
        states=f"{record.num_states} ({clean(record.states)})" if record.num_states > 1 else "1",
        dim=f"{record.dim:,}" if record.dim else "unknown",
        dtype=clean(record.dtype),
        weights=shorten_hash(record.model_sha256),
        parameters=f"{record.parameters:,}" if record.parameters is not None else "",
        recipe=tuple((clean(str(key)), redact(str(value))) for key, value in record.recipe.items()),
    )


def describe_skipped(record: BiasResult) -> list[str]:
    """The rows of the stimulus table that were left out, and why; their paths are not shown."""
    lines = []
    for entry in record.skipped:
        path, why = str(entry.get("path") or ""), str(entry.get("why", ""))
        why = why.replace(path, "the clip") if path else why
        lines.append(f"row {entry.get('row', '?')}: {redact(why)}")
    return lines


@dataclass(frozen=True)
class Notice:
    """A warning or a row left out, with the measurements that it belongs to."""

    text: str
    tests: str
    models: str


def collect_notices(grid: Grid) -> tuple[list[Notice], list[Notice]]:
    """Warnings and rows left out, each said once."""
    warned: dict[tuple[Column, str], list[str]] = {}
    skipped: dict[tuple[Column, str], list[str]] = {}
    for row, column, record in grid.measurements():
        for warning in record.warnings:
            warned.setdefault((column, redact(warning)), []).append(row.label)
        for line in describe_skipped(record):
            skipped.setdefault((column, line), []).append(row.label)
    return _notices(grid, warned.items()), _notices(grid, skipped.items())


def _notices(grid: Grid, found: Iterable[tuple[tuple[Column, str], list[str]]]) -> list[Notice]:
    notices = []
    for (column, text), rows in found:
        everyone = len(dict.fromkeys(rows)) == len(grid.column_cells(column)) > 1
        notices.append(Notice(text, column.label, "every encoder" if everyone else ", ".join(dict.fromkeys(rows))))
    return notices
