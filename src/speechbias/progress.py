"""Progress of long work on standard error: a bar in a terminal, a line now and then in a log."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts seconds of audio, or another ``unit``; shows how many per second, a note, and the time left.

    ``done`` were counted before, by work that goes on.
    """

    def __init__(self, label: str, total: float, *, shown: bool, unit: str = "s of audio", done: float = 0.0) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done, self.before, self.note = done, done, ""
        console = Console(stderr=True)
        self.shown = shown
        self.as_lines = shown and total > 0 and not console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self.paused = 0.0  # seconds
        self.bar = Bar(
            *columns,
            console=console,
            get_time=self._now,
            disable=not shown or self.as_lines or total == 0,
            transient=True,
        )
        self.task = self.bar.add_task(label, total=total, completed=int(done), speed="")

    def __enter__(self) -> Self:
        self.started = self.last_line = self._now()
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def pause(self, seconds: float) -> None:
        """So many seconds just now went to other work: they count neither for the speed nor for the time left."""
        self.paused += seconds

    def say(self, line: str) -> None:
        """A line that stays, above the bar; nothing where no progress is shown."""
        if self.shown:
            self.bar.console.print(line, markup=False, highlight=False)

    def _now(self) -> float:
        return time.monotonic() - self.paused

    def advance(self, amount: float, *, note: str | None = None) -> None:
        """So much more is done; a ``note`` stands beside the speed until there is another one."""
        self.done += amount
        self.note = self.note if note is None else f", {note}"
        now = self._now()
        speed = (self.done - self.before) / max(now - self.started, 1e-9)
        said = f"{_few(speed)} {self.unit} per s{self.note}"
        self.bar.update(self.task, advance=amount, speed=said)
        if self.as_lines and (now - self.last_line > SECONDS_BETWEEN_LINES):
            self.last_line = now
            left = (self.total - self.done) / max(speed, 1e-9)
            self.bar.console.print(
                f"{self.label}: {self.done:.0f} of {self.total:.0f} {self.unit}, {said}, {left:.0f} s left"
            )


def _few(number: float) -> str:
    """Two digits or whole."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"
