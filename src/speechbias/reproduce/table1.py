"""Table 1: bias categories and clips per group, ours beside the paper's and SpEAT's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechbias.corpora.accent_archive import read_list
from speechbias.paper import SILENCES, TABLE_1, Category
from speechbias.report.files import write_files
from speechbias.stimuli import StimulusSet

ATTRIBUTES_PER_TALKER = 10  # SpEAT: of each of Morgan's 6 talkers, in A and in B
TALKERS = 6


@dataclass(frozen=True)
class Table1Row:
    """A category: clips per group in the paper, in SpEAT's lists as this package has them, and in your stimuli."""

    category: Category
    speat: int
    ours: Mapping[str, int] | None  # by set; None: no such stimuli were named or built

    @property
    def verdict(self) -> str:
        """In words."""
        if self.ours is None:
            return "not built"
        x, y = self.ours["X"], self.ours["Y"]
        if x == y == self.category.count:
            return "as the paper"
        if x == y == self.speat:
            return f"as SpEAT; the paper has {self.category.count}"
        return f"other clips than SpEAT's {self.speat}"


def table1(tests: Sequence[StimulusSet] = ()) -> list[Table1Row]:
    """Table 1; ``tests`` are stimuli called after the categories (gender, native, age), those that there are."""
    built = {test.name.casefold(): {key: len(getattr(test, key)) for key in "XYAB"} for test in tests}
    return [
        Table1Row(row, len(read_list(row.name.casefold())) // 2, built.get(row.name.casefold())) for row in TABLE_1
    ]


def is_speats(test: StimulusSet) -> bool:
    """Whether a test has SpEAT's targets in full, each once, and of 6 talkers as many attribute clips.

    Groups count, and which of them is X: with X and Y exchanged d has the other sign.
    """
    category = next((row for row in TABLE_1 if row.name.casefold() == test.name.casefold()), None)
    if category is None:
        return False
    x = category.x
    listed = Counter((each.group == x, each.group, each.id) for each in read_list(test.name.casefold()))
    ours = Counter((clips is test.X, each.group, each.speaker) for clips in (test.X, test.Y) for each in clips)
    talkers = [Counter(each.speaker for each in clips) for clips in (test.A, test.B)]
    return ours == listed and all(
        len(each) == TALKERS and set(each.values()) == {ATTRIBUTES_PER_TALKER} for each in talkers
    )


def table1_in_words(rows: Sequence[Table1Row]) -> Group:
    """The table for a terminal, with why Native differs."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("category", "X", "Y"):
        table.add_column(name)
    for name in ("paper", "SpEAT", "yours"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in rows:
        table.add_row(row.category.name, row.category.x, row.category.y, *_counts(row), row.verdict)
    return Group(table, Text("Clips per group."), Text(_why_native()))


def write_table1(rows: Sequence[Table1Row], out: Path) -> tuple[Path, ...]:
    """``table1.md`` in the folder ``out``."""
    lines = [
        "| category | X | Y | paper | SpEAT | yours | verdict |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
        *(
            f"| {' | '.join((row.category.name, row.category.x, row.category.y, *_counts(row), row.verdict))} |"
            for row in rows
        ),
    ]
    return write_files(out, {"table1.md": "\n".join((*lines, "", "Clips per group.", "", _why_native(), ""))})


def _counts(row: Table1Row) -> tuple[str, str, str]:
    ours = "" if row.ours is None else str(row.ours["X"])
    if row.ours and row.ours["X"] != row.ours["Y"]:
        ours = f"{row.ours['X']} and {row.ours['Y']}"
    return str(row.category.count), str(row.speat), ours


def _why_native() -> str:
    silence = SILENCES["native-count"]
    return f"{silence.topic}. Here: {silence.chosen}; {silence.reason}."
