"""d adjusted for covariates, from stored vectors and the values of the audit: no model, no audio.

A record of ``kind "adjusted"`` belongs to one measurement and holds raw d, d by regression, and d of matched clips.
Clips without a value of some covariate (F0 of a whispered clip) are left out of all three, and counted; in the design
`pair` their partners too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.confounds import BY_NAME, EXTRA, KIND
from speechbias.confounds.differences import ROUNDING, within_sd
from speechbias.confounds.matching import CALIPER, match
from speechbias.confounds.regression import adjust, adjusted_interval, freedman_lane
from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference.designs import relabel
from speechbias.inference.intervals import Interval, Strata, target_interval
from speechbias.inference.units import target_units
from speechbias.results import SCHEMA, BiasResult, file_sha256, read_records, read_results
from speechbias.speat import ROUNDING_SPREAD
from speechbias.vectors import stored_vectors, target_associations

Array = NDArray[np.float64]

# What a record of a measurement and its adjusted one have in common.
SAME = (
    *("test", "model", "family", "layer", "states", "dtype"),
    *("model_sha256", "stimuli_sha256", "recipe", "step", "run"),
    *("design", "alternative", "confidence", "ddof", "seed"),
)


@dataclass(frozen=True)
class Adjustment:
    """What is held equal, and how carefully."""

    covariates: tuple[str, ...]
    caliper: float = CALIPER  # SD within groups, of a matched pair
    permutations: int = 10_000
    resamples: int = 10_000


@dataclass(frozen=True)
class _Clips:
    """The targets of one test that have all covariates, X first."""

    z: Array  # (clips, covariates)
    n_x: int
    labels: dict[str, list[str]]
    pairs: dict[str, list[str]]
    kept: NDArray[np.intp]  # rows among all targets


def adjust_results(
    path: Path, adjustment: Adjustment, *, note: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """Records of ``kind "adjusted"`` for every measurement of a results file, in its order.

    InputError where a covariate does not exist, a measurement has no audit, or its vectors are not there. ``note`` is
    told of such measurements instead, where others can be adjusted.
    """
    if unknown := [name for name in adjustment.covariates if name not in BY_NAME]:
        raise InputError(f"There is no covariate {', '.join(unknown)}. Take some of {', '.join(BY_NAME)}.")
    if not 0 < adjustment.caliper < float("inf"):
        raise InputError(f"--caliper is {adjustment.caliper:g}. Give a positive number of SDs, for example {CALIPER}.")
    results, audits = read_results(path), _audits(path)
    records, problems = [], []
    for _, group in groupby(results, key=lambda result: (str(result.vectors), result.stimuli_sha256)):
        measured = list(group)
        try:
            records += list(_adjust_vectors(path, measured, audits, adjustment))
        except InputError as error:
            where = f"{measured[0].test}, {measured[0].model}"
            problems += [line if line.startswith(where) else f"{where}: {line}" for line in error.problems]
    if problems and (note is None or not records):
        raise InputError(*dict.fromkeys(problems))
    for problem in dict.fromkeys(problems):
        if note:
            note(f"left out: {problem}")
    return records


def _audits(path: Path) -> dict[tuple[str, str, float | None], Mapping[str, Any]]:
    """The audits of a results file by test, clips and crop; of several the one with the most covariates."""
    found: dict[tuple[str, str, float | None], Mapping[str, Any]] = {}
    for record in read_records(path):
        if record["kind"] == KIND and isinstance(record.get("covariates"), list):
            key = str(record.get("test")), str(record.get("stimuli_sha256")), record.get("crop_seconds")
            if key not in found or len(record["covariates"]) >= len(found[key]["covariates"]):
                found[key] = record
    return found


def _adjust_vectors(
    path: Path,
    results: Sequence[BiasResult],
    audits: Mapping[tuple[str, str, float | None], Mapping[str, Any]],
    adjustment: Adjustment,
) -> Iterator[dict[str, Any]]:
    """The measurements of one file of vectors: states whose resamples and permutations are the same."""
    first = results[0]
    audit = audits.get((first.test, first.stimuli_sha256, first.crop_seconds))
    if audit is None:
        raise InputError(
            f"{path} holds no audit of these clips. Run the same `speechbias measure ... --audit` again: nothing is "
            "measured anew."
        )
    embeddings = stored_vectors(first, path.parent)
    values = _values(path, audit, adjustment.covariates)
    for _, alike in groupby(results, key=lambda r: (r.design, r.alternative, r.confidence, r.ddof, r.seed)):
        group = list(alike)
        clips = _clips(embeddings, values, group[0].design)
        _check_spread(clips.z, adjustment.covariates)
        s = np.column_stack([target_associations(embeddings, result.layer)[clips.kept] for result in group])
        for column, result in enumerate(group):
            if s[:, column].std() <= ROUNDING_SPREAD:
                raise InputError(f"layer {result.layer}: the clips left have the same s. Name fewer --covariates.")
        yield from _records(group, s, clips, adjustment)


def _values(path: Path, audit: Mapping[str, Any], names: Sequence[str]) -> dict[str, Array]:
    """The covariates of the targets' clips, per set (clips, covariates)."""
    there = [covariate["name"] for covariate in audit["covariates"]]
    if absent := [name for name in names if name not in there]:
        raise InputError(f"the audit lacks {', '.join(absent)}. {EXTRA} Then measure again with --audit.")
    entry = audit.get("facts") or {"path": "", "sha256": ""}
    stored = path.parent / entry["path"]
    if not stored.is_file() or file_sha256(stored) != entry["sha256"]:
        raise InputError(f"the values of the audit beside {path} are gone or changed. Measure onto a new file.")
    with np.load(stored, allow_pickle=False) as arrays:
        return {key: arrays[key][:, [there.index(name) for name in names]] for key in ("X", "Y")}


def _check_spread(z: Array, names: Sequence[str]) -> None:
    """InputError where a covariate is the same in all clips: a crop's duration, the clipping of clean recordings."""
    if same := [name for name, column in zip(names, z.T, strict=True) if np.ptp(column) <= ROUNDING * abs(column[0])]:
        raise InputError(
            f"{', '.join(same)}: the same in all clips, so held equal already. Leave out of --covariates."
        )


def _clips(embeddings: Embeddings, values: Mapping[str, Array], design: str) -> _Clips:
    known = {key: np.flatnonzero(~np.isnan(values[key]).any(axis=1)) for key in ("X", "Y")}
    if design == "pair":  # a clip whose partner has no value has nobody to change places with
        x, y = ({embeddings.pairs[key][row] for row in rows} for key, rows in known.items())
        kept = {key: [row for row in rows if embeddings.pairs[key][row] in x & y] for key, rows in known.items()}
        known = {key: np.array(rows, dtype=np.intp) for key, rows in kept.items()}
    if min(map(len, known.values())) < 2:
        raise InputError("fewer than 2 clips of a group have all these covariates. Name others with --covariates.")
    return _Clips(
        z=np.concatenate([values[key][rows] for key, rows in known.items()]),
        n_x=len(known["X"]),
        labels={key: [embeddings.speakers[key][row] for row in rows] for key, rows in known.items()},
        pairs={key: [embeddings.pairs[key][row] for row in rows] for key, rows in known.items()},
        kept=np.concatenate([known["X"], len(values["X"]) + known["Y"]]),
    )


def _records(
    results: Sequence[BiasResult], s: Array, clips: _Clips, adjustment: Adjustment
) -> Iterator[dict[str, Any]]:
    first, n_x = results[0], clips.n_x
    found = adjust(s, clips.z, n_x=n_x, ddof=first.ddof)
    units = target_units(first.design, clips.labels, clips.pairs)
    interval = _interval(partial(adjusted_interval, s, clips.z), units, n_x, first, adjustment)
    p = freedman_lane(
        s,
        clips.z,
        relabel(first.design, (clips.labels["X"], clips.labels["Y"]), clips.pairs),
        n_x=n_x,
        alternative=first.alternative,
        permutations=adjustment.permutations,
        rng=np.random.default_rng([first.seed, 0]),
    )
    matched = _match(s, clips, first, adjustment)
    for column, result in enumerate(results):
        limits = (None, None, "none") if interval is None else _limits(interval, column)
        yield {
            "schema": SCHEMA,
            "kind": "adjusted",
            **{name: getattr(result, name) for name in SAME},
            "covariates": list(adjustment.covariates),
            "n": {"X": n_x, "Y": len(s) - n_x},
            "left_out": result.n["X"] + result.n["Y"] - len(s),
            "d": float(found.raw[column]),
            "d_adjusted": float(found.adjusted[column]),
            "shares": dict(zip(adjustment.covariates, found.shares[:, column].tolist(), strict=True)),
            "differences": _differences(clips.z, n_x, adjustment.covariates),
            **dict(zip(("ci_low", "ci_high", "ci_method"), limits, strict=True)),
            "p_value": None if p is None else float(p[column]),
            "p_method": "freedman-lane",
            "permutations": adjustment.permutations,
            "resamples": adjustment.resamples,
            "caliper": adjustment.caliper,
            "matched": matched[column] if matched else None,
        }


def _interval(
    of: Callable[..., Interval], units: Strata, n_x: int, first: BiasResult, adjustment: Adjustment
) -> Interval | None:
    """None where a group is of one unit, or nearly every resample degenerate.

    So it is where covariates fix the group, or where few clips are left and have no spread in it.
    """
    if units.one_sided(n_x):
        return None
    with suppress(InputError):
        return of(
            units,
            n_x=n_x,
            ddof=first.ddof,
            resamples=adjustment.resamples,
            confidence=first.confidence,
            rng=np.random.default_rng([first.seed, 2]),
        )
    return None


def _limits(interval: Interval, column: int) -> tuple[float, float, str]:
    return float(interval.low[column]), float(interval.high[column]), interval.method[column]


def _differences(
    z: Array, n_x: int, names: Iterable[str], spreads: Sequence[float] | None = None
) -> dict[str, float | None]:
    """Standardised by the SD within groups, or by given ``spreads``; None without a spread."""
    found: dict[str, float | None] = {}
    spreads = spreads or [within_sd(column[:n_x], column[n_x:]) for column in z.T]
    for name, column, spread in zip(names, z.T, spreads, strict=True):
        found[name] = float((column[:n_x].mean() - column[n_x:].mean()) / spread) if spread > 0 else None
    return found


def _match(s: Array, clips: _Clips, first: BiasResult, adjustment: Adjustment) -> list[dict[str, Any]] | None:
    """Of every state d of the matched clips; None where fewer than 2 pairs are left, or they have no spread in s."""
    x, y = match(clips.z, n_x=clips.n_x, caliper=adjustment.caliper)
    if len(x) < 2:
        return None
    rows = np.concatenate([x, y])
    chosen, z, n_x = s[rows], clips.z[rows], len(x)
    if (chosen.std(axis=0) <= ROUNDING_SPREAD).any():
        return None
    labels = {"X": [clips.labels["X"][i] for i in x], "Y": [clips.labels["Y"][i - clips.n_x] for i in y]}
    pairs = {"X": [clips.pairs["X"][i] for i in x], "Y": [clips.pairs["Y"][i - clips.n_x] for i in y]}
    units = target_units(first.design, labels, pairs)
    d = (chosen[:n_x].mean(axis=0) - chosen[n_x:].mean(axis=0)) / chosen.std(axis=0, ddof=first.ddof)
    interval = _interval(partial(target_interval, chosen), units, n_x, first, adjustment)
    spreads = [within_sd(column[: clips.n_x], column[clips.n_x :]) for column in clips.z.T]  # of all, as before
    differences = _differences(z, n_x, adjustment.covariates, spreads)
    return [
        {
            "d": float(d[column]),
            **dict(zip(("ci_low", "ci_high"), _limits(interval, column) if interval else (None, None), strict=False)),
            "pairs": n_x,
            "differences": differences,
        }
        for column in range(s.shape[1])
    ]
