"""What drives the d's and what tells the groups apart, for a table: records of kinds ``explanation`` and ``leakage``.

Of the mean over states alone; single states stand in the records. A record is of a measurement where model, clips,
states, precision and recipe (crops, pooling) agree; statistical options do not matter.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.grid import Grid
from speechbias.report.names import clean
from speechbias.report.numerals import format_d, format_interval

Record = Mapping[str, Any]
GEOMETRIES = ("centred", "standardised", "without the 3 largest dimensions", "states of equal length")
COSINES = ("XA", "XB", "YA", "YB")
MEASURES = ("sc_weat_X", "sc_weat_Y", "rnd_A", "rnd_B", "projection")
NONE = "-"
SAME = ("model_sha256", "stimuli_sha256", "states", "dtype", "recipe")
SHOWN = {
    "explanation": ("half_by", "dim", "anisotropy", "alternatives"),
    "leakage": ("balanced_accuracy", "ci_low", "ci_high"),
}


@dataclass(frozen=True)
class Driver:
    """One measurement: the texts of its row. ``leaks``: balanced accuracy of the linear probe and the perceptron."""

    label: str
    test: str
    d: str
    half_by: str
    anisotropy: str
    geometries: tuple[str, ...]  # d in each of GEOMETRIES
    cosines: tuple[str, ...]  # mean of X with A, X with B, Y with A, Y with B
    ruling: str  # the state of which most of the layer mean is, with its share
    others: tuple[str, ...]  # MEASURES, which are not d
    without_speaker: str
    without_talker: str
    leaks: tuple[str, str]
    poolings: str  # d of the same model and clips pooled otherwise; "-" where none was measured

    @property
    def behind(self) -> tuple[str, ...]:
        """The cells of the row that says what stands behind d."""
        return *self.cosines, self.ruling, *self.others


def find_drivers(grid: Grid, others: Sequence[Record]) -> list[Driver]:
    """A row for each measurement of the table that was explained or probed, in its order; the last record counts."""
    explained = {key_of(each): each for each in _of_kind("explanation", others)}
    leaked = {(*key_of(each), str(each.get("probe"))): each for each in _of_kind("leakage", others)}
    found = []
    for row, column, record in grid.measurements():
        key = key_of(vars(record))
        why, leaks = explained.get(key), [leaked.get((*key, kind)) for kind in ("linear", "mlp")]
        if why or any(leaks):
            found.append(_driver(row.label, column.label, record.d, why or {}, leaks))
    return found


def _driver(label: str, test: str, d: float, why: Record, leaks: Sequence[Record | None]) -> Driver:
    others, cosines, measures = (why.get(name) or {} for name in ("alternatives", "mean_cosines", "other_measures"))
    return Driver(
        label=label,
        test=clean(test),
        d=format_d(d),
        half_by=f"{why['half_by']:,} of {why['dim']:,}" if why.get("half_by") else NONE,
        anisotropy=f"{why['anisotropy']:.2f}" if "anisotropy" in why else NONE,
        geometries=tuple(NONE if others.get(name) is None else format_d(others[name]) for name in GEOMETRIES),
        cosines=tuple(_number(cosines.get(name), 3) for name in COSINES),
        ruling=_ruling(why.get("state_shares")),
        others=tuple(_number(measures.get(name), 2) for name in MEASURES),
        without_speaker=_range(why.get("leave_one_speaker_out")),
        without_talker=_range(why.get("leave_one_talker_out")),
        leaks=(_leak(leaks[0]), _leak(leaks[1])),
        poolings=", ".join(f"{name} {format_d(each)}" for name, each in (why.get("poolings") or {}).items()) or NONE,
    )


def _number(value: float | None, decimals: int) -> str:
    return NONE if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _ruling(shares: Sequence[float] | None) -> str:
    """``3 (62 %)``; nothing of a single state, which has no share of a mean."""
    if not shares or len(shares) < 2:
        return NONE
    largest = max(range(len(shares)), key=shares.__getitem__)
    return f"{largest} ({100 * shares[largest]:.0f} %)"


def _leak(record: Record | None) -> str:
    if record is None:
        return NONE
    return f"{record['balanced_accuracy']:.2f} ({format_interval(record['ci_low'], record['ci_high'])})"


def _range(bounds: Sequence[float] | None) -> str:
    return format_interval(*bounds) if bounds else NONE


def _of_kind(kind: str, others: Sequence[Record]) -> list[Record]:
    """Those of the mean over states that have what is shown of them: damaged ones are passed over."""
    return [
        each
        for each in others
        if each.get("kind") == kind and each.get("layer") == "mean" and all(name in each for name in SHOWN[kind])
    ]


def key_of(record: Record) -> tuple[str, ...]:
    """Which measurement a record is about; of the measurement itself, of its fields."""
    return tuple(json.dumps(record.get(name), sort_keys=True) for name in SAME)
