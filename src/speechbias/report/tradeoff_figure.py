"""The figure of bias against error rate: a panel per test, a mark per model, its area the model's parameters.

Down and left is better. Models that nobody dominates are in their family's colour and numbered; the legend names them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from speechbias.report.lines import NOTE_LINE, PER_CENT, add_legend, add_note, finish_panel, note_lines
from speechbias.report.style import FAINT, INK, MUTED, PALETTE, PAPER, RULE
from speechbias.report.tradeoff import Point

ABREAST = 3
PANEL = (3.3, 2.8)  # inches
SMALLEST, LARGEST = 16.0, 150.0  # areas of marks, in square points


def draw_tradeoff(found: Sequence[Point], *, note: str = "") -> Figure:
    """The figure; ``note`` is written below it. Where probes were asked, what they tell apart stands below."""
    columns = list(dict.fromkeys(point.column for point in found))
    abreast = min(ABREAST, len(columns))
    heights = [SIZE, *([LEAK] if any(point.leak is not None for point in found) else [])]
    down, width = -(-len(columns) // abreast), max(5.6, PANEL[0] * abreast)
    front = _front(found)
    lines = note_lines(note, width)
    height = PANEL[1] * down * len(heights) + 0.5 + 0.1 * len(front) + NOTE_LINE * len(lines)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(down * len(heights), abreast, squeeze=False, sharex=True).flat)
    most = max((point.record.parameters or 0 for point in found), default=0)
    for number, measure in enumerate(heights):
        own = panels[number * down * abreast : (number + 1) * down * abreast]
        is_last = number + 1 == len(heights)
        for place, axes in enumerate(own):
            axes.set_visible(place < len(columns))
            axes.set_ylabel(measure.label if place % abreast == 0 else "")
            at_the_foot = is_last and place + abreast >= len(columns)
            axes.set_xlabel(f"phone error rate {found[0].split}".rstrip() + " (%)" if at_the_foot else "")
            axes.xaxis.set_major_formatter(PER_CENT)
        for axes, column in zip(own, columns, strict=False):
            here = [point for point in found if point.column == column and measure.of(point) is not None]
            _draw_panel(axes, here, measure, front, families=_families(found), most=most)
            finish_panel(axes, column.label)
            axes.set_ylim(*measure.limits(found))
            axes.tick_params(labelbottom=True)
    add_legend(figure, _legend(found, front), width)
    add_note(figure, lines)
    return figure


@dataclass(frozen=True)
class Height:
    """What stands on the vertical axis: |d|, with lines at the paper's bounds and intervals, or what a probe tells."""

    label: str
    of: Callable[[Point], float | None]
    lines: tuple[float, ...]
    limits: Callable[[Sequence[Point]], tuple[float, float]]
    has_intervals: bool


def _front(found: Sequence[Point]) -> list[str]:
    """The names of models that nobody dominates on some test, in the order of their numbers."""
    ordered = sorted((point for point in found if not point.dominated), key=lambda point: point.rate)
    return list(dict.fromkeys(point.name for point in ordered))


def _families(found: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.record.family for point in found))


def _draw_panel(
    axes: Axes, points: Sequence[Point], measure: Height, front: Sequence[str], *, families: Sequence[str], most: int
) -> None:
    for bound in measure.lines:
        axes.axhline(bound, color=RULE, linewidth=0.7, zorder=0)
    for point in sorted(points, key=lambda each: not each.dominated):  # grey below
        colour = FAINT if point.dominated else PALETTE[families.index(point.record.family) % len(PALETTE)]
        height = measure.of(point)
        assert height is not None
        if measure.has_intervals and not point.dominated:
            axes.plot([point.rate] * 2, _interval(point), color=colour, linewidth=1.0, alpha=0.6, zorder=2)
        if not point.dominated:
            beside = 2 + 0.4 * area(point.record.parameters, most) ** 0.5
            axes.annotate(
                str(front.index(point.name) + 1), (point.rate, height), xytext=(beside, beside),
                textcoords="offset points", fontsize=7.5, color=colour, zorder=4,
            )  # fmt: skip
        axes.scatter(
            [point.rate], [height], s=area(point.record.parameters, most), marker=_marker(point),
            facecolor=colour if point.record.associated else PAPER, edgecolor=colour, linewidth=1.1, zorder=3,
        )  # fmt: skip
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))


def _heights(found: Sequence[Point]) -> tuple[float, float]:
    """A scale that holds every mark whole, and the intervals that are drawn."""
    top = max(max(point.size, 0 if point.dominated else _interval(point)[1]) for point in found)
    return -0.06 * top, 1.08 * top


def _marker(point: Point) -> str:
    return "v" if point.record.d < 0 else "o"


def _interval(point: Point) -> tuple[float, float]:
    """Of |d|: down to 0 where that of d holds 0."""
    low, high = sorted((abs(point.record.ci_low), abs(point.record.ci_high)))
    return (0.0 if point.record.ci_low <= 0 <= point.record.ci_high else low), high


def _accuracies(found: Sequence[Point]) -> tuple[float, float]:
    """From below guessing to all told apart."""
    least = min(point.leak for point in found if point.leak is not None)
    return min(least, 0.5) - 0.06, 1.06


SIZE = Height("|d| (SDs of s)", lambda point: point.size, (0.2, 0.5, 0.8), _heights, has_intervals=True)
LEAK = Height("told apart (balanced accuracy)", lambda point: point.leak, (0.5,), _accuracies, has_intervals=False)


def area(parameters: int | None, most: int) -> float:
    """Of a mark, proportional to the parameters but for what could no longer be seen."""
    return max(SMALLEST, LARGEST * (parameters or 0) / most) if most else SMALLEST


def _legend(found: Sequence[Point], front: Sequence[str]) -> list[tuple[Artist, str]]:
    families = _families(found)
    of = {point.name: point.record.family for point in found}
    looks = [(PALETTE[families.index(of[name]) % len(PALETTE)], "o", f"{n} {name}") for n, name in enumerate(front, 1)]
    looks += [(INK, "v", "reversed (d below 0)")] if any(point.record.d < 0 for point in found) else []
    looks += [(FAINT, "o", "dominated")] if any(point.dominated for point in found) else []
    made: list[tuple[Artist, str]] = [
        (Line2D([], [], color=colour, marker=marker, markersize=5.5, linestyle="none"), label)
        for colour, marker, label in looks
    ]
    most = max((point.record.parameters or 0 for point in found), default=0)
    if most:
        size = LARGEST**0.5
        made.append(
            (
                Line2D([], [], color=MUTED, marker="o", markersize=size, linestyle="none", markerfacecolor="none"),
                f"{most / 1e6:.3g}M parameters",
            )
        )
    return made
