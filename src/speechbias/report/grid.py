"""The records of a report as the grid of the paper's Table 3: a row per model, a column per test.

Rows: models in order of appearance, classical features last, as in the paper. Columns: Age, Native and Gender first
where tests carry these names, then the others in order of appearance. A cell is the record of the mean over states;
the records of single states lie beside it. The same model, test and state measured with other options is another row.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from speechbias.errors import InputError
from speechbias.paper import TABLE_3_COLUMNS
from speechbias.report.names import clean, model_name
from speechbias.report.options import distinguish, shorten_hash
from speechbias.results import SETS, BiasResult

FEATURES = "features"  # the family of STFT, spectrogram, mel and MFCC


@dataclass(frozen=True)
class Row:
    """One model with one choice of options; ``differs`` says what, where the model has several rows."""

    model: str
    differs: str
    family: str

    @property
    def label(self) -> str:
        """The model's name, and in parentheses what differs."""
        return f"{self.model} ({self.differs})" if self.differs else self.model

    @property
    def classical(self) -> bool:
        """Whether this is a classical feature."""
        return self.family == FEATURES


@dataclass(frozen=True)
class Column:
    """One test; two stimulus sets of one name are two columns."""

    label: str
    stimuli_sha256: str


Slot = tuple[Row, Column]


@dataclass(frozen=True)
class Grid:
    """Rows, columns, the record of each filled cell, and per cell the records of its states in their order."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: dict[Slot, BiasResult]
    states: dict[Slot, tuple[BiasResult, ...]]

    def column_cells(self, column: Column) -> list[tuple[Row, BiasResult]]:
        """The filled cells of one test, in the order of the rows."""
        return [(row, self.cells[row, column]) for row in self.rows if (row, column) in self.cells]

    def measurements(self) -> list[tuple[Row, Column, BiasResult]]:
        """All filled cells, test by test."""
        return [(row, column, record) for column in self.columns for row, record in self.column_cells(column)]


def group_names(record: BiasResult) -> dict[str, str]:
    """The name of each set as its corpus has it, or its letter."""
    return {letter: clean(record.groups.get(letter) or "") or letter for letter in SETS}


def arrange(records: Sequence[BiasResult]) -> Grid:
    """Lay the records out; equal records count once. Raises ``InputError`` where there is none."""
    records = _unique(records)
    if not records:
        raise InputError(
            "report: no bias record to show. Measure first: speechbias measure MODEL --stimuli CSV -o ..."
        )
    records = [replace(record, model=record.called) for record in records]
    names, columns = _model_labels(records), columns_of(records)
    options = distinguish(records, lambda record: (record.model, record.test, record.stimuli_sha256, record.layer))
    cells: dict[Slot, BiasResult] = {}
    states: dict[Slot, list[BiasResult]] = defaultdict(list)
    for record, option in zip(records, options, strict=True):
        if record.pooling != "mean":  # said even where every record is pooled so
            option.setdefault("pooling", record.pooling)
        column = columns[record.test, record.stimuli_sha256]
        differs = ", ".join(f"{label} {value}" for label, value in option.items())
        row = Row(model=names[record.model], differs=differs, family=record.family)
        if record.layer == "mean":
            cells[row, column] = record
        else:
            states[row, column].append(record)
    cells |= _without_mean(cells, states)
    ordered = {slot: tuple(sorted(found, key=_layer)) for slot, found in states.items()}
    rows = sorted(dict.fromkeys(row for row, _ in cells), key=lambda row: row.classical)
    return Grid(tuple(rows), tuple(columns.values()), cells, ordered)


def _unique(records: Sequence[BiasResult]) -> list[BiasResult]:
    seen: list[BiasResult] = []
    by_slot: dict[tuple[str, str, int | str], list[BiasResult]] = defaultdict(list)
    for record in records:
        alike = by_slot[record.model, record.test, record.layer]
        if record not in alike:
            alike.append(record)
            seen.append(record)
    return seen


def _layer(record: BiasResult) -> int:
    return int(record.layer)


def _without_mean(cells: dict[Slot, BiasResult], states: dict[Slot, list[BiasResult]]) -> dict[Slot, BiasResult]:
    """Cells for states that were measured without the mean over states: a row for each."""
    found: dict[Slot, BiasResult] = {}
    for (row, column), records in states.items():
        for record in records if (row, column) not in cells else []:
            differs = f"{row.differs}, state {record.layer}" if row.differs else f"state {record.layer}"
            found[Row(row.model, differs, row.family), column] = record
    return found


def _model_labels(records: Sequence[BiasResult]) -> dict[str, str]:
    """The name of each model; different models whose paths end alike are told apart by weights or number."""
    alike: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        alike[model_name(record.model)].setdefault(record.model, shorten_hash(record.model_sha256))
    labels: dict[str, str] = {}
    for name, models in alike.items():
        distinct = len(set(models.values())) == len(models)
        for number, (model, weights) in enumerate(models.items(), start=1):
            extra = f" [{weights}]" if distinct else f" [{number}]"
            labels[model] = name + extra if len(models) > 1 else name
    return labels


def columns_of(records: Sequence[BiasResult]) -> dict[tuple[str, str], Column]:
    """The column of each test by its name and stimuli, in the paper's order."""
    found = dict.fromkeys((record.test, record.stimuli_sha256) for record in records)
    tests = [test for test, _ in found]
    made = {
        (test, sha): Column(
            f"{clean(test)} (stimuli {shorten_hash(sha)})" if tests.count(test) > 1 else clean(test), sha
        )
        for test, sha in found
    }
    order = _order(made.values())
    return dict(sorted(made.items(), key=lambda item: order.index(item[1])))


def _order(columns: Iterable[Column]) -> list[Column]:
    paper = [name.casefold() for name in TABLE_3_COLUMNS]

    def place(column: Column) -> int:
        name = column.label.casefold()
        return paper.index(name) if name in paper else len(paper)

    return sorted(columns, key=place)
