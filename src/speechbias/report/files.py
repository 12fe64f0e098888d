"""Writing a report: each file is made in memory, then written into one folder. The same records, the same bytes."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from speechbias.errors import InputError, os_reason
from speechbias.report.card import write_card
from speechbias.report.comparisons import write_comparisons
from speechbias.report.confounds_tables import audits_in_markdown
from speechbias.report.controls import write_controls
from speechbias.report.curves import Curve, caption, find_curves, without_earlier_steps, without_put_aside
from speechbias.report.error_rates import Rates, find_error_rates
from speechbias.report.extras import Extras
from speechbias.report.forest import draw_forest
from speechbias.report.grid import Grid, arrange
from speechbias.report.groups import Question
from speechbias.report.groups_figure import draw_question
from speechbias.report.heatmap import draw_states
from speechbias.report.latex import write_latex
from speechbias.report.layers import draw_profiles
from speechbias.report.markdown import write_markdown
from speechbias.report.page import default_title, render_page
from speechbias.report.pruning import draw_pruning
from speechbias.report.sparsities import Line, find_lines, without_larger
from speechbias.report.sparsities import caption as caption_lines
from speechbias.report.spreadsheet import write_csv, write_table_csv
from speechbias.report.steps import draw_steps
from speechbias.report.students import Differences, Taught, find_students
from speechbias.report.students import caption as caption_students
from speechbias.report.students_figure import draw_students
from speechbias.report.students_table import write_students_csv
from speechbias.report.style import drawing, save
from speechbias.report.tradeoff import Point, find_points, write_points_csv
from speechbias.report.tradeoff import caption as caption_points
from speechbias.report.tradeoff_figure import draw_tradeoff
from speechbias.report.utility import write_per_csv
from speechbias.results import BiasResult, write_whole


@dataclass(frozen=True)
class ReportFiles:
    """Where each file of a report lies; ``figures`` are SVG and PDF of ``forest`` and what else there is to draw.

    ``layers``: single states; ``steps``, ``steps-layers``: a model at several training steps; ``pruning``: at sizes;
    ``students``: beside their teachers; ``tradeoff``: against error rates;
    ``groups-0`` and so on: several groups. ``tables``: numbers of the last two.
    """

    page: Path
    markdown: Path
    latex: Path
    csv: Path  # in the shape of the paper's Table 3
    every: Path  # every measurement, also of single states
    card: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, the page first."""
        return (self.page, self.markdown, self.latex, self.csv, self.every, self.card, *self.figures, *self.tables)


def tabulated(records: Sequence[BiasResult]) -> list[BiasResult]:
    """Those that tables and the answer are about: of a run the last step, of a pruned model the smallest size.

    The mean over states, and single states of a model of which that was not measured.
    """
    kept = without_larger(without_earlier_steps(records))
    means = {(record.model_sha256, record.stimuli_sha256) for record in kept if record.layer == "mean"}
    return [r for r in kept if r.layer == "mean" or (r.model_sha256, r.stimuli_sha256) not in means]


def write_report(
    records: Sequence[BiasResult],
    out: Path,
    *,
    title: str | None = None,
    paper_layout: bool = False,
    others: Sequence[Mapping[str, Any]] = (),
    differences: Differences = MappingProxyType({}),
) -> ReportFiles:
    """Write tables, figures, page and model card into the folder ``out``, which is made if need be.

    Of a run that was measured at several steps, tables and answers are of the last one, of a model that was pruned
    further and further of the smallest; the curves have figures of their own. ``others`` are records of other kinds,
    as ``read_records`` gives them: phone error rates (``per``) have a table with their gaps between groups, stand
    beside the bias of pruned models, and with that of all models in a figure; comparisons (``comparison``) and audits
    (``confounds``) in tables of the page and below that of table.md; d with covariates held equal (``adjusted``) and
    what drives d (``explanation``, ``leakage``) on the page; more than two groups (``groups``) with figures; controls
    (``control``) on top of it and in a table.
    ``differences``: of students to their teachers, by identity (``students``).
    ``paper_layout`` changes table.md, table.tex and table.csv only: bare d's as in the paper's Table 3. Raises
    ``InputError`` where there is no record, or where ``out`` cannot be written; ``OSError`` where the disk is full.
    """
    grid, every = arrange(without_larger(without_earlier_steps(records))), arrange(without_put_aside(records))
    curves, lines = find_curves(records), find_lines(records)
    rates, extras = Rates(others, lines), Extras.of(grid, others, every=every)
    taught, points = find_students(records), find_points(records, others)
    drawn = _draw(grid, curves, title or default_title(grid)) | _draw_lines(lines, rates)
    drawn |= _draw_models(taught, differences, points) | _draw_groups(extras.questions)
    svgs = {name: files["svg"] for name, files in drawn.items()}
    captions = {
        "steps": caption(curves) if curves else "",
        "pruning": caption_lines(lines) if lines else "",
        "students": caption_students(taught, differences) if taught else "",
        "tradeoff": caption_points(points) if points else "",
    }
    texts = {
        "index.html": render_page(grid, svgs, title=title, captions=captions, extras=extras),
        "table.md": write_markdown(grid, paper_layout=paper_layout) + _below_table(extras, paper_layout=paper_layout),
        "table.tex": write_latex(grid, paper_layout=paper_layout),
        "table.csv": write_table_csv(grid, paper_layout=paper_layout),
        "results.csv": write_csv(every),
        "model-card.md": write_card(grid, extras.audits, extras.controls),
    }
    figures = {f"{name}.{kind}": data for name, files in drawn.items() for kind, data in files.items()}
    tables = {"students.csv": write_students_csv(taught, differences)} if taught else {}
    tables |= {"tradeoff.csv": write_points_csv(points)} if points else {}
    tables |= {"per.csv": write_per_csv(extras.utilities)} if extras.utilities else {}
    page, markdown, latex, csv, listing, card = write_files(out, texts)
    return ReportFiles(
        page, markdown, latex, csv, listing, card, figures=write_files(out, figures), tables=write_files(out, tables)
    )


def _below_table(extras: Extras, *, paper_layout: bool) -> str:
    """What stands below the table of d's in Markdown."""
    below = f"\n{write_comparisons(extras.compared)}" if extras.compared and not paper_layout else ""
    below += f"\n{audits_in_markdown(extras.audits)}" if extras.audits else ""
    return below + (f"\n{write_controls(extras.controls)}" if not paper_layout else "")


def _draw(grid: Grid, curves: Sequence[Curve], title: str) -> dict[str, dict[str, bytes]]:
    with drawing():
        figures = {
            "forest": draw_forest(grid),
            "layers": draw_profiles(grid),
            "steps": draw_steps(curves) if curves else None,
            "steps-layers": draw_states(curves),
        }
        return {name: save(figure, title=title) for name, figure in figures.items() if figure}


def _draw_lines(lines: Sequence[Line], rates: Rates) -> dict[str, dict[str, bytes]]:
    if not lines:
        return {}
    with drawing():
        return {"pruning": save(draw_pruning(lines, find_error_rates(lines, rates)), title="Bias against size")}


def _draw_groups(questions: Sequence[Question]) -> dict[str, dict[str, bytes]]:
    with drawing():
        return {
            f"groups-{place}": save(draw_question(each), title=each.heading) for place, each in enumerate(questions)
        }


def _draw_models(
    taught: Sequence[Taught], differences: Differences, points: Sequence[Point]
) -> dict[str, dict[str, bytes]]:
    with drawing():
        drawn = {}
        if taught:
            drawn["students"] = save(draw_students(taught, differences=differences), title="Students and teachers")
        if points:
            drawn["tradeoff"] = save(draw_tradeoff(points), title="Bias and error rate")
        return drawn


def write_files(out: Path, contents: Mapping[str, str | bytes]) -> tuple[Path, ...]:
    """Write files into a folder, which is made if need be, text as UTF-8; their paths.

    InputError where that cannot be; OSError: disk full.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            write_whole(out / name, data.encode("utf-8") if isinstance(data, str) else data, durable=False)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # nobody's wrong input
            raise
        raise InputError(f"{out} cannot be written ({os_reason(error)}). Choose another folder with -o.") from error
    return tuple(out / name for name in contents)
