"""The forest plot: d with its interval for every model and test; a filled marker means *associated*."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from speechbias.report.grid import Grid, group_names
from speechbias.report.layout import confidence_text
from speechbias.report.names import shorten
from speechbias.report.numerals import format_brackets, format_d
from speechbias.report.style import ACCENT, FAINT, INK, MUTED, PAPER, minus, reference_lines
from speechbias.results import BiasResult

ROW_HEIGHT = 0.26  # inches
LABEL_LIMIT, GROUP_LIMIT = 44, 22  # characters


def draw_forest(grid: Grid) -> Figure:
    """Rows from top to bottom: per test a heading that says which side is whose, then its models."""
    height = sum(1.35 + len(grid.column_cells(column)) for column in grid.columns)
    figure = Figure(figsize=(7.6, height * ROW_HEIGHT + 1.05), layout="constrained")
    axes = figure.add_subplot()
    reference_lines(axes, vertical=True)
    ticks: list[tuple[float, str, bool]] = []
    y = 0.0
    for column in grid.columns:
        cells = grid.column_cells(column)
        ticks.append((y, shorten(column.label, limit=LABEL_LIMIT), True))
        _write_sides(axes, y, cells[0][1])
        for row, record in cells:
            y += 1
            ticks.append((y, shorten(row.label, limit=LABEL_LIMIT), False))
            _draw_interval(axes, y, record)
        y += 1.35
    _label_rows(axes, ticks, bottom=y - 0.75)
    _finish(axes, grid)
    _add_legend(figure)
    return figure


def _write_sides(axes: Axes, y: float, record: BiasResult) -> None:
    groups = group_names(record)
    sides = ((0.01, "left", f"← {shorten(groups['Y'], limit=GROUP_LIMIT)}"),
             (0.99, "right", f"{shorten(groups['X'], limit=GROUP_LIMIT)} →"))  # fmt: skip
    for x, align, text in sides:
        axes.text(
            x, y, text, transform=axes.get_yaxis_transform(), ha=align, va="center", fontsize=8, color=MUTED,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def _draw_interval(axes: Axes, y: float, record: BiasResult) -> None:
    colour = ACCENT if record.associated else FAINT
    axes.plot([record.ci_low, record.ci_high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    face = ACCENT if record.associated else PAPER
    axes.plot([record.d], [y], "o", markersize=6, color=colour, markerfacecolor=face, markeredgewidth=1.4)
    interval = format_brackets(record.ci_low, record.ci_high)
    for text, offset, align in ((format_d(record.d), 42, "right"), (interval, 50, "left")):
        axes.annotate(
            minus(text), (1, y), xycoords=axes.get_yaxis_transform(), xytext=(offset, 0), textcoords="offset points",
            ha=align, va="center_baseline", fontsize=8.5, annotation_clip=False,
        )  # fmt: skip


def _label_rows(axes: Axes, ticks: list[tuple[float, str, bool]], *, bottom: float) -> None:
    axes.set_yticks([y for y, _, _ in ticks], [text for _, text, _ in ticks], parse_math=False)
    for label, (_, _, heading) in zip(axes.get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if heading else "normal")
    axes.tick_params(axis="y", length=0, pad=6)
    axes.set_ylim(bottom, -0.75)
    axes.spines["left"].set_visible(False)


def _finish(axes: Axes, grid: Grid) -> None:
    ends = [end for record in grid.cells.values() for end in (record.ci_low, record.ci_high, record.d)]
    low, high = min(-0.9, *ends), max(0.9, *ends)
    axes.set_xlim(low - 0.1, high + 0.1)
    axes.set_xlabel(f"SpEAT d with {confidence_text(grid)} (standard deviations of s)", color=INK)


def _add_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=ACCENT, marker="o", markersize=6, linewidth=1.6),
        Line2D(
            [], [], color=FAINT, marker="o", markersize=6, linewidth=1.6, markerfacecolor=PAPER, markeredgewidth=1.4
        ),
    ]
    figure.legend(handles, ["associated", "not associated"], loc="outside lower right", ncols=2)
