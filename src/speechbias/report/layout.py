"""What the tables share: the paper's rule for bold figures, and the texts of interval and p's.

In the paper's Table 3 the d of a model is bold where it lies below the largest d of the classical features on that
test.
"""

import textwrap
from collections.abc import Iterable

from speechbias.report.grid import Column, Grid, Row
from speechbias.report.numerals import format_p_equation, format_percent
from speechbias.results import BiasResult


def below_classical(d: float, classical: Iterable[float]) -> bool:
    """Whether the paper would set this d of a model in bold (Table 3): below the largest classical d of its column."""
    return any(d < other for other in classical)


def bold_slots(grid: Grid) -> set[tuple[Row, Column]]:
    """The cells that the paper's layout sets in bold."""
    bold = set()
    for column in grid.columns:
        cells = grid.column_cells(column)
        classical = [record.d for row, record in cells if row.classical]
        bold |= {(row, column) for row, record in cells if not row.classical and below_classical(record.d, classical)}
    return bold


def confidence_text(grid: Grid) -> str:
    """``95 % interval``, or ``interval`` where the records differ in it."""
    levels = {record.confidence for record in grid.cells.values()}
    return f"{format_percent(levels.pop())} interval" if len(levels) == 1 else "interval"


def p_texts(record: BiasResult, attribute: str) -> tuple[str, str]:
    """Both p's of a cell as equations; ``attribute`` is the symbol of the second."""
    level = record.alpha
    return (
        format_p_equation(record.p_value, alpha=level),
        format_p_equation(record.p_attribute, alpha=level, symbol=attribute),
    )


def rows_with_rule(grid: Grid) -> list[Row | None]:
    """The rows, with None for a rule between models and classical features."""
    models, classical = [r for r in grid.rows if not r.classical], [r for r in grid.rows if r.classical]
    return [*models, *([None] if models and classical else []), *classical]


def wrapped(text: str, *, characters: int) -> list[str]:
    """A note below a figure, in lines of at most so many characters; none for an empty one."""
    return textwrap.wrap(text, characters)
