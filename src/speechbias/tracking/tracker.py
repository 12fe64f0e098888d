"""``BiasTracker``: call it with (step, module) in any training loop; d of that step goes to a results file."""

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from numpy.typing import ArrayLike

from speechbias.encoder import Encoder, check_convention
from speechbias.errors import InputError
from speechbias.inference import Options, check_options, resolve_design
from speechbias.measure import Layer, check_settings, every_layer, measure_layers
from speechbias.models.distilled import Distilled
from speechbias.models.mel import read_mel_stats
from speechbias.models.pruning import Pruning
from speechbias.results import BiasResult, append_results, check_writable, read_results, remove_results, write_vectors
from speechbias.stimuli import StimulusSet, read_stimuli
from speechbias.tracking.clips import Clips
from speechbias.tracking.subjects import Function, Read, Reading
from speechbias.tracking.undisturbed import undisturbed
from speechbias.vectors import to_arrays


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


@dataclass(frozen=True)
class Cost:
    """What tracking took, of which time; ``print`` says it in a line."""

    times: int
    seconds: float
    elapsed: float  # since the tracker was first called

    @property
    def share(self) -> float:
        """Of the time since the first call."""
        return self.seconds / max(self.elapsed, self.seconds, 1e-9)

    def __str__(self) -> str:
        """One line."""
        each = self.seconds / max(self.times, 1)
        return f"bias tracked {self.times} times, {each:.1f} s each, {100 * self.share:.1f} % of the time"


class BiasTracker:
    """Measures d of a module in training, at chosen steps, and leaves the training as it was.

    ``stimuli`` are CSVs or ``StimulusSet``s, decoded here and kept. Due are step 0, multiples of ``every`` and those
    in ``steps``; every call, where neither is given. A module is a network or objective of this package, a speech
    model of transformers (``preprocessor``: its feature extractor's settings), or anything that ``pooled`` or
    ``hidden_states`` reads: a function of (module, wave), wave a float32 array at ``sample_rate``.

    ``name`` is the record's ``model`` and may hold ``{step}``. ``run`` tells runs apart, ``{"name", "recipe",
    "seed"}``: runs of one recipe and several seeds are drawn as one line. ``mel_stats`` are for MelHuBERTs.
    ``vectors`` keeps pooled vectors beside the results. ``options`` are those of ``association_test``. What cannot be
    measured at some step is told by ``warn`` and stops no training; InputError is for what is wrong from the start.
    """

    def __init__(
        self,
        stimuli: Sequence[StimulusSet | Path | str] | StimulusSet | Path | str,
        results: Path | str,
        *,
        every: int | None = None,
        steps: Collection[int] = (),
        name: str = "model",
        per_layer: bool = True,
        vectors: bool = True,
        states: str = "s3prl",
        mel_stats: ArrayLike | Path | None = None,
        preprocessor: Mapping[str, Any] | None = None,
        pooled: Read | None = None,
        hidden_states: Read | None = None,
        sample_rate: int = 16_000,
        min_samples: int = 400,
        run: Mapping[str, Any] | None = None,
        workers: int | None = None,
        warn: Callable[[str], None] = _warn,
        **options: Unpack[Options],
    ) -> None:
        if every is not None and every < 1:
            raise InputError(f"every is {every}; give the number of updates from one tracking to the next, 1 or more")
        check_convention(states)
        given = [stimuli] if isinstance(stimuli, StimulusSet | Path | str) else stimuli
        tests = [each if isinstance(each, StimulusSet) else read_stimuli(each) for each in given]
        check_settings(options, tests)
        check_writable(results)
        self.results, self.every, self.steps = Path(results), every, frozenset(steps)
        self.per_layer, self.vectors, self.workers = per_layer, vectors, workers
        self.warn, self.options = warn, options
        self.clips = Clips(tests, sample_rate=sample_rate, min_samples=min_samples)
        stats = None if mel_stats is None else read_mel_stats(mel_stats)
        self.reading = Reading(
            name, states, stats, preprocessor, pooled, hidden_states, sample_rate, None if run is None else dict(run)
        )
        self._done: set[int] = set()
        self._times, self._seconds, self._since = 0, 0.0, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether this step is to be tracked."""
        if self.every is None and not self.steps:
            return True
        return step == 0 or step in self.steps or (self.every is not None and step % self.every == 0)

    def __call__(self, step: int, module: Any, *, pruning: Mapping[str, Any] | None = None) -> list[BiasResult]:
        """Track this step if it is due and was not tracked yet; the results, which are then on disk."""
        if not self._times:
            self._since = time.monotonic()
        return self.track(step, module, pruning=pruning) if self.due(step) and step not in self._done else []

    def track(
        self,
        step: int,
        module: Any,
        *,
        pruning: Mapping[str, Any] | None = None,
        distillation: Mapping[str, Any] | None = None,
    ) -> list[BiasResult]:
        """Track this step, due or not.

        ``pruning`` and ``distillation`` are what a checkpoint of this step would hold under these names in its
        ``provenance`` (``models.pruning``, ``models.distilled``), so that its record is that of the checkpoint.
        ValueError for what no checkpoint would be understood by.
        """
        begun = time.monotonic()
        cut = Pruning.read(pruning)
        if pruning is not None and cut is None:
            raise ValueError(f"no checkpoint says {dict(pruning)} of its pruning; see models.pruning.Pruning")
        teacher = Distilled.read(distillation)
        if distillation is not None and teacher is None:
            raise ValueError(f"no checkpoint says {dict(distillation)} of its teacher; see models.distilled.Distilled")
        reading = replace(self.reading, name=self._name(step), pruning=cut, teacher=teacher)
        with undisturbed(module), reading.encoder(module, step) as encoder:
            workers = 1 if isinstance(encoder, Function) else self.workers or torch.get_num_threads()
            results = self._measured(encoder, workers, step)
        append_results(self.results, results)
        self._done.add(step)
        self._times, self._seconds = self._times + 1, self._seconds + time.monotonic() - begun
        return results

    def holds(self, step: int) -> bool:
        """Whether the results file has all that this tracker would measure of this step: these stimuli and options."""
        if not self.results.is_file():
            return False
        found = [each for each in read_results(self.results) if each.step == step and self._is_own(each)]
        return all(self._has(test, found) for test in self.clips.tests)

    def take_back(self, step: int) -> int:
        """Remove this run's records of later steps: what a run that goes on from ``step`` will measure again.

        With whatever stimuli and options they were made; where the tracker knows its ``run``, also those of tests that
        are tracked no more. Returns how many. A run that was killed and goes on leaves then what an uninterrupted one
        leaves. Records of ``step`` and before are of the run as it is, and stay.
        """
        self._done = {done for done in self._done if done <= step}
        if not self.results.is_file():
            return 0
        return remove_results(self.results, lambda result: self._is_own(result) and (result.step or 0) > step)

    @property
    def cost(self) -> Cost:
        """How much time tracking took so far."""
        return Cost(self._times, self._seconds, time.monotonic() - self._since)

    def trainer_callback(self) -> Any:
        """For transformers: ``Trainer(..., callbacks=[tracker.trainer_callback()])``."""
        from speechbias.tracking.callbacks import trainer_callback  # noqa: PLC0415 (an extra)

        return trainer_callback(self)

    def lightning_callback(self, *, module: Callable[[Any], Any] = lambda lightning_module: lightning_module) -> Any:
        """For Lightning: ``Trainer(callbacks=[tracker.lightning_callback(module=lambda pl: pl.encoder)])``.

        ``module`` picks what is measured out of the LightningModule.
        """
        from speechbias.tracking.callbacks import lightning_callback  # noqa: PLC0415 (an extra)

        return lightning_callback(self, module=module)

    def _measured(self, encoder: Encoder, workers: int, step: int) -> list[BiasResult]:
        """The results of every test that can be measured; the problems of the others are told."""
        results: list[BiasResult] = []
        try:
            embedded = self.clips.embed(encoder, workers=workers)
        except InputError as error:
            self._tell(step, error)
            return results
        for embeddings in embedded:
            layers: list[Layer] = every_layer(embeddings.array.shape[1]) if self.per_layer else ["mean"]
            try:
                made = measure_layers(embeddings, layers=layers, **self.options)
            except InputError as error:  # degenerate: a model that has collapsed
                self._tell(step, error)
                continue
            stored = write_vectors(self.results, to_arrays(embeddings)) if self.vectors else None
            results += [replace(result, vectors=stored) for result in made]
        return results

    def _tell(self, step: int, error: InputError) -> None:
        for problem in error.problems:
            self.warn(f"step {step} is not tracked: {problem}")

    def _is_own(self, result: BiasResult) -> bool:
        """Whether a record is one of this tracker's run; without a name for that, of its tests too."""
        if result.step is None or result.run != self.reading.run or result.model != self._name(result.step):
            return False
        return result.run is not None or result.test in {test.name for test in self.clips.tests}

    def _has(self, test: StimulusSet, found: Sequence[BiasResult]) -> bool:
        """Whether some records are what measuring this test would give: the identity of a result but for the model."""
        asked = self._asked(test)
        records = [each for each in found if all(getattr(each, name) == value for name, value in asked.items())]
        wanted = every_layer(records[0].num_states) if records and self.per_layer else ["mean"]
        return set(wanted) <= {each.layer for each in records}

    def _asked(self, test: StimulusSet) -> dict[str, Any]:
        settings = check_options(self.options)
        settings["design"] = resolve_design(test.speakers, pairs=test.pairs, design=settings["design"])  # type: ignore[typeddict-item]
        given = self.reading.pooled is not None or self.reading.hidden_states is not None
        states = "given" if given else self.reading.states
        return {"test": test.name, "stimuli_sha256": self.clips.sha256(test), "states": states, **settings}

    def _name(self, step: int) -> str:
        return self.reading.name.format(step=step) if "{step" in self.reading.name else self.reading.name
