"""The figure of bias against size (the paper's Figure 2): rows are ways of pruning, columns tests, lines models.

To the right, more parameters were removed. Where all models of a row were of one size, the upper axis says what is
left: heads, FFN rows per layer, or the share of weights at zero. Dashed with its value: d of the unpruned model. Grey
behind: as much cut at random. Below, where they were measured, phone error rates, a panel per way of pruning.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from statistics import median
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from speechbias.report.error_rates import ErrorRates
from speechbias.report.lines import (
    PER_CENT,
    add_legend,
    add_note,
    appearance,
    draw_curve,
    finish_panel,
    model_handles,
    size_text,
)
from speechbias.report.numerals import format_d, format_rate
from speechbias.report.pruning_layout import Layout
from speechbias.report.sparsities import METHODS, RANDOM, Line
from speechbias.report.style import FAINT, MUTED, Dash, minus, reference_lines

WAYS = {"heads": "heads", "rows": "FFN rows", "weights": "weights"}
LEFT = {"heads": "heads left", "rows": "rows left per layer", "weights": "weights at zero"}
STYLES: tuple[tuple[Dash, str], ...] = (("-", "o"), ("-.", "D"), (":", "s"))  # of criteria; "--" is the unpruned model
CRITERIA = {"l1": "smallest L1", "bias": "effect on |d|, and L1", None: "criterion not recorded"}
LABEL_GAP = 0.07  # of a panel's height, between values beside it


def draw_pruning(lines: Sequence[Line], errors: Sequence[ErrorRates] = (), *, note: str = "") -> Figure:
    """The figure; ``note`` is written below it."""
    methods = [method for method in METHODS if any(line.method == method for line in lines)]
    columns = list(dict.fromkeys(line.curve.column for line in lines))
    with_errors = [method for method in methods if any(each.method == method for each in errors)]
    criteria = list(dict.fromkeys(line.criterion for line in lines if line.criterion != RANDOM))
    looks = _Looks(list(dict.fromkeys(line.label for line in sorted(lines, key=_is_control))), criteria)
    layout = Layout(methods, columns, with_errors, note)
    _draw_bias(layout, lines, looks)
    _draw_errors(layout, lines, errors, looks)
    add_legend(layout.figure, looks.legend(lines), layout.width)
    add_note(layout.figure, layout.note)
    return layout.figure


def _is_control(line: Line) -> bool:
    return line.criterion == RANDOM


class _Looks:
    """Which colour is which model, and which dashes and points are which criterion."""

    def __init__(self, labels: Sequence[str], criteria: Sequence[str | None]) -> None:
        self.labels, self.criteria = labels, criteria

    def colour(self, label: str) -> str:
        return appearance(self.labels.index(label))[0]

    def style(self, criterion: str | None) -> tuple[Dash, str]:
        return STYLES[self.criteria.index(criterion) % len(STYLES)]

    def legend(self, lines: Sequence[Line]) -> list[tuple[Artist, str]]:
        models = {line.label for line in lines if line.criterion != RANDOM}
        found = [(handle, label) for handle, label in model_handles(self.labels) if label in models]
        if len(self.criteria) > 1:
            for criterion in self.criteria:
                dashes, marker = self.style(criterion)
                handle = Line2D([], [], color=MUTED, linestyle=dashes, marker=marker, markersize=4, linewidth=1.3)
                found.append((handle, CRITERIA.get(criterion, str(criterion))))
        if any(line.unpruned for line in lines):
            found.append((Line2D([], [], color=MUTED, linestyle="--", linewidth=1), "unpruned"))
        if any(line.criterion == RANDOM for line in lines):
            found.append((Patch(color=FAINT, alpha=0.35, linewidth=0), "cut at random"))
        return found


def _draw_bias(layout: Layout, lines: Sequence[Line], looks: _Looks) -> None:
    panels: list[tuple[Axes, list[Line]]] = []
    for method, column in product(layout.methods, layout.columns):
        of_method = [line for line in lines if line.method == method]
        here = [line for line in of_method if line.curve.column == column]
        axes = layout.bias(method, column, like=panels[0][0] if panels else None)
        panels.append((axes, here))
        _draw_panel(axes, here, looks)
        _scale(axes, of_method, method)
        finish_panel(axes, f"{column.label}: {WAYS[method]} pruned")
    for axes, here in panels:  # now that the vertical scale, which they share, is known
        _label_dashed(axes, {(line.label, line.unpruned.d) for line in here if line.unpruned}, looks, format_d)


def _draw_errors(layout: Layout, lines: Sequence[Line], errors: Sequence[ErrorRates], looks: _Looks) -> None:
    panels: list[tuple[Axes, list[ErrorRates]]] = []
    for method in layout.with_errors:
        here = [each for each in errors if each.method == method]
        axes = layout.errors(method, like=panels[0][0] if panels else None)
        axes.set_ylabel("" if panels else f"PER {here[0].split}".rstrip() + " (%)")
        panels.append((axes, here))
        _draw_rates(axes, here, looks)
        _scale(axes, [line for line in lines if line.method == method], method)
        finish_panel(axes, f"phone error rate: {WAYS[method]} pruned")
        axes.yaxis.set_major_formatter(PER_CENT)
    for axes, here in panels:
        unpruned = {(each.label, each.unpruned) for each in here if each.unpruned is not None}
        _label_dashed(axes, unpruned, looks, format_rate)


def _draw_panel(axes: Axes, lines: Sequence[Line], looks: _Looks) -> None:
    reference_lines(axes, vertical=False)
    chosen = [line for line in lines if line.criterion != RANDOM]
    for line in lines:
        if line.criterion == RANDOM:
            curve = line.curve
            colour = looks.colour(line.label) if len({each.label for each in lines}) > 1 else MUTED
            _draw_random(axes, curve.steps, [curve.ds(place) for place in curve.steps], colour)
    for line in chosen:
        dashes, marker = looks.style(line.criterion)
        draw_curve(axes, line.curve, looks.colour(line.label), dashes, faint=len(chosen) > 2, marker=marker)
    for line in lines:
        if line.unpruned:
            axes.axhline(line.unpruned.d, color=looks.colour(line.label), linestyle="--", linewidth=0.9, zorder=1)


def _draw_random(axes: Axes, places: Sequence[int], values: Sequence[Sequence[float]], colour: str) -> None:
    """Range and median of what was cut at random; the median in a model's colour where there are several."""
    axes.fill_between(
        places, [*map(min, values)], [*map(max, values)], color=FAINT, alpha=0.35, linewidth=0, zorder=0.8
    )
    axes.plot(places, [*map(median, values)], color=colour, linestyle=":", linewidth=1.1, zorder=0.9)


def _draw_rates(axes: Axes, errors: Sequence[ErrorRates], looks: _Looks) -> None:
    several = len({each.label for each in errors}) > 1
    for each in errors:
        places, values, colour = [*each.rates], [*each.rates.values()], looks.colour(each.label)
        if each.unpruned is not None:
            axes.axhline(each.unpruned, color=colour, linestyle="--", linewidth=0.9, zorder=1)
        if each.criterion == RANDOM:
            _draw_random(axes, places, values, colour if several else MUTED)
            continue
        dashes, marker = looks.style(each.criterion)
        axes.plot(
            places, [*map(median, values)], color=colour, linestyle=dashes, marker=marker, markersize=3.5,
            linewidth=1.4,
        )  # fmt: skip


def _scale(axes: Axes, lines: Sequence[Line], method: str) -> None:
    """Removed parameters from 0 on, the same in every panel of a method; above, what is left, where that is one."""
    furthest = max(place for line in lines for place in line.curve.steps)
    axes.set_xlim(-0.03 * furthest, 1.05 * furthest)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(round(value, 6))))
    if (left := _left(lines)) is not None:
        _add_upper_axis(axes, method, *left)


Scale = Callable[[Any], Any]  # of numbers or arrays


def _left(lines: Sequence[Line]) -> tuple[Scale, Scale] | None:
    """From removed parameters to units left, and back; None where models of several sizes share the row."""
    records = [record for line in lines for record in line.records if record.parameters_removed]
    wholes = {float(record.of or 0) for record in records}
    each = {
        round((record.parameters_removed or 0) / ((record.of or 0) - (record.remaining or 0)), 6) for record in records
    }
    if len(wholes) != 1 or len(each) != 1:
        return None
    whole, one = wholes.pop(), each.pop()
    return (lambda removed: whole - removed / one), (lambda left: (whole - left) * one)


def _add_upper_axis(axes: Axes, method: str, left: Scale, removed: Scale) -> None:
    if method == "weights":
        whole = left(0)
        functions: tuple[Scale, Scale] = (
            lambda gone: 100 * (1 - left(gone) / whole),
            lambda percent: removed(whole * (1 - percent / 100)),
        )
    else:
        functions = left, removed
    upper = axes.secondary_xaxis("top", functions=functions)
    upper.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    unit = " %" if method == "weights" else ""
    upper.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}{unit}"))
    upper.tick_params(labelsize=7, labelcolor=MUTED, length=2, pad=1)
    upper.spines[:].set_visible(False)
    upper.set_xlabel(LEFT[method], fontsize=7, color=MUTED, labelpad=3, loc="left")


def _label_dashed(
    axes: Axes, found: Iterable[tuple[str, float]], looks: _Looks, write: Callable[[float], str]
) -> None:
    """The value of each dashed line, of a model by its label, at the right end; moved apart where they are close."""
    low, high = axes.get_ylim()
    values = sorted(found, key=lambda each: each[1])
    heights = spread([value for _, value in values], LABEL_GAP * (high - low))
    for (label, value), height in zip(values, heights, strict=True):
        axes.annotate(
            minus(write(value)), (1, height), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=7.5, color=looks.colour(label), annotation_clip=False,
        )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Ascending values moved apart to at least this gap, each group of close ones about its own middle."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _top(groups[-2], gap) + gap:
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, gap) + number * gap for group in groups for number in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)
