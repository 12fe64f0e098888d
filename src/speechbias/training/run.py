"""The folder of a run: recipe, checkpoints, log; what is kept, and from where a killed run goes on.

``recipe.toml`` (resolved), ``checkpoints/step-00000500/`` (``last`` is a link), ``log.jsonl``. A checkpoint is written
under a hidden name and renamed; only then do ``last`` and the older ones change. Whatever is killed in between leaves
whole checkpoints and hidden rests, and rests are swept away by the next run. The last two hold ``trainer.pt``
(optimiser and log, as large as two models): a run goes on from the one before where the newest is damaged. Of a run
that has made all its updates only the last one does.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import read_folder, save_checkpoint
from speechbias.errors import InputError, os_reason
from speechbias.results import write_whole
from speechbias.training.recipe import Recipe
from speechbias.training.states import drop_state, has_state, read_state, stays, write_state
from speechbias.training.written_recipe import RECIPE, refuse_another

LOG, CHECKPOINTS, LAST, LOCK = "log.jsonl", "checkpoints", "last", ".lock"
FILES = (RECIPE, LOG, "results.jsonl", "events.jsonl", "left-out.tsv", "scan.jsonl")  # of a run, one or all
RESTS = re.compile(r"\.(recipe\.toml|log\.jsonl|left-out\.tsv|mel-stats-|units)\b.*\.(part|old)")  # of killed writers
STATES = 2  # checkpoints from which a run can go on
STEP = re.compile(r"step-(\d{8,})")

Left = tuple[Checkpoint, dict[str, Any]]  # where a run was left: weights, and the state beside them


class RunFolder:
    """A run on disk. Made by ``open_run``, which holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / CHECKPOINTS
        self.log = folder / LOG

    def save(self, checkpoint: Checkpoint, state: Mapping[str, Any], *, kept: bool) -> Path:
        """Write the checkpoint of its step with what training needs to go on; then let go of what is not kept.

        ``kept``: this one stays when a later one is written. OSError where the disk is full: older ones stand.
        """
        step = checkpoint.meta.step
        assert step is not None
        path = save_checkpoint(self.of(step), checkpoint, extra=lambda folder: write_state(folder, state, kept=kept))
        self._link(step)
        self._let_go(step)
        return path

    def last(self, *, warn: Callable[[str], None] = lambda _: None) -> Left | None:
        """The newest whole checkpoint that has a state, and that; None where there is none yet.

        What is newer and damaged is moved to ``damaged-step-...`` in the run folder, with a warning: the run makes it
        again. InputError where every one is damaged.
        """
        steps = self.steps()
        problems: list[str] = []
        for step in [each for each in reversed(steps) if each == steps[-1] or has_state(self.of(each))]:
            folder = self.of(step)
            try:
                state = read_state(folder)
                checkpoint = read_folder(str(folder), folder)
            except InputError as error:
                problems += error.problems[:1]
                continue
            for damaged in steps[steps.index(step) + 1 :]:
                self._put_aside(damaged)
            if problems:
                self._link(step)
                warn(f"{_what(problems[0])}; the run goes on from update {step}, the checkpoint before")
            return checkpoint, state
        if problems:
            raise InputError(f"{_what(problems[0])}, and no checkpoint before it is whole; choose another --out")
        return None

    def steps(self) -> list[int]:
        """Updates of the checkpoints that are there, in order."""
        if not self.checkpoints.is_dir():
            return []
        found = (STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def sweep(self) -> None:
        """Remove what a killed run left half written or half removed."""
        if self.checkpoints.is_dir():
            for rest in self.checkpoints.glob(".*"):
                _remove(rest)
        steps = self.steps()
        if steps:
            self._let_go(max(steps))

    def end(self) -> None:
        """Let go of what only a run that goes on needs. The last checkpoint keeps its state: a run can be longer."""
        if steps := self.steps():
            self._let_go(max(steps), states=1)

    def of(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.checkpoints / f"step-{step:08d}"

    def _link(self, step: int) -> None:
        """Let ``last`` name the checkpoint of a step."""
        link = self.checkpoints / f".{LAST}.part"
        link.unlink(missing_ok=True)
        link.symlink_to(self.of(step).name)
        last = self.checkpoints / LAST
        if last.is_dir() and not last.is_symlink():  # a copy of the run, made by what follows links
            last.rename(aside := self.checkpoints / f".{LAST}.old")
            shutil.rmtree(aside)
        link.replace(last)

    def _let_go(self, newest: int, *, states: int = STATES) -> None:
        """Of all but the last few checkpoints that have a state: the state, or all of one that does not stay."""
        paths = [self.of(step) for step in self.steps() if step <= newest and has_state(self.of(step))]
        for path in paths[:-states]:
            if stays(path):
                drop_state(path)
            else:
                hidden = path.with_name(f".{path.name}.old")  # whole or hidden, at every moment
                path.rename(hidden)
                shutil.rmtree(hidden)

    def _put_aside(self, step: int) -> None:
        aside = self.folder / f"damaged-{self.of(step).name}"  # where checkpoints/* does not find it
        if aside.exists():
            shutil.rmtree(aside)
        self.of(step).rename(aside)


def _what(problem: str) -> str:
    """A problem without its remedy, which is another one here."""
    return problem.rpartition("; ")[0] or problem


LOCKS: set[int] = set()  # of this process


def _let_go_in_child() -> None:
    """Readers outlive a killed run by seconds; had they its lock, it could not be resumed in that time."""
    while LOCKS:
        os.close(LOCKS.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A run's folder, made where it is missing, for this process alone, without what killed ones left half written.

    InputError where another one is at work.
    """
    if os.fsencode(folder) != str(folder).encode(errors="replace"):
        raise InputError(f"{folder}: safetensors reads no file whose path is not UTF-8; choose another --out")
    _refuse_strange(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({os_reason(error)}); choose another --out") from None
    LOCKS.add(lock)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process is training there; choose another --out") from None
        for rest in folder.iterdir():
            if RESTS.fullmatch(rest.name):
                _remove(rest)
        yield
    finally:
        if lock in LOCKS:
            LOCKS.remove(lock)
            os.close(lock)


def _refuse_strange(folder: Path) -> None:
    """InputError where a folder lies in the place of one of a run's files, or a file in that of its checkpoints."""
    for path in (folder / name for name in FILES):
        if path.is_dir():
            raise InputError(
                f"{path} is a folder, and a run keeps a file there; move it away, or choose another --out"
            )
    path = folder / CHECKPOINTS
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, and a run keeps a folder there; move it away, or choose another --out")


def _remove(path: Path) -> None:
    path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


@contextmanager
def open_run(
    folder: Path | str, recipe: Recipe, *, resume: bool, warn: Callable[[str], None] = lambda _: None
) -> Iterator[RunFolder]:
    """The folder of a run, new or to go on with, held by this process alone.

    InputError where there is a run and ``resume`` is not asked for, where the recipe is another one than that of the
    run (but for how long it is, what is saved, and where the corpus lies), or another process is training in it.
    ``warn`` is told where the recipe in the folder was damaged and this one is as good.
    """
    run = RunFolder(Path(folder))
    with held(run.folder):
        if steps := run.steps():  # else it never began, and its recipe may be corrected
            if not resume:
                raise InputError(f"{run.folder} holds a run; go on with it by --resume, or choose another --out")
            if steps[-1] > recipe.run.steps:
                raise InputError(
                    f"{run.folder} has made {steps[-1]} updates, and [run] steps is {recipe.run.steps}; give as many "
                    "or more, or choose another --out"
                )
            refuse_another(run.folder, recipe, map(run.of, steps), warn=warn)
        write_whole(run.folder / RECIPE, recipe.to_toml().encode())
        run.sweep()
        yield run
