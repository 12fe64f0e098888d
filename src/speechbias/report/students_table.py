"""The numbers of Figure 3: as CSV and as Markdown, a row per teacher and student on each test."""

import csv
import io
from collections.abc import Iterable, Sequence

from speechbias.report.curves import run_name
from speechbias.report.names import escape_markdown
from speechbias.report.numerals import format_brackets, format_d, format_p
from speechbias.report.sentences import verdict
from speechbias.report.students import Differences, Student, Taught
from speechbias.results import PairedDifference

FIELDS = (
    "student_layers", "parameters", "step", "states", "d", "ci_low", "ci_high", "p_value", "p_attribute", "associated",
)  # fmt: skip
COMPARED = ("difference", "low", "high", "p")
COMPARED_HEAD = ("difference", "difference_low", "difference_high", "difference_p")
HEAD = ("Test", "Teacher", "Model", "Parameters", "d", "p", "attribute p", "Verdict", "less the teacher's d", "its p")
RIGHT = {"Parameters", "d", "p", "attribute p", "less the teacher's d", "its p"}
NAME = "teacher"


def write_students_csv(found: Sequence[Taught], differences: Differences) -> str:
    """Numbers in full; a teacher has no layers of a student, and no difference."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test", "teacher", "model", "run", *FIELDS, *COMPARED_HEAD])
    for taught, student in _rows(found):
        record = taught.teacher if student is None else student.record
        assert record is not None
        compared = differences.get(record.identity) if student else None
        numbers = [None if student is None and name == "student_layers" else getattr(record, name) for name in FIELDS]
        numbers += [getattr(compared, name) if compared else None for name in COMPARED]
        name = student.label if student else NAME
        writer.writerow([taught.column.label, taught.label, name, run_name(record), *numbers])
    return text.getvalue()


def write_students_markdown(found: Sequence[Taught], differences: Differences) -> str:
    """D with its interval, both p's, and the difference to the teacher with its own."""
    rows = [_cells(taught, student, differences) for taught, student in _rows(found)]
    marks = ["--:" if name in RIGHT else ":--" for name in HEAD]
    return "".join(f"| {' | '.join(row)} |\n" for row in (HEAD, marks, *rows))


def _rows(found: Sequence[Taught]) -> Iterable[tuple[Taught, Student | None]]:
    """None is the teacher, where it was measured."""
    for taught in found:
        if taught.teacher is not None:
            yield taught, None
        yield from ((taught, student) for student in taught.students)


def _cells(taught: Taught, student: Student | None, differences: Differences) -> list[str]:
    record = taught.teacher if student is None else student.record
    assert record is not None
    level, compared = record.alpha, differences.get(record.identity) if student else None
    ps = [_p(p, level) for p in (record.p_value, record.p_attribute)]
    return [
        escape_markdown(taught.column.label),
        escape_markdown(taught.label),
        escape_markdown(student.label if student else NAME),
        "unknown" if record.parameters is None else f"{record.parameters:,}",
        f"{format_d(record.d)} {format_brackets(record.ci_low, record.ci_high)}",
        *ps,
        verdict(record),
        *_difference(compared, level),
    ]


def _difference(compared: PairedDifference | None, level: float) -> tuple[str, str]:
    if compared is None:
        return "-", "-"
    text = format_d(compared.difference)
    if compared.low is None or compared.high is None or compared.p is None:
        return text, "-"
    return f"{text} {format_brackets(compared.low, compared.high)}", _p(compared.p, level)


def _p(p: float, level: float) -> str:
    return format_p(p, alpha=level).replace("<", "&lt;")
