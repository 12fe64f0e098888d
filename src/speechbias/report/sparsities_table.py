"""The numbers of Figure 2: as CSV every record of every line, as Markdown d of the mean over states by size."""

import csv
import io
from collections.abc import Iterable, Sequence

from speechbias.report.curves import run_name
from speechbias.report.error_rates import Rates
from speechbias.report.names import escape_markdown
from speechbias.report.numerals import format_brackets, format_d, format_p, format_rate
from speechbias.report.sentences import verdict
from speechbias.report.sparsities import Line
from speechbias.results import BiasResult

FIELDS = (
    "step", "remaining", "of", "parameters", "parameters_removed", "criterion_seed", "layer",
    "d", "ci_low", "ci_high", "p_value", "p_attribute", "p_adjusted", "associated",
)  # fmt: skip
HEAD = (
    "Test",
    "Model",
    "Pruned",
    "By",
    "Run",
    "Left",
    "Removed",
    "d",
    "p",
    "attribute p",
    "Verdict",
    "PER (%)",
)
RIGHT = {"Left", "Removed", "d", "p", "attribute p", "PER (%)"}


def write_sparsities_csv(lines: Sequence[Line], rates: Rates) -> str:
    """Every point of every line, single states too, one per row, numbers in full; the unpruned model has no method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test", "model", "method", "criterion", "run", "run_seed", *FIELDS, "per"])
    for line, record in _rows(lines):
        run, cut = run_name(record), record.method is not None
        said = [line.method, line.criterion, run, (record.run or {}).get("seed")] if cut else [None, None, run, None]
        numbers = [getattr(record, name) for name in FIELDS]
        writer.writerow([line.curve.column.label, line.label, *said, *numbers, rates.of(record)])
    return text.getvalue()


def write_sparsities_markdown(lines: Sequence[Line], rates: Rates) -> str:
    """A row per model and test: what is left of it, d with its interval, both p's, and its error rate if known."""
    rows = [_cells(line, record, rates) for line, record in _rows(lines) if record.layer == "mean"]
    kept = [place for place, name in enumerate(HEAD) if name != HEAD[-1] or any(row[place] for row in rows)]
    marks = ["--:" if name in RIGHT else ":--" for name in HEAD]
    table = [[row[place] for place in kept] for row in (HEAD, marks, *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


def _rows(lines: Sequence[Line]) -> Iterable[tuple[Line, BiasResult]]:
    """Each record once, with its line; the unpruned model before what was made of it."""
    seen: set[int] = set()
    for line in lines:
        for run in line.curve.runs:
            for layer in run.records:
                for record in run.records[layer].values():
                    if id(record) not in seen:
                        seen.add(id(record))
                        yield line, record


def _cells(line: Line, record: BiasResult, rates: Rates) -> list[str]:
    level, rate = record.alpha, rates.of(record)
    ps = [format_p(p, alpha=level).replace("<", "&lt;") for p in (record.p_value, record.p_attribute)]
    run, whole = run_name(record), record.of is None or record.remaining is None
    return [
        escape_markdown(line.curve.column.label),
        escape_markdown(line.label),
        "-" if record.method is None else line.method,
        "-" if record.method is None else escape_markdown(line.criterion or "not recorded"),
        escape_markdown(run if record.criterion_seed is None else f"{run}, seed {record.criterion_seed}"),
        "all" if whole else f"{_units(record.remaining)} of {_units(record.of)}",
        f"{record.parameters_removed or 0:,}",
        f"{format_d(record.d)} {format_brackets(record.ci_low, record.ci_high)}",
        *ps,
        verdict(record),
        "" if rate is None else format_rate(rate),
    ]


def _units(number: float | None) -> str:
    """``42,508,800``; a mean over layers ``29.7``."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"
