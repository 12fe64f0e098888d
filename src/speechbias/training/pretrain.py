"""Pre-training, from a recipe to checkpoints (paper, Section 2.1): one visible loop around ``Trainer.step``.

Everything random is a function of the recipe's seed and of where in the run it happens, so a run that was killed and
resumed ends, on a CPU, with the same bits as one that was not. How many batches make an update is decided when a run
begins, ranks times ``accumulate``, and stays so: other ranks share the same update in another way.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from speechbias import __version__
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.errors import InputError
from speechbias.models.batch import Batch
from speechbias.models.config import SAMPLE_RATE
from speechbias.models.objectives import Objective, Settings
from speechbias.models.wav2vec2 import Wav2Vec2Settings
from speechbias.progress import Progress
from speechbias.tracking import BiasTracker
from speechbias.tracking.tracker import Cost
from speechbias.training.beginning import beginning, first_objective, prepared
from speechbias.training.corpus import Corpus
from speechbias.training.examples import Batches, Contrast, Examples, load
from speechbias.training.log import SPEED, Log, Sink, TensorBoard, WeightsAndBiases
from speechbias.training.opening import last_state, opened_corpus, opened_run
from speechbias.training.optim import learning_rate, make_optimiser
from speechbias.training.ranks import Ranks, joined
from speechbias.training.recipe import Recipe
from speechbias.training.run import Left, RunFolder
from speechbias.training.signals import end_when_asked, stop_when_asked
from speechbias.training.step import Report, Trainer
from speechbias.training.track import make_tracker
from speechbias.training.watch import Watch
from speechbias.training.windows import sampler_of


@dataclass(frozen=True)
class Outcome:
    """Where a run stands: its last checkpoint, after so many updates; ``asked`` names the signal that ended it."""

    checkpoint: Path
    update: int
    asked: str | None
    tracking: Cost | None = None  # what measuring bias on the way took


def pretrain(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    warn: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Outcome:
    """Train a recipe's model into the run folder ``out``, or go on where it was left.

    ``workers`` scan and label the corpus. Started by ``torchrun``, this process makes updates together with others;
    the first of them prepares, writes and warns. InputError for what the user can mend; OSError where the disk is
    full, LostRanksError where another process died: the checkpoints written so far stay whole. SIGTERM, SIGUSR1 and
    Ctrl-C save and end training; while the corpus is prepared they raise KeyboardInterrupt, nothing half written is
    used. Outside of the main thread, to which Python gives them, they are whoever's handles them.
    """
    with joined(device) as ranks, end_when_asked(), opened_run(out, recipe, ranks, resume=resume) as run:
        if not ranks.first:
            warn, progress = _say_nothing, False
        left = last_state(run, ranks, warn=warn)
        begin = beginning(recipe, left[0] if left else None)
        corpus = opened_corpus(recipe, begin, run, ranks, workers=workers, progress=progress)
        for warning in (*corpus.warnings, *_odd(recipe)):
            warn(warning)
        return _loop(Pretraining(recipe, corpus, run, ranks, left, warn=warn), warn=warn, progress=progress)


def _say_nothing(_: str) -> None:
    pass


def _odd(recipe: Recipe) -> list[str]:
    """What of a recipe is allowed, and seldom meant."""
    warmup, steps = recipe.optim.warmup, recipe.run.steps
    if warmup < steps:
        return []
    return [f"the learning rate grows for {warmup} updates and the run has {steps}: it never reaches [optim] lr"]


def _loop(training: "Pretraining", *, warn: Callable[[str], None], progress: bool) -> Outcome:
    recipe, trainer, log = training.recipe, training.trainer, training.log
    steps = recipe.run.steps
    bar = Progress(recipe.family, steps, shown=progress, unit="updates", done=trainer.update)
    asked = None
    with stop_when_asked() as stop, bar:
        bar.pause(training.track())
        if trainer.update == 0 and training.is_kept(0):
            training.save()
        for batches in training.updates():
            report = trainer.step(batches)
            bar.pause(training.track())
            asked = training.ranks.agreed(stop.asked)
            line = log.add(report, training.seconds(batches), last=trainer.update == steps)
            for warning in training.watch.look(line) if line else ():
                warn(warning)
            training.skipped = training.skipped + 1 if report.skipped else 0
            if report.skipped:
                warn(training.note_skipped(report))
            if training.skipped >= recipe.run.max_skipped:
                raise InputError(training.explain_end())
            if training.is_due(trainer.update) or asked:
                training.save()
            bar.advance(1, note=f"loss {report.loss:.3f}, {line[SPEED]:.0f} s of audio per s" if line else None)
            if asked:
                break
    log.close()
    ended_by = asked.name if asked and trainer.update < steps else None
    tracking = None if training.tracker is None else training.tracker.cost
    return Outcome(training.run.checkpoints / "last", trainer.update, ended_by, tracking)


class Pretraining:
    """Everything of one run, put together: new, or as its last checkpoint left it."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        run: RunFolder,
        ranks: Ranks,
        left: Left | None,
        *,
        warn: Callable[[str], None],
    ) -> None:
        self.recipe, self.corpus, self.run, self.ranks = recipe, corpus, run, ranks
        if left is None:
            clusters = None if corpus.labels is None else corpus.labels.clusters
            self.objective, self.settings = first_objective(recipe, clusters=clusters)
        else:
            _refuse_another_corpus(left[0].meta, corpus, run)
            _refuse_other_labels(left[1], corpus, run)
            self.objective, self.settings = _objective_of(left[0], recipe)
        state = {} if left is None else left[1]
        begun = 1 if state else ranks.size  # a run of before there were ranks had one
        self.each: int = state.get("batches", begun * recipe.optim.accumulate)  # batches of one update, of all ranks
        _refuse_uneven_ranks(self.each, ranks, run)
        self.identity = self._identity() if left is None else left[0].meta.run or self._identity()
        self.tracker = self._tracker(-1 if left is None else left[0].meta.step or 0, warn)
        self.objective.to(ranks.device)
        optimiser = make_optimiser(self.objective, recipe.optim)
        self.trainer = Trainer(
            self.objective,
            optimiser,
            rate=lambda update: learning_rate(update, recipe.optim, steps=recipe.run.steps),
            clip=recipe.optim.clip,
            precision=recipe.run.precision,
            seed=recipe.run.seed,
            ranks=ranks,
        )
        if state:
            optimiser.load_state_dict(state["optimiser"])
            self.trainer.update = state["update"]
        _refuse_another_beginning(self.trainer.update, ranks, run)
        written = run.log if ranks.first else Path(os.devnull)
        self.log = Log(written, every=recipe.run.log, step=self.trainer.update, sinks=self._sinks())
        self.watch = Watch(entropy=corpus.entropy, groups=self.groups)
        if state:
            self.log.load(state["log"])
            self.watch.load(state["watch"])
        self.skipped: int = state.get("skipped", 0)  # updates in a row, up to now, without a finite loss
        self.sampler, self.examples = self._examples()
        self.front = self.objective.encoder.config.frontend

    @property
    def groups(self) -> int:
        """Groups of wav2vec 2.0's codes."""
        return self.settings.groups if isinstance(self.settings, Wav2Vec2Settings) else 1

    def updates(self) -> Iterator[list[Batch]]:
        """This rank's batches of every update that is left, read ahead by the recipe's workers.

        Batch n of a run is a pure function of the recipe, so going on is counting from where the run was left.
        """
        each, ranks = self.each, self.ranks
        left = range(self.trainer.update * each + ranks.rank, self.recipe.run.steps * each, ranks.size)
        pinned = self.trainer.device.type == "cuda"
        batches = load(self.examples, left, workers=self.recipe.data.workers, pin_memory=pinned)
        while update := list(islice(batches, each // ranks.size)):
            yield update

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

    def is_due(self, update: int) -> bool:
        """Whether a checkpoint is written after this update."""
        return update % self.recipe.run.save == 0 or self.is_kept(update)

    def save(self) -> None:
        """Write a checkpoint of where training stands; the first rank does, and the others wait for it."""
        if self.ranks.first:
            self._write()
        self.ranks.wait()

    def _write(self) -> None:
        update, corpus = self.trainer.update, self.corpus
        meta = Meta(
            step=update,
            mel_stats=corpus.mel_stats if self.recipe.family == "melhubert" else None,
            quantiser=None if corpus.labels is None else corpus.labels.describe(),
            provenance=self._provenance(),
        )
        state = {
            "update": update,
            "batches": self.each,
            "optimiser": self.trainer.optimiser.state_dict(),
            "log": self.log.state(),
            "watch": self.watch.state(),
            "labels": corpus.labels.sha256 if corpus.labels else None,
            "skipped": self.skipped,
        }
        content = of_objective(f"step-{update:08d}", self.objective, self.settings, meta=meta)
        self.run.save(content, state, kept=self.is_kept(update))

    def track(self) -> float:
        """Measure bias where this update is due, before its checkpoint is written; the seconds that it took.

        The checkpoint from which a run goes on has then been tracked. The first rank measures, the others wait.
        """
        update, section = self.trainer.update, self.recipe.track
        if section is None or not section.is_due(update, steps=self.recipe.run.steps, kept=self.is_kept(update)):
            return 0.0
        begun = time.monotonic()
        if self.tracker is not None and not self.tracker.holds(update):
            self.tracker.track(update, self.objective)
        self.ranks.wait()
        seconds = time.monotonic() - begun
        self.log.pause(seconds)
        return seconds

    def _tracker(self, update: int, warn: Callable[[str], None]) -> BiasTracker | None:
        """What measures bias on the way, records of a killed run behind ``update`` taken back."""
        if self.recipe.track is None or not self.ranks.first:
            return None
        config, stats = self.objective.encoder.config, self.corpus.mel_stats
        tracker = make_tracker(
            self.recipe.track,
            self.run.folder,
            config,
            mel_stats=stats if self.recipe.family == "melhubert" else None,
            run=self.identity,
            warn=warn,
        )
        tracker.take_back(update)
        return tracker

    def note_skipped(self, report: Report) -> str:
        """Write into the log which utterances an update without a finite gradient was made of; says so in a line."""
        numbers = range((report.update - 1) * self.each, report.update * self.each)
        rows = [row for number in numbers for row in self.sampler.batch(*self.sampler.locate(number))]
        keys = [self.corpus.manifest.key(int(row)) for row in rows]
        self.log.write({"step": report.update, "skipped_utterances": keys})
        return (
            f"step {report.update}: the loss or its gradient is not finite, the update is left out "
            f"({len(keys)} utterances, first {keys[0]}; all in {self.run.log.name})"
        )

    def explain_end(self) -> str:
        """Why a run ends for want of finite losses."""
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
            self.recipe.masking,
            labels=corpus.labels,
            mel_stats=corpus.mel_stats,
            contrast=contrast,
            seed=seed,
        )
        return sampler, examples

    def _provenance(self) -> dict[str, Any]:
        """What is known of how the weights came to be; no path, no speaker."""
        corpus, rows = self.corpus, self.corpus.selection.rows
        return {
            "made_by": f"speechbias {__version__} pretrain",
            "hours": round(float(corpus.manifest.seconds[rows].sum()) / 3600, 3),
            "utterances": len(rows),
            "corpora": [Path(source).name for source in self.recipe.data.train],
            "manifest_sha256": corpus.manifest.sha256,
            "batches_per_update": self.each,
            "seed": self.recipe.run.seed,
            "recipe_sha256": hashlib.sha256(self.recipe.to_toml().encode()).hexdigest(),
            "run": dict(self.identity),
        }

    def _identity(self) -> Mapping[str, Any]:
        """What tells this run from others, and from runs of the same recipe by the seed alone."""
        recipe = self.recipe.fingerprint(self.corpus.manifest.sha256)
        return {"name": self.run.folder.resolve().name, "recipe": recipe, "seed": self.recipe.run.seed}

    def _sinks(self) -> list[Sink]:
        run, sinks = self.recipe.run, list[Sink]()
        if not self.ranks.first:
            return sinks
        if run.tensorboard:
            sinks.append(TensorBoard(self.run.folder / "tensorboard", purge_step=self.trainer.update + 1))
        if run.wandb is not None:
            id_ = hashlib.sha256(str(self.run.folder.resolve()).encode()).hexdigest()[:16]
            settings = {name: asdict(section) for name, section in self.recipe.sections().items()}  # type: ignore[call-overload]
            sinks.append(WeightsAndBiases(run.wandb, name=self.run.folder.name, id_=id_, settings=settings))
        return sinks


def _refuse_other_labels(state: Mapping[str, Any], corpus: Corpus, run: RunFolder) -> None:
    """As with the corpus. A run of before labels were hashed goes on with what is there."""
    if corpus.labels is not None and state.get("labels", corpus.labels.sha256) != corpus.labels.sha256:
        raise InputError(
            f"{run.folder} was trained on other labels than those that are there now; put them back, or choose "
            "another --out"
        )


def _refuse_another_corpus(meta: Meta, corpus: Corpus, run: RunFolder) -> None:
    """Batches are numbered rows of the manifest: with other rows a resumed run would be another run."""
    if meta.provenance.get("manifest_sha256") != corpus.manifest.sha256:
        raise InputError(
            f"{run.folder} was trained on another list of utterances than the {len(corpus.manifest)} that are there "
            "now (files added, removed or changed); put the corpus back as it was, or choose another --out"
        )


def _refuse_another_beginning(update: int, ranks: Ranks, run: RunFolder) -> None:
    first = ranks.share(update)
    if update != first:
        raise InputError(
            f"{run.folder}: rank {ranks.rank} goes on from update {update}, the first rank from {first}; --out must "
            "be a folder that all machines share"
        )


def _refuse_uneven_ranks(each: int, ranks: Ranks, run: RunFolder) -> None:
    """What an update is belongs to the run, not to what it runs on."""
    if each % ranks.size:
        fitting = ", ".join(str(size) for size in range(1, each + 1) if not each % size)
        raise InputError(
            f"{run.folder}: an update of this run is {each} batches, which {ranks.size} processes cannot share alike; "
            f"go on with one of {fitting}"
        )


def _objective_of(checkpoint: Any, recipe: Recipe) -> tuple[Objective, Settings]:
    """The objective of a run's own checkpoint, its weights copied out of the mapped file."""
    made, settings = checkpoint.objective(), checkpoint.settings
    assert made is not None
    assert settings is not None
    for parameter in made.parameters():
        parameter.data = parameter.data.clone()
    return prepared(made, recipe), settings
