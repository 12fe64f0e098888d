"""Progress of long work on standard error: a bar in a terminal, a line now and then in a log."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts seconds of audio, or another ``unit``; shows how many per second and the time left."""

    def __init__(self, label: str, total: float, *, shown: bool, unit: str = "s of audio") -> None:
        self.label, self.total, self.done, self.unit = label, total, 0.0, unit
        console = Console(stderr=True)
        self.as_lines = shown and total > 0 and not console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self.bar = Bar(*columns, console=console, disable=not shown or self.as_lines or total == 0, transient=True)
        self.task = self.bar.add_task(label, total=total, speed="")

    def __enter__(self) -> Self:
        self.started = self.last_line = time.monotonic()
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, amount: float) -> None:
        """So much more is done."""
        self.done += amount
        now = time.monotonic()
        speed = self.done / max(now - self.started, 1e-9)
        self.bar.update(self.task, advance=amount, speed=f"{speed:.0f} {self.unit} per s")
        if self.as_lines and (now - self.last_line > SECONDS_BETWEEN_LINES):
            self.last_line = now
            left = (self.total - self.done) / speed
            self.bar.console.print(
                f"{self.label}: {self.done:.0f} of {self.total:.0f} {self.unit}, {speed:.0f} {self.unit} per s, "
                f"{left:.0f} s left",
            )
