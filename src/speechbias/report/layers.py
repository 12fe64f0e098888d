"""The layer profile: d of every hidden state with its interval as a band, a panel per test, a line per model.

A filled marker: p adjusted over the states (max-T) and attribute p are both below alpha. Encoders with one state have
no profile; they stand in the forest plot.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from speechbias.report.grid import Column, Grid, Row
from speechbias.report.names import shorten
from speechbias.report.style import DASHES, PALETTE, PAPER, Dash, minus, reference_lines
from speechbias.results import BiasResult

PANELS_ABREAST = 3
PANEL = (3.3, 2.5)  # inches
LABEL_LIMIT = 40


def state_associated(record: BiasResult) -> bool:
    """Whether one state among many may be called associated: its p is the one adjusted over the states."""
    p = record.p_value if record.p_adjusted is None else record.p_adjusted
    return max(p, record.p_attribute) < record.alpha


def profiles(grid: Grid) -> dict[Column, list[tuple[Row, tuple[BiasResult, ...]]]]:
    """Per test the models of which two or more states were measured."""
    found: dict[Column, list[tuple[Row, tuple[BiasResult, ...]]]] = {}
    for (row, column), records in grid.states.items():
        if len(records) > 1:
            found.setdefault(column, []).append((row, records))
    return {column: found[column] for column in grid.columns if column in found}


def draw_profiles(grid: Grid) -> Figure | None:
    """The figure, or None where no record of single states is there."""
    panels = profiles(grid)
    if not panels:
        return None
    rows = list(dict.fromkeys(row for lines in panels.values() for row, _ in lines))
    abreast = min(PANELS_ABREAST, len(panels))
    down = -(-len(panels) // abreast)
    columns = _legend_columns(rows, abreast)
    height = PANEL[1] * down + 0.2 * -(-len(rows) // columns) + 0.3
    figure = Figure(figsize=(_width(abreast), height), layout="constrained")
    every_axes = list(figure.subplots(down, abreast, squeeze=False, sharey=True).flat)
    for axes, (column, lines) in zip(every_axes, panels.items(), strict=False):
        _draw_panel(axes, column, lines, rows)
    for place, axes in enumerate(every_axes):
        axes.set_visible(place < len(panels))
        axes.set_ylabel("SpEAT d (SDs of s)" if place % abreast == 0 else "")
        axes.set_xlabel("hidden state" if place + abreast >= len(panels) else "")
    _add_legend(figure, rows, columns=columns)
    return figure


def _width(abreast: int) -> float:
    """Inches; one panel alone is given more room."""
    return max(5.2, PANEL[0] * abreast)


def _appearance(rows: Sequence[Row], row: Row) -> tuple[str, Dash]:
    """Colour and dashes of a model, the same in every panel."""
    place = rows.index(row)
    return PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]


def _draw_panel(
    axes: Axes, column: Column, lines: Sequence[tuple[Row, tuple[BiasResult, ...]]], rows: Sequence[Row]
) -> None:
    reference_lines(axes, vertical=False)
    for row, records in lines:
        colour, dashes = _appearance(rows, row)
        states = [int(record.layer) for record in records]
        band = [record.ci_low for record in records], [record.ci_high for record in records]
        axes.fill_between(states, *band, color=colour, alpha=0.16 if len(lines) <= 4 else 0.08, linewidth=0)
        axes.plot(
            states, [record.d for record in records], color=colour, linestyle=dashes, linewidth=1.5,
            marker="o", markersize=4.5, markerfacecolor=PAPER,
        )  # fmt: skip
        filled = [record for record in records if state_associated(record)]
        axes.plot([int(r.layer) for r in filled], [r.d for r in filled], "o", markersize=4.5, color=colour)
    axes.set_title(
        shorten(column.label, limit=LABEL_LIMIT), fontsize=9, fontweight="bold", loc="left", parse_math=False
    )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    axes.tick_params(labelleft=True)


def _legend_columns(rows: Sequence[Row], abreast: int) -> int:
    longest = max(len(shorten(row.label, limit=LABEL_LIMIT)) for row in rows)
    return max(1, min(len(rows), int(_width(abreast) / (0.08 * longest + 0.6))))  # inches per character and per handle


def _add_legend(figure: Figure, rows: Sequence[Row], *, columns: int) -> None:
    handles = []
    for row in rows:
        colour, dashes = _appearance(rows, row)
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.5))
    legend = figure.legend(handles, ["-"] * len(rows), loc="outside upper left", ncols=columns)
    for text, row in zip(legend.get_texts(), rows, strict=True):  # set afterwards: a leading underscore hides a label
        text.set_parse_math(False)
        text.set_text(shorten(row.label, limit=LABEL_LIMIT))
