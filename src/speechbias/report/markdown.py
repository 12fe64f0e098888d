"""The table in GitHub's Markdown, in the shape of the paper's Table 3: d with interval, below it both p's."""

from collections.abc import Sequence

from speechbias.report.grid import Column, Grid, Row
from speechbias.report.layout import bold_slots, confidence_text, p_texts
from speechbias.report.names import escape_markdown
from speechbias.report.numerals import format_brackets, format_d

EMPTY = "-"
MARK = "\\*"  # beside the d of an associated group; escaped, or Markdown would read emphasis
PAPER_NOTE = (
    "SpEAT d. Bold: below the largest d of the classical features on that test, the rule of Table 3 in the paper;\n"
    "it compares bare numbers, without regard to their intervals."
)


def write_markdown(grid: Grid, *, paper_layout: bool = False) -> str:
    """The table for a README or an issue (GitHub's Markdown)."""
    header = ["Model", *(escape_markdown(column.label) for column in grid.columns)]
    bold = bold_slots(grid) if paper_layout else set()
    lines = [_markdown_row(header), _markdown_row([":--", *["--:"] * len(grid.columns)])]
    for row in grid.rows:
        cells = [_markdown_cell(grid, row, column, bold, bare=paper_layout) for column in grid.columns]
        lines.append(_markdown_row([escape_markdown(row.label), *cells]))
    note = PAPER_NOTE if paper_layout else _note(grid)
    return "\n".join([*lines, "", *note.splitlines(), ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(grid: Grid, row: Row, column: Column, bold: set[tuple[Row, Column]], *, bare: bool) -> str:
    record = grid.cells.get((row, column))
    if record is None:
        return EMPTY
    if bare:
        return f"**{format_d(record.d)}**" if (row, column) in bold else format_d(record.d)
    d = format_d(record.d) + (MARK if record.associated else "")
    groups, attribute = (text.replace("<", "&lt;") for text in p_texts(record, "p\\_attr"))
    return f"{d} {format_brackets(record.ci_low, record.ci_high)}<br>{groups}, {attribute}"


def _note(grid: Grid) -> str:
    return (
        f"SpEAT d with {confidence_text(grid)}. p: are the two groups exchangeable; p\\_attr: is what they differ in "
        "aligned\nwith the attribute. An asterisk: both are below alpha, the group is associated. A negative d is a "
        "reverse\nassociation."
    )
