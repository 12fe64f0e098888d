"""What else differs between the groups, from records of the audit (``confounds``) and of d adjusted (``adjusted``).

A flag is a difference beyond 0.5 SD within groups. The sentences say what it means and what can be done; nobody's
voice is called a fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.level import alpha_of
from speechbias.report.grid import Column, Grid, Row
from speechbias.report.names import clean, named
from speechbias.report.numerals import format_d, format_interval, format_p
from speechbias.results import SETS, BiasResult

Record = Mapping[str, Any]

SPOKEN = {"f0_mean", "f0_range", "rate"}
PAIRS = {"targets": ("X", "Y"), "attributes": ("A", "B")}
SAME = (
    *("test", "layer", "states", "dtype", "model_sha256", "stimuli_sha256", "recipe"),
    *("design", "alternative", "confidence", "ddof", "seed"),
)
NOTE = (
    "Difference: of the means, in SDs within groups, with its interval over speakers. Bold: beyond {threshold}, where "
    "regression alone is no longer trusted to even it out (Rubin 2001). Semitones (st) of F0 are above 100 Hz."
)


@dataclass(frozen=True)
class Compared:
    """Two sets in one covariate: texts for a table."""

    means: tuple[str, str]
    difference: str
    interval: str
    flagged: bool


@dataclass(frozen=True)
class Line:
    """One covariate."""

    label: str
    targets: Compared
    attributes: Compared
    missing: str  # clips without a value


@dataclass(frozen=True)
class AuditView:
    """The audit of one test, for a page or a terminal."""

    label: str
    test: str  # the label of its column
    groups: Mapping[str, str]
    lines: tuple[Line, ...]
    sentences: tuple[str, ...]  # names marked
    flagged: bool  # X and Y somewhere
    differs: str  # in what, as a sentence with names marked; "" where nothing is flagged
    missing: bool  # clips without a value somewhere
    note: str


@dataclass(frozen=True)
class AdjustedView:
    """One measurement with covariates held equal, beside raw d."""

    label: str
    test: str
    covariates: str
    raw: str
    adjusted: str
    interval: str
    p: str
    matched: str
    matched_interval: str
    pairs: str


def view_audits(grid: Grid, others: Sequence[Record]) -> list[AuditView]:
    """The audits of the clips that a report is about, test by test; of several of the same clips the fullest."""
    found: dict[tuple[object, ...], Record] = {}
    for record in others:
        if record.get("kind") == "confounds" and _is_whole(record):
            key = _key(record)
            if key not in found or len(record["covariates"]) >= len(found[key]["covariates"]):
                found[key] = record
    views = []
    for column in grid.columns:
        heard = dict.fromkeys(_key_of(record) for _, record in grid.column_cells(column))
        views += [
            view_audit(found[key], label=_label(column, key), test=column.label) for key in heard if key in found
        ]
    return views


def _key(record: Record) -> tuple[object, ...]:
    return record["test"], record["stimuli_sha256"], record.get("crop_seconds")


def _key_of(result: BiasResult) -> tuple[object, ...]:
    return result.test, result.stimuli_sha256, result.crop_seconds


def _label(column: Column, key: tuple[object, ...]) -> str:
    return column.label if key[2] is None else f"{column.label}, the middle {key[2]:g} s of each clip"


def _is_whole(record: Record) -> bool:
    """Whether a record has what is shown of it: a damaged one is passed over."""
    try:
        view_audit(record, label="")
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True


def view_audit(record: Record, *, label: str, test: str = "") -> AuditView:
    """Texts of one audit."""
    groups = {key: clean(record["groups"].get(key) or "") or key for key in SETS}
    sentences = [_sentence(record, groups, comparison) for comparison in PAIRS]
    if left_out := record.get("left_out"):
        what = ", ".join(map(clean, left_out))
        sentences.append(f"Not measured, as the extra \u2018audit\u2019 was not installed: {what}.")
    return AuditView(
        label=label,
        test=test,
        groups=groups,
        lines=tuple(_line(covariate) for covariate in record["covariates"]),
        sentences=tuple(sentences),
        flagged=bool(_flags(record, "targets")),
        differs=f"{_difference(record, groups, 'targets')}." if _flags(record, "targets") else "",
        missing=any(count for covariate in record["covariates"] for count in covariate["missing"].values()),
        note=NOTE.format(threshold=f"{record['threshold']:g}"),
    )


def _line(covariate: Record) -> Line:
    missing = {key: count for key, count in covariate["missing"].items() if count}
    return Line(
        label=f"{clean(covariate['label'])} ({clean(covariate['unit'])})",
        targets=_compared(covariate, "targets"),
        attributes=_compared(covariate, "attributes"),
        missing=", ".join(f"{count} in {key}" for key, count in missing.items()),
    )


def _compared(covariate: Record, comparison: str) -> Compared:
    found, means = covariate[comparison], [covariate["mean"][key] for key in PAIRS[comparison]]
    known = found["low"] is not None
    return Compared(
        means=(_format(means[0]), _format(means[1])),
        difference=_signed(found),
        interval=format_interval(found["low"], found["high"]) if known else "-",
        flagged=bool(found["flagged"]),
    )


def _format(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _signed(found: Record) -> str:
    if found["difference"] is None:
        return "no spread within" if found["flagged"] else "-"
    text = format_d(found["difference"])
    return text if text.startswith("-") or text == "0.00" else f"+{text}"


def _sentence(record: Record, groups: Mapping[str, str], comparison: str) -> str:
    """What the flags of one comparison mean, and the remedy."""
    first, second = (named(groups[key]) for key in PAIRS[comparison])
    flags = _flags(record, comparison)
    if not flags:
        return f"{first} and {second} differ by no more than {record['threshold']:g} SD in what was measured."
    start = _difference(record, groups, comparison)
    if comparison == "attributes":
        return f"{start}: being near to {first} can also mean being like it in that."
    names = {str(each["name"]) for each in flags}
    crop = ", crop them to one length" if "duration" in names else ""
    spoken = " F0 and rate can be part of what the groups are: to hold them equal asks something else."
    return (
        f"{start}: d cannot tell these from the groups themselves. Match the clips in them{crop}, or hold them equal "
        f"(d adjusted).{spoken if names & SPOKEN else ''}"
    )


def _flags(record: Record, comparison: str) -> list[Record]:
    return [covariate for covariate in record["covariates"] if covariate[comparison]["flagged"]]


def _difference(record: Record, groups: Mapping[str, str], comparison: str) -> str:
    """In what two sets differ beyond the threshold, without a full stop."""
    first, second = (named(groups[key]) for key in PAIRS[comparison])
    flags = _flags(record, comparison)
    what = ", ".join(f"{clean(each['label'])} ({_signed(each[comparison])})" for each in flags)
    return f"{first} and {second} differ by more than {record['threshold']:g} SD in {what}"


def view_adjusted(grid: Grid, others: Sequence[Record]) -> list[AdjustedView]:
    """Adjusted d of the measurements of a report, in their order; the last of each set of covariates."""
    found: dict[str, dict[tuple[str, ...], Record]] = {}
    for record in others:
        if record.get("kind") == "adjusted" and isinstance(record.get("d_adjusted"), int | float):
            names = tuple(map(str, record.get("covariates", ())))
            found.setdefault(_same(record), {})[names] = record
    return [
        view_adjustment(row, column, record)
        for row, column, result in grid.measurements()
        for record in found.get(_same(vars(result)), {}).values()
    ]


def _same(record: Record) -> str:
    return repr([record.get(name) for name in SAME])


def view_adjustment(row: Row, column: Column, record: Record) -> AdjustedView:
    """Texts of one record of adjusted d, in the row and column of its measurement."""
    matched = record.get("matched") or {}
    p, known = record.get("p_value"), record.get("ci_low") is not None
    return AdjustedView(
        label=row.label,
        test=column.label,
        covariates=", ".join(clean(str(name)).replace("_", " ") for name in record["covariates"]),
        raw=format_d(record["d"]),
        adjusted=format_d(record["d_adjusted"]),
        interval=format_interval(record["ci_low"], record["ci_high"]) if known else "-",
        p="-" if p is None else format_p(p, alpha=alpha_of(record["confidence"])),
        matched=format_d(matched["d"]) if matched else "-",
        matched_interval=(
            format_interval(matched["ci_low"], matched["ci_high"]) if matched.get("ci_low") is not None else "-"
        ),
        pairs=str(matched.get("pairs", 0)),
    )
