"""The folder of a run: recipe, checkpoints, log; what is kept, and from where a killed run goes on.

``recipe.toml`` (resolved), ``checkpoints/step-00000500/`` (``last`` is a link), ``log.jsonl``. A checkpoint is written
under a hidden name and renamed; only then do ``last`` and the older ones change. Whatever is killed in between leaves
whole checkpoints and hidden rests, and rests are swept away by the next run. Only the last one holds ``trainer.pt``
(optimiser and log), which alone is as large as two models.
"""

import errno
import fcntl
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import read_folder, save_checkpoint
from speechbias.errors import InputError
from speechbias.results import write_whole
from speechbias.training.recipe import Recipe
from speechbias.training.sections import read_toml
from speechbias.training.track import TrackSection

RECIPE, LOG, CHECKPOINTS, TRAINER, LAST, LOCK = (
    "recipe.toml",
    "log.jsonl",
    "checkpoints",
    "trainer.pt",
    "last",
    ".lock",
)
STEP = re.compile(r"step-(\d{8,})")
MAY_CHANGE = {("run", key) for key in ("steps", "save", "keep", "keep_every", "max_skipped", "tensorboard", "wandb")}
MAY_CHANGE |= {("data", "workers"), ("data", "train")}  # a corpus may move; `pretrain` compares its rows
MAY_CHANGE |= {("track", field.name) for field in fields(TrackSection)}  # it watches, and trains nothing


class RunFolder:
    """A run on disk. Made by ``open_run``, which holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / CHECKPOINTS
        self.log = folder / LOG

    def save(self, checkpoint: Checkpoint, state: Mapping[str, Any], *, kept: bool, final: bool = False) -> Path:
        """Write the checkpoint of its step with what training needs to go on; then let go of what is not kept.

        ``kept``: this one stays when a later one is written. OSError where the disk is full: older ones stand.
        """
        step = checkpoint.meta.step
        assert step is not None
        path = save_checkpoint(
            self.checkpoints / f"step-{step:08d}",
            checkpoint,
            extra=lambda folder: _write_state(folder / TRAINER, {**state, "kept": kept, "final": final}),
        )
        link = self.checkpoints / f".{LAST}.part"
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        link.replace(self.checkpoints / LAST)
        self._let_go(step)
        return path

    def last(self) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest checkpoint and its state; None where there is none yet."""
        steps = self.steps()
        if not steps:
            return None
        folder = self.checkpoints / f"step-{max(steps):08d}"
        return read_folder(str(folder), folder), self._state(max(steps))

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
                rest.unlink() if rest.is_symlink() or rest.is_file() else shutil.rmtree(rest)
        steps = self.steps()
        if steps:
            self._let_go(max(steps))

    def _state(self, step: int) -> dict[str, Any]:
        path = self.checkpoints / f"step-{step:08d}" / TRAINER
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            raise InputError(f"{path} is missing, so the run cannot go on; start it anew with another --out") from None
        except Exception as error:  # noqa: BLE001 (torch lets out whatever reading a damaged file raises)
            raise InputError(
                f"{path} is damaged ({type(error).__name__}); start the run anew with another --out"
            ) from None
        return state

    def _let_go(self, newest: int) -> None:
        for step in self.steps():
            path = self.checkpoints / f"step-{step:08d}"
            if step >= newest or not (path / TRAINER).exists():
                continue
            if self._state(step)["kept"]:
                (path / TRAINER).unlink()
            else:
                hidden = path.with_name(f".{path.name}.old")  # whole or hidden, at every moment
                path.rename(hidden)
                shutil.rmtree(hidden)


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    try:
        torch.save(dict(state), path)
    except RuntimeError as error:  # what a full disk is to its writer of zip files
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A run's folder, made where it is missing, for this process alone. InputError where another one is at work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK).open("w")
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise InputError(f"{folder} cannot be written ({reason}); choose another --out") from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process is training there; choose another --out") from None
        yield


@contextmanager
def open_run(folder: Path | str, recipe: Recipe, *, resume: bool) -> Iterator[RunFolder]:
    """The folder of a run, new or to go on with, held by this process alone.

    InputError where there is a run and ``resume`` is not asked for, where the recipe is another one than that of the
    run (but for how long it is, what is saved, and where the corpus lies), or another process is training in it.
    """
    run = RunFolder(Path(folder))
    with held(run.folder):
        written = run.folder / RECIPE
        if written.exists():
            if not resume:
                raise InputError(f"{run.folder} holds a run; go on with it by --resume, or choose another --out")
            _refuse_another(run.folder, recipe)
        write_whole(written, recipe.to_toml().encode())
        run.sweep()
        yield run


def _refuse_another(folder: Path, recipe: Recipe) -> None:
    before, now = read_toml(folder / RECIPE), tomllib.loads(recipe.to_toml())
    for section in before.keys() | now.keys():
        old, new = before.get(section, {}), now.get(section, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) and (section, key) not in MAY_CHANGE:
                said = f"[{section}] {key} was {old.get(key)!r} and is now {new.get(key)!r}"
                raise InputError(f"{folder}: {said}; a run goes on with its own recipe, or choose another --out")
