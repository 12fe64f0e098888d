"""The map of bias by hidden state and training step: a panel per model and test, blue below 0, orange above.

Every step that was measured has a column of the same width. A dot: the state is associated, its p adjusted over the
states of that step (max-T). Of several runs the colour is their mean, and a dot says that all of them are.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from speechbias.report.curves import Curve
from speechbias.report.layers import state_associated
from speechbias.report.lines import NOTE_LINE, add_note, note_lines, size_text
from speechbias.report.names import shorten
from speechbias.report.style import INK, minus

COLOURS = LinearSegmentedColormap.from_list("d", ["#0b4a75", "#5a9bc8", "#f4f3f1", "#e0965a", "#9c4408"])
LEAST = 0.8  # of |d| at the ends of the colours: a map of negligible d's shows none
COLUMN_TICKS = 9
NOTE = (
    "d by hidden state (0: input of the encoder) and update (0: untrained). A dot: p adjusted over the states (max-T) "
    "and attribute p are both below alpha."
)


def draw_states(curves: Sequence[Curve], *, note: str = "") -> Figure | None:
    """The figure, or None where no single states were measured at two steps; ``note`` is written below it."""
    curves = [curve for curve in curves if len(_steps(curve)) > 1]
    if not curves:
        return None
    columns = list(dict.fromkeys(curve.column for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    states = max(len(_states(curve)) for curve in curves)
    width = max(5.6, 3.0 * len(columns) + 0.9)
    lines = note_lines(note, width)
    height = min(2.6, 1.0 + 0.14 * states)
    figure = Figure(figsize=(width, height * len(labels) + 0.35 + NOTE_LINE * len(lines)), layout="constrained")
    grid = figure.subplots(len(labels), len(columns), squeeze=False)
    largest = max(abs(d) for curve in curves for row in _values(curve) for d in row if not np.isnan(d))
    norm = Normalize(-max(largest, LEAST), max(largest, LEAST))
    drawn = {(curve.label, curve.column): curve for curve in curves}
    for row, label in enumerate(labels):
        for place, column in enumerate(columns):
            axes, curve = grid[row, place], drawn.get((label, column))
            axes.set_visible(curve is not None)
            if curve is not None:
                _draw_panel(axes, curve, norm)
            axes.set_ylabel("hidden state" if place == 0 else "")
            axes.set_xlabel("updates" if row == len(labels) - 1 else "")
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=grid, shrink=0.9, aspect=30, pad=0.015)
    bar.set_label("SpEAT d")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    bar.outline.set_visible(False)
    add_note(figure, lines)
    return figure


def _draw_panel(axes: Axes, curve: Curve, norm: Normalize) -> None:
    steps, states, values = _steps(curve), _states(curve), _values(curve)
    axes.pcolormesh(
        np.arange(len(steps) + 1) - 0.5, np.arange(len(states) + 1) - 0.5, np.ma.masked_invalid(values),
        cmap=COLOURS, norm=norm, edgecolors="face", linewidth=0.2,
    )  # fmt: skip
    dots = [
        (x, y) for x, step in enumerate(steps) for y, state in enumerate(states) if _all_associated(curve, step, state)
    ]
    axes.plot([x for x, _ in dots], [y for _, y in dots], "o", color=INK, markersize=2.2, linestyle="none")
    every = -(-len(steps) // COLUMN_TICKS)
    shown = range(0, len(steps), every)
    axes.set_xticks([*shown], [size_text(steps[x]) for x in shown])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: str(states[int(y)]) if 0 <= y < len(states) else ""))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title = f"{shorten(curve.label, limit=26)}: {shorten(curve.column.label, limit=20)}"
    axes.set_title(title, fontsize=8.5, fontweight="bold", loc="left", parse_math=False)


def _steps(curve: Curve) -> list[int]:
    """The steps at which single states were measured."""
    return sorted({step for run in curve.runs for state in run.states for step in run.records[state]})


def _states(curve: Curve) -> list[int]:
    return sorted({state for run in curve.runs for state in run.states})


def _values(curve: Curve) -> list[list[float]]:
    """d, a row per state and a column per step, the mean over runs; NaN where none was measured."""
    return [
        [float(np.mean(ds)) if (ds := curve.ds(step, state)) else np.nan for step in _steps(curve)]
        for state in _states(curve)
    ]


def _all_associated(curve: Curve, step: int, state: int) -> bool:
    found = [at[step] for run in curve.runs if step in (at := run.records.get(state, {}))]
    return bool(found) and all(map(state_associated, found))
