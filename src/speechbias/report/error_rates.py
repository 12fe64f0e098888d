"""Phone error rates (records of kind ``per``): which rate is of which model, and those on the lines of Figure 2."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.names import clean, model_name
from speechbias.report.sparsities import Line
from speechbias.results import BiasResult

Record = Mapping[str, Any]
PROTOCOL = ("split", "phones", "eos", "corpus_sha256", "probe_sha256")


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

    Of several splits and protocols the first that was recorded is taken; of several rates of one model that of the
    same states and precision, and the last.
    """

    def __init__(
        self, records: Sequence[Record], lines: Sequence[Line] = (), *, measured: Iterable[BiasResult] = ()
    ) -> None:
        usable = of_one_protocol([each for each in records if is_rate(each.get("per"))])
        self.split = str(usable[0].get("split", "")) if usable else ""
        drawn = (each for line in lines for each in (*line.records, *([line.unpruned] if line.unpruned else [])))
        hashes: dict[str, set[str]] = defaultdict(set)
        for record in (*drawn, *measured):
            hashes[record.model].add(record.model_sha256)
        self._by_hash = {str(each["model_sha256"]): float(each["per"]) for each in usable if each.get("model_sha256")}
        self._alike = {_asked(each): float(each["per"]) for each in usable if each.get("model_sha256")}
        self._by_name = {
            str(each.get("model")): float(each["per"])
            for each in usable
            if not each.get("model_sha256") and len(hashes[str(each.get("model"))]) == 1
        }

    def of(self, record: BiasResult) -> float | None:
        """The rate of the model that this record is of, if it was measured."""
        alike = self._alike.get((record.model_sha256, record.states, record.dtype))
        if alike is not None:
            return alike
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


def protocol(record: Record) -> Hashable:
    """What rates have in common that may be compared: the test set, its phones, the recipe of the probe."""
    return tuple(str(record.get(name, "")) for name in PROTOCOL)


def of_one_protocol(rates: Sequence[Record]) -> list[Record]:
    """Those of the protocol of the first."""
    return [each for each in rates if protocol(each) == protocol(rates[0])]


def called(record: Record) -> str:
    """What a rate's model is called: a checkpoint by its run, since all runs call their checkpoints alike."""
    run = record.get("run")
    name = clean(str(run.get("name") or "")) if isinstance(run, Mapping) else ""
    if not name:
        return model_name(str(record.get("model", "model")))
    step = record.get("step")
    return f"{name} step {step}" if isinstance(step, int) else f"{name} {model_name(str(record.get('model', '')))}"


def _asked(record: Record) -> tuple[str, str, str]:
    return str(record["model_sha256"]), str(record.get("states")), str(record.get("dtype"))
