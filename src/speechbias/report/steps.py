"""The figure of bias against training steps (the paper's Figure 1): a panel per test, a line per model.

Steps that crowd at the beginning are drawn on a scale that spreads them: a logarithm with a place for 0, or a square
root where most of them are even.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from speechbias.report.curves import Curve
from speechbias.report.grid import Column
from speechbias.report.layout import wrapped
from speechbias.report.names import shorten
from speechbias.report.style import DASHES, MUTED, PALETTE, PAPER, Dash, minus, reference_lines

Scale = Literal["linear", "root", "log"]
PANELS_ABREAST = 3
PANEL = (3.3, 2.6)  # inches
LABEL_LIMIT = 40
FEW_POINTS = 10


def draw_steps(curves: Sequence[Curve], *, note: str = "") -> Figure:
    """The figure; ``note`` is written below it."""
    columns = list(dict.fromkeys(curve.column for curve in curves))
    labels = list(dict.fromkeys(curve.label for curve in curves))
    abreast = min(PANELS_ABREAST, len(columns))
    down = -(-len(columns) // abreast)
    width = max(5.6, PANEL[0] * abreast)
    lines = wrapped(note, characters=int(width * 18))
    figure = Figure(figsize=(width, PANEL[1] * down + 0.5 + 0.16 * len(lines)), layout="constrained")
    every_axes = list(figure.subplots(down, abreast, squeeze=False, sharey=True).flat)
    for place, axes in enumerate(every_axes):
        axes.set_visible(place < len(columns))
        axes.set_ylabel("SpEAT d (SDs of s)" if place % abreast == 0 else "")
        axes.set_xlabel("updates" if place + abreast >= len(columns) else "")
    for axes, column in zip(every_axes, columns, strict=False):
        _draw_panel(axes, column, [curve for curve in curves if curve.column == column], labels)
    _add_legend(figure, labels, width)
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=MUTED)
    return figure


def step_text(step: float) -> str:
    """``0``, ``500``, ``2k``, ``1.5k``, ``400k``, ``1M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size:
            return f"{step / size:g}{letter}"
    return f"{step:g}"


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
        _draw_curve(axes, curve, *_appearance(labels.index(curve.label)), faint=len(curves) > 2)
    axes.set_title(
        shorten(column.label, limit=LABEL_LIMIT), fontsize=9, fontweight="bold", loc="left", parse_math=False
    )
    _scale(axes, sorted({step for curve in curves for step in curve.steps}))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    axes.tick_params(labelleft=True)


def _draw_curve(axes: Axes, curve: Curve, colour: str, dashes: Dash, *, faint: bool) -> None:
    steps = curve.steps
    low, high = zip(*(curve.band(step) for step in steps), strict=True)
    several = len(curve.runs) > 1
    opaque = 0.3 if several else 0.17  # runs lie close together: a narrow band under a thick line would not be seen
    axes.fill_between(steps, low, high, color=colour, alpha=opaque * (0.6 if faint else 1), linewidth=0)
    means = [sum(ds) / len(ds) for ds in map(curve.ds, steps)]
    axes.plot(steps, means, color=colour, linestyle=dashes, linewidth=1.0 if several else 1.6)
    size = (2.2 if several else 4.5) if len(steps) <= FEW_POINTS else (1.6 if several else 3.2)
    for run in curve.runs:
        if several:
            axes.plot([*run.mean], [r.d for r in run.mean.values()], color=colour, linewidth=0.4, alpha=0.7)
        for associated, face in ((False, PAPER), (True, colour)):
            points = [(step, r.d) for step, r in run.mean.items() if r.associated == associated]
            axes.plot(
                [step for step, _ in points], [d for _, d in points], "o",
                color=colour, markersize=size, markerfacecolor=face, markeredgewidth=0.5 if several else 0.9, zorder=3,
            )  # fmt: skip


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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: step_text(value)))


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


def _appearance(place: int) -> tuple[str, Dash]:
    return PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]


def _add_legend(figure: Figure, labels: Sequence[str], width: float) -> None:
    handles = []
    for place in range(len(labels)):
        colour, dashes = _appearance(place)
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.6))
    shown = [shorten(label, limit=LABEL_LIMIT) for label in labels]
    columns = max(1, min(len(labels), int(width / (0.08 * max(map(len, shown)) + 0.6))))
    legend = figure.legend(handles, ["-"] * len(labels), loc="outside upper left", ncols=columns)
    for text, label in zip(legend.get_texts(), shown, strict=True):  # afterwards: a leading underscore hides a label
        text.set_parse_math(False)
        text.set_text(label)
