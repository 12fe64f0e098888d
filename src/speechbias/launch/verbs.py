"""What a job does, and what is made of many: ``measure``; ``pretrain``, ``prune`` and ``distill``; ``probe``."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Never

from speechbias import __version__
from speechbias.errors import InputError
from speechbias.launch.queue import DONE, Job, run_jobs
from speechbias.launch.settings import Settings
from speechbias.probe.recipe import ProbeRecipe
from speechbias.results import BiasResult, append_results, read_results, write_whole
from speechbias.survey import Survey
from speechbias.training.recipe import Recipe
from speechbias.training.signals import Interrupted

LOGS = "logs"
RESULTS = "results.jsonl"  # of probes, in their run folder
Verb = Literal["pretrain", "prune", "distill"]
MAKE_ROOM = "SIGUSR1"  # how a cluster asks for its machine


@dataclass(frozen=True)
class MeasureJob(Job):
    """All tests on one model."""

    survey: Survey

    def work(self) -> Mapping[str, Any]:
        """Into a results file of its own, which goes on where a killed job stopped."""
        for _ in self.survey.measure():
            pass
        return {}


@dataclass(frozen=True)
class TrainJob(Job):
    """One run; on every process of the job, where it has several."""

    recipe: Recipe
    out: Path
    device: str
    workers: int
    verb: Verb = "pretrain"

    def __call__(self) -> str:
        """As any job; only the first of several processes speaks for it."""
        import submitit  # noqa: PLC0415 (an extra)

        environment = submitit.JobEnvironment()
        if environment.num_tasks == 1:
            return super().__call__()
        submitit.helpers.TorchDistributedEnvironment().export()  # as torchrun would
        if environment.global_rank == 0:
            return super().__call__()
        if not self.is_done():
            self.work()
        return "done"

    def work(self) -> Mapping[str, Any]:
        """Train, from the last checkpoint on. Asked by SIGUSR1 to make room, it goes back into the queue."""
        from speechbias.training.allocator import keep_freed_memory  # noqa: PLC0415 (torch, in the job alone)

        keep_freed_memory()
        try:
            ended = _maker(self.verb)(
                self.recipe, self.out, resume=True, device=self.device, workers=self.workers, warn=_say, progress=True
            )
        except Interrupted as asked:  # while the corpus was prepared; no failure: the same goes on
            if str(asked) != MAKE_ROOM:
                return {"update": None, "asked": str(asked)}
            _make_room()
        if ended.asked == MAKE_ROOM:
            _make_room()
        return {"checkpoint": str(ended.checkpoint), "update": ended.update, "asked": ended.asked}


@dataclass(frozen=True)
class ProbeJob(Job):
    """All models of a recipe, one after another, in one run folder."""

    recipe: ProbeRecipe
    out: Path
    device: str
    workers: int

    def work(self) -> Mapping[str, Any]:
        """Probe what has no rate yet, from where a sweep was left. Asked to make room, it goes back into the queue."""
        from speechbias.probe.run import probe  # noqa: PLC0415 (torch, in the job alone)
        from speechbias.training.allocator import keep_freed_memory  # noqa: PLC0415

        keep_freed_memory()
        how: dict[str, Any] = {"device": self.device, "workers": self.workers, "warn": _say, "progress": True}
        try:
            ended = probe(self.recipe, self.out, resume=True, **how)
        except KeyboardInterrupt as asked:  # while states were computed, which are kept
            if str(asked) != MAKE_ROOM:
                return {"models": 0, "asked": str(asked) or "SIGINT"}
            _make_room()
        if ended.asked == MAKE_ROOM:
            _make_room()
        return {"models": len(ended.records), "asked": ended.asked}


def _maker(verb: Verb) -> Callable[..., Any]:
    """What makes a run of a resolved recipe."""
    if verb == "prune":
        from speechbias.compress.prune import prune  # noqa: PLC0415 (torch, in the job alone)

        return prune
    if verb == "distill":
        from speechbias.compress.distill import distill  # noqa: PLC0415

        return distill
    from speechbias.training.pretrain import pretrain  # noqa: PLC0415

    return pretrain


def _make_room() -> Never:
    """End this process; the first of a job puts the job back into the queue, once for all of them.

    The others end as if all were well: a failure could take the first with it before it has done so.
    """
    import submitit  # noqa: PLC0415 (an extra)

    environment = submitit.JobEnvironment()
    if environment.global_rank != 0:
        sys.exit(0)
    environment._requeue(0)  # noqa: SLF001 (what submitit does with a job that it stops)
    sys.exit(1)


def _say(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


def launch_measure(survey: Survey, settings: Settings, *, say: Callable[[str], None]) -> list[BiasResult]:
    """``Survey.measure`` with a job per model; the results file has the same bytes."""
    demands, place = survey.check(), Path(f"{survey.out}.jobs").absolute()
    jobs = []
    for model in survey.models:
        stats = survey.mel_stats if model in demands and demands[model].takes_mel_stats else None
        alone = replace(survey, models=[model], mel_stats=stats)
        folder = place / measure_key(alone)
        jobs.append(MeasureJob(folder, replace(alone, out=folder / survey.out.name, progress=False)))
    one = replace(settings, nodes=1, gpus=min(_gpus(settings, survey.device), 1))
    problems = run_jobs(jobs, one, place / LOGS, say=say)
    found = [result for job in jobs if job.survey.out.exists() for result in read_results(job.survey.out)]
    for job in jobs:
        _take_vectors(job.survey.out, survey.out)
    append_results(survey.out, list({result.identity: result for result in found}.values()))
    if problems:
        raise InputError(*problems)
    return found


def launch_training(
    verb: Verb,
    recipe: Recipe,
    out: Path,
    settings: Settings,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """A run of ``verb`` as a job; gives its checkpoint, how many updates it has, and whether a signal ended it.

    ``update`` is None, and there is no ``checkpoint``, where a signal ended it while the corpus was prepared.
    """
    place = Path(f"{out}.jobs").absolute()
    folder = place / _hashed({verb: recipe.to_toml()})
    if any((out / "checkpoints").glob("step-*")) and not (resume or folder.exists()):
        raise InputError(f"{out} holds a run; go on with it by --resume, or choose another --out")
    job = TrainJob(folder, recipe, out.absolute(), device, workers, verb)
    said = job.outcome() or {}
    if not job.is_done() or not Path(said.get("checkpoint", out / "none")).exists():
        (folder / DONE).unlink(missing_ok=True)
    several = replace(settings, gpus=_gpus(settings, device))
    if problems := run_jobs([job], several, place / LOGS, say=say):
        raise InputError(*problems)
    return job.outcome() or {}


def launch_probe(
    recipe: ProbeRecipe,
    out: Path,
    settings: Settings,
    *,
    device: str = "cpu",
    workers: int = 1,
    say: Callable[[str], None],
) -> str | None:
    """The probes of a recipe's models as one job of one process; gives the signal that ended it, if one did.

    ``out`` is the run folder that ``probe`` would have made; rates that are there stay.
    """
    place = Path(f"{out}.jobs").absolute()
    folder = place / _hashed(
        {"probe": recipe.to_toml(), "models": [_stamp(Path(each)) for each in recipe.model.models]}
    )
    job = ProbeJob(folder, recipe, out.absolute(), device, workers)
    if not job.is_done() or not (out / RESULTS).exists():
        (folder / DONE).unlink(missing_ok=True)
    one = replace(settings, nodes=1, gpus=min(_gpus(settings, device), 1))
    if problems := run_jobs([job], one, place / LOGS, say=say):
        raise InputError(*problems)
    asked: str | None = (job.outcome() or {}).get("asked")
    return asked


def _gpus(settings: Settings, device: str) -> int:
    return settings.gpus or int(device != "cpu")


def measure_key(survey: Survey) -> str:
    """The hash of a model, its tests and how it is measured; files by name, size and time."""
    clips = sorted({clip.path for test in survey.tests for clip in test.stimuli})
    said = asdict(survey) | {"out": survey.out.name, "cache": None, "progress": None, "workers": None}
    files = [*map(Path, survey.models), *filter(None, [survey.mel_stats]), *clips]
    return _hashed({"measure": said, "files": list(map(_stamp, files)), "version": __version__})


def _hashed(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stamp(path: Path) -> object:
    """What a changed file, or folder of files, does not keep; None for what is neither."""
    if path.is_dir():
        return [[str(each.relative_to(path)), _stamp(each)] for each in sorted(path.rglob("*")) if each.is_file()]
    try:
        status = path.stat()
    except OSError:
        return None
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _take_vectors(source: Path, out: Path) -> None:
    folder, into = source.with_name(f"{source.name}.vectors"), out.with_name(f"{out.name}.vectors")
    for path in sorted(folder.glob("*.npz")):
        if not (into / path.name).exists():
            into.mkdir(parents=True, exist_ok=True)
            write_whole(into / path.name, path.read_bytes())
