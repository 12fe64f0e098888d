"""What there is to do for a table or figure: stimuli, trainings, measurements, probes, each done once."""

import shlex
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechbias.reproduce.clips import clips_sha256
from speechbias.reproduce.cost import Cost
from speechbias.reproduce.identity import Known, is_known
from speechbias.reproduce.runs import read_run

State = Literal["done", "to do", "to go on"]


@dataclass(frozen=True)
class How:
    """How work is done; ``launcher``: settings of jobs, or None for this process."""

    device: str = "cpu"
    workers: int = 1
    launcher: Any = None
    progress: bool = False
    say: Callable[[str], None] = lambda _: None
    warn: Callable[[str], None] = lambda _: None


class Stopped(Exception):  # noqa: N818 (no error: somebody asked)
    """A signal ended a training after it was saved."""


@dataclass(frozen=True)
class Work(ABC):
    """One piece. ``absent``: data that it takes and that is not here; it cannot be done then."""

    name: str
    needs: tuple["Work", ...] = field(default=(), kw_only=True)
    absent: tuple[str, ...] = field(default=(), kw_only=True)
    cost: Cost = field(default=Cost(), kw_only=True)

    @property
    @abstractmethod
    def state(self) -> State:
        """Whether it is done, from what is on disk."""

    @property
    @abstractmethod
    def command(self) -> str:
        """The verb that does the same."""

    @abstractmethod
    def do(self, how: How) -> None:
        """Do what is left of it. InputError for what the user can mend."""


@dataclass(frozen=True)
class BuildStimuli(Work):
    """SpEAT's list of one category, with the Morgan set's attributes."""

    category: str
    path: Path
    sources: tuple[str, ...]

    @property
    def state(self) -> State:
        """Whether the CSV is there."""
        return "done" if self.path.exists() else "to do"

    @property
    def command(self) -> str:
        """`stimuli`."""
        return shlex.join(["speechbias", "stimuli", *self.sources, "-o", str(self.path)])

    def do(self, how: How) -> None:
        """Build and check it; clips that cannot be used are left out, and said."""
        from speechbias.corpora import build  # noqa: PLC0415
        from speechbias.stimuli import check_audio, write_stimuli  # noqa: PLC0415

        built = build(self.sources, name=self.category)
        check = check_audio([built.stimuli], sample_rate=16_000, min_samples=400, skip_bad=True)
        for clip in check.skipped[self.category]:
            how.warn(f"{self.category}: left out: {clip['path']} {clip['why']}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_stimuli(check.sets[0], self.path)
        for note in built.notes:
            how.say(f"{self.category}: {note}")


@dataclass(frozen=True)
class Measure(Work):
    """Some models on the stimuli; ``settings``: fields of a survey."""

    models: tuple[str, ...]
    stimuli: tuple[Path, ...]
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Whether each model as it is now has a record on each test as it is now: that is not measured again."""
        if not self.out.exists():
            return "to do"
        from speechbias.results import read_results  # noqa: PLC0415

        held: dict[str, list[tuple[str, Known]]] = defaultdict(list)
        for record in read_results(self.out):
            held[record.test].append((record.stimuli_sha256, (record.called, record.model_sha256)))
        there: list[bool] = []
        for path in self.stimuli:
            found = held[path.stem]
            now = clips_sha256(path) if found else None
            known = {of for clips, of in found if now in {None, clips}}
            there += [is_known(model, known) for model in self.models]
        return "done" if all(there) else "to go on" if any(there) else "to do"

    @property
    def command(self) -> str:
        """`measure`."""
        paths = [str(path) for path in self.stimuli]
        return shlex.join(["speechbias", "measure", *self.models, "--stimuli", *paths, "-o", str(self.out)])

    def do(self, how: How) -> None:
        """Measure, and audit the stimuli once."""
        from speechbias.audits import audit_survey  # noqa: PLC0415
        from speechbias.stimuli import read_stimuli  # noqa: PLC0415
        from speechbias.survey import Survey  # noqa: PLC0415

        survey = Survey(
            models=self.models,
            tests=[read_stimuli(path) for path in self.stimuli],
            out=self.out,
            device=how.device,
            workers=how.workers,
            cache=self.out.parent / f"{self.out.name}.cache",
            progress=how.progress,
            **self.settings,
        )
        if how.launcher is None:
            for _ in survey.measure():
                pass
        else:
            from speechbias.launch.verbs import launch_measure  # noqa: PLC0415

            launch_measure(survey, how.launcher, say=how.say)
        audit_survey(survey)


@dataclass(frozen=True)
class Train(Work):
    """One run of a maker; ``said`` is its recipe, ``folder`` its run folder."""

    verb: Literal["pretrain", "prune", "distill"]
    folder: Path
    said: Mapping[str, Any]
    like: str  # the recipe of this repository that says the same

    @property
    def state(self) -> State:
        """Whether the run has ended."""
        if read_run(self.folder).ended:
            return "done"
        return "to go on" if self.folder.exists() else "to do"

    @property
    def command(self) -> str:
        """The verb."""
        model = dict(self.said.get("model", {})).get("checkpoint")
        start = ["--model", str(model)] if model else []
        return shlex.join(["speechbias", self.verb, self.like, *start, "--out", str(self.folder)])

    def do(self, how: How) -> None:
        """Train, from the last checkpoint on. Stopped where a signal ended it."""
        note = read_run(self.folder).note
        note.unlink(missing_ok=True)  # of a folder that is gone
        resume = (self.folder / "checkpoints").exists()
        options: dict[str, Any] = {"device": how.device, "workers": how.workers, "resume": resume}
        recipe = self._recipe()
        if how.launcher is not None:
            from speechbias.launch.verbs import launch_training  # noqa: PLC0415

            asked = launch_training(self.verb, recipe, self.folder, how.launcher, say=how.say, **options)["asked"]
        else:
            asked = self._trained(recipe, warn=how.warn, progress=how.progress, **options)
        if asked is not None:
            raise Stopped(f"{self.name}: {asked}; what was saved goes on by the same command")
        note.touch()

    def _trained(self, recipe: Any, **options: Any) -> str | None:
        from speechbias.compress.distill import distill  # noqa: PLC0415 (torch)
        from speechbias.compress.prune import prune  # noqa: PLC0415
        from speechbias.training.pretrain import pretrain  # noqa: PLC0415

        makers = {"pretrain": pretrain, "prune": prune, "distill": distill}
        asked: str | None = makers[self.verb](recipe, self.folder, **options).asked
        return asked

    def _recipe(self) -> Any:
        from speechbias.compress.start import distill_recipe, prune_recipe  # noqa: PLC0415
        from speechbias.training.recipe import resolved  # noqa: PLC0415

        if self.verb == "prune":
            return prune_recipe(self.said, self.folder, self.like)
        return (
            distill_recipe(self.said, self.folder, self.like)
            if self.verb == "distill"
            else resolved(self.said, self.like)
        )


@dataclass(frozen=True)
class Probe(Work):
    """Phone error rates of some models."""

    models: tuple[str, ...]
    folder: Path
    said: Mapping[str, Any]
    like: str

    @property
    def state(self) -> State:
        """Whether every model has a rate, with the weights that it has now."""
        from speechbias.results import called, read_records  # noqa: PLC0415

        path = self.folder / "results.jsonl"
        if not path.exists():
            return "to go on" if self.folder.exists() else "to do"
        rates = [record for record in read_records(path) if record["kind"] == "per"]
        held = {
            (called(str(rate.get("model")), rate.get("step"), rate.get("run")), str(rate.get("model_sha256")))
            for rate in rates
        }
        return "done" if all(is_known(model, held) for model in self.models) else "to go on"

    @property
    def command(self) -> str:
        """`probe`."""
        models = [word for model in self.models for word in ("--model", model)]
        return shlex.join(["speechbias", "probe", self.like, *models, "--out", str(self.folder)])

    def do(self, how: How) -> None:
        """Probe those that have no rate yet. Stopped where a signal ended it."""
        from speechbias.probe.recipe import probe_recipe  # noqa: PLC0415

        recipe = probe_recipe({**self.said, "model": {"models": list(self.models)}}, self.like)
        options: dict[str, Any] = {"device": how.device, "workers": how.workers, "say": how.say}
        if how.launcher is not None:
            from speechbias.launch.verbs import launch_probe  # noqa: PLC0415

            asked = launch_probe(recipe, self.folder, how.launcher, **options)
        else:
            from speechbias.probe.run import probe  # noqa: PLC0415

            more: dict[str, Any] = {"resume": self.folder.exists(), "warn": how.warn, "progress": how.progress}
            asked = probe(recipe, self.folder, **options, **more).asked
        if asked is not None:
            raise Stopped(f"{self.name}: {asked}; it goes on by the same command")


def in_turn(works: Sequence[Work]) -> list[Work]:
    """Every piece once, after those that it needs."""
    found: dict[str, Work] = {}

    def visit(work: Work) -> None:
        for need in work.needs:
            visit(need)
        found.setdefault(work.name, work)

    for work in works:
        visit(work)
    return list(found.values())


def lacks(work: Work) -> tuple[str, ...]:
    """What keeps a piece from being done: data that it, or what it needs and is not done, takes and lacks."""
    if work.state == "done":
        return ()
    return tuple(dict.fromkeys((*work.absent, *(line for need in work.needs for line in lacks(need)))))
