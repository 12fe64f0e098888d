"""Bias against size (the paper's Figure 2) from records of pruned models: which of them are one line.

A line is one unpruned model, pruned by one method and one criterion, on one test; its places are parameters removed.
It begins with the unpruned model, where that was measured: the record of the weights, or else of the name, that the
pruned models say they come from; else the run's own first record before any cut. Runs of one recipe that differ by
the seed are one line. All models cut at random from one model are one line, whatever their run: the control; those
that were trained between cuts and those that were not are two. Models
that say neither of which run nor from which model they are, as in files of other people, are one line where family,
shape and method agree.

Of the records of one run at one size the last step stands, which is the one that was trained longest at this size.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from speechbias.report.curves import (
    Curve,
    Layer,
    Run,
    asked_of,
    describe_bands,
    describe_markers,
    from_pruning,
    run_name,
    without_put_aside,
)
from speechbias.report.grid import Column, columns_of
from speechbias.report.names import clean, model_name
from speechbias.report.options import shorten_hash
from speechbias.results import BiasResult

METHODS = ("heads", "rows", "weights")  # in the paper's order
RANDOM = "random"
FAMILIES = {"melhubert": "MelHuBERT", "wav2vec2": "wav2vec 2.0", "hubert": "HuBERT"}


@dataclass(frozen=True, eq=False)
class Line:
    """One model pruned in one way on one test; the places of ``curve`` are parameters removed, 0: nothing yet."""

    method: str
    criterion: str | None
    curve: Curve
    unpruned: BiasResult | None  # the mean over states of the model that it was pruned from

    @property
    def label(self) -> str:
        """The unpruned model's name: what is pruned in several ways has one name and one colour."""
        return self.curve.label

    @property
    def records(self) -> list[BiasResult]:
        """Those of the pruned models, single states too, by run and size."""
        found = (record for run in self.curve.runs for at in run.records.values() for record in at.values())
        return [record for record in found if from_pruning(record)]


def find_lines(records: Sequence[BiasResult]) -> list[Line]:
    """The lines in some records, by method, then test by test as in the tables; none where nothing was cut."""
    records = without_put_aside(records)
    found: dict[Hashable, list[BiasResult]] = defaultdict(list)
    for record in records:
        if from_pruning(record) and record.method in METHODS:
            found[_panel_of(record), record.criterion, _origin(record), _of_run(record), asked_of(record)].append(
                record
            )
    kept = [each for each in found.values() if any(r.parameters_removed and r.layer == "mean" for r in each)]
    firsts = [each[0] for each in kept]
    columns, labels = columns_of(firsts), _labels(firsts, records)
    made = [
        _line(each, label, columns[each[0].test, each[0].stimuli_sha256], records)
        for each, label in zip(kept, labels, strict=True)
    ]
    order = list(dict.fromkeys(columns.values()))
    return sorted(made, key=lambda line: (METHODS.index(line.method), order.index(line.curve.column)))


def without_larger(records: Sequence[BiasResult]) -> list[BiasResult]:
    """The records, of each pruned model the smallest alone: what tables and the answer are about.

    Models that say neither of which run nor from which model they are all stay.
    """

    def of_one(record: BiasResult) -> Hashable:
        known = from_pruning(record) and (record.run or record.pruned_from)
        return (_panel_of(record), _line_of(record), _run_of(record), record.layer) if known else id(record)

    smallest: dict[Hashable, BiasResult] = {}
    for record in records:
        held = smallest.setdefault(of_one(record), record)
        if _size_order(record) >= _size_order(held):
            smallest[of_one(record)] = record
    kept = {id(record) for record in smallest.values()}
    return [record for record in records if id(record) in kept]


def caption(lines: Sequence[Line]) -> str:
    """What the figure says below itself."""
    chosen = [line.curve for line in lines if line.criterion != RANDOM]
    drawn = chosen or [line.curve for line in lines]
    random = [line for line in lines if line.criterion == RANDOM]
    seeds = sorted({len(line.curve.runs) for line in random})
    damage = all(not _is_trained(record) for line in random for record in line.records)
    untrained = ", without training between cuts" if damage else ""
    texts = [
        "d of the mean over states; further right, more was removed.",
        describe_bands(chosen) if chosen else "",
        "Dashed: the unpruned model." if any(line.unpruned for line in lines) else "",
        f"Grey: as much cut at random{untrained}, range and median of n = {' or '.join(map(str, seeds))} draws."
        if seeds
        else "",
        describe_markers(drawn, "sizes"),
        "Below zero the association is reversed: d = -0.5 is as much of one as 0.5.",
    ]
    return " ".join(filter(None, texts))


def _panel_of(record: BiasResult) -> Hashable:
    return record.test, record.stimuli_sha256, record.method


def _line_of(record: BiasResult) -> Hashable:
    return record.criterion, _origin(record), _of_run(record), asked_of(record)


def _origin(record: BiasResult) -> tuple[str, str, int, int, float | None]:
    """The unpruned model, as far as it is known: what has one name and one colour."""
    whole = None if record.pruned_from else record.of
    return record.pruned_from or "", record.family, record.num_states, record.dim, whole


def _of_run(record: BiasResult) -> str:
    """What the runs of one line share; at random from one model, whatever there is that was trained, or was not."""
    run = record.run or {}
    if record.criterion == RANDOM and record.pruned_from:
        return str(_is_trained(record))
    return str(run.get("recipe") or run.get("name") or "")


def _is_trained(record: BiasResult) -> bool:
    """Whether training went on between the cuts; a model that was only cut stands at no step of a run."""
    return record.step is not None


def _size_order(record: BiasResult) -> tuple[int, int]:
    """The smallest and, of one size, the longest trained one last."""
    return record.parameters_removed or 0, record.step or 0


def _run_of(record: BiasResult) -> Hashable:
    run = record.run or {}
    return str(run.get("name")), str(run.get("seed")), record.criterion_seed


def _line(records: Sequence[BiasResult], label: str, column: Column, every: Iterable[BiasResult]) -> Line:
    origin = _unpruned(records, every)
    runs: dict[Hashable, list[BiasResult]] = defaultdict(list)
    for record in records:
        runs[_run_of(record)].append(record)
    curve = Curve(label, column, tuple(_run(each, origin) for each in runs.values()))
    return Line(str(records[0].method), records[0].criterion, curve, origin.get("mean"))


def _run(records: Sequence[BiasResult], origin: Mapping[Layer, BiasResult]) -> Run:
    by_layer: dict[Layer, dict[int, BiasResult]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.step or 0):
        by_layer[record.layer][record.parameters_removed or 0] = record
    for layer, record in origin.items():
        if layer in by_layer:
            by_layer[layer].setdefault(0, record)
    seed = (records[0].run or {}).get("seed")
    ordered = {layer: dict(sorted(at.items())) for layer, at in by_layer.items()}
    return Run(run_name(records[0]), seed if isinstance(seed, int) else None, ordered)


def _unpruned(records: Sequence[BiasResult], every: Iterable[BiasResult]) -> dict[Layer, BiasResult]:
    """By layer, the records on the same test of the model from which these were pruned."""
    first = records[0]
    asked = first.test, first.stimuli_sha256, asked_of(first)
    alike = [r for r in every if (r.test, r.stimuli_sha256, asked_of(r)) == asked and not r.parameters_removed]
    by_weights = [r for r in alike if r.model_sha256 == first.pruned_from]
    by_name = [r for r in alike if r.model == first.pruned_from and not from_pruning(r)]
    if len({r.model_sha256 for r in by_name}) > 1:  # of which of them, nobody knows
        by_name = []
    own = sorted((r for r in records if not r.parameters_removed), key=lambda r: -(r.step or 0))
    return {record.layer: record for record in by_weights or by_name or own}


def _labels(firsts: Sequence[BiasResult], every: Sequence[BiasResult]) -> list[str]:
    """The name of each line, from one record of each: its family; with the model's name or the run's if need be."""
    origins = {_origin(record): record for record in firsts}
    families = [record.family for record in origins.values()]
    runs: dict[Hashable, set[str]] = defaultdict(set)
    for record in firsts:
        runs[_origin(record), record.method, record.criterion].add(_of_run(record))
    labels, taken = [], set()
    for record in firsts:
        label = FAMILIES.get(record.family, clean(record.family))
        if families.count(record.family) > 1:
            label += f" {_origin_name(record, every)}"
        if len(runs[_origin(record), record.method, record.criterion]) > 1:
            label += f" ({run_name(record) if _is_trained(record) else 'cut alone'})"
        number = next(n for n in count(1) if (_panel_of(record), record.criterion, label, n) not in taken)
        taken.add((_panel_of(record), record.criterion, label, number))
        labels.append(label + (f" [{number}]" if number > 1 else ""))
    return labels


def _origin_name(record: BiasResult, every: Sequence[BiasResult]) -> str:
    """What the unpruned model is called; the beginning of its hash where nobody measured it."""
    origin = record.pruned_from
    if origin is None:
        return run_name(record)
    measured = next((other for other in every if other.model_sha256 == origin), None)
    if measured is not None:
        return run_name(measured)
    return shorten_hash(origin) if re.fullmatch("[0-9a-f]{64}", origin) else model_name(origin)
