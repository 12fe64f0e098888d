"""A number instead of groups: how s rises with it (age in years), and how sure that is.

Slope of s on the number by least squares over clips, in s and in SDs of s, and Pearson's r. The three have one p,
since they differ by factors that do not depend on who has which value. Intervals: speakers resampled.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechbias.contrasts.judging import Array, Settings, attribute_p, dealt_p, interval_of
from speechbias.contrasts.relabelled import Dealing, find_dealing, resampling
from speechbias.contrasts.targets import Targets
from speechbias.errors import InputError
from speechbias.inference.intervals import variance_scale

LEAST = 3  # speakers
FLAT = 1e-12  # of the mean square
VALUES = ("slope_s", "slope", "correlation")


def slope_of(targets: Targets, numbers: Array, column: str, settings: Settings, *, per: float) -> dict[str, Any]:
    """The slope on ``numbers`` (targets,), NaN where there is none, for ``per`` units of them.

    InputError for fewer than three speakers or two values, and where some speakers have several values and others
    one.
    """
    used = np.flatnonzero(~np.isnan(numbers))
    people = tuple(targets.people[row] for row in used)
    x, s = numbers[used] / per, targets.s[used]
    dealing = _find_dealing(x, people, column)
    x, s = (each - each.mean() for each in (x, s))
    sums = np.column_stack([np.ones_like(x), x, x**2, s, s**2, x * s])
    scale = variance_scale(len(s), settings.ddof)
    found = _values(sums.sum(axis=0)[None], scale)[0]
    limits = interval_of(sums, lambda totals: _values(totals, scale), resampling(people, [0] * len(people)), settings)
    direction = x / np.sqrt((x**2).sum())
    attribute = attribute_p(
        targets.cosines[used],
        (targets.talkers["A"], targets.talkers["B"]),
        lambda drawn: _correlation(drawn, direction)[:, None],
        found[2:],
        settings,
    )
    p = dealt_p(x, dealing, lambda dealt: np.asarray(dealt @ s), settings)
    return {
        "column": column,
        "per": per,
        "range": [float(each) for each in (numbers[used].min(), numbers[used].max())],
        "n": len(used),
        "n_speakers": len(set(people)),
        **{name: _estimate(value, limit) for name, value, limit in zip(VALUES, found, limits, strict=True)},
        **p,
        "p_method": "monte-carlo",
        "p_attribute": float(attribute.p[0]),
        "p_attribute_min": attribute.least,
        "associated": max(p["p_value"], float(attribute.p[0])) < settings.alpha,
    }


def _find_dealing(x: Array, people: Sequence[str], column: str) -> Dealing:
    """How values are dealt anew. InputError where there is no slope, or nothing tells."""
    values = len(set(x.tolist()))
    if len(set(people)) < LEAST or values < 2:
        raise InputError(
            f"{column}: {len(set(people))} speakers with {values} different values. A slope needs {LEAST} speakers "
            "and 2 values or more."
        )
    dealing = find_dealing(x.tolist(), people)
    if dealing is None:
        raise InputError(
            f"{column}: some speakers have several values and others one in all their clips, so nothing tells what "
            "may be dealt anew. Give every speaker one value, or leave those with several blank."
        )
    return dealing


def _estimate(value: float, limits: dict[str, Any]) -> dict[str, Any]:
    return {"value": float(value), **limits}


def _correlation(s: Array, direction: Array) -> Array:
    """Pearson's r of every draw of s (draws, clips) with a centred vector of length 1."""
    centred = s - s.mean(axis=1, keepdims=True)
    return np.asarray(centred @ direction / np.sqrt((centred**2).sum(axis=1)))


def _values(sums: Array, scale: float) -> Array:
    """Slope of s, in SDs of s, and r, (draws, 3), from sums of 1, x, x^2, s, s^2, x s; NaN without a spread."""
    n, x, xx, s, ss, xs = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        var_x, var_s, cov = xx / n - (x / n) ** 2, ss / n - (s / n) ** 2, xs / n - x * s / n**2
        values = np.stack([cov / var_x, cov / var_x / np.sqrt(scale * var_s), cov / np.sqrt(var_x * var_s)], axis=1)
        usable = (var_x > FLAT * xx / n) & (var_s > FLAT * ss / n)
    return np.asarray(np.where(usable[:, None], values, np.nan))
