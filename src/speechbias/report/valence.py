"""The gap of a valence predictor beside d, for a table: records of kind ``valence``, of the mean over states alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechbias.level import alpha_of
from speechbias.report.drivers import key_of
from speechbias.report.grid import Column, Grid
from speechbias.report.names import clean, named
from speechbias.report.numerals import format_d, format_interval, format_p
from speechbias.results import BiasResult

Record = Mapping[str, Any]
FEWEST = 4  # models, of which a correlation is worth a number


@dataclass(frozen=True)
class ValenceView:
    """One measurement: the texts of its row. ``usable``: the predictor tells A from B on talkers it has not heard."""

    label: str
    test: str
    d: str
    gap: str
    interval: str
    p_value: str
    p_attribute: str
    accuracy: str
    trained_on: str
    usable: bool


@dataclass(frozen=True)
class Valences:
    """All rows, and a sentence for each test with enough models."""

    rows: tuple[ValenceView, ...] = ()
    sentences: tuple[str, ...] = ()
    elsewhere: bool = False  # some predictor was trained on another test's clips


NO_VALENCES = Valences()


def view_valences(grid: Grid, others: Sequence[Record]) -> Valences:
    """A row for each measurement of the table that has such a record, in its order; the last record counts."""
    known = {key_of(each): each for each in others if each.get("kind") == "valence" and each["layer"] == "mean"}
    found = [
        (row.label, column, record, known[key_of(vars(record))])
        for row, column, record in grid.measurements()
        if key_of(vars(record)) in known
    ]
    columns = dict.fromkeys(column for _, column, _, _ in found)
    sentences = (_relate(column, [each for _, of, _, each in found if of == column]) for column in columns)
    return Valences(
        tuple(_view(label, column.label, record, each) for label, column, record, each in found),
        tuple(filter(None, sentences)),
        any(each["trained_on"] != each["test"] for _, _, _, each in found),
    )


def is_usable(record: Record) -> bool:
    """Whether the predictor is better than guessing, at the level of the measurement."""
    return bool(record["p_predictor"] < alpha_of(record["confidence"]))


def _view(label: str, test: str, result: BiasResult, record: Record) -> ValenceView:
    accuracy = format_interval(record["accuracy_low"], record["accuracy_high"])
    return ValenceView(
        label=label,
        test=clean(test),
        d=format_d(result.d),
        gap=format_d(record["gap_sd"]),
        interval=format_interval(record["ci_low"], record["ci_high"]),
        p_value=format_p(record["p_value"], alpha=alpha_of(record["confidence"])),
        p_attribute=format_p(record["p_attribute"], alpha=alpha_of(record["confidence"])),
        accuracy=f"{record['balanced_accuracy']:.2f} ({accuracy})",
        trained_on=clean(str(record["trained_on"])),
        usable=is_usable(record),
    )


def _relate(column: Column, records: Sequence[Record]) -> str:
    """How d and the gap go together over the models of one test whose predictor is usable; "" for too few of them."""
    usable = [each for each in records if is_usable(each)]
    if len(usable) < FEWEST:
        return ""
    d, gap = (np.array([each[key] for each in usable]) for key in ("d", "gap_sd"))
    same = int(np.count_nonzero(np.sign(d) == np.sign(gap)))
    relation = "" if min(d.std(), gap.std()) == 0 else f" and correlate at r = {np.corrcoef(d, gap)[0, 1]:.2f}"
    return (
        f"{named(column.label)}: over {len(usable)} models whose predictor is better than guessing, d and the gap "
        f"have the same sign in {same}{relation}."
    )
