"""Audits and adjusted d's in tables, for Markdown and for a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from speechbias.report.confounds import PAIRS, AuditView, Compared, Record, view_adjustment
from speechbias.report.grid import Column, Row
from speechbias.report.names import escape_markdown


def audits_in_markdown(views: Sequence[AuditView]) -> str:
    """A small table per test: differences of X and Y, of A and B; flags are bold. "" where there is none."""
    parts = []
    for view in views:
        names = {key: escape_markdown(name) for key, name in view.groups.items()}
        header = (
            f"| {escape_markdown(view.label)} | {names['X']} | {names['Y']} | SD | {names['A']} | {names['B']} | SD |"
        )
        lines = [header, "| :-- | --: | --: | --: | --: | --: | --: |"]
        for line in view.lines:
            cells = [line.label, *_cells(line.targets), *_cells(line.attributes)]
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    if not parts:
        return ""
    note = "What else differs between the groups: means, and their difference in SDs within groups. Bold: beyond 0.5."
    return "\n\n".join([note, *parts]) + "\n"


def _cells(compared: Compared) -> list[str]:
    difference = f"**{compared.difference}**" if compared.flagged else compared.difference
    return [*compared.means, difference]


def audit_table(view: AuditView) -> Table:
    """The audit for a terminal: flags have a star."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="X-Y, A-B: in SDs within groups; * beyond 0.5",
        caption_justify="left",
    )
    table.add_column(view.label, overflow="fold")
    for first, second in PAIRS.values():
        for name in (view.groups[first], view.groups[second], f"{first}-{second}"):
            table.add_column(name, justify="right", overflow="fold", min_width=6)
    for line in view.lines:
        table.add_row(line.label, *_terminal_cells(line.targets), *_terminal_cells(line.attributes))
    return table


def _terminal_cells(compared: Compared) -> list[str]:
    return [*compared.means, f"{compared.difference}{'*' if compared.flagged else ' '}"]


def adjusted_table(records: Sequence[Record]) -> Table:
    """Raw and adjusted d for a terminal; the matched d with its number of pairs."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("test", "model"):
        table.add_column(name, overflow="fold", min_width=8)
    for name in ("layer", "d", "adjusted", "interval", "p", "matched"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in records:
        view = view_adjustment(Row(record["model"], "", record["family"]), Column(record["test"], ""), record)
        matched = f"{view.matched} ({view.pairs})"
        layer = str(record["layer"])
        table.add_row(view.test, view.label, layer, view.raw, view.adjusted, view.interval, view.p, matched)
    return table
