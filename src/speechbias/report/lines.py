"""Curves on axes, as the figures of steps and of pruning share them: band, line, points, names, legend, note."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from speechbias.report.curves import Curve
from speechbias.report.layout import wrapped
from speechbias.report.names import shorten
from speechbias.report.style import DASHES, MUTED, PALETTE, PAPER, Dash, minus

LABEL_LIMIT = 40
FEW_POINTS = 10
NOTE_LINE = 0.16  # inches
PER_CENT = FuncFormatter(lambda share, _: f"{100 * share:g}")


def draw_curve(axes: Axes, curve: Curve, colour: str, dashes: Dash, *, faint: bool, marker: str = "o") -> None:
    """One curve: its band, its line (of several runs their mean, and each thinly), a point per record."""
    places = curve.steps
    low, high = zip(*(curve.band(place) for place in places), strict=True)
    several = len(curve.runs) > 1
    opaque = 0.3 if several else 0.17  # runs lie close together: a narrow band under a thick line would not be seen
    axes.fill_between(places, low, high, color=colour, alpha=opaque * (0.6 if faint else 1), linewidth=0)
    means = [sum(ds) / len(ds) for ds in map(curve.ds, places)]
    axes.plot(places, means, color=colour, linestyle=dashes, linewidth=1.0 if several else 1.6)
    size = (2.2 if several else 4.5) if len(places) <= FEW_POINTS else (1.6 if several else 3.2)
    for run in curve.runs:
        if several:
            axes.plot([*run.mean], [r.d for r in run.mean.values()], color=colour, linewidth=0.4, alpha=0.7)
        for associated, face in ((False, PAPER), (True, colour)):
            points = [(place, r.d) for place, r in run.mean.items() if r.associated == associated]
            axes.plot(
                [place for place, _ in points], [d for _, d in points], marker, linestyle="none",
                color=colour, markersize=size, markerfacecolor=face, markeredgewidth=0.5 if several else 0.9, zorder=3,
            )  # fmt: skip


def finish_panel(axes: Axes, title: str) -> None:
    """Its title, and true minus signs."""
    axes.set_title(shorten(title, limit=LABEL_LIMIT), fontsize=9, fontweight="bold", loc="left", parse_math=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:g}")))
    axes.tick_params(labelleft=True)


def size_text(number: float) -> str:
    """``0``, ``500``, ``2k``, ``1.5k``, ``400k``, ``1M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def appearance(place: int) -> tuple[str, Dash]:
    """Colour and dashes of the model that stands at this place of the legend."""
    return PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]


def model_handles(labels: Sequence[str]) -> list[tuple[Artist, str]]:
    """What the legend shows for each model."""
    looks = map(appearance, range(len(labels)))
    lines = [Line2D([], [], color=colour, linestyle=dashes, linewidth=1.6) for colour, dashes in looks]
    return list(zip(lines, labels, strict=True))


def add_legend(figure: Figure, entries: Sequence[tuple[Artist, str]], width: float) -> None:
    """The legend above the panels, in as many columns as ``width`` (inches) has room for."""
    shown = [shorten(label, limit=LABEL_LIMIT) for _, label in entries]
    widths = [0.08 * len(label) + 0.6 for label in shown]
    columns = len(entries) if sum(widths) <= width else max(1, int(width / max(widths)))
    handles = [handle for handle, _ in entries]
    legend = figure.legend(handles, ["-"] * len(entries), loc="outside upper left", ncols=columns)
    for text, label in zip(legend.get_texts(), shown, strict=True):  # afterwards: a leading underscore hides a label
        text.set_parse_math(False)
        text.set_text(label)


def note_lines(note: str, width: float) -> list[str]:
    """A note in lines that fit below a figure of this width (inches)."""
    return wrapped(note, characters=int(width * 18))


def add_note(figure: Figure, lines: Sequence[str]) -> None:
    """Write a note below the panels."""
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=MUTED)
