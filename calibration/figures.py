"""Numbers that are judged by a rule, tables of them, and the sentences that the rule makes.

A level of 5 % is kept between 3.5 and 7 %, others in proportion; a coverage where what it leaves out is. A number
outside stands in bold; whether it lies there by more than two standard errors of the simulation is said beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from textwrap import fill

import numpy as np

LEAST, MOST = 0.7, 1.4  # of alpha: 3.5 and 7 % of 5 %
CLEAR = 2  # standard errors
ROUNDING = 1e-9
WIDTH = 140  # of a line of the page


@dataclass(frozen=True)
class Figure:
    """One number of a table; ``low`` and ``high`` are where it is kept, none of both where nothing is promised."""

    value: float
    target: float | None = None
    low: float = -np.inf
    high: float = np.inf
    words: tuple[str, str] = ("cautious", "too often")  # what it is below and above
    draws: int = 0  # 0: no rate, without a standard error
    row: str = ""
    column: str = ""

    @property
    def label(self) -> str:
        """Where it stands."""
        return ", ".join(part for part in (self.row, self.column) if part)

    @property
    def promised(self) -> bool:
        """Whether it is judged."""
        return self.target is not None

    @property
    def side(self) -> int:
        """-1 below, 1 above, 0 kept."""
        return int(self.value > self.high + ROUNDING) - int(self.value < self.low - ROUNDING)

    @property
    def clear(self) -> bool:
        """Whether it is outside by more than two standard errors of a rate at the bound."""
        bound = self.low if self.side < 0 else self.high
        error = standard_error(bound, self.draws) if self.draws and self.side else 0.0
        return self.side != 0 and abs(self.value - bound) > CLEAR * error

    @property
    def harmful(self) -> bool:
        """Outside on the side on which a finding or an interval is trusted too much."""
        return self.side != 0 and self.words[self.side > 0] != "cautious"

    def __str__(self) -> str:
        return f"{100 * self.value:.{self._digits}f} %" if self.draws else f"{self.value:.2f}"

    @property
    def _digits(self) -> int:
        return 2 if self.target is not None and self.target < 0.02 else 1

    @property
    def cell(self) -> str:
        """In a table."""
        return f"**{self}**" if self.side else str(self)


def standard_error(rate: float, draws: int) -> float:
    """Of a rate; where it is 0 or 1 that of one draw more."""
    inside = min(max(rate, 0.5 / draws), 1 - 0.5 / draws)
    return float(np.sqrt(inside * (1 - inside) / draws))


def level(value: float, draws: int, alpha: float = 0.05) -> Figure:
    """A share of false findings."""
    return Figure(value, alpha, LEAST * alpha, MOST * alpha, draws=draws)


def at_most(value: float, draws: int, alpha: float = 0.05) -> Figure:
    """A share of false findings that may as well be smaller."""
    return Figure(value, alpha, 0.0, MOST * alpha, draws=draws)


def coverage(value: float, draws: int, confidence: float = 0.95) -> Figure:
    """A share of intervals that hold the truth."""
    out = 1 - confidence
    return Figure(value, confidence, 1 - MOST * out, 1 - LEAST * out, ("too narrow", "cautious"), draws)


def ratio(value: float) -> Figure:
    """Achieved over predicted: kept within 10 %."""
    return Figure(value, 1.0, 0.9, 1.1, ("smaller", "larger"))


def power(value: float, draws: int) -> Figure:
    """A rate of which nothing is promised."""
    return Figure(value, draws=draws)


@dataclass(frozen=True)
class Table:
    """``rows``: a label, then figures or text; ``header`` without the name of the first column."""

    caption: str
    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Figure | str]]]
    first: str = ""

    def figures(self) -> Iterator[Figure]:
        """Those that are judged, named by row and column."""
        for name, row in self.rows:
            for column, each in zip(self.header, row, strict=True):
                if isinstance(each, Figure) and each.promised:
                    yield replace(each, row=name, column=column if len(self.header) > 1 else "")

    def render(self) -> str:
        """Caption, table, and what of it is not kept."""
        lines = [
            paragraph(f"{self.caption} {self._draws()}".strip()),
            "",
            f"| {self.first} | " + " | ".join(self.header) + " |",
            "| --- |" + " ---: |" * len(self.header),
        ]
        for name, row in self.rows:
            lines.append(f"| {name} | " + " | ".join(x.cell if isinstance(x, Figure) else x for x in row) + " |")
        said = describe(list(self.figures()))
        return "\n".join([*lines, *(["", paragraph(said)] if said else [])])

    def _draws(self) -> str:
        """Numbers of draws, and the standard error of a rate near its target."""
        rates = [x for _, row in self.rows for x in row if isinstance(x, Figure) and x.draws]
        if not rates:
            return ""
        counts = sorted({x.draws for x in rates})
        targets = sorted({min(x.target, 1 - x.target) for x in rates if x.target is not None and x.target < 1})
        target = targets[-1] if targets else 0.5
        errors = "/".join(f"{100 * standard_error(target, count):.1f}" for count in counts)
        many = " or ".join(f"{count:,}" for count in counts)
        return f"{many} draws a cell: standard error {errors} points at {100 * target:.2g} %."


def describe(figures: Sequence[Figure]) -> str:
    """Which of them are not kept, in words; what may be chance is set apart."""
    if not figures:
        return ""
    outside = [each for each in figures if each.side]
    if not outside:
        return f"Kept in {'the one cell' if len(figures) == 1 else f'all {len(figures)} cells'}."
    said = [f"Kept in {len(figures) - len(outside)} of {len(figures)} cells."]
    for word in dict.fromkeys(each.words[each.side > 0] for each in outside):
        here = [each for each in outside if each.clear and each.words[each.side > 0] == word]
        if here:
            said.append(f"{word.capitalize()}: {_listed(here)}.")
    unclear = [each for each in outside if not each.clear]
    if unclear:
        said.append(f"Outside by less than two standard errors, which may be chance: {_listed(unclear)}.")
    return " ".join(said)


def _listed(figures: Sequence[Figure]) -> str:
    """Row by row."""
    rows: dict[str, list[str]] = {}
    for each in figures:
        rows.setdefault(each.row, []).append(f"{each.column}: {each}" if each.column else str(each))
    return "; ".join(f"{row} ({', '.join(shown)})" for row, shown in rows.items())


@dataclass(frozen=True)
class Section:
    """One inference on the page."""

    title: str
    promise: str  # a row of the summary
    text: str
    tables: Sequence[Table]
    closing: str = ""
    code: str = ""  # where it is computed
    figures: list[Figure] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", [each for table in self.tables for each in table.figures()])

    def summary(self) -> str:
        """A row: promise, worst and median of what is judged, verdict."""
        row = f"| [{self.title}](#{anchor(self.title)}) | {self.promise} |"
        if not self.figures:
            return f"{row} | | not judged |"
        worst = max(self.figures, key=_excess)
        if not worst.draws:
            return f"{row} {median(x.value for x in self.figures):.2f} | {worst} ({worst.label}) | {self._verdict()} |"
        usual = [_miss(each) for each in self.figures if np.isclose(_aim(each), 0.05)]
        aim = "" if np.isclose(_aim(worst), 0.05) else f" instead of {100 * _aim(worst):.2g} %"
        shown = f"{100 * _miss(worst):.{2 if aim else 1}f} %{aim} ({worst.label})"
        return f"{row} {100 * median(usual):.1f} % | {shown} | {self._verdict()} |"

    def _verdict(self) -> str:
        """In a few words, from the cells that are outside by more than chance."""
        clear = [each for each in self.figures if each.clear]
        harmful = [each for each in clear if each.harmful]
        if harmful:
            return f"**not kept** in {len(harmful)} of {len(self.figures)} cells"
        return f"kept; cautious in {len(clear)} of {len(self.figures)} cells" if clear else "kept"

    def render(self) -> str:
        """The whole section."""
        where = f" ({self.code})" if self.code else ""
        tables = (table.render() for table in self.tables)
        parts = [f"## {self.title}", paragraph(f"{self.text}{where}"), *tables, paragraph(self.closing)]
        return "\n\n".join(part for part in parts if part)


def paragraph(text: str) -> str:
    """In lines; none begins with a plus, which would make a list of it."""
    return fill(text.replace(" + ", "\0+\0"), WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def anchor(title: str) -> str:
    """Of a heading, as Markdown viewers make it."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _miss(figure: Figure) -> float:
    """False findings, or intervals without the truth."""
    return 1 - figure.value if figure.words[0] == "too narrow" else figure.value


def _aim(figure: Figure) -> float:
    """What ``_miss`` should be."""
    target = figure.target or 0.0
    return 1 - target if figure.words[0] == "too narrow" else target


def _excess(figure: Figure) -> float:
    """What is wrong, as a factor; of a ratio how far it is from 1."""
    return _miss(figure) / _aim(figure) if figure.draws else abs(figure.value - 1)
