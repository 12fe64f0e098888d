"""The audit of one test: every covariate of its four sets, X against Y and A against B, as a record of results.

The record (``kind "confounds"``) holds means and differences; the values of the clips lie beside the results, as
pooled vectors do (arrays X, Y, A, B of shape (stimuli, covariates); no audio, no names).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import AudioFacts
from speechbias.confounds.clips import Values, measured_names, versions
from speechbias.confounds.covariates import BY_NAME, THRESHOLD
from speechbias.confounds.differences import Difference, standardised_difference, within_sd
from speechbias.confounds.praat import is_installed
from speechbias.inference.designs import name_blanks
from speechbias.results import SCHEMA, SETS
from speechbias.stimuli import StimulusSet, stimuli_sha256

Array = NDArray[np.float64]

KIND = "confounds"
COMPARISONS = {"targets": ("X", "Y"), "attributes": ("A", "B")}
DIGITS = 6  # significant ones in a record: another library's last bits make no other record


@dataclass(frozen=True)
class Audit:
    """One test's ``record`` and the ``arrays`` with the values of its clips."""

    record: dict[str, Any]
    arrays: dict[str, Array]  # by set: (stimuli, covariates), NaN where a clip has no value


def audit_test(
    stimuli: StimulusSet,
    facts: Mapping[Any, AudioFacts],
    values: Mapping[str, Values],
    *,
    design: str | None = None,
    crop: float | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Audit:
    """Audit one test: ``facts`` by path as ``check_audio`` has them, ``values`` as ``describe_clips``.

    Intervals resample speakers (a blank one is its own), of the design ``pair`` pairs, of ``independent`` clips.
    """
    names = measured_names()
    arrays = {
        key: np.array([[values[facts[s.path].sha256][name] for name in names] for s in members])
        for key, members in stimuli.sets.items()
    }
    labels = _units(stimuli, design)
    options: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    columns = {name: {key: array[:, column] for key, array in arrays.items()} for column, name in enumerate(names)}
    record = {
        **identify(stimuli, facts, crop=crop, design=design, **options),
        "groups": stimuli.groups,
        "n": {key: len(members) for key, members in stimuli.sets.items()},
        "sd": "within groups",
        "threshold": THRESHOLD,
        "covariates": [_describe(name, of, labels, **options) for name, of in columns.items()],
        "left_out": [name for name in BY_NAME if name not in names],
        "facts": None,
        "versions": versions(),
    }
    return Audit(record, arrays)


def identify(
    stimuli: StimulusSet, facts: Mapping[Any, AudioFacts], *, crop: float | None = None, **options: Any
) -> dict[str, Any]:
    """What makes two audits the same: the clips, how much of them, by what, and the options of the intervals."""
    sha256 = stimuli_sha256(stimuli, {s.path: facts[s.path].sha256 for s in stimuli.stimuli})
    named = {"kind": KIND, "test": stimuli.name, "stimuli_sha256": sha256, "crop_seconds": crop}
    return {"schema": SCHEMA, **named, "praat": is_installed(), **options}


def _units(stimuli: StimulusSet, design: str | None) -> dict[str, tuple[str, ...]]:
    labels = {key: name_blanks(ids, key) for key, ids in stimuli.speakers.items()}
    if design == "independent":
        labels |= {key: name_blanks([""] * len(labels[key]), key) for key in ("X", "Y")}
    elif design == "pair":
        labels |= {key: name_blanks(ids, key) for key, ids in stimuli.pairs.items()}
    return labels


def _describe(
    name: str,
    of: Mapping[str, Array],
    labels: Mapping[str, Sequence[str]],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """One covariate in the four sets; clips without a value are counted, and left out of its numbers alone."""
    known = {key: ~np.isnan(column) for key, column in of.items()}
    there = {key: column[known[key]] for key, column in of.items()}
    units = {key: [label for label, is_known in zip(labels[key], known[key], strict=True) if is_known] for key in SETS}
    covariate, compared = BY_NAME[name], {}
    options: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    for comparison, (first, second) in COMPARISONS.items():
        x, y = there[first], there[second]
        found = standardised_difference(x, y, (units[first], units[second]), least=covariate.least, **options)
        compared[comparison] = _as_json(found) | {"sd": _round(within_sd(x, y)) if min(len(x), len(y)) > 1 else None}
    return {
        "name": name,
        "label": covariate.label,
        "unit": covariate.unit,
        "channel": covariate.channel,
        "mean": {key: _round(float(column.mean())) if len(column) else None for key, column in there.items()},
        "missing": {key: int((~known[key]).sum()) for key in SETS},
        **compared,
    }


def _as_json(found: Difference) -> dict[str, Any]:
    limits = {"difference": found.value, "low": found.low, "high": found.high}
    return {name: None if value is None else _round(value) for name, value in limits.items()} | {
        "flagged": found.flagged
    }


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
