"""What a reader has to know before believing the numbers of a test."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speechbias.inference.intervals import Strata

FEW_TALKERS = 10
FEW_UNITS = 8  # below it intervals leave out large d's too often, and differences cannot be shown (docs/validity.md)


def warn(
    labels: Mapping[str, Sequence[str]],
    *,
    units: Strata,
    talkers: int,
    smallest: Mapping[str, float],
    alpha: float,
) -> list[str]:
    """Warnings about the data. ``units``: of the targets; ``smallest``: what each p cannot go below."""
    warnings = []
    if blank := {name: count for name, of_set in labels.items() if (count := sum(not label for label in of_set))}:
        where = ", ".join(f"{count} in {name}" for name, count in blank.items())
        warnings.append(f"speakers unknown: {where}; each such clip counts as a speaker of its own")
    if units.one_sided(len(labels["X"])):
        warnings.append("only one speaker in a group: no interval can be given, the whole range of d stands there")
    elif (few := units.fewest(len(labels["X"]))) < FEW_UNITS:
        warnings.append(
            f"only {few} independent units in a group: the interval is a rough guide, of a large d often too narrow"
        )
    warnings += warn_of_talkers(talkers)
    warnings += [
        f"{name} cannot go below {least:.3g} with so few speakers: nothing can be shown"
        for name, least in smallest.items()
        if least >= alpha
    ]
    return warnings


def warn_of_interval(method: str) -> list[str]:
    """A warning about how an interval was made, where there is one."""
    return ["BCa is not defined here: the interval is a percentile one"] if method == "percentile" else []


def warn_of_talkers(talkers: int) -> list[str]:
    """A warning where attribute talkers are few."""
    if talkers >= FEW_TALKERS:
        return []
    return [f"only {talkers} attribute talkers: the interval over talkers is a rough guide"]


def range_of(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """The lowest and the highest of d's without each talker, of which a degenerate one is NaN; None where all are."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else None
