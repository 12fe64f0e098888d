"""Phone error rates (records of kind ``per``): which rate is of which model, and those on the lines of Figure 2."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.sparsities import Line
from speechbias.results import BiasResult

Record = Mapping[str, Any]


@dataclass(frozen=True)
class ErrorRates:
    """Of one line's models: by parameters removed the rates of its runs, as shares."""

    label: str
    method: str
    criterion: str | None
    split: str
    rates: Mapping[int, Sequence[float]]
    unpruned: float | None


class Rates:
    """Finds the rate of a model: by its hash where the rate has one, else by a name that one model alone has.

    That is, one of those on ``lines`` and of the ``measured`` ones.

    Of several splits the first that was recorded is taken; of several rates of one model the last.
    """

    def __init__(
        self, records: Sequence[Record], lines: Sequence[Line] = (), *, measured: Iterable[BiasResult] = ()
    ) -> None:
        usable = [each for each in records if is_rate(each.get("per"))]
        self.split = str(usable[0].get("split", "")) if usable else ""
        usable = [each for each in usable if str(each.get("split", "")) == self.split]
        drawn = (each for line in lines for each in (*line.records, *([line.unpruned] if line.unpruned else [])))
        hashes: dict[str, set[str]] = defaultdict(set)
        for record in (*drawn, *measured):
            hashes[record.model].add(record.model_sha256)
        self._by_hash = {str(each["model_sha256"]): float(each["per"]) for each in usable if each.get("model_sha256")}
        self._by_name = {
            str(each.get("model")): float(each["per"])
            for each in usable
            if not each.get("model_sha256") and len(hashes[str(each.get("model"))]) == 1
        }

    def of(self, record: BiasResult) -> float | None:
        """The rate of the model that this record is of, if it was measured."""
        return self._by_hash.get(record.model_sha256, self._by_name.get(record.model))


def find_error_rates(lines: Sequence[Line], rates: Rates) -> list[ErrorRates]:
    """One for each method, criterion and model of which a pruned model has a rate; the same on every test."""
    found: dict[tuple[str, str, str | None], ErrorRates] = {}
    for line in lines:
        at: dict[int, list[float]] = defaultdict(list)
        for place, record in sorted((item for run in line.curve.runs for item in run.mean.items()), key=_place):
            if (rate := rates.of(record)) is not None:
                at[place].append(rate)
        if any(at):
            unpruned = rates.of(line.unpruned) if line.unpruned else None
            made = ErrorRates(line.label, line.method, line.criterion, rates.split, at, unpruned)
            found.setdefault((line.label, line.method, line.criterion), made)
    return list(found.values())


def _place(item: tuple[int, BiasResult]) -> int:
    return item[0]


def is_rate(value: object) -> bool:
    """Whether a record's value is an error rate: a number from 0, perhaps above 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
