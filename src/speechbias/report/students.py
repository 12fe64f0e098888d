"""Students beside their teacher (the paper's Figure 3) from records: whose student a model is, and what both gave.

A record of a student names its teacher, by the hash of its weights or, in files of other people, by a name. Of the
records of one training run the last step stands. Students that were pruned are lines of Figure 2, not of this one.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from speechbias.encoder import WITH_HEADS
from speechbias.report.curves import asked_of, run_name, without_put_aside
from speechbias.report.grid import Column, columns_of
from speechbias.report.names import clean
from speechbias.report.numerals import format_percent
from speechbias.report.options import shorten_hash
from speechbias.report.sparsities import FAMILIES
from speechbias.results import BiasResult, PairedDifference

Differences = Mapping[str, PairedDifference]  # by identity of the student's record


@dataclass(frozen=True, eq=False)
class Student:
    """One student on one test, what it is called beside the others, and its teacher under the same options."""

    label: str
    record: BiasResult
    teacher: BiasResult | None


@dataclass(frozen=True, eq=False)
class Taught:
    """The students of one teacher on one test, those of most layers first."""

    label: str  # of the teacher
    column: Column
    students: tuple[Student, ...]

    @property
    def teacher(self) -> BiasResult | None:
        """Its own record, where it was measured."""
        return next((student.teacher for student in self.students if student.teacher), None)

    @property
    def records(self) -> list[BiasResult]:
        """The teacher's and the students'."""
        return [*([self.teacher] if self.teacher else []), *(student.record for student in self.students)]


def find_students(records: Sequence[BiasResult]) -> list[Taught]:
    """Teacher by teacher, test by test as in the tables; none where no student was measured."""
    records = [record for record in without_put_aside(records) if record.layer == "mean"]
    groups: dict[tuple[str, str, str], list[BiasResult]] = defaultdict(list)
    for record in _students(records):
        groups[str(record.distilled_from), record.test, record.stimuli_sha256].append(record)
    firsts = [group[0] for group in groups.values()]
    columns, labels = columns_of(firsts), _teacher_labels(firsts, records)
    made = []
    for (origin, *test), group in groups.items():
        ordered = sorted(group, key=lambda record: -(record.student_layers or 0))
        names = _student_labels(ordered)
        students = [Student(name, each, _teacher(each, records)) for name, each in zip(names, ordered, strict=True)]
        made.append(Taught(labels[origin], columns[test[0], test[1]], tuple(students)))
    tests, teachers = list(columns.values()), list(labels.values())
    return sorted(made, key=lambda taught: (teachers.index(taught.label), tests.index(taught.column)))


def student_pairs(records: Sequence[BiasResult]) -> list[tuple[BiasResult, BiasResult]]:
    """Each student's record with its teacher's: what can be compared."""
    found = (student for taught in find_students(records) for student in taught.students)
    return [(student.record, student.teacher) for student in found if student.teacher]


def caption(found: Sequence[Taught], differences: Differences = MappingProxyType({})) -> str:
    """What the figure says below itself."""
    records = [record for taught in found for record in taught.records]
    levels = sorted({record.confidence for record in records})
    level = " or ".join(map(format_percent, levels))
    bound = " or ".join(f"{value:.6g}" for value in sorted({record.alpha for record in records}))
    missing = any(student.teacher is None for taught in found for student in taught.students)
    headed = any(record.states == WITH_HEADS for record in records)
    texts = [
        f"d of the mean over states with its {level} interval over stimuli, not over training runs.",
        f"Filled: p and attribute p are both below {bound}.",
        "Teachers that were not measured under the same options are missing." if missing else "",
        "With heads: what a student's heads predict counts as states too." if headed else "",
        "Below: d of the student less d of its teacher on the same clips, from resamples that both share; filled: "
        f"its p is below {bound}, not adjusted for the number of students and tests."
        if differences
        else "",
        "Where d is below 0 the association is reversed, and further below is more of one.",
    ]
    return " ".join(filter(None, texts))


def _students(records: Sequence[BiasResult]) -> list[BiasResult]:
    """Of each student, run and set of options the last step; of one model under several names the first."""
    last: dict[Hashable, BiasResult] = {}
    for record in records:
        if record.distilled_from is None or record.parameters_removed:
            continue
        run = record.run or {}
        of = (run["name"], str(run.get("seed"))) if run.get("name") else record.model_sha256
        key = record.test, record.stimuli_sha256, record.distilled_from, record.student_layers, of, asked_of(record)
        held = last.setdefault(key, record)
        if (record.step or 0) > (held.step or 0):
            last[key] = record
    once = {(r.test, r.stimuli_sha256, r.model_sha256, asked_of(r)): r for r in reversed(last.values())}
    return [record for record in last.values() if any(record is kept for kept in once.values())]


def _teacher(student: BiasResult, records: Sequence[BiasResult]) -> BiasResult | None:
    """The teacher's record on the same test under the same options; a teacher has no heads that could count."""
    states = "s3prl" if student.states == WITH_HEADS else student.states
    asked = asked_of(replace(student, states=states))
    alike = [
        record
        for record in records
        if (record.test, record.stimuli_sha256) == (student.test, student.stimuli_sha256) and asked_of(record) == asked
    ]
    by_weights = [record for record in alike if record.model_sha256 == student.distilled_from]
    by_name = [record for record in alike if record.model == student.distilled_from]
    if len({record.model_sha256 for record in by_name}) > 1:  # which of them, nobody knows
        by_name = []
    return next(iter(by_weights or by_name), None)


def _teacher_labels(firsts: Sequence[BiasResult], records: Sequence[BiasResult]) -> dict[str, str]:
    """What each teacher is called, by what its students call it: its family, and its name if need be."""
    families = {str(record.distilled_from): record.family for record in firsts}
    labels: dict[str, str] = {}
    for origin, family in families.items():
        label = FAMILIES.get(family, clean(family))
        if Counter(families.values())[family] > 1:
            measured = next((record for record in records if record.model_sha256 == origin), None)
            label += f" {run_name(measured) if measured else _short(origin)}"
        labels[origin] = label if label not in labels.values() else f"{label} [{_short(origin)}]"
    return labels


def _short(origin: str) -> str:
    return shorten_hash(origin) if len(origin) == 64 else clean(origin)


def _student_labels(ordered: Sequence[BiasResult]) -> list[str]:
    """``2 layers``; with states or the run's name where a teacher has several such students."""
    labels = [_layers(record) + " with heads" * (record.states == WITH_HEADS) for record in ordered]
    named = [
        f"{label} ({run_name(record)})" if labels.count(label) > 1 else label
        for label, record in zip(labels, ordered, strict=True)
    ]
    numbers = [named[: place + 1].count(name) for place, name in enumerate(named)]
    return [name + (f" [{number}]" if number > 1 else "") for name, number in zip(named, numbers, strict=True)]


def _layers(record: BiasResult) -> str:
    layers = record.student_layers or 0
    return f"{layers} layer" if layers == 1 else f"{layers} layers"
