"""More than two groups, for the page: records of kind ``groups``, put together by question.

Shown are those of measurements in the table, of the mean over states; of one question asked again the last record.
Models that were asked the same of the same groups share a heading and a figure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.level import alpha_of
from speechbias.report.grid import Grid
from speechbias.report.names import clean, named
from speechbias.report.numerals import count, format_d, format_interval, format_p

Record = Mapping[str, Any]
NONE = "-"


@dataclass(frozen=True)
class Row:
    """A comparison, an effect or a slope: numbers for the figure, texts for the table."""

    name: str
    size: float
    low: float | None
    high: float | None
    associated: bool
    texts: tuple[str, ...]  # size, interval, p, adjusted, attribute p, adjusted


@dataclass(frozen=True)
class Asked:
    """What was asked of one model."""

    label: str
    sentence: str  # with marked names
    comparisons: tuple[Row, ...]
    effects: tuple[Row, ...]
    matrix: Mapping[tuple[int, int], Row]  # of groups by number, for every two
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """One question of one test, and every model that was asked it."""

    heading: str
    kind: str  # pairs, reference, factors
    levels: tuple[str, ...]
    groups: str  # with their numbers of clips and speakers
    attribute: str  # the name of A
    adjusted_by: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Slope:
    """The texts of a row of the table of slopes."""

    label: str
    test: str
    on: str
    range: str
    people: str
    slope: str
    correlation: str
    p: str
    p_attribute: str
    associated: bool


def find_questions(grid: Grid, others: Sequence[Record]) -> list[Question]:
    """Questions about groups, in the order in which they were first asked."""
    found: dict[tuple[object, ...], dict[str, tuple[Record, str]]] = {}
    for label, test, record in _shown(grid, others):
        if record["question"] != "slope":
            levels = tuple((each["name"], each["n"], each["n_speakers"]) for each in record["levels"])
            key = (test, record["question"], tuple(record["columns"]), record["reference"], levels)
            found.setdefault(key, {})[label] = record, label
    return [_question(str(key[0]), list(asked.values())) for key, asked in found.items()]


def find_slopes(grid: Grid, others: Sequence[Record]) -> list[Slope]:
    """A row for each slope, in the order of the table of measurements."""
    found = {
        (label, test, record["slope"]["column"]): record
        for label, test, record in _shown(grid, others)
        if record["question"] == "slope"
    }
    return [_slope(label, test, record) for (label, test, _), record in found.items()]


def _shown(grid: Grid, others: Sequence[Record]) -> list[tuple[str, str, Record]]:
    """Label of the model and of the test, for records that belong to a measurement of the table."""
    records = [each for each in others if each.get("kind") == "groups" and each["layer"] == "mean"]
    return [
        (row.label, clean(column.label), record)
        for row, column, measured in grid.measurements()
        for record in records
        if (record["model_sha256"], record["stimuli_sha256"]) == (measured.model_sha256, measured.stimuli_sha256)
    ]


def _question(test: str, asked: Sequence[tuple[Record, str]]) -> Question:
    first = asked[0][0]
    columns = " by ".join(clean(column) for column in first["columns"])
    what = {"pairs": "every two groups", "reference": f"against {clean(str(first['reference']))}"}
    levels = [(clean(each["name"]), each["n"], each["n_speakers"]) for each in first["levels"]]
    return Question(
        heading=f"{test}: {columns}, {what[first['question']]}" if first["question"] in what else f"{test}: {columns}",
        kind=str(first["question"]),
        levels=tuple(name for name, _, _ in levels),
        groups="; ".join(f"{name} ({count(n, 'clip')}, {count(people, 'speaker')})" for name, n, people in levels),
        attribute=clean(first["attributes"][0]),
        adjusted_by=str(first["adjusted_by"]),
        asked=tuple(_asked(record, label) for record, label in asked),
    )


def _asked(record: Record, label: str) -> Asked:
    alpha = alpha_of(record["confidence"])
    names = [each["name"] for each in record["levels"]]
    comparisons = [
        _row(f"{clean(each['first'])} - {clean(each['second'])}", each["d"], each, alpha)
        for each in record["contrasts"]
    ]
    return Asked(
        label=label,
        sentence=_conclude(record, label, alpha),
        comparisons=tuple(comparisons),
        effects=tuple(_row(clean(each["name"]), each["size"], each, alpha) for each in record["effects"]),
        matrix={
            (names.index(each["first"]), names.index(each["second"])): row
            for each, row in zip(record["contrasts"], comparisons, strict=True)
        },
        warnings=tuple(clean(warning) for warning in record["warnings"]),
    )


def _conclude(record: Record, label: str, alpha: float) -> str:
    """What came of it, in a sentence."""
    whole, rows = record["omnibus"], record["effects"] or record["contrasts"]
    held = sum(bool(each["associated"]) for each in rows)
    noun = "effect" if record["effects"] else "comparison"
    result = f"{held or 'none'} of {count(len(rows), noun)} hold{'s' if held == 1 else ''} after adjustment"
    p = NONE if whole["p_value"] is None else format_p(whole["p_value"], alpha=alpha)
    attribute = format_p(whole["p_attribute"], alpha=alpha)
    share = f"{100 * whole['eta_squared']:.0f} % of the variance of s lies between the groups"
    return f"{named(label)}: {result}. {share} (p {p}, attribute p {attribute})."


def _row(name: str, size: float, each: Record, alpha: float) -> Row:
    keys = ("p_value", "p_adjusted", "p_attribute", "p_attribute_adjusted")
    p = [NONE if each[key] is None else format_p(each[key], alpha=alpha) for key in keys]
    known = each["ci_low"] is not None and each["ci_method"] != "none"
    interval = format_interval(each["ci_low"], each["ci_high"]) if known else NONE
    low, high = (each["ci_low"], each["ci_high"]) if known else (None, None)
    return Row(name, float(size), low, high, bool(each["associated"]), (format_d(size), interval, *p))


def _slope(label: str, test: str, record: Record) -> Slope:
    found, alpha = record["slope"], alpha_of(record["confidence"])
    per = "1" if found["per"] == 1 else f"{found['per']:g}"
    return Slope(
        label=label,
        test=test,
        on=f"{per} of {clean(found['column'])}",
        range=f"{found['range'][0]:g} to {found['range'][1]:g}",
        people=f"{found['n']:,} of {found['n_speakers']:,}",
        slope=_with_interval(found["slope"]),
        correlation=_with_interval(found["correlation"]),
        p=format_p(found["p_value"], alpha=alpha),
        p_attribute=format_p(found["p_attribute"], alpha=alpha),
        associated=bool(found["associated"]),
    )


def _with_interval(each: Record) -> str:
    """Three significant digits where two decimals would leave none."""
    interval = "" if each["ci_low"] is None else f" ({_small(each['ci_low'])} to {_small(each['ci_high'])})"
    return f"{_small(each['value'])}{interval}"


def _small(number: float) -> str:
    return format_d(number) if abs(number) >= 0.1 else f"{number:.3f}"
