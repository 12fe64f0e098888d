"""Table 3: d of models and features, ours beside the paper's and SpEAT's, with a verdict on each."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechbias.errors import InputError
from speechbias.paper import SPEAT, TABLE_3, TABLE_3_COLUMNS, WEIGHTS
from speechbias.report.files import write_files
from speechbias.report.names import escape_markdown, model_name
from speechbias.report.options import shorten_hash
from speechbias.reproduce.rows import ROWS, PaperRow, column_of, is_published, last_steps, row_of
from speechbias.reproduce.verdict import SAME, TOO_WIDE, WIDENED, Verdict, judge
from speechbias.results import BiasResult

RULE = (
    f"Same clips and weights: agrees if at most {SAME:g} apart, else differs. Other clips or weights: cannot tell if "
    f"the half-width of our interval exceeds {TOO_WIDE:g}; differs beyond noise if the published value lies outside "
    f"our interval widened by {WIDENED:g}; else agrees."
)
OF_SEVERAL = {Verdict.agrees: "agree", Verdict.differs: "differ", Verdict.beyond: "differ beyond noise"}
NAMES = ("row", "test", "model", "d", "low", "high", "paper", "difference", "verdict", "speat", "difference_speat",
         "verdict_speat", "clips", "clips_are_published", "weights_are_published")  # fmt: skip


@dataclass(frozen=True)
class Anchor:
    """A published value, and what is said of ours beside it."""

    published: float
    difference: float
    verdict: Verdict


@dataclass(frozen=True)
class Cell:
    """A row and column of Table 3; without a ``record`` it was not measured."""

    row: PaperRow
    column: str
    record: BiasResult | None
    paper: Anchor | float
    speat: Anchor | float | None
    same_clips: bool = False
    same_weights: bool = False


def table3(records: Sequence[BiasResult], *, published: Collection[str] = ()) -> list[Cell]:
    """The cells of Table 3 in the paper's order; a row that several models share has each of them.

    ``published``: hashes of stimuli that are SpEAT's lists in full, with its attribute clips. The paper's clips of
    Age and Gender are taken for those; of Native the paper has 4 pairs less. InputError where no record is of a row.
    """
    found: dict[tuple[PaperRow, str], dict[tuple[str, ...], BiasResult]] = {}
    for record in last_steps(record for record in records if record.layer == "mean"):
        row, column = row_of(record), column_of(record)
        if row and column:  # a checkpoint may have been tracked and measured: once is enough
            of = record.model_sha256, record.stimuli_sha256, record.states, record.dtype
            found.setdefault((row, column), {}).setdefault(of, record)
    if not found:
        raise InputError(
            "table3: no record is of a model or feature of Table 3 on a test called age, native or gender. Measure: "
            "speechbias measure mfcc MODEL --stimuli age.csv native.csv gender.csv -o results.jsonl, or name corpora."
        )
    return [
        _cell(row, column, record, published)
        for row in ROWS
        for column in TABLE_3_COLUMNS
        for record in (*found.get((row, column), {}).values(),) or (None,)
    ]


def _cell(row: PaperRow, column: str, record: BiasResult | None, published: Collection[str]) -> Cell:
    place = TABLE_3_COLUMNS.index(column)
    paper = TABLE_3[row.name][place]
    theirs = WEIGHTS[row.name].speat if row.name in WEIGHTS else None
    speat = SPEAT[theirs][place] if theirs else None
    if record is None:
        return Cell(row, column, None, paper, speat)
    clips, weights = record.stimuli_sha256 in published, is_published(row, record)

    def anchor(value: float, *, same: bool) -> Anchor:
        return Anchor(value, record.d - value, judge(record.d, record.ci_low, record.ci_high, value, same=same))

    return Cell(
        row,
        column,
        record,
        anchor(paper, same=clips and weights and column != "Native"),
        None if speat is None else anchor(speat, same=clips and weights),
        clips,
        weights,
    )


def table3_in_words(cells: Sequence[Cell]) -> Group:
    """The table for a terminal: what was measured; how many agree; what was not measured."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    table.add_column("test", no_wrap=True)
    for name in ("d", "interval", "paper", "SpEAT"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("beside the paper", no_wrap=True)
    before = ""
    for cell in cells:
        if cell.record is None or not isinstance(cell.paper, Anchor):
            continue
        r, label = cell.record, _label(cell, cells)
        table.add_row(
            "" if label == before else label,
            cell.column,
            f"{r.d:+.2f}",
            f"{r.ci_low:+.2f} to {r.ci_high:+.2f}",
            f"{cell.paper.published:+.2f}",
            f"{cell.speat.published:+.2f}" if isinstance(cell.speat, Anchor) else "",
            cell.paper.verdict,
        )
        before = label
    return Group(table, Text(summary(cells)), Text(RULE))


def summary(cells: Sequence[Cell]) -> str:
    """How many cells were measured, and what the verdicts are."""
    measured = [cell.paper for cell in cells if isinstance(cell.paper, Anchor)]
    places = {(cell.row, cell.column) for cell in cells}
    there = {(cell.row, cell.column) for cell in cells if cell.record}
    counts = {verdict: sum(each.verdict is verdict for each in measured) for verdict in Verdict}
    said = ", ".join(
        f"{count} {verdict if count == 1 else OF_SEVERAL.get(verdict, verdict)}"
        for verdict, count in counts.items()
        if count
    )
    absent = list(dict.fromkeys(cell.row.name for cell in cells if cell.record is None))
    left = f" Not measured, wholly or in part: {', '.join(absent)}." if absent else ""
    return f"{len(there)} of {len(places)} cells measured: {said}.{left}"


def write_table3(cells: Sequence[Cell], out: Path) -> tuple[Path, ...]:
    """``table3.md`` and ``table3.csv`` in the folder ``out``; the CSV has every cell, measured or not."""
    return write_files(out, {"table3.md": _markdown(cells), "table3.csv": _csv(cells)})


def _label(cell: Cell, cells: Sequence[Cell]) -> str:
    """The row; with the model's name where several models are of it, or one that need not be the paper's.

    Of two that are called alike, as of one that was trained anew, the hashes tell which is which.
    """
    assert cell.record is not None
    beside = {each.record.model_sha256: each.record.called for each in cells if each.row is cell.row and each.record}
    if len(beside) == 1 and (cell.row.family is None or cell.same_weights):
        return cell.row.name
    name = model_name(cell.record.called)
    if list(beside.values()).count(cell.record.called) > 1:
        name += f" [{shorten_hash(cell.record.model_sha256)}]"
    return f"{cell.row.name} ({name})"


def _markdown(cells: Sequence[Cell]) -> str:
    lines = [
        "| | test | d | 95 % interval | paper | differs by | verdict | SpEAT | differs by | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for cell in cells:
        if cell.record is None:
            continue
        r = cell.record
        anchors = [
            f"{each.published:+.2f} | {each.difference:+.2f} | {each.verdict}" if isinstance(each, Anchor) else " | | "
            for each in (cell.paper, cell.speat)
        ]
        label = escape_markdown(_label(cell, cells))
        lines.append(
            f"| {label} | {cell.column} | {r.d:+.2f} | {r.ci_low:+.2f} to {r.ci_high:+.2f} | {' | '.join(anchors)} |"
        )
    return "\n".join((*lines, "", summary(cells), "", RULE, ""))


def _csv(cells: Sequence[Cell]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    for cell in cells:
        r = cell.record
        ours = ["", "", "", ""] if r is None else [model_name(r.called), r.d, r.ci_low, r.ci_high]
        anchors: list[object] = []
        for each in (cell.paper, cell.speat):
            if isinstance(each, Anchor):
                anchors += [each.published, each.difference, each.verdict.value]
            else:
                anchors += [each, "", ""]
        clips = "" if r is None else f"{r.n['X']}+{r.n['Y']}"
        writer.writerow([cell.row.name, cell.column, *ours, *anchors, clips, cell.same_clips, cell.same_weights])
    return text.getvalue()
