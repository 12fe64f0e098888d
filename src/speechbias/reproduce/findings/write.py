"""Findings for a terminal and in files."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechbias.report.files import write_files
from speechbias.report.names import escape_markdown
from speechbias.reproduce.findings.finding import NEGLIGIBLE, Finding, Says

RULE = (
    "Supported or contradicted: the 95 % interval lies wholly on one side of zero; where d is said to stay, wholly "
    f"within or outside of +-{NEGLIGIBLE:g}. An interval over stimuli is of these models and says nothing of other "
    "training runs."
)
NO_INTERVAL = "no vectors lie beside the results, the clips are not the same, or a group is of one speaker"
HEAD = (
    "| section | statement | on | effect [95 %] | over | verdict | the paper's own numbers | how |",
    "| --- | --- | --- | ---: | --- | --- | --- | --- |",
)


def findings_in_words(found: Sequence[Finding]) -> Group:
    """What was measured, as a table; how many statements were not."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("statement", overflow="fold", ratio=3)
    table.add_column("on", overflow="fold", ratio=1)
    table.add_column("effect", justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for each in found:
        if each.says is not Says.absent:
            over = "" if each.over == "stimuli" else " (over runs)"
            table.add_row(each.section, each.statement + over, each.on, _effect(each), each.says)
    told = (Text(summary(found)), Text(RULE))
    return Group(table, *told) if table.row_count else Group(*told)


def summary(found: Sequence[Finding]) -> str:
    """How many of each verdict, and how many effects have no interval, so that one cannot tell."""
    counts = Counter(each.says for each in found)
    said = ", ".join(f"{counts[says]} {says}" for says in Says if counts[says])
    bare = sum(
        each.says is Says.unclear and each.low is None and (each.over, each.unit) == ("stimuli", "d") for each in found
    )
    why = f" {bare} without an interval: {NO_INTERVAL}." if bare else ""
    return f"{len(found)} statement{'' if len(found) == 1 else 's'}: {said}.{why}"


def write_findings(found: Sequence[Finding], out: Path) -> tuple[Path, ...]:
    """``findings.md`` and ``findings.csv`` in the folder ``out``; the CSV has those that were not measured too."""
    return write_files(out, {"findings.md": _markdown(found), "findings.csv": _csv(found)})


def _effect(each: Finding) -> str:
    if each.effect is None:
        return ""
    number = f"{each.effect:+.2f}" if each.unit != "share" else f"{each.effect:.2f}"
    if each.low is None or each.high is None:
        return number
    form = "{:+.2f}" if each.unit != "share" else "{:.2f}"
    return f"{number} [{form.format(each.low)}, {form.format(each.high)}]"


def _markdown(found: Sequence[Finding]) -> str:
    lines = [*HEAD]
    for each in found:
        if each.says is not Says.absent:
            statement, on, paper, note = map(escape_markdown, (each.statement, each.on, each.paper, each.note))  # |d|
            cells = (each.section, statement, on, _effect(each), each.over, each.says, paper, note)
            lines.append(f"| {' | '.join(cells)} |")
    absent = Counter(each.statement for each in found if each.says is Says.absent)
    left = [
        f"- {escape_markdown(statement)}{f' ({count} times)' if count > 1 else ''}"
        for statement, count in absent.items()
    ]
    listed = ["", "Not measured:", "", *left] if left else []
    table = [*lines, ""] if len(lines) > len(HEAD) else []
    return "\n".join((*table, summary(found), "", RULE, *listed, ""))


def _csv(found: Sequence[Finding]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Finding)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in found)
    return text.getvalue()
