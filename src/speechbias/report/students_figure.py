"""The figure of distillation (the paper's Figure 3): a panel per teacher, its d and its students' test by test.

Below each panel, where vectors were kept, the students' d less the teacher's, which is what the figure is about: the
intervals of the d's themselves say little of it, as all models hear the same clips.
"""

from collections.abc import Sequence
from types import MappingProxyType

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from speechbias.report.lines import NOTE_LINE, add_legend, add_note, finish_panel, note_lines
from speechbias.report.names import shorten
from speechbias.report.students import Differences, Taught
from speechbias.report.style import INK, MUTED, PALETTE, PAPER, RULE, reference_lines

ABREAST = 3
HEIGHTS = (2.3, 1.5)  # inches: of d, of differences
WIDTH, PER_MARK = 1.1, 0.19  # inches: around the marks, and of each
MARKERS = ("s", "D", "^", "v", "P", "X")
TEACHER = "teacher"
TEST_LIMIT = 24  # characters


def draw_students(
    found: Sequence[Taught], *, differences: Differences = MappingProxyType({}), note: str = ""
) -> Figure:
    """The figure; ``note`` is written below it. ``differences``: by identity of the student's record."""
    teachers = list(dict.fromkeys(taught.label for taught in found))
    labels = _by_layers(found)
    abreast, with_differences = min(ABREAST, len(teachers)), bool(differences)
    tests = max(sum(taught.label == teacher for taught in found) for teacher in teachers)
    width = max(5.6, abreast * max(2.6, WIDTH + PER_MARK * tests * (len(labels) + 2)))
    lines = note_lines(note, width)
    heights = HEIGHTS[: 1 + with_differences] * -(-len(teachers) // abreast)
    figure = Figure(figsize=(width, sum(heights) + 0.6 + NOTE_LINE * len(lines)), layout="constrained")
    grid = GridSpec(len(heights), abreast, figure=figure, height_ratios=heights)
    first: list[Axes | None] = [None, None]
    for place, teacher in enumerate(teachers):
        of = [taught for taught in found if taught.label == teacher]
        row, column = (place // abreast) * (1 + with_differences), place % abreast
        axes = figure.add_subplot(grid[row, column], sharey=first[0])
        _draw_ds(axes, of, labels)
        finish_panel(axes, f"students of {teacher}")
        _label(axes, of, text="SpEAT d (SDs of s)" if column == 0 else "", named=not with_differences)
        below = None
        if with_differences:
            below = figure.add_subplot(grid[row + 1, column], sharey=first[1])
            _draw_differences(below, of, labels, differences)
            finish_panel(below, "")
            _label(below, of, text="less the teacher's" if column == 0 else "", named=True)
        first = [first[0] or axes, first[1] or below]
    add_legend(figure, _legend(found, labels), width)
    add_note(figure, lines)
    return figure


def _by_layers(found: Sequence[Taught]) -> list[str]:
    """What students are called, those of most layers first."""
    layers = {each.label: each.record.student_layers or 0 for taught in found for each in taught.students}
    return sorted(layers, key=lambda label: (-layers[label], label))


def _look(label: str, labels: Sequence[str]) -> tuple[str, str]:
    """Colour and marker."""
    place = labels.index(label)
    return PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]


def _place(test: int, mark: int, labels: Sequence[str]) -> float:
    """Where a mark stands: tests one apart, the teacher (0) and its students (from 1) evenly within."""
    return test + (mark - len(labels) / 2) / (len(labels) + 2)


def _draw_ds(axes: Axes, of: Sequence[Taught], labels: Sequence[str]) -> None:
    reference_lines(axes, vertical=False)
    for test, taught in enumerate(of):
        if taught.teacher is not None:
            x, record = _place(test, 0, labels), taught.teacher
            _mark(axes, x, record.d, (record.ci_low, record.ci_high), (INK, "o"), filled=record.associated)
            end = _place(test, len(labels), labels)
            axes.plot([x, end], [record.d, record.d], color=MUTED, linestyle="--", linewidth=0.8, zorder=1)
        for student in taught.students:
            x, record = _place(test, 1 + labels.index(student.label), labels), student.record
            look = _look(student.label, labels)
            _mark(axes, x, record.d, (record.ci_low, record.ci_high), look, filled=record.associated)


def _draw_differences(axes: Axes, of: Sequence[Taught], labels: Sequence[str], differences: Differences) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=0.5)
    for test, taught in enumerate(of):
        for student in taught.students:
            found = differences.get(student.record.identity)
            if found is None:
                continue
            x, look = _place(test, 1 + labels.index(student.label), labels), _look(student.label, labels)
            known = None if found.low is None or found.high is None else (found.low, found.high)
            shown = found.p is not None and found.p < student.record.alpha
            _mark(axes, x, found.difference, known, look, filled=shown)


def _mark(
    axes: Axes, x: float, y: float, interval: tuple[float, float] | None, look: tuple[str, str], *, filled: bool
) -> None:
    colour, marker = look
    if interval is not None:
        axes.plot([x, x], interval, color=colour, linewidth=1.4, solid_capstyle="butt", zorder=2)
    axes.plot(
        [x], [y], marker, color=colour, markersize=5, markerfacecolor=colour if filled else PAPER,
        markeredgewidth=1.1, zorder=3,
    )  # fmt: skip


def _label(axes: Axes, of: Sequence[Taught], *, text: str, named: bool) -> None:
    """The tests below, with a light line between them."""
    names = [shorten(taught.column.label, limit=TEST_LIMIT) if named else "" for taught in of]
    axes.set_xticks(range(len(of)), names, parse_math=False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(of) - 0.5)
    for test in range(1, len(of)):
        axes.axvline(test - 0.5, color=RULE, linewidth=0.7, zorder=0)
    axes.set_ylabel(text)


def _legend(found: Sequence[Taught], labels: Sequence[str]) -> list[tuple[Artist, str]]:
    looks = [((INK, "o"), TEACHER)] if any(taught.teacher for taught in found) else []
    looks += [(_look(label, labels), label) for label in labels]
    return [
        (Line2D([], [], color=colour, marker=marker, markersize=5, linewidth=1.4), label)
        for (colour, marker), label in looks
    ]
