"""What the models are still good for, and who pays: phone error rates and their gaps between groups, beside d.

From records of kind ``per``. Rates are shares in records, per cent here. A gap is the rate of one group less that of
another, with an interval over speakers where both groups have two speakers or more; a record that has none says why.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.error_rates import is_rate
from speechbias.report.grid import Column, Grid, Row
from speechbias.report.names import clean, model_name
from speechbias.results import BiasResult

Record = Mapping[str, Any]
Interval = tuple[float, float] | None  # of shares


@dataclass(frozen=True)
class Gap:
    """Two groups of one column: ``gap`` is the first's rate less the second's."""

    column: str
    groups: tuple[str, str]
    rates: tuple[float, float]
    gap: float
    interval: Interval
    why: str  # there is no interval


@dataclass(frozen=True)
class Utility:
    """One model: its rate, the gaps between groups, and d of every test on which the same model was measured."""

    label: str
    split: str
    rate: float
    interval: Interval
    learning_rate: float | None
    utterances: int
    speakers: int | None
    gaps: tuple[Gap, ...]
    ds: Mapping[Column, BiasResult]


def find_utilities(records: Iterable[Record], grid: Grid) -> list[Utility]:
    """One for each record of an error rate, in their order; of several of one model and split the last.

    Models are known by their hash, or by a name that stands for one model alone.
    """
    kept: dict[tuple[str, str], Record] = {}
    for each in records:
        if each.get("kind") == "per" and is_rate(each.get("per")):
            key = (str(each.get("model_sha256") or each.get("model")), str(each.get("split", "")))
            kept.pop(key, None)
            kept[key] = each
    return [_utility(each, grid) for each in kept.values()]


def write_per_csv(utilities: Sequence[Utility]) -> str:
    """A line per model for all speakers, then one per group and gap; shares, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "split", "column", "group", "other_group", "per", "other_per", "gap", "ci_low", "ci_high"]
    )
    for each in utilities:
        bounds = each.interval or ("", "")
        writer.writerow([each.label, each.split, "", "", "", each.rate, "", "", *bounds])
        for gap in each.gaps:
            found = gap.interval or ("", "")
            writer.writerow([each.label, each.split, gap.column, *gap.groups, *gap.rates, gap.gap, *found])
    return text.getvalue()


def describe_speakers(utilities: Sequence[Utility]) -> str:
    """What the rates can say of groups: nothing where one person reads, or nobody is known."""
    if any(each.gaps for each in utilities):
        return ""
    counts = {each.speakers for each in utilities}
    if counts == {1}:
        return "The test utterances are one speaker's: nothing can be said of groups."
    if None in counts:
        return "Who speaks the test utterances is not known: nothing can be said of groups."
    return "Of the speakers of the test utterances no groups are known: nothing can be said of groups."


def _utility(record: Record, grid: Grid) -> Utility:
    rows = _rows_of(record, grid)
    lr, utterances, speakers = (record.get(name) for name in ("learning_rate", "n_utterances", "n_speakers"))
    return Utility(
        label=rows[0].model if rows else model_name(str(record.get("model", "model"))),
        split=clean(str(record.get("split", ""))),
        rate=float(record["per"]),
        interval=_interval(record),
        learning_rate=float(lr) if isinstance(lr, int | float) else None,
        utterances=utterances if isinstance(utterances, int) else 0,
        speakers=speakers if isinstance(speakers, int) else None,
        gaps=tuple(_gaps(record)),
        ds={column: found for column in grid.columns for row in rows[:1] if (found := grid.cells.get((row, column)))},
    )


def _rows_of(record: Record, grid: Grid) -> list[Row]:
    """The rows of the grid that are this model."""
    sha256 = record.get("model_sha256")
    if sha256:
        return list(dict.fromkeys(row for (row, _), cell in grid.cells.items() if cell.model_sha256 == sha256))
    named = {cell.model_sha256: row for (row, _), cell in grid.cells.items() if cell.model == record.get("model")}
    return list(named.values()) if len(named) == 1 else []


def _gaps(record: Record) -> Iterable[Gap]:
    said, groups = record.get("gaps"), record.get("groups")
    if not isinstance(said, Mapping) or not isinstance(groups, Mapping):
        return
    for column, found in said.items():
        for each in found:
            pair = tuple(each["groups"])
            rates = tuple(float(groups[column][name]["per"]) for name in pair)
            why = str(each.get("why", ""))
            yield Gap(
                clean(column),
                (clean(pair[0]), clean(pair[1])),
                (rates[0], rates[1]),
                each["gap"],
                _interval(each),
                why,
            )


def _interval(said: Record) -> Interval:
    low, high = said.get("ci_low"), said.get("ci_high")
    return (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
