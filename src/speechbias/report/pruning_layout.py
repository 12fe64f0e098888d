"""Where the panels of the figure of pruning are, and how large it is."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from speechbias.report.grid import Column
from speechbias.report.lines import NOTE_LINE, note_lines

PANEL = (3.1, 2.45)  # inches


class Layout:
    """Where the panels are: a row per method, a column per test; of one test alone, the methods beside each other.

    Error rates are the last row; rows of different numbers of panels are aligned at both ends.
    """

    def __init__(
        self, methods: Sequence[str], columns: Sequence[Column], with_errors: Sequence[str], note: str
    ) -> None:
        self.methods, self.columns, self.with_errors = methods, columns, with_errors
        self.one_test = len(columns) == 1
        self.abreast = len(methods) if self.one_test else len(columns)
        self.down = (1 if self.one_test else len(methods)) + bool(with_errors)
        below = len(methods) if self.one_test else len(with_errors) or 1  # places of a row of error rates
        self.width = max(5.6, PANEL[0] * max(self.abreast, below) + 0.4)
        self.note = note_lines(note, self.width)
        height = PANEL[1] * self.down + 0.7 + NOTE_LINE * len(self.note)
        self.figure = Figure(figsize=(self.width, height), layout="constrained")
        self._below, self._cells = below, math.lcm(self.abreast, below)
        self._grid = GridSpec(self.down, self._cells, figure=self.figure)

    def bias(self, method: str, column: Column, *, like: Axes | None) -> Axes:
        """The panel of d of a method and a test, with the vertical scale of another."""
        row, number = self.methods.index(method), self.columns.index(column)
        row, number = (0, row) if self.one_test else (row, number)
        axes = self._panel(row, number, self.abreast, like)
        axes.set_ylabel("SpEAT d (SDs of s)" if number == 0 else "")
        axes.set_xlabel("parameters removed" if row == self.down - 1 else "")
        return axes

    def errors(self, method: str, *, like: Axes | None) -> Axes:
        """The panel of error rates of a method."""
        axes = self._panel(
            self.down - 1, (self.methods if self.one_test else self.with_errors).index(method), self._below, like
        )
        axes.set_xlabel("parameters removed")
        return axes

    def _panel(self, row: int, number: int, abreast: int, like: Axes | None) -> Axes:
        span = self._cells // abreast
        return self.figure.add_subplot(self._grid[row, number * span : (number + 1) * span], sharey=like)
