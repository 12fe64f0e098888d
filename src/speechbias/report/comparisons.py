"""Which models differ: records of kind ``comparison`` as a table for the terminal, for Markdown and for the page.

Rows stand as they were compared, never in the order of their differences. ``differs`` is said by p after Holm; the
other word is ``cannot tell``, as a large p does not show that two models are alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from speechbias.level import alpha_of
from speechbias.report.names import clean, escape_markdown, model_name
from speechbias.report.numerals import format_brackets, format_d, format_p, format_percent

NUMBERS = ("d", "d_baseline", "difference", "ci_low", "ci_high", "p_value", "p_holm", "p_bh", "confidence")
WORDS = ("test", "model", "baseline", "model_sha256", "baseline_sha256", "stimuli_sha256")
SAME = (*WORDS, "layer", "baseline_layer", "step", "baseline_step", "states", "dtype", "crop_seconds")
CAPTION = (
    "p: are the two d's equal? Holm, BH: p after adjustment for all rows. differs: Holm's p is below alpha; "
    "cannot tell is not the same as alike"
)
NOTE = (
    "Difference: d of the encoder less d of the other, on the same clips, with its interval. p: are the two equal?\n"
    "Holm and BH: p after adjustment for all comparisons made together; the verdict goes by Holm. *Cannot tell* does\n"
    "not mean alike."
)


@dataclass(frozen=True)
class Compared:
    """One record of a comparison, as a report says it."""

    test: str
    layer: str
    model: str
    baseline: str
    d: float
    d_baseline: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_holm: float
    p_bh: float
    confidence: float
    p_both_zero: float | None = None  # where it was asked for

    @property
    def alpha(self) -> float:
        """The level that belongs to the interval."""
        return alpha_of(self.confidence)

    @property
    def verdict(self) -> str:
        """``differs`` or ``cannot tell``."""
        return "differs" if self.p_holm < self.alpha else "cannot tell"

    @property
    def heading(self) -> str:
        """What stands above the rows of one test and layer: both, and with what the models are compared."""
        layer = "" if self.layer == "mean" else f", layer {self.layer}"
        return f"{self.test}{layer}: against {self.baseline} (d = {format_d(self.d_baseline)})"


def find_comparisons(records: Sequence[Mapping[str, Any]]) -> list[Compared]:
    """The comparisons among records of all kinds; of one pair that was compared again, the last."""
    found: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for record in records:
        if record.get("kind") == "comparison" and _is_whole(record):
            found[tuple(record.get(name) for name in SAME)] = record
    steps: dict[str, set[object]] = {}
    for record in found.values():
        steps.setdefault(record["model"], set()).add(record.get("step"))
        steps.setdefault(record["baseline"], set()).add(record.get("baseline_step"))
    return [_read(record, steps) for record in found.values()]


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether everything that is shown is there, and hashable."""
    return (
        all(isinstance(record.get(name), int | float) for name in NUMBERS)
        and all(isinstance(record.get(name), str) for name in WORDS)
        and all(isinstance(record.get(name), int | float | str | None) for name in SAME)
    )


def _read(record: Mapping[str, Any], steps: Mapping[str, set[object]]) -> Compared:
    """One record; a step is named where a model was compared at several."""

    def called(model: str, step: object) -> str:
        return f"{model_name(model)}, step {step}" if len(steps[model]) > 1 and step is not None else model_name(model)

    model = called(record["model"], record.get("step"))
    baseline = called(record["baseline"], record.get("baseline_step"))
    layer, other = str(record.get("layer", "mean")), str(record.get("baseline_layer", record.get("layer", "mean")))
    if layer != other:  # states of one model
        model, baseline, layer = f"state {layer}", f"state {other} of {baseline}", "mean"
    numbers = {name: float(record[name]) for name in NUMBERS}
    zero = record.get("p_both_zero")
    if isinstance(zero, int | float):
        numbers["p_both_zero"] = float(zero)
    crop = record.get("crop_seconds")
    test = clean(record["test"]) + (f", the middle {crop:g} s of each clip" if isinstance(crop, int | float) else "")
    return Compared(test=test, layer=clean(layer), model=model, baseline=baseline, **numbers)


def by_heading(compared: Sequence[Compared]) -> Iterator[tuple[str, list[Compared]]]:
    """Rows that stand below one heading."""
    for heading, rows in groupby(compared, key=lambda each: each.heading):
        yield heading, list(rows)


def levels(compared: Sequence[Compared]) -> str:
    """``95 %``."""
    return " / ".join(dict.fromkeys(format_percent(each.confidence) for each in compared))


def terminal_comparisons(records: Sequence[Mapping[str, Any]]) -> Group:
    """A table for the terminal per test, layer and baseline."""
    compared = find_comparisons(records)
    return Group(*(_table(heading, rows) for heading, rows in by_heading(compared)), Text(CAPTION))


def _table(heading: str, rows: Sequence[Compared]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=escape(heading), title_justify="left")
    zero = ["both 0"] if any(row.p_both_zero is not None for row in rows) else []
    table.add_column("model", overflow="fold", min_width=13)
    for name in ("d", "differ.", f"{levels(rows)} interval", "p", "Holm", "BH", *zero):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        interval = f"{_signed(row.ci_low)} to {_signed(row.ci_high)}"
        values = [row.p_value, row.p_holm, row.p_bh, *([row.p_both_zero] if zero else [])]
        p = ["" if value is None else format_p(value, alpha=row.alpha) for value in values]
        table.add_row(escape(row.model), _signed(row.d), _signed(row.difference), interval, *p, row.verdict)
    return table


def _signed(number: float) -> str:
    """With its sign, and never ``-0.00``."""
    return f"{round(number, 2) + 0.0:+.2f}"


def write_comparisons(compared: Sequence[Compared]) -> str:
    """The table in GitHub's Markdown; "" where nothing was compared."""
    if not compared:
        return ""
    difference = f"Difference, {levels(compared)} interval"
    lines = [
        f"| Encoder | against | Test | Layer | d | d | {difference} | p | Holm | BH | Verdict |",
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | :-- |",
    ]
    for row in compared:
        p = (format_p(value, alpha=row.alpha).replace("<", "&lt;") for value in (row.p_value, row.p_holm, row.p_bh))
        names = [escape_markdown(name) for name in (row.model, row.baseline, row.test, row.layer)]
        difference = f"{format_d(row.difference)} {format_brackets(row.ci_low, row.ci_high)}"
        cells = [*names, format_d(row.d), format_d(row.d_baseline), difference, *p, row.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(["## Which encoders differ?", "", *lines, "", NOTE, ""])
