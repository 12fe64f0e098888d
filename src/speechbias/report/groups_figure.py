"""The figure of a question about groups: a matrix of d's where every two were compared, else points with intervals.

A panel per model. A dot in the matrix, a filled marker beside an interval: both p's are below alpha after adjustment.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from speechbias.report.groups import Asked, Question, Row
from speechbias.report.heatmap import COLOURS, LEAST
from speechbias.report.names import shorten
from speechbias.report.numerals import format_d
from speechbias.report.style import ACCENT, FAINT, INK, PAPER, minus, reference_lines

PANELS = 3  # beside one another
NAME_LIMIT, LABEL_LIMIT = 24, 56  # characters
NUMBERED = 7  # groups up to which d stands in the cells
CELL, ROW = 0.52, 0.27  # inches
DARK = 0.62  # of the largest |d|: from here on numbers are light

PAIRS_NOTE = (
    "d of the group on the left against the group below: orange, it lies nearer to A ({attribute}). A dot: both "
    "p values are below alpha after adjustment for the number of comparisons."
)
FOREST_NOTE = (
    "Right of 0: the first-named lies nearer to A ({attribute}). Filled: both p values are below alpha after "
    "adjustment for the number of rows. Without a line: no interval, as a group is of one speaker."
)


def draw_question(question: Question) -> Figure:
    """The figure; ``figure_note`` says how it is read."""
    return _draw_matrices(question) if question.kind == "pairs" else _draw_forests(question)


def figure_note(question: Question) -> str:
    """How the figure is read."""
    note = PAIRS_NOTE if question.kind == "pairs" else FOREST_NOTE
    return note.format(attribute=question.attribute)


def _draw_matrices(question: Question) -> Figure:
    size, asked = len(question.levels), question.asked
    columns = min(PANELS, len(asked))
    rows = -(-len(asked) // columns)
    side = CELL * size
    figure = Figure(figsize=(columns * (side + 0.25) + 2.4, rows * (side + 0.55) + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    largest = max([LEAST, *(abs(row.size) for each in asked for row in each.matrix.values())])
    norm = Normalize(-largest, largest)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < len(asked))
        if place < len(asked):
            _draw_matrix(axes, question, asked[place], norm)
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=grid, shrink=0.9, aspect=20, pad=0.02)
    bar.set_label("SpEAT d")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    bar.outline.set_visible(False)
    return figure


def _draw_matrix(axes: Axes, question: Question, asked: Asked, norm: Normalize) -> None:
    size = len(question.levels)
    values = np.full((size, size), np.nan)
    for (first, second), row in asked.matrix.items():
        values[first, second], values[second, first] = row.size, -row.size
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=COLOURS, norm=norm, edgecolors=PAPER, linewidth=1.2)
    for (first, second), row in asked.matrix.items():
        for x, y, d in ((second, first, row.size), (first, second, -row.size)):
            colour = PAPER if abs(d) > DARK * (norm.vmax or 1) else INK
            if size <= NUMBERED:
                axes.text(x + 0.5, y + 0.42, minus(format_d(d)), ha="center", va="center", fontsize=8, color=colour)
            if row.associated:
                axes.plot([x + 0.5], [y + 0.78], "o", color=colour, markersize=3)
    names = [shorten(name, limit=NAME_LIMIT) for name in question.levels]
    places = np.arange(size) + 0.5
    axes.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylim(size, 0)
    axes.set_aspect("equal")
    axes.set_title(shorten(asked.label, limit=NAME_LIMIT), fontsize=9, fontweight="bold", loc="left", parse_math=False)


def _draw_forests(question: Question) -> Figure:
    asked = question.asked
    columns = min(PANELS, len(asked))
    rows = -(-len(asked) // columns)
    names = [shorten(row.name, limit=LABEL_LIMIT) for row in _rows(question, asked[0])]
    width = 2.6 * columns + 0.075 * max(map(len, names)) + 0.4
    figure = Figure(figsize=(max(width, 5.0), rows * (ROW * len(names) + 0.45) + 0.45), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < len(asked))
        if place < len(asked):
            _draw_forest(axes, asked[place], _rows(question, asked[place]))
    grid[0, 0].set_yticks(range(len(names)), names, parse_math=False)
    grid[0, 0].set_ylim(len(names) - 0.4, -0.6)
    for axes in grid[-1]:
        axes.set_xlabel("SDs of s, with interval" if question.kind == "factors" else "SpEAT d with interval")
    return figure


def _rows(question: Question, asked: Asked) -> tuple[Row, ...]:
    return asked.effects if question.kind == "factors" else asked.comparisons


def _draw_forest(axes: Axes, asked: Asked, rows: tuple[Row, ...]) -> None:
    reference_lines(axes, vertical=True)
    for y, row in enumerate(rows):
        colour = ACCENT if row.associated else FAINT
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        face = ACCENT if row.associated else PAPER
        axes.plot([row.size], [y], "o", markersize=6, color=colour, markerfacecolor=face, markeredgewidth=1.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    axes.set_title(shorten(asked.label, limit=NAME_LIMIT), fontsize=9, fontweight="bold", loc="left", parse_math=False)
