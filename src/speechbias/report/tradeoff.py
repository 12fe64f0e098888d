"""What an association costs: |d| against phone error rate, for every model of which both were measured.

A model is dominated where another, of which the same states were measured on the same test, has |d| and error rate
both not larger and one of them smaller. Size is shown and dominates nothing. The sign stays: a reversed association
of -0.8 is as much of one as 0.8, and is marked as what it is.
"""

import csv
import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from speechbias.encoder import WITH_HEADS
from speechbias.report.curves import asked_of, run_name, without_put_aside
from speechbias.report.error_rates import Rates
from speechbias.report.grid import Column, columns_of
from speechbias.report.names import clean
from speechbias.report.numerals import format_percent
from speechbias.report.sparsities import FAMILIES, METHODS
from speechbias.results import BiasResult, about_of

FIELDS = ("family", "step", "method", "remaining", "student_layers", "parameters", "states", "dtype")
NUMBERS = ("d", "ci_low", "ci_high", "associated")


@dataclass(frozen=True, eq=False)
class Point:
    """One model on one test."""

    column: Column
    name: str  # of the model, which no other model has
    record: BiasResult
    rate: float
    split: str
    dominated: bool
    leak: float | None = None  # balanced accuracy by which a linear probe tells X from Y, of speakers not heard

    @property
    def size(self) -> float:
        """|d|."""
        return abs(self.record.d)


def find_points(records: Sequence[BiasResult], others: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Every model of which d and a rate are known, test by test as in the tables; one measured twice alike once."""
    records = [record for record in without_put_aside(records) if record.layer == "mean"]
    rates = Rates(others, measured=records)
    known: dict[Hashable, tuple[BiasResult, float]] = {}
    for record in records:
        rate = rates.of(record)
        if rate is not None:
            known.setdefault((*_test_of(record), record.model_sha256, asked_of(record)), (record, rate))
    leaks = {
        about_of(each): float(each["balanced_accuracy"])
        for each in others
        if each.get("kind") == "leakage" and each.get("probe") == "linear" and each.get("layer") == "mean"
    }
    columns = columns_of([record for record, _ in known.values()])
    names, measured = _names([record for record, _ in known.values()]), list(known.values())
    found = [
        Point(
            columns[_test_of(record)],
            names[_model_of(record)],
            record,
            rate,
            rates.split,
            dominated=_is_dominated(record, rate, measured),
            leak=leaks.get(about_of(record.about)),
        )
        for record, rate in measured
    ]
    order = list(columns.values())
    return sorted(found, key=lambda point: order.index(point.column))


def caption(found: Sequence[Point]) -> str:
    """What the figure says below itself."""
    level = " or ".join(map(format_percent, sorted({point.record.confidence for point in found})))
    unknown = any(point.record.parameters is None for point in found)
    texts = [
        f"|d| of the mean over states; vertical: what its {level} interval over stimuli leaves of it.",
        "Triangles: d is below 0, the association is reversed." if any(point.record.d < 0 for point in found) else "",
        "Filled: p and attribute p are both below alpha. Area: parameters of the encoder"
        + ("; the smallest: none, or not known." if unknown else "."),
        "Grey: dominated, another model has |d| and error rate both not larger, and one of them smaller.",
        "Where intervals overlap, which of two models has the smaller |d| may be chance.",
        "Below: how well a linear probe tells the groups apart, of speakers that it has not heard; 0.5 by guessing."
        if any(point.leak is not None for point in found)
        else "",
    ]
    return " ".join(filter(None, texts))


def write_points_csv(found: Sequence[Point]) -> str:
    """A row per model and test, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["test", "model", "run", *FIELDS, *NUMBERS, "per", "told_apart", "split", "dominated", "model_sha256"]
    )
    for point in found:
        record = point.record
        said = [getattr(record, name) for name in (*FIELDS, *NUMBERS)]
        of = [point.rate, point.leak, point.split, point.dominated, record.model_sha256]
        writer.writerow([point.column.label, point.name, run_name(record), *said, *of])
    return text.getvalue()


def _names(records: Sequence[BiasResult]) -> dict[Hashable, str]:
    """What each model is called, with its step, or numbered, where another is called so."""
    names: dict[Hashable, str] = {}
    for record in records:
        name = _name(record)
        dated = [] if record.step is None else [f"{name} step {record.step}"]
        alike = chain([name], dated, (f"{name} [{number}]" for number in count(2)))
        if _model_of(record) not in names:
            names[_model_of(record)] = next(each for each in alike if each not in names.values())
    return names


def _model_of(record: BiasResult) -> Hashable:
    return record.model_sha256, record.states, record.dtype


def _name(record: BiasResult) -> str:
    """A classical feature's own; else family, layers of a student, what is left of what was cut, and the run."""
    if record.family == "features":
        return record.model
    parts = [FAMILIES.get(record.family, clean(record.family))]
    if record.student_layers is not None:
        parts.append(f"{record.student_layers}-layer student")
    if record.method in METHODS and record.remaining is not None and record.of and record.parameters_removed:
        parts.append(f"{100 * record.remaining / record.of:.0f} % of {record.method}")
    elif record.student_layers is None:
        parts.append(run_name(record))
    parts += ["without what tells groups apart"] * ("removal" in record.recipe)
    parts += ["with heads"] * (record.states == WITH_HEADS) + [record.dtype] * (record.dtype != "float32")
    return " ".join(parts)


def _test_of(record: BiasResult) -> tuple[str, str]:
    return record.test, record.stimuli_sha256


def _comparable(record: BiasResult) -> Hashable:
    """What fixes the meaning of d; a model in int8 is a model like another."""
    return record.states, record.ddof


def _is_dominated(record: BiasResult, rate: float, known: Sequence[tuple[BiasResult, float]]) -> bool:
    here = [
        (abs(other.d), other_rate)
        for other, other_rate in known
        if _test_of(other) == _test_of(record) and _comparable(other) == _comparable(record)
    ]
    return any(d <= abs(record.d) and per <= rate and (d, per) != (abs(record.d), rate) for d, per in here)
