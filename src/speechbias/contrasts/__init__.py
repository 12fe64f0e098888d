"""More than two groups: several levels against a reference or each other, two factors, a slope on a number.

One measurement of a CSV with all targets (X and Y together) answers these from its stored vectors: a column of the CSV
says who is of which group. No model is loaded. Records of kind ``groups`` (docs/groups.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.contrasts.comparisons import compare_levels
from speechbias.contrasts.effects import factor_effects, omnibus
from speechbias.contrasts.judging import Settings
from speechbias.contrasts.levels import Levels, cross, find_levels, find_numbers
from speechbias.contrasts.slope import slope_of
from speechbias.contrasts.targets import Targets, read_measured, read_targets
from speechbias.errors import InputError
from speechbias.inference import Design
from speechbias.results import SCHEMA, BiasResult
from speechbias.stimuli import StimulusSet

__all__ = ["Question", "contrast_groups", "read_measured"]

KIND = "groups"
SAME = (
    *("test", "model", "family", "layer", "states", "dtype", "model_sha256", "stimuli_sha256", "recipe"),
    *("step", "run", "confidence", "ddof", "permutations", "resamples", "seed"),
)


@dataclass(frozen=True)
class Question:
    """What is asked of a measurement: one column or two (``by``), or a slope.

    ``references``: a level for each column, which the others are compared with; without it one column's levels are
    compared two by two, and two columns take the first level of each; cells are compared with the cell of both.
    """

    by: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    slope: str | None = None
    per: float = 1.0
    design: Design | None = None

    def __post_init__(self) -> None:
        """InputError for what is no question."""
        if not self.by and self.slope is None:
            raise InputError("Which groups? Name a column with --by, or a column of numbers with --slope.")
        if len(self.by) > 2:
            raise InputError(f"--by is given {len(self.by)} times. Give one column, or two as factors.")
        if self.references and len(self.references) != len(self.by):
            raise InputError(
                f"--reference is given {len(self.references)} times, --by {len(self.by)} times. Give as many."
            )
        if not 0 < self.per < float("inf"):
            raise InputError(f"--per is {self.per:g}. Give a positive number of units, for example 10.")


def contrast_groups(
    result: BiasResult, folder: Path, stimuli: StimulusSet, question: Question
) -> list[dict[str, Any]]:
    """Records of kind ``groups`` of one measurement, whose results file lies in ``folder``: of groups, of a slope.

    InputError as ``read_targets``, for columns that are not there or no groups, and where no design fits the speakers.
    """
    settings = Settings(result.permutations, result.resamples, result.confidence, result.ddof, result.seed)
    measured = where = f"{stimuli.name}, {result.called}"
    try:
        targets = read_targets(result, folder, stimuli)
        where = f"{stimuli.name}.csv"  # of its columns the same is wrong for every model
        factors = _factors(targets, question) if question.by else []
        numbers = None if question.slope is None else find_numbers(targets.columns, question.slope)
        where = measured
        found = [_of_groups(targets, factors, question, settings)] if factors else []
        if numbers is not None:
            found.append(_of_slope(targets, numbers, question, settings))
    except InputError as error:
        raise InputError(*(f"{where}: {line}" for line in error.problems)) from None
    same = {name: getattr(result, name) for name in SAME} | {"attributes": [result.groups["A"], result.groups["B"]]}
    return [{"kind": KIND, "schema": SCHEMA, **same, "alternative": "two-sided", **each} for each in found]


def _factors(targets: Targets, question: Question) -> list[Levels]:
    """The levels of each column of ``--by``, then those of its two columns crossed."""
    factors = [find_levels(targets.columns, by) for by in question.by]
    factors = [
        each.with_reference(question.references[place]) if question.references else each
        for place, each in enumerate(factors)
    ]
    return factors if len(factors) == 1 else [*factors, cross(*factors)]


def _of_groups(targets: Targets, factors: Sequence[Levels], question: Question, settings: Settings) -> dict[str, Any]:
    *factors, levels = factors if len(factors) > 1 else (*factors, *factors)
    two = len(factors) == 2
    reference = two or bool(question.references)
    adjusted_by, contrasts = compare_levels(targets, levels, settings, reference=reference, design=question.design)
    warnings = [*levels.warnings, *_warn(targets, levels, contrasts, settings)]
    return {
        "question": "factors" if two else "reference" if reference else "pairs",
        "columns": [each.column for each in factors],
        "reference": ", ".join(each.names[0] for each in factors) if reference else None,
        "levels": _describe(targets, levels),
        "no_value": levels.no_value,
        "omnibus": omnibus(targets, levels, settings),
        "contrasts": contrasts,
        "adjusted_by": adjusted_by,
        "effects": factor_effects(targets, factors[0], factors[1], settings) if two else [],
        "warnings": warnings,
    }


def _of_slope(
    targets: Targets, numbers: NDArray[np.float64], question: Question, settings: Settings
) -> dict[str, Any]:
    column = question.slope or ""
    found = slope_of(targets, numbers, column, settings, per=question.per)
    least = max(found["p_min"], found["p_attribute_min"])
    warnings = [f"p cannot go below {least:.3g} with so few people: nothing can be shown"]
    return {
        "question": "slope",
        "columns": [column],
        "no_value": int(np.isnan(numbers).sum()),
        "slope": found,
        "warnings": warnings if least >= settings.alpha else [],
    }


def _describe(targets: Targets, levels: Levels) -> list[dict[str, Any]]:
    """Every group with its clips and people, and its mean s in SDs about the mean of all."""
    used = levels.codes >= 0
    s = (targets.s - targets.s[used].mean()) / targets.s[used].std()
    found = []
    for name in levels.names:
        rows = levels.rows(name)
        people = {targets.people[row] for row in rows}
        found.append({"name": name, "n": len(rows), "n_speakers": len(people), "mean": float(s[rows].mean())})
    return found


def _warn(targets: Targets, levels: Levels, contrasts: Sequence[dict[str, Any]], settings: Settings) -> list[str]:
    """What a reader has to know before believing the numbers."""
    warnings = []
    if alone := [each["name"] for each in _describe(targets, levels) if each["n_speakers"] == 1]:
        warnings.append(f"one speaker only, a voice and not a group, so no interval: {', '.join(alone)}")
    blank = sum(not targets.speakers[row] for row in np.flatnonzero(levels.codes >= 0))
    if blank:
        warnings.append(f"speakers unknown of {blank} clips; each counts as a speaker of its own")
    least = [max(each["p_min"], each["p_attribute_min"]) for each in contrasts]
    cannot = sum(each >= settings.alpha for each in least)
    if cannot:
        of = f"{cannot} of {len(contrasts)} comparisons"
        warnings.append(
            f"p cannot go below {settings.alpha:g} in {of}, with so few people: nothing can be shown there"
        )
    return warnings
