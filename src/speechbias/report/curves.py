"""Bias against training steps (the paper's Figure 1) from records: which of them are one curve, and of which runs.

Records of one run share their ``run``: its name, its recipe (a hash that leaves the seed out) and its seed. Runs of
one recipe and several seeds are one curve with a spread over runs. Records without ``run`` are one curve where they
have one model's name. A curve has two steps or more. Step 0 is the untrained model. Models that were pruned have a
figure of their own (``sparsities``).

A curve is called after its model alone, so that a model has one name and one colour on every test: what was asked of
the measurement, for example the design, which follows from the speakers of each test, only keeps curves of one test
apart. Of two records of one run, test, step and state, one of a checkpoint that was put aside as damaged gives way;
otherwise the later one stands.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from speechbias.report.curve_labels import label_curves
from speechbias.report.grid import Column, columns_of
from speechbias.report.names import clean, model_name
from speechbias.report.numerals import format_percent
from speechbias.results import BiasResult, Together

Layer = int | str
FIELDS = ("step", "layer", "d", "ci_low", "ci_high", "p_value", "p_attribute", "p_adjusted", "associated")
JUDGED = ("p_adjusted", "low", "high", "family")  # of ``Together``
PUT_ASIDE = "damaged-"  # what the name of a checkpoint begins with that a resumed run found damaged, and made again


@dataclass(frozen=True, eq=False)
class Run:
    """One training run on one test: its records by layer and place, which is the step or how much was pruned."""

    name: str
    seed: int | None
    records: dict[Layer, dict[int, BiasResult]]

    @property
    def mean(self) -> dict[int, BiasResult]:
        """By place, of the embedding averaged over states."""
        return self.records.get("mean", {})

    @property
    def states(self) -> list[int]:
        """The hidden states that were measured."""
        return sorted(int(layer) for layer in self.records if layer != "mean")


@dataclass(frozen=True, eq=False)
class Curve:
    """One model on one test: one run, or several that differ by the seed."""

    label: str
    column: Column
    runs: tuple[Run, ...]

    @property
    def steps(self) -> list[int]:
        """Every place, ascending, at which some run has the mean over states."""
        return sorted({step for run in self.runs for step in run.mean})

    def ds(self, step: int, layer: Layer = "mean") -> list[float]:
        """D of each run that was measured at this step."""
        return [at[step].d for run in self.runs if step in (at := run.records.get(layer, {}))]

    def band(self, step: int) -> tuple[float, float]:
        """The interval over stimuli of a single run; lowest and highest of several."""
        if len(self.runs) == 1:
            record = self.runs[0].mean[step]
            return record.ci_low, record.ci_high
        return min(self.ds(step)), max(self.ds(step))


def find_curves(records: Sequence[BiasResult]) -> list[Curve]:
    """The curves in some records, test by test as in the tables; none where no model has two steps."""
    stepped = [r for r in without_put_aside(records) if r.step is not None and not from_pruning(r)]
    columns = columns_of(stepped)
    found: dict[tuple[Column, Hashable, Hashable], dict[Hashable, list[BiasResult]]] = {}
    for record in stepped:
        key = columns[record.test, record.stimuli_sha256], _model_of(record), asked_of(record)
        found.setdefault(key, {}).setdefault(_run_of(record), []).append(record)
    kept = {key: runs for key, runs in found.items() if any(_has_steps(each) for each in runs.values())}
    names = {key: [run_name(records[0]) for records in runs.values()] for key, runs in kept.items()}
    labels = label_curves(names)
    order = list(dict.fromkeys(columns.values()))
    made = [Curve(labels[key], key[0], tuple(_run(each) for each in runs.values())) for key, runs in kept.items()]
    return sorted(made, key=lambda curve: order.index(curve.column))


def without_earlier_steps(records: Sequence[BiasResult]) -> list[BiasResult]:
    """The records, of each run that has a curve the last step alone: what tables and the answer are about."""
    last: dict[Hashable, int] = {}
    for curve in find_curves(records):
        for run in curve.runs:
            for step, record in run.mean.items():
                last[_slot(record)] = max(step, last.get(_slot(record), 0))
    whole = without_put_aside(records)
    return [record for record in whole if record.step == last.get(_slot(record), record.step)]


def from_pruning(record: BiasResult) -> bool:
    """Whether the model comes from pruning: then its size is what matters, and no longer the training step."""
    return record.method is not None and record.parameters_removed is not None


def caption(curves: Sequence[Curve], together: Mapping[str, Together] = MappingProxyType({})) -> str:
    """What a figure of steps says below itself: what its bands are over, and what its markers mean.

    ``together``: by identity, the records that were judged together with the other steps of their run.
    """
    texts = [describe_bands(curves), *_describe_names(curves), describe_markers(curves, "steps")]
    if together:
        texts.append(f"Ringed: p also when it is adjusted for the {_families(curves, together)} (max-T).")
    return " ".join([*texts, "Step 0: untrained."])


def _describe_names(curves: Sequence[Curve]) -> list[str]:
    """A sentence per name that models have in common which meet on no test."""
    models: dict[str, set[Hashable]] = defaultdict(set)
    for curve in curves:
        models[curve.label].add(next(_model_of(one) for at in curve.runs[0].records.values() for one in at.values()))
    return [f"{label} is not the same model in every panel." for label, found in models.items() if len(found) > 1]


def describe_bands(curves: Sequence[Curve]) -> str:
    """What the bands are over."""
    single = [curve for curve in curves if len(curve.runs) == 1]
    several: dict[str, list[int]] = defaultdict(list)
    for curve in curves:
        if len(curve.runs) > 1:
            several[curve.label].append(len(curve.runs))
    level = _either(_means(single), lambda record: record.confidence, format_percent)
    of_one = f"{level} interval over stimuli, not over training runs"
    texts = [f"Band{' of a single run' if several else ''}: {of_one}."] if single else []
    texts += [
        f"{label}: mean of n = {' or '.join(map(str, sorted(set(numbers))))} training runs that differ by the seed, "
        "band from the lowest to the highest, thin lines each of them."
        for label, numbers in several.items()
    ]
    return " ".join(texts)


def describe_markers(curves: Sequence[Curve], places: str) -> str:
    """What a filled point means; ``places`` is what the horizontal axis counts."""
    bound = _either(_means(curves), lambda record: record.alpha, "{:.6g}".format)
    return f"Filled: p and attribute p are both below {bound}, not adjusted for the number of {places}."


def _families(curves: Sequence[Curve], together: Mapping[str, Together]) -> str:
    """``9 steps of one run``, ``7 or 9 steps of one run``."""
    found = {together[one.identity].family for one in _means(curves) if one.identity in together}
    numbers = sorted({int(family.partition(" ")[0]) for family in found})
    return f"{' or '.join(map(str, numbers))} steps of one run"


def _means(curves: Sequence[Curve]) -> list[BiasResult]:
    return [record for curve in curves for run in curve.runs for record in run.mean.values()]


def _either(
    records: Sequence[BiasResult], number: Callable[[BiasResult], float], write: Callable[[float], str]
) -> str:
    """``95 %``, or ``90 % or 95 % (records differ)``."""
    texts = list(dict.fromkeys(map(write, sorted(map(number, records)))))
    return " or ".join(texts) + (" (records differ)" if len(texts) > 1 else "")


def write_steps_csv(curves: Sequence[Curve], together: Mapping[str, Together] = MappingProxyType({})) -> str:
    """Every point of every curve, of the mean and of single states, one per line, numbers in full.

    Behind them, where there are vectors, what holds for all steps of a run together: p by max-T and a band.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test", "model", "run", "run_seed", *FIELDS, *(f"{name}_over_steps" for name in JUDGED)])
    for curve in curves:
        for run in curve.runs:
            for at in run.records.values():
                for record in at.values():
                    numbers = [getattr(record, name) for name in FIELDS]
                    judged = together.get(record.identity)
                    numbers += [getattr(judged, name) if judged else None for name in JUDGED]
                    writer.writerow([curve.column.label, curve.label, run.name, run.seed, *numbers])
    return text.getvalue()


def _model_of(record: BiasResult) -> Hashable:
    """What the runs of one curve share, and what has one name and one colour on every test."""
    run = record.run or {}
    of = run.get("recipe") or run.get("name") or record.model
    return str(of), record.family, record.num_states, record.dim


def asked_of(record: BiasResult) -> Hashable:
    """The options of the measurement: records that differ in them are never joined by a line."""
    asked = record.states, record.dtype, record.design, record.alternative, record.ddof, record.confidence
    return *asked, record.crop_seconds, record.pooling


def _slot(record: BiasResult) -> Hashable:
    """One run on one test."""
    return record.test, record.stimuli_sha256, _model_of(record), asked_of(record), _run_of(record)


def without_put_aside(records: Sequence[BiasResult]) -> list[BiasResult]:
    """The records, less those of damaged checkpoints where the run made the same step again and it was measured."""

    def point(record: BiasResult) -> Hashable:
        return _slot(record), record.step, record.layer

    whole = {point(record) for record in records if not _put_aside(record)}
    return [record for record in records if not _put_aside(record) or point(record) not in whole]


def _put_aside(record: BiasResult) -> bool:
    last = re.split(r"[\\/]", record.model.rstrip("\\/"))[-1]
    return record.step is not None and last.startswith(PUT_ASIDE)


def _run_of(record: BiasResult) -> Hashable:
    """What tells the runs of one curve apart."""
    run = record.run or {}
    return run_name(record), str(run.get("seed"))


def run_name(record: BiasResult) -> str:
    """What a record's run is called; the model's name where there is none."""
    name = (record.run or {}).get("name")
    return clean(str(name)) if name else model_name(record.model)


def _has_steps(records: Sequence[BiasResult]) -> bool:
    return len({record.step for record in records if record.layer == "mean"}) > 1


def _run(records: Sequence[BiasResult]) -> Run:
    by_layer: dict[Layer, dict[int, BiasResult]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: record.step or 0):
        by_layer[record.layer][record.step or 0] = record
    seed = (records[0].run or {}).get("seed")
    return Run(run_name(records[0]), seed if isinstance(seed, int) else None, dict(by_layer))
