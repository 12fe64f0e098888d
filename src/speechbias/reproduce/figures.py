"""Figures 1 and 3 from results files, judged by the vectors beside them where these are kept; Figure 2 needs none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechbias.report import student_pairs, write_figure1, write_figure3
from speechbias.report.curves import find_curves
from speechbias.results import BiasResult, PairedDifference, Together


def figure1(measured: Mapping[Path, Sequence[BiasResult]], out: Path) -> tuple[Path, ...]:
    """Figure 1 from results files: bias against steps; those of a run are judged together where vectors are kept.

    The files that ``write_figure1`` writes. InputError where no model was measured at two steps.
    """
    from speechbias.families import judge_steps  # noqa: PLC0415 (embeddings)

    records = [record for found in measured.values() for record in found]
    places = _places(measured)
    together: dict[str, Together] = {}
    for curve in find_curves(records):
        for run in curve.runs:
            together |= judge_steps([record for at in run.records.values() for record in at.values()], places)
    return write_figure1(records, out, together=together)


def figure3(measured: Mapping[Path, Sequence[BiasResult]], out: Path) -> tuple[Path, ...]:
    """Figure 3 from results files: d of students and their teacher, and differences where vectors are kept.

    The files that ``write_figure3`` writes. InputError where no student was measured.
    """
    records = [record for found in measured.values() for record in found]
    return write_figure3(records, out, differences=differences_of(measured))


def differences_of(measured: Mapping[Path, Sequence[BiasResult]]) -> dict[str, PairedDifference]:
    """By identity of its record, how far each student is from its teacher; of results files and what they hold."""
    records = [record for found in measured.values() for record in found]
    pairs = student_pairs(records)
    if not pairs:
        return {}
    from speechbias.students import compare_students  # noqa: PLC0415 (embeddings)

    return compare_students(pairs, _places(measured))


def _places(measured: Mapping[Path, Sequence[BiasResult]]) -> dict[str, Path]:
    return {record.identity: path.parent for path, found in measured.items() for record in found}
