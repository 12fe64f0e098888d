"""Runs on disk, the user's and ours: how far they are, and whether they have ended."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbias.errors import InputError
from speechbias.models.jsonfiles import read_json
from speechbias.results import BiasResult


@dataclass(frozen=True)
class RunOnDisk:
    """A run folder: ``step`` updates made of ``steps``; None where the folder does not say it.

    ``name``: as its checkpoints have it, which a folder that was copied or renamed is not called.
    """

    folder: Path
    step: int | None
    steps: int | None
    name: str

    @property
    def last(self) -> Path:
        """Its newest checkpoint."""
        return self.folder / "checkpoints" / "last"

    @property
    def note(self) -> Path:
        """The mark that it has ended: a run that waits for its loss to converge knows no last update."""
        return self.folder.with_name(f"{self.folder.name}.ended")

    @property
    def ended(self) -> bool:
        """As it was noted, or by the update of its last checkpoint."""
        return self.last.exists() and (
            self.note.exists() or (self.step is not None and self.steps is not None and self.step >= self.steps)
        )

    @property
    def unended(self) -> bool:
        """Whether it is known that updates are left; a folder that was copied without its recipe is a model."""
        known = self.step is not None and self.steps is not None
        return self.last.exists() and known and not self.ended

    @property
    def checkpoints(self) -> list[Path]:
        """Those that are there, in order."""
        return sorted((self.folder / "checkpoints").glob("step-*"))

    def has(self, record: BiasResult) -> bool:
        """Whether a record is of one of the updates that it has made, by the name of the run."""
        name = (record.run or {}).get("name")
        return name == self.name and record.step is not None and record.step <= (self.step or 0)

    def in_words(self) -> str:
        """That it has not ended, and how it goes on."""
        again = shlex.join(["speechbias", "pretrain", str(self.folder / "recipe.toml"), "--out", str(self.folder)])
        return (
            f"{self.folder} has not ended: it is at update {self.step:,} of {self.steps:,}. Its steps are taken for "
            f"figure1, its last state for no final model. It goes on by: {again} --resume"
        )


def read_run(folder: Path) -> RunOnDisk:
    """What a folder says, of which nothing need be there."""
    from speechbias.training.sections import read_toml  # noqa: PLC0415

    try:
        steps = int(read_toml(folder / "recipe.toml")["run"]["steps"])
    except (OSError, KeyError, TypeError, ValueError, InputError):
        steps = None
    said = _last_said(folder / "checkpoints" / "last" / "meta.json")
    try:
        step = int(said["step"])
    except (KeyError, TypeError, ValueError):
        step = None
    try:
        name = str(said["provenance"]["run"]["name"])
    except (KeyError, TypeError):
        name = folder.resolve().name
    return RunOnDisk(folder, step, steps, name)


def _last_said(meta: Path) -> Mapping[str, Any]:
    """What the newest checkpoint says of itself; nothing where it is not there or damaged."""
    try:
        return read_json(meta)
    except InputError:
        return {}


def without_unended(records: Iterable[BiasResult], runs: Iterable[RunOnDisk]) -> list[BiasResult]:
    """The records but for those of runs that have not ended: their last step is no final model."""
    unended = [run for run in runs if run.unended]
    return [record for record in records if not any(run.has(record) for run in unended)]
