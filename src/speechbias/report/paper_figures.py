"""Figures from the user's records: the paper's 1 (steps), 2 (sizes) and 3 (students); bias against error rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure

from speechbias.errors import InputError
from speechbias.report.curves import caption, find_curves, write_steps_csv
from speechbias.report.error_rates import Rates, find_error_rates
from speechbias.report.files import write_files
from speechbias.report.heatmap import NOTE, draw_states
from speechbias.report.pruning import draw_pruning
from speechbias.report.sparsities import caption as caption_lines
from speechbias.report.sparsities import find_lines
from speechbias.report.sparsities_table import write_sparsities_csv, write_sparsities_markdown
from speechbias.report.steps import draw_steps
from speechbias.report.students import Differences, find_students
from speechbias.report.students import caption as caption_students
from speechbias.report.students_figure import draw_students
from speechbias.report.students_table import write_students_csv, write_students_markdown
from speechbias.report.style import drawing, save
from speechbias.report.tradeoff import caption as caption_points
from speechbias.report.tradeoff import find_points, write_points_csv
from speechbias.report.tradeoff_figure import draw_tradeoff
from speechbias.results import BiasResult, Together

KINDS = ("svg", "pdf", "png")


def write_figure1(
    records: Sequence[BiasResult], out: Path, *, together: Mapping[str, Together] = MappingProxyType({})
) -> tuple[Path, ...]:
    """The paper's Figure 1 from records of several training steps: d against steps, and by hidden state, with a CSV.

    ``figure1.{svg,pdf,png,csv}``, and ``figure1-layers.*`` where single states were measured. ``together``: by
    identity, what records are when they are judged together with the other steps of their run (``families``).
    InputError where no model was measured at two steps.
    """
    curves = find_curves(records)
    if not curves:
        raise InputError(
            "figure1: no model here was measured at two training steps. Measure several checkpoints of a run "
            "(speechbias measure RUN/checkpoints/*), or give results.jsonl of a run whose recipe has [track]."
        )
    with drawing():
        steps = draw_steps(curves, note=caption(curves, together), together=together)
        states = draw_states(curves, note=NOTE)
        figures = {"figure1": steps} | ({"figure1-layers": states} if states else {})
        drawn = _saved(figures, title="Bias against training steps")
    return write_files(out, drawn | {"figure1.csv": write_steps_csv(curves, together)})


def write_figure2(
    records: Sequence[BiasResult], out: Path, *, others: Sequence[Mapping[str, Any]] = ()
) -> tuple[Path, ...]:
    """The paper's Figure 2 from records of pruned models: d against parameters removed, with its numbers in tables.

    ``figure2.{svg,pdf,png,csv,md}``. ``others`` are records of other kinds: phone error rates (``per``) of the same
    models have panels below. InputError where no pruned model was measured.
    """
    lines = find_lines(records)
    if not lines:
        raise InputError(
            "figure2: no pruned model was measured here. Prune one and measure all of its sizes (speechbias prune "
            "RECIPE.toml --out RUN, speechbias measure MODEL RUN/checkpoints/* --stimuli CSV -o RESULTS.jsonl)."
        )
    rates = Rates(others, lines)
    with drawing():
        figure = draw_pruning(lines, find_error_rates(lines, rates), note=caption_lines(lines))
        drawn = _saved({"figure2": figure}, title="Bias against size")
    csv, markdown = write_sparsities_csv(lines, rates), write_sparsities_markdown(lines, rates)
    return write_files(out, drawn | {"figure2.csv": csv, "figure2.md": markdown})


def write_figure3(
    records: Sequence[BiasResult], out: Path, *, differences: Differences = MappingProxyType({})
) -> tuple[Path, ...]:
    """The paper's Figure 3 from records of students and their teachers: d, and how far it is from the teacher's.

    ``figure3.{svg,pdf,png,csv,md}``. ``differences``: by identity of a student's record (``students``). InputError
    where no student was measured.
    """
    found = find_students(records)
    if not found:
        raise InputError(
            "figure3: no record here names a teacher. Distil a model and measure it beside its teacher (speechbias "
            "distill RECIPE.toml --out RUN, speechbias measure MODEL RUN/checkpoints/last --stimuli CSV -o "
            "RESULTS.jsonl)."
        )
    with drawing():
        figure = draw_students(found, differences=differences, note=caption_students(found, differences))
        drawn = _saved({"figure3": figure}, title="Bias of students and teachers")
    csv, markdown = write_students_csv(found, differences), write_students_markdown(found, differences)
    return write_files(out, drawn | {"figure3.csv": csv, "figure3.md": markdown})


def write_tradeoff(
    records: Sequence[BiasResult], out: Path, *, others: Sequence[Mapping[str, Any]] = ()
) -> tuple[Path, ...]:
    """|d| against phone error rate against parameters, of every model of which ``others`` have a rate.

    ``tradeoff.{svg,pdf,png,csv}``. InputError where there is none.
    """
    found = find_points(records, others)
    if not found:
        raise InputError(
            "tradeoff: no model here has both a record of bias and a phone error rate (kind per, of the same "
            "model_sha256 or model). Give the files that hold both."
        )
    with drawing():
        drawn = _saved({"tradeoff": draw_tradeoff(found, note=caption_points(found))}, title="Bias and error rate")
    return write_files(out, drawn | {"tradeoff.csv": write_points_csv(found)})


def _saved(figures: Mapping[str, Figure], *, title: str) -> dict[str, bytes]:
    saved = {name: save(figure, title=title, kinds=KINDS) for name, figure in figures.items()}
    return {f"{name}.{kind}": data for name, files in saved.items() for kind, data in files.items()}
