"""Everything of one training run, put together: what the loops of `pretrain`, `prune` and `distill` are made of.

A loop takes batches from ``updates``, gives them to ``trainer.step``, and tells the session what came of it.
Everything random is a function of the recipe's seed and of where in the run it happens, so a run that was killed and
resumed ends, on a CPU, with the same bits as one that was not. How many batches make an update is decided when a run
begins, ranks times ``accumulate``, and stays so: other ranks share the same update in another way.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from signal import Signals
from typing import Any, Self

import torch

from speechbias.checkpoint.content import Meta, of_objective
from speechbias.errors import InputError
from speechbias.models.batch import Batch
from speechbias.models.config import SAMPLE_RATE
from speechbias.models.objectives import Objective, Settings
from speechbias.models.wav2vec2 import Wav2Vec2Settings
from speechbias.progress import Progress
from speechbias.tracking import BiasTracker
from speechbias.tracking.tracker import Cost
from speechbias.training.beginning import beginning, first_objective
from speechbias.training.continuing import (
    left_objective,
    refuse_another_beginning,
    refuse_another_corpus,
    refuse_other_labels,
    refuse_uneven_ranks,
)
from speechbias.training.corpus import Corpus
from speechbias.training.examples import Batches, Contrast, Counted, Examples, load
from speechbias.training.log import SPEED, Log, Sink, open_sinks
from speechbias.training.opening import last_state, opened_corpus, opened_run
from speechbias.training.optim import learning_rate, make_optimiser
from speechbias.training.provenance import identity_of, provenance_of
from speechbias.training.ranks import Ranks, joined
from speechbias.training.recipe import Recipe
from speechbias.training.run import Left, RunFolder
from speechbias.training.signals import end_when_asked
from speechbias.training.step import Report, Trainer
from speechbias.training.track import forget, make_tracker
from speechbias.training.vigil import vigil
from speechbias.training.watch import Watch
from speechbias.training.windows import sampler_of


@dataclass(frozen=True)
class Outcome:
    """Where a run stands: its last checkpoint, after so many updates; ``asked`` names the signal that ended it."""

    checkpoint: Path
    update: int
    asked: str | None
    tracking: Cost | None = None  # what measuring bias on the way took


class Session:
    """One run, new, or as its last checkpoint left it."""

    verb = "pretrain"  # that makes its checkpoints
    counted: Counted | None = None  # frames that are learnt where they are not the masked ones
    masked = True  # whether batches hide frames

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        run: RunFolder,
        ranks: Ranks,
        left: Left | None,
        *,
        warn: Callable[[str], None],
        progress: bool = False,
    ) -> None:
        self.recipe, self.corpus, self.run, self.ranks, self.warn = recipe, corpus, run, ranks, warn
        state = {} if left is None else left[1]
        self.objective, self.settings = self._objective(left)
        begun = 1 if state else ranks.size  # a run of before there were ranks had one
        self.each: int = state.get("batches", begun * recipe.optim.accumulate)  # batches of one update, of all ranks
        refuse_uneven_ranks(self.each, ranks, run)
        identity = identity_of(recipe, corpus, run)
        self.identity = identity if left is None else left[0].meta.run or identity
        self.tracker = self._tracker(-1 if left is None else left[0].meta.step or 0)
        self.trainer = self._trainer(state.get("update", 0), state.get("optimiser"))
        refuse_another_beginning(self.trainer.update, ranks, run)
        written = run.log if ranks.first else Path(os.devnull)
        self.log = Log(written, every=recipe.run.log, step=self.trainer.update, sinks=self._sinks(), warn=warn)
        self.watch = Watch(entropy=corpus.entropy, groups=self.groups, naive=recipe.model.checkpoint is None)
        if state:
            self.log.load(state["log"])
            self.watch.load(state["watch"])
        self.skipped: int = state.get("skipped", 0)  # updates in a row, up to now, without a finite loss
        self.sampler, self.examples = self._examples()
        self.front = self.objective.encoder.config.frontend
        steps = recipe.run.steps
        self.bar = Progress(recipe.family, steps, shown=progress, unit="updates", done=self.trainer.update)

    @classmethod
    @contextmanager
    def opened(
        cls,
        recipe: Recipe,
        out: Path | str,
        *,
        resume: bool,
        device: str,
        workers: int,
        warn: Callable[[str], None],
        progress: bool,
    ) -> Iterator[Self]:
        """The run of a recipe in the folder ``out``, its corpus prepared, held by this process and its fellow ranks.

        Errors and signals are those of ``pretrain``.
        """
        with (
            joined(device) as ranks,
            end_when_asked(),
            opened_run(out, recipe, ranks, resume=resume, warn=warn) as run,
        ):
            if not ranks.first:
                warn, progress = _say_nothing, False
            with vigil(ranks):  # from here on: to read a checkpoint may take another rank minutes
                left = last_state(run, ranks, warn=warn)
                begin = beginning(recipe, left[0] if left else None)
                corpus = opened_corpus(recipe, begin, run, ranks, workers=workers, progress=progress)
            for warning in (*corpus.warnings, *_odd(recipe)):
                warn(warning)
            yield cls(recipe, corpus, run, ranks, left, warn=warn, progress=progress)

    @property
    def groups(self) -> int:
        """Groups of wav2vec 2.0's codes."""
        return self.settings.groups if isinstance(self.settings, Wav2Vec2Settings) else 1

    def begin(self) -> None:
        """Track and keep the model of step 0, where that is asked for."""
        self.track()
        if self.trainer.update == 0 and self.is_kept(0):
            self.save()

    def updates(self) -> Iterator[list[Batch]]:
        """This rank's batches of every update that is left, read ahead by the recipe's workers.

        Batch n of a run is a pure function of the recipe, so going on is counting from where the run was left.
        """
        each, ranks = self.each, self.ranks
        left = range(self.trainer.update * each + ranks.rank, self.recipe.run.steps * each, ranks.size)
        pinned = self.trainer.device.type == "cuda"
        batches = load(self.examples, left, workers=self.recipe.data.workers, pin_memory=pinned)
        while not self.is_last(self.trainer.update) and (update := list(islice(batches, each // ranks.size))):
            yield update

    def note(self, report: Report, batches: list[Batch]) -> None:
        """Write down what an update was. InputError where too many in a row had no finite loss."""
        line = self.log.add(report, self.seconds(batches), last=self.is_last(report.update))
        for warning in self.watch.look(line) if line else ():
            self.warn(warning)
        self.skipped = self.skipped + 1 if report.skipped else 0
        if report.skipped:
            self.warn(self._note_skipped(report))
        if self.skipped >= self.recipe.run.max_skipped:
            raise InputError(self._explain_end())
        self.bar.advance(1, note=f"loss {report.loss:.3f}, {line[SPEED]:.0f} s of audio per s" if line else None)

    def seconds(self, batches: list[Batch]) -> float:
        """Audio of an update, of all ranks, without padding."""
        hop = 1 if batches[0].inputs.dim() == 2 else self.front.hop
        own = torch.tensor(sum(int(batch.lengths.sum()) for batch in batches))
        return int(self.ranks.sum(own)) * hop / SAMPLE_RATE

    def is_kept(self, update: int) -> bool:
        """Whether the checkpoint of this update stays."""
        run = self.recipe.run
        every = run.keep_every > 0 and update > 0 and update % run.keep_every == 0
        return update in run.keep or every or update == run.steps

    def is_last(self, update: int) -> bool:
        """Whether the run ends with this update."""
        return update == self.recipe.run.steps

    def is_due(self, update: int) -> bool:
        """Whether a checkpoint is written after this update."""
        return update % self.recipe.run.save == 0 or self.is_kept(update)

    def save(self) -> None:
        """Write a checkpoint of where training stands; the first rank does, and the others wait for it."""
        if self.ranks.first:
            kept = self.is_kept(self.trainer.update)
            self.run.save(self.checkpoint(f"step-{self.trainer.update:08d}"), self.state(), kept=kept)
        self.ranks.wait()

    def track(self) -> None:
        """Measure bias where this update is due, before its checkpoint is written.

        The checkpoint from which a run goes on has then been tracked. The first rank measures, the others wait.
        """
        update, section = self.trainer.update, self.recipe.track
        if section is None or not section.is_due(update, steps=self.recipe.run.steps, kept=self.is_kept(update)):
            return
        begun = time.monotonic()
        if self.tracker is not None and not self.tracker.holds(update):
            self._track(update)
        self.ranks.wait()
        seconds = time.monotonic() - begun
        self.log.pause(seconds)
        self.bar.pause(seconds)

    def outcome(self, asked: Signals | None) -> Outcome:
        """What became of the run, which is closed."""
        self.log.close()
        update = self.trainer.update
        if self.ranks.first and self.is_last(update):
            self.run.end()
        ended_by = asked.name if asked and not self.is_last(update) else None
        tracking = None if self.tracker is None else self.tracker.cost
        return Outcome(self.run.checkpoints / "last", update, ended_by, tracking)

    def checkpoint(self, name: str) -> Any:
        """The model as it is, with what is known of it."""
        corpus = self.corpus
        meta = Meta(
            step=self.trainer.update,
            mel_stats=corpus.mel_stats if self.recipe.family == "melhubert" else None,
            quantiser=None if corpus.labels is None else corpus.labels.describe(),
            provenance=self.provenance(),
        )
        return of_objective(name, self.objective, self.settings, meta=meta)

    def provenance(self) -> dict[str, Any]:
        """How the weights came to be."""
        return provenance_of(self.verb, self.recipe, self.corpus, self.identity, batches=self.each)

    def state(self) -> dict[str, Any]:
        """What training needs beside the weights to go on."""
        return {
            "update": self.trainer.update,
            "batches": self.each,
            "optimiser": self.trainer.optimiser.state_dict(),
            "log": self.log.state(),
            "watch": self.watch.state(),
            "labels": self.corpus.labels.sha256 if self.corpus.labels else None,
            "skipped": self.skipped,
        }

    def _track(self, update: int) -> None:
        assert self.tracker is not None
        self.tracker.track(update, self.objective)

    def _objective(self, left: Left | None) -> tuple[Objective, Settings]:
        """The model, at the beginning or where the run was left."""
        if left is None:
            clusters = None if self.corpus.labels is None else self.corpus.labels.clusters
            return first_objective(self.recipe, clusters=clusters)
        refuse_another_corpus(left[0].meta, self.corpus, self.run)
        refuse_other_labels(left[1], self.corpus, self.run)
        return left_objective(left[0], self.recipe)

    def _trainer(self, update: int, moments: Mapping[str, Any] | None) -> Trainer:
        """What makes updates of the objective from here on; ``moments`` is the state of its optimiser."""
        recipe = self.recipe
        self.objective.to(self.ranks.device)
        optimiser = self._optimiser()
        if moments is not None:
            optimiser.load_state_dict(dict(moments))
        trainer = Trainer(
            self.objective,
            optimiser,
            rate=lambda update: learning_rate(update, recipe.optim, steps=recipe.run.steps),
            clip=recipe.optim.clip,
            precision=recipe.run.precision,
            seed=recipe.run.seed,
            ranks=self.ranks,
        )
        trainer.update = update
        return trainer

    def _optimiser(self) -> torch.optim.Optimizer:
        return make_optimiser(self.objective, self.recipe.optim)

    def _tracker(self, update: int) -> BiasTracker | None:
        """What measures bias on the way, records of a killed run behind ``update`` taken back."""
        if self.recipe.track is None or not self.ranks.first:
            return None
        tracker = make_tracker(
            self.recipe.track,
            self.run.folder,
            self.objective.encoder.config,
            mel_stats=self.corpus.mel_stats if self.recipe.family == "melhubert" else None,
            run=self.identity,
            warn=self.warn,
        )
        tracker.take_back(update)
        if update < 0:
            forget(self.run.folder, self.identity)
        return tracker

    def _note_skipped(self, report: Report) -> str:
        """Write into the log which utterances an update without a finite gradient was made of; says so in a line."""
        numbers = range((report.update - 1) * self.each, report.update * self.each)
        rows = [row for number in numbers for row in self.sampler.batch(*self.sampler.locate(number))]
        keys = [self.corpus.manifest.key(int(row)) for row in rows]
        self.log.write({"step": report.update, "skipped_utterances": keys})
        return (
            f"step {report.update}: the loss or its gradient is not finite, the update is left out "
            f"({len(keys)} utterances, first {keys[0]}; all in {self.run.log.name})"
        )

    def _explain_end(self) -> str:
        return (
            f"{self.run.folder}: {self.skipped} updates one after the other without a finite loss; lower the learning "
            f"rate, or look at the utterances named in {self.run.log.name}"
        )

    def _examples(self) -> tuple[Batches, Examples]:
        data, corpus, seed = self.recipe.data, self.corpus, self.recipe.run.seed
        sampler = sampler_of(
            corpus.manifest,
            corpus.selection.rows,
            seconds=data.seconds,
            utterances=data.utterances,
            crop_seconds=data.crop,
            window=data.window,
            seed=seed,
        )
        contrast = None
        if isinstance(self.settings, Wav2Vec2Settings):
            contrast = Contrast(codes=self.settings.groups * self.settings.entries)
        examples = Examples(
            corpus.manifest,
            sampler,
            self.objective.encoder.config,
            self.recipe.masking if self.masked else None,
            labels=corpus.labels,
            mel_stats=corpus.mel_stats,
            contrast=contrast,
            counted=self.counted,
            seed=seed,
        )
        return sampler, examples

    def _sinks(self) -> list[Sink]:
        if not self.ranks.first:
            return []
        settings = {name: asdict(section) for name, section in self.recipe.sections().items()}  # type: ignore[call-overload]
        return open_sinks(self.recipe.run, self.run.folder, step=self.trainer.update, settings=settings)


def _say_nothing(_: str) -> None:
    pass


def _odd(recipe: Recipe) -> list[str]:
    """What of a recipe is allowed, and seldom meant."""
    warmup, steps = recipe.optim.warmup, recipe.run.steps
    if warmup < steps:
        return []
    return [f"the learning rate grows for {warmup} updates and the run has {steps}: it never reaches [optim] lr"]
