"""CSV at full precision: the table in the shape of the paper's Table 3, and a long one with every measurement."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from speechbias.paper import magnitude
from speechbias.report.grid import Grid, Row, group_names
from speechbias.report.names import clean
from speechbias.results import SETS, BiasResult

SCALARS = (
    "family", "layer", "num_states", "dim", "states", "d", "ci_low", "ci_high", "confidence", "ci_method",
    "p_value", "p_method", "p_min", "p_attribute", "p_attribute_min", "p_adjusted", "adjusted_over", "associated",
    "alternative", "design", "attribute_talkers", "redrawn", "ddof", "permutations", "resamples", "seed", "dtype",
    "step", "method", "criterion", "criterion_seed", "remaining", "of", "parameters", "parameters_removed",
    "pruned_from", "model_sha256", "stimuli_sha256",
)  # fmt: skip


CELL = ("d", "ci_low", "ci_high", "p_value", "p_attribute", "associated")


def write_table_csv(grid: Grid, *, paper_layout: bool = False) -> str:
    """Rows are models, columns tests: d, its interval and both p's of each; ``paper_layout``: d alone."""
    names = CELL[:1] if paper_layout else CELL
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [
        [clean(c.label)] if paper_layout else [f"{clean(c.label)} {name}" for name in names] for c in grid.columns
    ]
    writer.writerow(["model", *(head for column in heads for head in column)])
    for row in grid.rows:
        records = [grid.cells.get((row, column)) for column in grid.columns]
        cells = [getattr(record, name) if record else "" for record in records for name in names]
        writer.writerow([clean(row.label), *cells])
    return text.getvalue()


def write_csv(grid: Grid) -> str:
    """All measurements, also those of single states, one per line; numbers as Python writes them in full."""
    text = io.StringIO()
    lines = [_csv_line(row, record) for row, record in _all_records(grid)]
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _all_records(grid: Grid) -> Iterable[tuple[Row, BiasResult]]:
    for row, column, record in grid.measurements():
        yield row, record
        for state in grid.states.get((row, column), ()):
            yield row, state


def _csv_line(row: Row, record: BiasResult) -> dict[str, Any]:
    line: dict[str, Any] = {"test": clean(record.test), "model": row.model, "differs": row.differs}
    line |= {name: getattr(record, name) for name in SCALARS}
    line["magnitude"] = magnitude(record.d, record.ci_low, record.ci_high)
    line["ci_attributes_low"], line["ci_attributes_high"] = record.ci_attributes
    left_out = record.leave_one_talker_out or (None, None)
    line["leave_one_talker_out_low"], line["leave_one_talker_out_high"] = left_out
    for letter in SETS:
        line[f"group_{letter}"] = group_names(record)[letter]
        line[f"n_{letter}"] = record.n.get(letter)
        line[f"n_speakers_{letter}"] = record.n_speakers.get(letter)
        line[f"seconds_{letter}"] = record.seconds.get(letter)
    return line
