"""What findings are judged by: records by kind, and contrasts of d's on the same clips, from stored vectors."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from speechbias.compare.members import Member, check_same_clips
from speechbias.errors import InputError
from speechbias.inference import resolve_design
from speechbias.inference.intervals import bootstrap_interval, d_from_moments, moments, variance_scale
from speechbias.inference.units import target_units
from speechbias.report.curves import Curve, find_curves
from speechbias.report.sparsities import RANDOM, find_lines
from speechbias.report.students import find_students
from speechbias.reproduce.findings.finding import Effect
from speechbias.reproduce.rows import FEATURES, column_of, is_plain, last_steps
from speechbias.results import BiasResult
from speechbias.vectors import stored_vectors, target_associations

Array = NDArray[np.float64]
Contrast = Callable[[Array], Array]  # d's (..., members) -> (...)
FAMILIES = ("wav2vec2", "hubert", "melhubert")  # the paper's
RESAMPLES = 4_000
SEED = 0


@dataclass(frozen=True)
class Compressed:
    """A model and what was made of it, on one test: sizes of a pruning, the largest first, or students."""

    whole: BiasResult
    made: Sequence[BiasResult]

    @property
    def all(self) -> list[BiasResult]:
        """What was made, and the model last: the order that ``changes`` takes."""
        return [*self.made, self.whole]


@dataclass(frozen=True)
class Evidence:
    """All measurements that there are; ``places`` says by identity in which folder a record's results file lies.

    ``rates``: phone error rates, records of kind ``per``. ``on_the_way``: identities of records of runs that have not
    ended, whose last step is no trained model.
    """

    records: Sequence[BiasResult]
    places: Mapping[str, Path]
    rates: Sequence[Mapping[str, Any]] = ()
    on_the_way: Collection[str] = ()

    @cached_property
    def tests(self) -> dict[str, str]:
        """Age, Native and Gender, as far as they were measured -> hash of the stimuli: of several the last."""
        return {name: record.stimuli_sha256 for record in self.records if (name := column_of(record))}

    def of(self, test: str) -> list[BiasResult]:
        """Records of the mean over states on one of the tests, of whole clips and means over time."""
        sha = self.tests.get(test)
        return [
            r for r in self.records
            if r.layer == "mean" and r.stimuli_sha256 == sha and column_of(r) == test and is_plain(r)
        ]  # fmt: skip

    def trained(self, test: str) -> list[BiasResult]:
        """A record of each pre-trained model of the paper's families, of a run its last step, as it was trained."""
        plain = [
            r for r in self.of(test)
            if r.family in FAMILIES and not (r.method or r.distilled_from or r.step == 0 or is_untrained(r))
            and r.identity not in self.on_the_way
        ]  # fmt: skip
        return list({r.model_sha256: r for r in last_steps(plain)}.values())

    def untrained(self, test: str) -> list[BiasResult]:
        """A record of each untrained model: step 0 of a run, or ``random:``.

        A run that begins at a checkpoint, to prune it for example, has trained weights at its step 0.
        """
        trained = {r.model_sha256 for r in self.records if r.step}
        found = [r for r in self.of(test) if r.family in FAMILIES and (r.step == 0 or is_untrained(r))]
        found = [r for r in found if r.model_sha256 not in trained]
        return list({r.model_sha256: r for r in found if not (r.method or r.distilled_from)}.values())

    def features(self, test: str) -> list[BiasResult]:
        """A record of each of the paper's classical features; none with CMVN, whose d is noise."""
        found = (r for r in self.of(test) if r.family == "features" and r.model in FEATURES.values())
        return list({r.model: r for r in found}.values())

    def curves(self, test: str) -> list[Curve]:
        """D against training steps."""
        return find_curves([r for r in self.of(test) if r.family in FAMILIES and not r.distilled_from])

    def compressed(self, test: str, method: str, family: str) -> Compressed | None:
        """The first model of a family of which something was made by ``method``, if both were measured.

        Of prunings by the paper's criterion the first run; of students those of most layers first.
        """
        if method == "distillation":
            for taught in find_students(self.of(test)):
                if taught.teacher is not None and taught.teacher.family == family:
                    return Compressed(taught.teacher, [student.record for student in taught.students])
            return None
        for line in find_lines(self.of(test)):
            run = line.curve.runs[0].mean
            cut = [run[size] for size in sorted(run) if size > 0]
            if (
                line.method == method
                and line.criterion != RANDOM
                and line.unpruned
                and cut
                and cut[0].family == family
            ):
                return Compressed(line.unpruned, cut)
        return None

    def effect(self, records: Sequence[BiasResult], contrast: Contrast, *, confidence: float = 0.95) -> Effect:
        """A contrast of the d's of records on the same clips, with its BCa interval over the design's units.

        ``contrast`` takes (..., records), in their order, and must bear more than one row.
        """
        value = float(contrast(np.array([[r.d for r in records]]))[0])
        try:
            return self._interval(records, contrast, confidence)
        except (InputError, KeyError):  # no vectors; other clips; a model that has collapsed
            return Effect(value)

    def _interval(self, records: Sequence[BiasResult], contrast: Contrast, confidence: float) -> Effect:
        members = [Member(stored_vectors(r, self.places[r.identity]), r.layer) for r in records]
        clips = check_same_clips([each.of for each in members])
        s = np.stack([target_associations(each.of, each.layer) for each in members], axis=1)
        n_x, scale = clips.n["X"], variance_scale(len(s), records[0].ddof)
        design: Any = records[0].design
        units = target_units(
            resolve_design(clips.speakers, pairs=clips.pairs, design=design), clips.speakers, clips.pairs
        )

        def statistic(sums: Array) -> Array:
            return contrast(d_from_moments(sums, s.shape[1], scale))[:, None]

        value = float(contrast(np.array([[r.d for r in records]]))[0])
        if units.one_sided(n_x):
            return Effect(value)
        found = bootstrap_interval(
            moments(s, n_x),
            statistic,
            units,
            resamples=RESAMPLES,
            confidence=confidence,
            rng=np.random.default_rng(SEED),
        )
        return Effect(value, float(found.low[0]), float(found.high[0]))


def is_untrained(record: BiasResult) -> bool:
    """Whether weights were drawn and never trained."""
    return record.model.startswith("random:")


def share(hits: int, of: int, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """A share with its exact interval over models (Clopper and Pearson)."""
    low, high = stats.binomtest(hits, of).proportion_ci(confidence_level=confidence, method="exact")
    return hits / of, float(low), float(high)


def means(*groups: int) -> Contrast:
    """The mean of the first ``groups[0]`` members less that of the next ``groups[1]``."""
    first, second = groups
    weights = np.concatenate([np.full(first, 1 / first), np.full(second, -1 / second)])

    def contrast(d: Array) -> Array:
        return np.asarray(d @ weights)

    return contrast


def changes(*made: int) -> Contrast:
    """Of so many members and then the model that they were made from, again and again: how much d changed.

    That is the mean of what was made less the model, and of several models the mean.
    """
    weights = np.concatenate([np.append(np.full(count, 1 / count), -1.0) for count in made]) / len(made)

    def contrast(d: Array) -> Array:
        return np.asarray(d @ weights)

    return contrast


def sizes_of(contrast: Contrast) -> Contrast:
    """A contrast of |d| instead of d: d = -0.5 is as much of a bias as 0.5, a reverse one."""
    return lambda d: contrast(np.abs(d))
