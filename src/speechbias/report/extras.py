"""What records of other kinds than ``bias`` add to a report, gathered once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.comparisons import Compared, find_comparisons
from speechbias.report.confounds import AdjustedView, AuditView, view_adjusted, view_audits
from speechbias.report.controls import NO_CONTROLS, Controls, find_controls
from speechbias.report.drivers import Driver, find_drivers
from speechbias.report.grid import Grid
from speechbias.report.groups import Question, Slope, find_questions, find_slopes
from speechbias.report.utility import Utility, find_utilities
from speechbias.report.valence import NO_VALENCES, Valences, view_valences


@dataclass(frozen=True)
class Extras:
    """Comparisons of models and groups, audits, d adjusted, error rates, drivers of d, predicted valence, controls."""

    compared: Sequence[Compared] = ()
    audits: Sequence[AuditView] = ()
    adjusted: Sequence[AdjustedView] = ()
    utilities: Sequence[Utility] = ()
    drivers: Sequence[Driver] = ()
    questions: Sequence[Question] = ()  # of more than two groups
    slopes: Sequence[Slope] = ()
    valences: Valences = NO_VALENCES
    controls: Controls = NO_CONTROLS

    @classmethod
    def of(cls, grid: Grid, others: Sequence[Mapping[str, Any]], *, every: Grid | None = None) -> "Extras":
        """From records of any kind, as ``read_records`` gives them.

        ``every`` has the steps and sizes too that tables of d leave to the curves: rates stand beside d of each.
        """
        return cls(
            compared=find_comparisons(others),
            audits=view_audits(grid, others),
            adjusted=view_adjusted(grid, others),
            utilities=find_utilities(others, every or grid),
            drivers=find_drivers(grid, others),
            questions=find_questions(grid, others),
            slopes=find_slopes(grid, others),
            valences=view_valences(grid, others),
            controls=find_controls(grid, others),
        )
