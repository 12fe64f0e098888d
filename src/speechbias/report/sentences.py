"""The answer in plain words: one sentence per model and test, and what limits it.

A group is called *associated* only where both p's are below alpha (``BiasResult.associated``); the paper's words for
the size of d come from ``paper.magnitude`` alone, and for a group that is not associated only ``negligible`` is said.
A negative d is a reverse association: the other group is the nearer one. It is never "less".
"""

from collections.abc import Sequence
from math import comb

from speechbias.paper import magnitude
from speechbias.report.grid import Grid, group_names
from speechbias.report.names import named
from speechbias.report.numerals import count, format_d, format_interval, format_p, format_p_equation, format_percent
from speechbias.results import BiasResult

FEW_TALKERS = 10  # contract: below it the interval over attribute talkers is flagged
COARSE = 0.001  # from here on the smallest possible p is worth a sentence
DESIGNS = {
    "independent": "each clip by itself is dealt to one group or the other",
    "speaker": "whole speakers are dealt to one group or the other, so that clips of one voice stay together",
    "within-speaker": "labels are dealt anew within each speaker who stands in both groups",
    "pair": "labels are swapped within matched pairs",
}


def pooling_words(grid: Grid) -> str:
    """What a clip's vector is of its frames; where a row has another pooling than the mean its label says so."""
    found = dict.fromkeys(record.pooling for record in grid.cells.values())
    if set(found) == {"mean"}:
        return "the mean over its frames"
    return f"its frames pooled over time by {', '.join(found)}, as the row says"


def size_word(record: BiasResult) -> str:
    """The paper's word for d where it may be said, else ``""``."""
    word = magnitude(record.d, record.ci_low, record.ci_high)
    return word if record.associated or word == "negligible" else ""


def verdict(record: BiasResult) -> str:
    """``associated``, ``reverse association`` (d < 0) or ``not associated``."""
    if not record.associated:
        return "not associated"
    return "associated" if record.d > 0 else "reverse association"


def ask(record: BiasResult) -> str:
    """The question that a test asks, with names marked."""
    x, y, a, b = (named(name) for name in group_names(record).values())
    return f"Which clips lie nearer to {a} than to {b}: those of {x} or those of {y}?"


def answer(record: BiasResult) -> str:
    """One sentence: direction, d, interval, verdict and its reason; names marked (see ``names``)."""
    return _found(record) if record.associated else _not_found(record)


def tally(records: Sequence[BiasResult]) -> str:
    """One sentence on many measurements of one test: how many associated, and in which direction."""
    found = [record for record in records if record.associated]
    reverse = sum(record.d < 0 for record in found)
    x, y, a, _ = (named(name) for name in group_names(records[0]).values())
    if not found:
        return f"None of {len(records)} encoders: associated."
    sides = ((x, len(found) - reverse), (y, reverse))
    nearer = " and clips of ".join(f"{group} in {number}" for group, number in sides if number)
    return f"{len(found)} of {len(records)} encoders: associated. Nearer to {a} lie clips of {nearer}."


def _numbers(record: BiasResult) -> str:
    word = size_word(record)
    interval = format_interval(record.ci_low, record.ci_high)
    size = f", {word}" if word else ""
    return f"(d = {format_d(record.d)}{size}, {format_percent(record.confidence)} interval {interval})"


def _found(record: BiasResult) -> str:
    x, y, a, _ = (named(name) for name in group_names(record).values())
    near, far = (x, y) if record.d > 0 else (y, x)
    ending = "associated" if record.d > 0 else "a reverse association, as d is negative"
    return (
        f"clips of {near} lie nearer to {a} than clips of {far} {_numbers(record)}, "
        f"and the difference is aligned with the attribute: {ending}."
    )


def _not_found(record: BiasResult) -> str:
    x, y, a, b = (named(name) for name in group_names(record).values())
    level = record.alpha
    groups = format_p_equation(record.p_value, alpha=level)
    attribute = format_p_equation(record.p_attribute, alpha=level, symbol="attribute p")
    if record.p_value < level:
        return (
            f"not associated: clips of {x} and {y} differ {_numbers(record)}, but what they differ in is not shown to "
            f"be aligned with {a} against {b} ({attribute})."
        )
    reason = f"a difference this large can well arise by chance ({groups})"
    if record.p_min >= level:
        reason = (
            f"{_splits(record)} p cannot go below {_floor(record.p_min)}, so this test could not find a difference"
        )
    also = f", nor is it shown to be aligned with {a} against {b} ({attribute})" if record.p_attribute >= level else ""
    return f"not associated: clips of {x} and {y} are not shown to differ {_numbers(record)}; {reason}{also}."


def describe_direction(record: BiasResult) -> str:
    """Whether and how the test was one-sided, or ``""``."""
    groups = group_names(record)
    nearer = {"greater": groups["X"], "less": groups["Y"]}.get(record.alternative)
    return f"One-sided: only {named(nearer)} lying nearer to {named(groups['A'])} counts." if nearer else ""


def describe_floors(record: BiasResult) -> list[str]:
    """Sentences on how small the p's can be at all, where that matters."""
    floors = []
    if record.p_min > COARSE and record.p_method == "exact":
        floors.append(
            f"Few {_unit(record)}s limit this test: {_splits(record)} p cannot go below {_floor(record.p_min)}."
        )
    elif record.p_min > COARSE:
        drawn = count(record.permutations, "relabelling")
        floors.append(f"Only {drawn} were drawn, so p cannot go below {_floor(record.p_min)}.")
    if record.p_attribute_min > COARSE:
        floors.append(f"The attribute clips allow no attribute p below {_floor(record.p_attribute_min)}.")
    return floors


def flag_talkers(record: BiasResult) -> str:
    """The flag of an interval over fewer than 10 attribute talkers, or ``""``."""
    if not 0 < record.attribute_talkers < FEW_TALKERS:
        return ""
    return (
        f"Only {count(record.attribute_talkers, 'talker')} spoke the attribute clips: the interval that also allows "
        "for other talkers is a rough one."
    )


def describe_talkers(record: BiasResult) -> str:
    """The interval over attribute talkers, with its flag and the range of d without one talker at a time."""
    text = f"With the attribute talkers resampled too, the interval is {format_interval(*record.ci_attributes)}."
    left_out = record.leave_one_talker_out
    range_text = (
        f"Leaving out one talker at a time, d runs from {format_interval(*left_out)}." if left_out is not None else ""
    )
    return " ".join(part for part in (text, flag_talkers(record), range_text) if part)


def _floor(p_min: float) -> str:
    return format_p(p_min, alpha=0.0)


def _unit(record: BiasResult) -> str:
    return {"independent": "clip", "pair": "pair"}.get(record.design, "speaker")


def _splits(record: BiasResult) -> str:
    """How many relabellings there are, where the record lets us know it for certain."""
    n = record.n_speakers if record.design == "speaker" else record.n
    x, y = n.get("X", 0), n.get("Y", 0)
    splits = comb(x + y, x)
    known = record.design in ("speaker", "independent") and any(
        abs(record.p_min * splits - tails) < 1e-6 * splits * record.p_min for tails in (1, 2)
    )
    return (
        f"{count(x + y, _unit(record))} make {splits:,} splits, so"
        if known
        else "with the relabellings that there are,"
    )
