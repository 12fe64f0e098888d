"""What a run says of itself: a line of JSON every so many updates, and TensorBoard and W&B where they are asked for.

A line holds the means over the updates since the last one. The same run writes the same lines, killed and resumed or
not, but for what depends on the machine: ``audio_seconds_per_second``, and where bias was tracked
``tracking_seconds``, which do not count as training.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from speechbias.errors import naming
from speechbias.extras import MissingExtraError
from speechbias.results import write_whole
from speechbias.training.recipe_sections import RunSection
from speechbias.training.step import Report

SPEED = "audio_seconds_per_second"
TRACKING = "tracking_seconds"


class Sink(Protocol):
    """Where numbers of a run are shown beside its log."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show the numbers of one line."""

    def close(self) -> None:
        """Nothing more comes."""


class Window:
    """Sums over the updates of a line in the making; part of what a checkpoint keeps."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.updates = 0  # that had a finite loss
        self.skipped = 0
        self.masked = 0
        self.audio = 0.0  # seconds

    def add(self, report: Report, audio: float) -> None:
        """One update more."""
        self.audio += audio
        self.masked += report.masked
        if report.skipped:
            self.skipped += 1
            return
        self.updates += 1
        for name, value in {"loss": report.loss, **report.parts, "gradient": report.gradient}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, Any]:
        """What a line says of these updates."""
        made: dict[str, Any] = {name: total / self.updates for name, total in self.sums.items()}
        made |= {"masked_frames": self.masked, "audio_seconds": round(self.audio, 3)}
        return made | ({"skipped": self.skipped} if self.skipped else {})


class Log:
    """``log.jsonl`` of one run, from update ``step`` on: later lines, of a run that was killed, are taken back."""

    def __init__(
        self,
        path: Path,
        *,
        every: int,
        step: int = 0,
        sinks: Sequence[Sink] = (),
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.path, self.every, self.sinks = path, every, sinks
        self.window = Window()
        self._take_back(step, warn)
        self.begun, self.timed = time.monotonic(), 0.0  # audio seconds since then: not those of a run before this one
        self.paused = 0.0  # seconds since the last line that were no training

    def add(self, report: Report, audio: float, *, last: bool = False) -> dict[str, Any] | None:
        """Count an update, on so many seconds of audio; returns the line where one is due, or this is the ``last``."""
        self.window.add(report, audio)
        self.timed += audio
        if report.update % self.every and not last:
            return None
        now = time.monotonic()
        line = {"step": report.update, **self.window.means(), "lr": report.lr}
        line[SPEED] = round(self.timed / max(now - self.begun - self.paused, 1e-9), 2)
        if self.paused:
            line[TRACKING] = round(self.paused, 3)
        self.write(line)
        self.window, self.begun, self.timed, self.paused = Window(), now, 0.0, 0.0
        for sink in self.sinks:
            sink.write(report.update, {name: value for name, value in line.items() if name != "step"})
        return line

    def pause(self, seconds: float) -> None:
        """So many seconds just now were spent on something else than training."""
        self.paused += seconds

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line, whole: it is flushed before anything else happens."""
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def state(self) -> dict[str, Any]:
        """The line in the making, in plain containers."""
        return dict(vars(self.window), sums=dict(self.window.sums))

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on with the line that a checkpoint kept."""
        vars(self.window).update(state, sums=dict(state["sums"]))

    def close(self) -> None:
        """Close what was opened for the run."""
        for sink in self.sinks:
            sink.close()

    def _take_back(self, step: int, warn: Callable[[str], None]) -> None:
        """Leave the lines up to an update. Lost and damaged ones cannot be had again: ``warn`` is told of them."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        steps = [_step(line) for line in lines]
        kept = [line for line, at in zip(lines, steps, strict=True) if at is not None and at <= step]
        whole = lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines  # a killed run leaves half a line
        damaged = sum(at is None for at in steps[: len(whole)])
        due = set(range(self.every, step + 1, self.every))
        if damaged:
            aside = self.path.with_name(f"damaged-{self.path.name}")
            write_whole(aside, b"".join(lines))
            warn(f"{self.path} is damaged in {damaged} lines, which are left out; as it was it lies in {aside.name}")
        if lost := due - set(steps):
            said = f"{len(lost)} of the {len(due)} lines up to update {step} are lost"
            warn(f"{self.path}: {said}; the training itself goes on as it was, and so does the log")
        if len(kept) < len(lines):
            write_whole(self.path, b"".join(kept))


def _step(line: bytes) -> float | None:
    """The update of a line; None for what is no whole line."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class TensorBoard:
    """Scalars for TensorBoard, in the run's folder."""

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (an extra)
        except ImportError:
            raise MissingExtraError("tensorboard = true needs TensorBoard: pip install 'speechbias[track]'") from None
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One point per number."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self.writer.close()


class WeightsAndBiases:
    """The same numbers in a W&B project; a resumed run goes on under its id."""

    def __init__(self, project: str, *, name: str, id_: str, settings: Mapping[str, Any]) -> None:
        try:
            import wandb  # noqa: PLC0415 (an extra)
        except ImportError:
            raise MissingExtraError(f"wandb = {project!r} needs W&B: pip install 'speechbias[track]'") from None
        self.run = wandb.init(project=project, name=name, id=id_, resume="allow", config=dict(settings))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row."""
        self.run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Upload what is left."""
        self.run.finish()


def open_sinks(run: RunSection, folder: Path, *, step: int, settings: Mapping[str, Any]) -> list[Sink]:
    """What a recipe wants beside the log, from ``step`` on; ``settings`` is the whole recipe, to be shown."""
    sinks = list[Sink]()
    if run.tensorboard:
        sinks.append(TensorBoard(folder / "tensorboard", purge_step=step + 1))
    if run.wandb is not None:
        id_ = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        sinks.append(WeightsAndBiases(run.wandb, name=folder.name, id_=id_, settings=settings))
    return sinks
