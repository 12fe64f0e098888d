"""Pre-training, from a recipe to checkpoints (paper, Section 2.1): one visible loop around ``Trainer.step``.

Everything random is a function of the recipe's seed and of where in the run it happens, so a run that was killed and
resumed ends, on a CPU, with the same bits as one that was not.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from speechbias import __version__
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.errors import InputError
from speechbias.models.batch import Batch
from speechbias.models.config import SAMPLE_RATE
from speechbias.models.device import choose_device
from speechbias.models.objectives import Objective, Settings
from speechbias.models.wav2vec2 import Wav2Vec2Settings
from speechbias.progress import Progress
from speechbias.tracking import BiasTracker
from speechbias.tracking.tracker import Cost
from speechbias.training.beginning import first_objective, model_config, prepared
from speechbias.training.corpus import Corpus, open_training_corpus
from speechbias.training.examples import Contrast, Examples, load
from speechbias.training.log import SPEED, Log, Sink, TensorBoard, WeightsAndBiases
from speechbias.training.optim import learning_rate, make_optimiser
from speechbias.training.recipe import Recipe
from speechbias.training.run import RunFolder, open_run
from speechbias.training.sampler import Sampler
from speechbias.training.signals import stop_when_asked
from speechbias.training.step import Report, Trainer
from speechbias.training.track import make_tracker
from speechbias.training.watch import Watch


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

    ``workers`` scan and label the corpus. InputError for what the user can mend; OSError where the disk is full, the
    checkpoints written so far stay whole.
    """
    where = choose_device(device)
    with open_run(out, recipe, resume=resume) as run:
        corpus = open_training_corpus(
            recipe, model_config(recipe), run.folder, workers=workers, device=where, progress=progress
        )
        for warning in (*corpus.warnings, *_odd(recipe)):
            warn(warning)
        pretraining = Pretraining(recipe, corpus, run, where, warn=warn)
        return _loop(pretraining, warn=warn, progress=progress)


def _odd(recipe: Recipe) -> list[str]:
    """What of a recipe is allowed, and seldom meant."""
    warmup, steps = recipe.optim.warmup, recipe.run.steps
    if warmup < steps:
        return []
    return [f"the learning rate grows for {warmup} updates and the run has {steps}: it never reaches [optim] lr"]


def _loop(training: "Pretraining", *, warn: Callable[[str], None], progress: bool) -> Outcome:
    recipe, trainer, log = training.recipe, training.trainer, training.log
    steps = recipe.run.steps
    watch = Watch(entropy=training.corpus.entropy, groups=training.groups)
    bar = Progress(recipe.family, steps, shown=progress, unit="updates", done=trainer.update)
    with stop_when_asked() as stop, bar:
        bar.pause(training.track())
        if trainer.update == 0 and training.is_kept(0):
            training.save()
        for batches in training.updates():
            report = trainer.step(batches)
            bar.pause(training.track())
            line = log.add(report, training.seconds(batches), last=trainer.update == steps)
            for warning in watch.look(line) if line else ():
                warn(warning)
            training.skipped = training.skipped + 1 if report.skipped else 0
            if report.skipped:
                warn(training.note_skipped(report))
            if training.skipped >= recipe.run.max_skipped:
                raise InputError(training.explain_end())
            if training.is_due(trainer.update) or stop.asked:
                training.save()
            bar.advance(1, note=f"loss {report.loss:.3f}, {line[SPEED]:.0f} s of audio per s" if line else None)
            if stop.asked:
                break
    log.close()
    asked = stop.asked.name if stop.asked and trainer.update < steps else None
    tracking = None if training.tracker is None else training.tracker.cost
    return Outcome(training.run.checkpoints / "last", trainer.update, asked, tracking)


class Pretraining:
    """Everything of one run, put together: new, or as its last checkpoint left it."""

    def __init__(
        self, recipe: Recipe, corpus: Corpus, run: RunFolder, device: str, *, warn: Callable[[str], None]
    ) -> None:
        self.recipe, self.corpus, self.run = recipe, corpus, run
        left = run.last()
        if left is None:
            clusters = None if corpus.labels is None else corpus.labels.clusters
            self.objective, self.settings = first_objective(recipe, clusters=clusters)
        else:
            _refuse_another_corpus(left[0].meta, corpus, run)
            self.objective, self.settings = _objective_of(left[0], recipe)
        self.identity = self._identity() if left is None else left[0].meta.run or self._identity()
        self.tracker = self._tracker(0 if left is None else left[0].meta.step or 0, warn)
        self.objective.to(device)
        optimiser = make_optimiser(self.objective, recipe.optim)
        self.trainer = Trainer(
            self.objective,
            optimiser,
            rate=lambda update: learning_rate(update, recipe.optim, steps=recipe.run.steps),
            clip=recipe.optim.clip,
            precision=recipe.run.precision,
            seed=recipe.run.seed,
        )
        state = {} if left is None else left[1]
        if state:
            optimiser.load_state_dict(state["optimiser"])
            self.trainer.update = state["update"]
        self.log = Log(run.log, every=recipe.run.log, step=self.trainer.update, sinks=self._sinks())
        if state:
            self.log.load(state["log"])
        self.skipped: int = state.get("skipped", 0)  # updates in a row, up to now, without a finite loss
        self.sampler, self.examples = self._examples()
        self.front = self.objective.encoder.config.frontend

    @property
    def groups(self) -> int:
        """Groups of wav2vec 2.0's codes."""
        return self.settings.groups if isinstance(self.settings, Wav2Vec2Settings) else 1

    def updates(self) -> Iterator[list[Batch]]:
        """The batches of every update that is left, read ahead by the recipe's workers.

        Batch n of a run is a pure function of the recipe, so going on is counting from where the run was left.
        """
        each = self.recipe.optim.accumulate
        left = range(self.trainer.update * each, self.recipe.run.steps * each)
        pinned = self.trainer.device.type == "cuda"
        batches = load(self.examples, left, workers=self.recipe.data.workers, pin_memory=pinned)
        while update := list(islice(batches, each)):
            yield update

    def seconds(self, batches: list[Batch]) -> float:
        """Audio of an update, without padding."""
        hop = 1 if batches[0].inputs.dim() == 2 else self.front.hop
        return sum(int(batch.lengths.sum()) for batch in batches) * hop / SAMPLE_RATE

    def is_kept(self, update: int) -> bool:
        """Whether the checkpoint of this update stays."""
        run = self.recipe.run
        every = run.keep_every > 0 and update > 0 and update % run.keep_every == 0
        return update in run.keep or every or update == run.steps

    def is_due(self, update: int) -> bool:
        """Whether a checkpoint is written after this update."""
        return update % self.recipe.run.save == 0 or self.is_kept(update)

    def save(self) -> Path:
        """Write a checkpoint of where training stands."""
        update, corpus = self.trainer.update, self.corpus
        meta = Meta(
            step=update,
            mel_stats=corpus.mel_stats if self.recipe.family == "melhubert" else None,
            quantiser=None if corpus.labels is None else corpus.labels.describe(),
            provenance=self._provenance(),
        )
        state = {
            "update": update,
            "optimiser": self.trainer.optimiser.state_dict(),
            "log": self.log.state(),
            "skipped": self.skipped,
        }
        content = of_objective(f"step-{update:08d}", self.objective, self.settings, meta=meta)
        return self.run.save(content, state, kept=self.is_kept(update))

    def track(self) -> float:
        """Measure bias where this update is due, before its checkpoint is written; the seconds that it took.

        The checkpoint from which a run goes on has then been tracked. The one place that would know of other
        processes: the first measures, the others wait.
        """
        update, section = self.trainer.update, self.recipe.track
        if self.tracker is None or section is None or self.tracker.holds(update):
            return 0.0
        if not section.is_due(update, steps=self.recipe.run.steps, kept=self.is_kept(update)):
            return 0.0
        begun = time.monotonic()
        self.tracker.track(update, self.objective)
        seconds = time.monotonic() - begun
        self.log.pause(seconds)
        return seconds

    def _tracker(self, update: int, warn: Callable[[str], None]) -> BiasTracker | None:
        """What measures bias on the way, records of a killed run behind ``update`` taken back."""
        if self.recipe.track is None:
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
        each = self.recipe.optim.accumulate
        numbers = range((report.update - 1) * each, report.update * each)
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

    def _examples(self) -> tuple[Sampler, Examples]:
        data, corpus, seed = self.recipe.data, self.corpus, self.recipe.run.seed
        sampler = Sampler(
            corpus.manifest.num_samples,
            seconds=data.seconds,
            utterances=data.utterances,
            crop_seconds=data.crop,
            rows=corpus.selection.rows,
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
        if run.tensorboard:
            sinks.append(TensorBoard(self.run.folder / "tensorboard", purge_step=self.trainer.update + 1))
        if run.wandb is not None:
            id_ = hashlib.sha256(str(self.run.folder.resolve()).encode()).hexdigest()[:16]
            settings = {name: asdict(section) for name, section in self.recipe.sections().items()}  # type: ignore[call-overload]
            sinks.append(WeightsAndBiases(run.wandb, name=self.run.folder.name, id_=id_, settings=settings))
        return sinks


def _refuse_another_corpus(meta: Meta, corpus: Corpus, run: RunFolder) -> None:
    """Batches are numbered rows of the manifest: with other rows a resumed run would be another run."""
    if meta.provenance.get("manifest_sha256") != corpus.manifest.sha256:
        raise InputError(
            f"{run.folder} was trained on another list of utterances than the {len(corpus.manifest)} that are there "
            "now (files added, removed or changed); put the corpus back as it was, or choose another --out"
        )


def _objective_of(checkpoint: Any, recipe: Recipe) -> tuple[Objective, Settings]:
    """The objective of a run's own checkpoint, its weights copied out of the mapped file."""
    made, settings = checkpoint.objective(), checkpoint.settings
    assert made is not None
    assert settings is not None
    for parameter in made.parameters():
        parameter.data = parameter.data.clone()
    return prepared(made, recipe), settings
