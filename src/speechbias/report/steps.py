"""The figure of bias against training steps (the paper's Figure 1): a panel per test, a line per model.

Steps that crowd at the beginning are drawn on a scale that spreads them: a logarithm with a place for 0, or a square
root where most of them are even.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from speechbias.report.curves import Curve
from speechbias.report.grid import Column
from speechbias.report.lines import (
    NOTE_LINE,
    add_legend,
    add_note,
    appearance,
    draw_curve,
    finish_panel,
    model_handles,
    note_lines,
    size_text,
)
from speechbias.report.style import reference_lines
from speechbias.results import Together

Scale = Literal["linear", "root", "log"]
PANELS_ABREAST = 3
PANEL = (3.3, 2.6)  # inches
RING = 7.5


def draw_steps(
    curves: Sequence[Curve], *, note: str = "", together: Mapping[str, Together] = MappingProxyType({})
) -> Figure:
    """The figure; ``note`` is written below it; ``together``, by identity, decides which points are ringed."""
    columns = list(dict.fromkeys(curve.column for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    abreast = min(PANELS_ABREAST, len(columns))
    down = -(-len(columns) // abreast)
    width = max(5.6, PANEL[0] * abreast)
    lines = note_lines(note, width)
    figure = Figure(figsize=(width, PANEL[1] * down + 0.5 + NOTE_LINE * len(lines)), layout="constrained")
    every_axes = list(figure.subplots(down, abreast, squeeze=False, sharey=True).flat)
    for place, axes in enumerate(every_axes):
        axes.set_visible(place < len(columns))
        axes.set_ylabel("SpEAT d (SDs of s)" if place % abreast == 0 else "")
        axes.set_xlabel("updates" if place + abreast >= len(columns) else "")
    for axes, column in zip(every_axes, columns, strict=False):
        here = [curve for curve in curves if curve.column == column]
        _draw_panel(axes, column, here, labels)
        for curve in here:
            _ring(axes, curve, appearance(labels.index(curve.label))[0], together)
    add_legend(figure, model_handles(labels), width)
    add_note(figure, lines)
    return figure


def scale_of(steps: Sequence[int]) -> Scale:
    """How steps are spread: evenly; most at the beginning; or evenly but for some at the very beginning."""
    positive = sorted(step for step in steps if step > 0)
    if len(positive) < 3:
        return "linear"
    if positive[(len(positive) - 1) // 2] < positive[-1] / 4:
        return "log"
    return "root" if positive[2] < positive[-1] / 50 else "linear"


def _draw_panel(axes: Axes, column: Column, curves: Sequence[Curve], labels: Sequence[str]) -> None:
    reference_lines(axes, vertical=False)
    for curve in curves:
        draw_curve(axes, curve, *appearance(labels.index(curve.label)), faint=len(curves) > 2)
    _scale(axes, sorted({step for curve in curves for step in curve.steps}))
    finish_panel(axes, column.label)


def _ring(axes: Axes, curve: Curve, colour: str, together: Mapping[str, Together]) -> None:
    """Rings around filled points whose p stays below alpha when it is adjusted over the steps of their run."""
    points = [
        (step, record.d)
        for run in curve.runs
        for step, record in run.mean.items()
        if record.associated and (judged := together.get(record.identity)) and judged.p_adjusted < record.alpha
    ]
    xs, ys = [step for step, _ in points], [d for _, d in points]
    axes.plot(xs, ys, "o", color=colour, markersize=RING, markerfacecolor="none", markeredgewidth=0.6, zorder=3)


def _scale(axes: Axes, steps: Sequence[int]) -> None:
    """Linear, square root, or logarithmic from the first step on with a place for 0: whatever spreads them."""
    kind, first, last = scale_of(steps), min((step for step in steps if step > 0), default=1), steps[-1]
    if kind == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
        axes.margins(x=0.045)
    elif kind == "root":
        axes.set_xscale("function", functions=(_root, _square))
        axes.set_xticks(root_ticks(last))
        axes.set_xlim(-0.0006 * last, 1.07 * last)
    else:
        axes.set_xscale("symlog", linthresh=first, linscale=0.35)
        axes.set_xticks(log_ticks(first, last, zero=steps[0] == 0))
        axes.set_xlim(-0.35 * first if steps[0] == 0 else first * 0.85, last * 1.18)
    if axes.get_xlabel() and kind != "linear":
        axes.set_xlabel(f"updates ({'square-root' if kind == 'root' else 'logarithmic'} scale)")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(value)))


def _root(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(x) * np.square(x)


def root_ticks(last: int) -> list[int]:
    """Round numbers that a square root spreads: 0, about 1 %, 10 % and 30 % of the last step, and it."""
    return list(dict.fromkeys(_rounded(share * last) for share in (0, 0.01, 0.1, 0.3, 1)))


def _rounded(number: float) -> int:
    """Down to one digit."""
    if number < 1:
        return 0
    unit: int = 10 ** (len(str(int(number))) - 1)
    return int(number // unit) * unit


def log_ticks(first: int, last: int, *, zero: bool) -> list[int]:
    """Round numbers between two steps, with 0: powers of ten, and with 2 and 5 where there is room."""
    found: list[int] = []
    for digits in ((1,), (1, 3), (1, 2, 5)):
        numbers = [digit * 10**power for power in range(len(str(last))) for digit in digits]
        within = [number for number in numbers if first <= number <= last]
        if len(within) > 6 and found:
            break
        found = within
    return ([0] if zero else []) + (found or [first, last])
