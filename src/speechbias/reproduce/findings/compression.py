"""Sections 3.3.1 to 3.3.4: heads, rows, weights pruned; students."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

import numpy as np

from speechbias.paper import TABLE_3_COLUMNS
from speechbias.report.sparsities import FAMILIES as NAMES
from speechbias.reproduce.findings.evidence import Compressed, Evidence, changes, means, sizes_of
from speechbias.reproduce.findings.finding import (
    NEGLIGIBLE,
    Effect,
    Finding,
    Says,
    Statement,
    none_verdict,
    sign_verdict,
)
from speechbias.results import BiasResult

Expected = Literal["lower", "higher", "same"]
PRUNED = ("wav2vec2", "melhubert")
DISTILLED = ("wav2vec2", "hubert", "melhubert")
MADE_BY = {"heads": PRUNED, "rows": PRUNED, "weights": PRUNED, "distillation": DISTILLED}  # of which families
SECTIONS = {"heads": "3.3.1", "rows": "3.3.2", "weights": "3.3.3", "distillation": "3.3.4"}
CALLED = {**{name: f"pruning of {name}" for name in ("heads", "rows", "weights")}, "distillation": "distillation"}
WORDS = {"lower": "lowers d", "higher": "raises d", "same": "leaves d about as it was"}
# What the text says of d, by method, family, test. Rows of MelHuBERT's Native and Age have statements of their own.
MOVES: dict[tuple[str, str, str], Expected] = {
    **{("heads", family, "Age"): "lower" for family in PRUNED},
    **{("heads", family, test): "same" for family in PRUNED for test in ("Native", "Gender")},
    **{("rows", "wav2vec2", test): "lower" for test in TABLE_3_COLUMNS},
    ("rows", "melhubert", "Gender"): "lower",
    **{("weights", family, "Age"): "lower" for family in PRUNED},
    **{("distillation", family, "Gender"): "higher" for family in DISTILLED},
    **{("distillation", family, "Age"): "lower" for family in DISTILLED},
    ("distillation", "wav2vec2", "Native"): "higher",
    ("distillation", "hubert", "Native"): "lower",
    ("distillation", "melhubert", "Native"): "lower",
}
# What it says "in general", over families.
GENERALLY: dict[tuple[str, str], Expected] = {
    **{("rows", test): "lower" for test in TABLE_3_COLUMNS},
    ("distillation", "Gender"): "higher",
    ("distillation", "Age"): "lower",
}


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the sections, method by method."""
    for method in SECTIONS:
        for (by, family, test), expected in MOVES.items():
            if by == method:
                yield _moves(evidence, method, family, test, expected)
        for (by, test), expected in GENERALLY.items():
            if by == method:
                yield _moves_generally(evidence, method, test, expected)
        yield from _of_the_method(evidence, method)


def _of_the_method(evidence: Evidence, method: str) -> Iterator[Finding]:
    """What is said of one method alone."""
    if method == "rows":
        for test in ("Native", "Age"):
            yield from _rows_turn(evidence, test)
    if method == "weights":
        yield _weights_vary(evidence)
        for test in TABLE_3_COLUMNS:
            yield from _weights_fall_then_rise(evidence, test)
    if method == "distillation":
        yield from (_student_size(evidence, test) for test in TABLE_3_COLUMNS)


def _judged(found: Effect, expected: Expected) -> Says:
    if expected == "same":
        return none_verdict(found.low, found.high)
    return sign_verdict(found.low, found.high, sign=1 if expected == "higher" else -1)


def _moves(evidence: Evidence, method: str, family: str, test: str, expected: Expected) -> Finding:
    """The mean of all sizes, or students, less the model that they were made from."""
    on = f"{NAMES[family]}, {test}"
    statement = Statement(SECTIONS[method], f"{CALLED[method]} {WORDS[expected]}", on)
    found = evidence.compressed(test, method, family)
    if found is None:
        return statement.absent()
    effect = evidence.effect(found.all, changes(len(found.made)))
    return statement.judged(effect, _judged(effect, expected), f"{_mean_of(found, method)} less {_whole(method)}")


def _moves_generally(evidence: Evidence, method: str, test: str, expected: Expected) -> Finding:
    """The same, mean over families; of one family it would be no general statement."""
    statement = Statement(SECTIONS[method], f"{CALLED[method]} generally {WORDS[expected]}", test)
    found = [each for family in MADE_BY[method] if (each := evidence.compressed(test, method, family))]
    if len(found) < 2:
        return statement.absent("it takes two families")
    effect = evidence.effect(_records(found), changes(*(len(each.made) for each in found)))
    note = f"what was made less {_whole(method)}, mean of {len(found)} families"
    return statement.judged(effect, _judged(effect, expected), note)


def _rows_turn(evidence: Evidence, test: str) -> Iterator[Finding]:
    """Negative at first, then back: the text calls that lower bias, which it is by |d|."""
    on, found = f"MelHuBERT, {test}", evidence.compressed(test, "rows", "melhubert")
    cut = [] if found is None else [found.made[-1], found.made[0]]
    statement = Statement(SECTIONS["rows"], "the first cuts of rows make d negative", on)
    if not cut:
        yield statement.absent()
    else:
        effect = evidence.effect(cut[1:], lambda d: d[..., 0])
        yield statement.judged(effect, sign_verdict(effect.low, effect.high, sign=-1), "d after one cut")
    later = means(1, 1)
    for text, contrast, sign, what in (
        ("d rises again as more rows are cut", later, 1, "the smallest model less the first cut"),
        (
            "|d| falls as more rows are cut",
            sizes_of(later),
            -1,
            "|d| of the smallest model less that of the first cut",
        ),
    ):
        statement = Statement(SECTIONS["rows"], text, on)
        if len(cut) < 2 or cut[0] is cut[1]:
            yield statement.absent()
            continue
        effect = evidence.effect(cut, contrast)
        yield statement.judged(effect, sign_verdict(effect.low, effect.high, sign=sign), what)


def _weights_vary(evidence: Evidence) -> Finding:
    """The highest change less the lowest, each of which has an interval that holds for all of them at once.

    The tests have clips of their own, so that no resample is of two of them.
    """
    statement = Statement(
        SECTIONS["weights"], "pruning of weights moves d otherwise in other models and categories", "Native and Gender"
    )
    cells = product(("Native", "Gender"), PRUNED)
    found = [each for test, family in cells if (each := evidence.compressed(test, "weights", family))]
    if len(found) < 2:
        return statement.absent("it takes two models or categories")
    level = 1 - 0.05 / len(found)
    effects = [evidence.effect(each.all, changes(len(each.made)), confidence=level) for each in found]
    note = f"the highest of {len(found)} changes less the lowest, by intervals for all of them at once"
    values = [each.value for each in effects]
    bounds = [(each.low, each.high) for each in effects if each.low is not None and each.high is not None]
    if len(bounds) < len(effects):
        return statement.judged(Effect(max(values) - min(values)), Says.unclear, note)
    highest, lowest = bounds[int(np.argmax(values))], bounds[int(np.argmin(values))]
    widest = max(high for _, high in bounds) - min(low for low, _ in bounds)
    apart = highest[0] - lowest[1]
    says = Says.supported if apart > 0 else Says.contradicted if widest < NEGLIGIBLE else Says.unclear
    return statement.judged(Effect(max(values) - min(values), max(apart, 0.0), widest), says, note)


def _weights_fall_then_rise(evidence: Evidence, test: str) -> Iterator[Finding]:
    """The half way point is named before the data are seen: the middle of the sizes."""
    on, found = f"MelHuBERT, {test}", evidence.compressed(test, "weights", "melhubert")
    for text, sign in (("d falls as weights are masked", -1), ("d rises again towards the sparsest", 1)):
        statement = Statement(SECTIONS["weights"], text, on)
        if found is None or len(found.made) < 2:
            yield statement.absent()
            continue
        middle = found.made[(len(found.made) - 1) // 2]
        pair, note = (
            ([middle, found.whole], "the middle size less the unpruned model")
            if sign < 0
            else ([found.made[-1], middle], "the sparsest less the middle size")
        )
        effect = evidence.effect(pair, means(1, 1))
        yield statement.judged(effect, sign_verdict(effect.low, effect.high, sign=sign), note)


def _student_size(evidence: Evidence, test: str) -> Finding:
    """The largest student less the smallest, mean over teachers."""
    statement = Statement(SECTIONS["distillation"], "the size of a student does not matter for d", test)
    pairs = []
    for family in DISTILLED:
        if found := evidence.compressed(test, "distillation", family):
            large, small = found.made[0], found.made[-1]
            if large.student_layers != small.student_layers:
                pairs.append((large, small))
    if not pairs:
        return statement.absent()
    larger, smaller = zip(*pairs, strict=True)
    effect = evidence.effect([*larger, *smaller], means(len(larger), len(smaller)))
    note = f"largest less smallest student, mean of {len(pairs)} teacher{'s' if len(pairs) > 1 else ''}"
    return statement.judged(effect, none_verdict(effect.low, effect.high), note)


def _records(found: Sequence[Compressed]) -> list[BiasResult]:
    return [record for each in found for record in each.all]


def _mean_of(found: Compressed, method: str) -> str:
    of = "student" if method == "distillation" else "size"
    return f"mean of {len(found.made)} {of}{'s' if len(found.made) > 1 else ''}"


def _whole(method: str) -> str:
    return "the teacher" if method == "distillation" else "the unpruned model"
