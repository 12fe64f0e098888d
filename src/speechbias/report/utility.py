"""What the models are still good for, and who pays: phone error rates and their gaps between groups, beside d.

From records of kind ``per``. Rates are shares in records, per cent here. A gap is the rate of one group less that of
another, with an interval over speakers where both groups have two speakers or more; a record that has none says why.
"""

import csv
import io
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from speechbias.encoder import WITH_HEADS
from speechbias.report.error_rates import called, is_rate, protocol
from speechbias.report.grid import Column, Grid, Row
from speechbias.report.names import clean
from speechbias.report.options import shorten_hash
from speechbias.results import BiasResult

Record = Mapping[str, Any]
MANY = 12  # gaps of one model on a page
OTHER_PROTOCOL = "Numbered splits are other test sets, phones or recipes: rates of two of them do not compare."
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
    """One for each record of an error rate, in their order; of several alike of one model the last.

    Models are known by their hash, or by a name that stands for one model alone; those that are called alike have
    their hash behind the name. Test sets and recipes that share the name of a split are numbered.
    """
    kept: dict[Hashable, Record] = {}
    for each in records:
        if each.get("kind") == "per" and is_rate(each.get("per")):
            asked = each.get("states"), each.get("dtype")
            key = (str(each.get("model_sha256") or each.get("model")), *map(str, asked), protocol(each))
            kept.pop(key, None)
            kept[key] = each
    splits = _split_names(list(kept.values()))
    made = [_utility(each, grid, splits[protocol(each)]) for each in kept.values()]
    hashes = [str(each.get("model_sha256") or "") for each in kept.values()]
    return [_told_apart(each, sha256, made, hashes) for each, sha256 in zip(made, hashes, strict=True)]


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


def shown_gaps(utility: Utility) -> tuple[Gap, ...]:
    """Those that a page has room for: all, or where there are many the largest of those with an interval."""
    if len(utility.gaps) <= MANY:
        return utility.gaps
    known = sorted((gap for gap in utility.gaps if gap.interval), key=lambda gap: -abs(gap.gap))
    return tuple(known[:MANY])


def describe_speakers(utilities: Sequence[Utility]) -> str:
    """What the rates cannot say: of groups where one person reads, or nobody is known; across protocols."""
    said = _describe_groups(utilities)
    if any(each.split.endswith("]") for each in utilities):
        said += f" {OTHER_PROTOCOL}"
    return said.strip()


def _describe_groups(utilities: Sequence[Utility]) -> str:
    if any(each.gaps for each in utilities):
        return ""
    counts = {each.speakers for each in utilities}
    if counts == {1}:
        return "The test utterances are one speaker's: nothing can be said of groups."
    if None in counts:
        return "Who speaks the test utterances is not known: nothing can be said of groups."
    return "Of the speakers of the test utterances no groups are known: nothing can be said of groups."


def _split_names(records: Sequence[Record]) -> dict[Hashable, str]:
    """What the test set of each protocol is called: its split's name, numbered where another is called so too."""
    names: dict[Hashable, str] = {}
    for each in records:
        if protocol(each) not in names:
            name = clean(str(each.get("split", "")))
            alike = (name if number == 1 else f"{name} [{number}]".strip() for number in count(1))
            names[protocol(each)] = next(each for each in alike if each not in names.values())
    return names


def _told_apart(one: Utility, sha256: str, made: Sequence[Utility], hashes: Sequence[str]) -> Utility:
    """With the hash behind its name where other weights have that name too."""
    alike = {other for each, other in zip(made, hashes, strict=True) if each.label == one.label}
    return replace(one, label=f"{one.label} [{shorten_hash(sha256)}]") if sha256 and len(alike) > 1 else one


def _utility(record: Record, grid: Grid, split: str) -> Utility:
    rows = _rows_of(record, grid)
    lr, utterances, speakers = (record.get(name) for name in ("learning_rate", "n_utterances", "n_speakers"))
    return Utility(
        label=_label(record, rows),
        split=split,
        rate=float(record["per"]),
        interval=_interval(record),
        learning_rate=float(lr) if isinstance(lr, int | float) else None,
        utterances=utterances if isinstance(utterances, int) else 0,
        speakers=speakers if isinstance(speakers, int) else None,
        gaps=tuple(_gaps(record)),
        ds={column: found for column in grid.columns for row in rows[:1] if (found := grid.cells.get((row, column)))},
    )


def _label(record: Record, rows: Sequence[Row]) -> str:
    name = rows[0].model if rows else called(record)
    return f"{name} with heads" if record.get("states") == WITH_HEADS else name


def _rows_of(record: Record, grid: Grid) -> list[Row]:
    """The rows of the grid that are this model, first those of the same states and precision."""
    sha256 = record.get("model_sha256")
    if sha256:
        asked = record.get("states"), record.get("dtype")
        own = [(row, cell) for (row, _), cell in grid.cells.items() if cell.model_sha256 == sha256]
        own.sort(key=lambda each: (each[1].states, each[1].dtype) != asked)
        return list(dict.fromkeys(row for row, _ in own))
    named = {cell.model_sha256: row for (row, _), cell in grid.cells.items() if cell.model == record.get("model")}
    return list(named.values()) if len(named) == 1 else []


def _gaps(record: Record) -> Iterable[Gap]:
    said, groups = record.get("gaps"), record.get("groups")
    if not isinstance(said, Mapping) or not isinstance(groups, Mapping):
        return
    for column, found in said.items():
        for each in found if isinstance(found, list) else ():
            if not _is_gap(each, groups.get(column)):
                continue
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


def _is_gap(said: Any, groups: Any) -> bool:
    """Whether a record says it whole: two groups, a rate of each, and the gap."""
    if (
        not isinstance(said, Mapping)
        or not isinstance(groups, Mapping)
        or not isinstance(said.get("gap"), int | float)
    ):
        return False
    pair = said.get("groups")
    rates = [groups.get(name) for name in pair] if isinstance(pair, list) else []
    return len(rates) == 2 and all(isinstance(each, Mapping) and is_rate(each.get("per")) for each in rates)


def _interval(said: Record) -> Interval:
    low, high = said.get("ci_low"), said.get("ci_high")
    return (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
