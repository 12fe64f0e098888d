"""Section 3.3: heads, rows, weights pruned; students."""

from collections.abc import Iterator
from typing import Literal

from speechbias.paper import TABLE_3_COLUMNS
from speechbias.report.sparsities import FAMILIES as NAMES
from speechbias.report.sparsities import Line
from speechbias.reproduce.findings.evidence import Effect, Evidence, means
from speechbias.reproduce.findings.finding import Finding, Says, none_verdict, sign_verdict
from speechbias.results import BiasResult

Expected = Literal["lower", "higher", "same"]
PRUNED = ("wav2vec2", "melhubert")
DISTILLED = ("wav2vec2", "hubert", "melhubert")
SECTIONS = {"heads": "3.3.1", "rows": "3.3.2", "weights": "3.3.3", "distillation": "3.3.4"}
# What the text says of d after pruning, by method, family, test. Rows of MelHuBERT's Native and Age have their own.
PRUNING: dict[tuple[str, str, str], Expected] = {
    **{("heads", family, "Age"): "lower" for family in PRUNED},
    **{("heads", family, test): "same" for family in PRUNED for test in ("Native", "Gender")},
    **{("rows", "wav2vec2", test): "lower" for test in TABLE_3_COLUMNS},
    ("rows", "melhubert", "Gender"): "lower",
    **{("weights", family, "Age"): "lower" for family in PRUNED},
}
DISTILLATION: dict[tuple[str, str], Expected] = {
    **{(family, "Gender"): "higher" for family in DISTILLED},
    **{(family, "Age"): "lower" for family in DISTILLED},
    ("wav2vec2", "Native"): "higher",
    ("hubert", "Native"): "lower",
    ("melhubert", "Native"): "lower",
}
WORDS = {"lower": "lowers d", "higher": "raises d", "same": "leaves d about as it was"}


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section."""
    for (method, family, test), expected in PRUNING.items():
        yield _pruning_moves(evidence, method, family, test, expected)
    for test in ("Native", "Age"):
        yield _rows_turn_negative(evidence, test)
        yield _rows_rise_again(evidence, test)
    for test in TABLE_3_COLUMNS:
        yield from _weights_fall_then_rise(evidence, test)
    yield _all_prunings_lower_age(evidence)
    for (family, test), expected in DISTILLATION.items():
        yield _distillation_moves(evidence, family, test, expected)
    for test in TABLE_3_COLUMNS:
        yield _student_size(evidence, test)


def _cuts(line: Line) -> tuple[BiasResult, list[BiasResult]] | None:
    """The unpruned model and the sizes of the first run, the largest first."""
    run = line.curve.runs[0].mean
    cut = [run[size] for size in sorted(run) if size > 0]
    return (line.unpruned, cut) if line.unpruned is not None and cut else None


def _found(evidence: Evidence, method: str, family: str, test: str) -> tuple[BiasResult, list[BiasResult]] | None:
    """Of the first such line."""
    return next((cuts for line in evidence.lines(test, method, family) if (cuts := _cuts(line))), None)


def _judged(found: Effect, expected: Expected) -> Says:
    if expected == "same":
        return none_verdict(found.low, found.high)
    return sign_verdict(found.low, found.high, sign=1 if expected == "higher" else -1)


def _pruning_moves(evidence: Evidence, method: str, family: str, test: str, expected: Expected) -> Finding:
    statement, on = f"pruning of {method} {WORDS[expected]}", f"{NAMES[family]}, {test}"
    found = _found(evidence, method, family, test)
    if found is None:
        return Finding(SECTIONS[method], statement, on, "stimuli", Says.absent)
    whole, cut = found
    effect = evidence.effect([*cut, whole], means(len(cut), 1))
    note = f"mean of {len(cut)} sizes less the unpruned model"
    return _of((SECTIONS[method], statement, on), effect, _judged(effect, expected), note)


def _rows_turn_negative(evidence: Evidence, test: str) -> Finding:
    statement, on = "the first cuts of rows make d negative", f"MelHuBERT, {test}"
    found = _found(evidence, "rows", "melhubert", test)
    if found is None:
        return Finding(SECTIONS["rows"], statement, on, "stimuli", Says.absent)
    _, cut = found
    effect = evidence.effect(cut[:1], lambda d: d[..., 0])
    return _of(
        (SECTIONS["rows"], statement, on), effect, sign_verdict(effect.low, effect.high, sign=-1), "d after one cut"
    )


def _rows_rise_again(evidence: Evidence, test: str) -> Finding:
    statement, on = "d rises again as more rows are cut", f"MelHuBERT, {test}"
    found = _found(evidence, "rows", "melhubert", test)
    if found is None or len(found[1]) < 2:
        return Finding(SECTIONS["rows"], statement, on, "stimuli", Says.absent)
    _, cut = found
    effect = evidence.effect([cut[-1], cut[0]], means(1, 1))
    says = sign_verdict(effect.low, effect.high, sign=1)
    return _of((SECTIONS["rows"], statement, on), effect, says, "the smallest model less the first cut")


def _weights_fall_then_rise(evidence: Evidence, test: str) -> Iterator[Finding]:
    """The half way point is named before the data are seen: the middle of the sizes."""
    on, found = f"MelHuBERT, {test}", _found(evidence, "weights", "melhubert", test)
    parts = (("d falls as weights are masked", -1), ("d rises again towards the sparsest", 1))
    for number, (statement, sign) in enumerate(parts):
        if found is None or len(found[1]) < 2:
            yield Finding(SECTIONS["weights"], statement, on, "stimuli", Says.absent)
            continue
        whole, cut = found
        middle = cut[(len(cut) - 1) // 2]
        pair, note = (
            ([middle, whole], "the middle size less the unpruned model"),
            ([cut[-1], middle], "the sparsest less the middle size"),
        )[number]
        effect = evidence.effect(pair, means(1, 1))
        yield _of((SECTIONS["weights"], statement, on), effect, sign_verdict(effect.low, effect.high, sign=sign), note)


def _all_prunings_lower_age(evidence: Evidence) -> Finding:
    """The conclusion: each method and family, all at once."""
    statement = "every method of pruning lowers d on Age"
    made = [found for method in ("heads", "rows", "weights") for family in PRUNED
            if (found := _found(evidence, method, family, "Age"))]  # fmt: skip
    if not made:
        return Finding("4", statement, "Age", "stimuli", Says.absent)
    level = 1 - 0.05 / len(made)
    effects = [evidence.effect([*cut, whole], means(len(cut), 1), confidence=level) for whole, cut in made]
    most = max(effects, key=lambda each: each.value)
    says = Says.unclear
    if all(each.high is not None and each.high < 0 for each in effects):
        says = Says.supported
    elif any(each.low is not None and each.low > 0 for each in effects):
        says = Says.contradicted
    note = f"the highest of {len(made)} prunings less their unpruned models, its interval for all of them at once"
    return _of(("4", statement, "Age"), most, says, note)


def _distillation_moves(evidence: Evidence, family: str, test: str, expected: Expected) -> Finding:
    statement, on = f"distillation {WORDS[expected]}", f"{NAMES[family]}, {test}"
    found = evidence.students(test, family)
    if not found or found[0].teacher is None:
        return Finding(SECTIONS["distillation"], statement, on, "stimuli", Says.absent)
    students = [student.record for student in found[0].students]
    effect = evidence.effect([*students, found[0].teacher], means(len(students), 1))
    note = f"mean of {len(students)} student{'s' if len(students) > 1 else ''} less the teacher"
    return _of((SECTIONS["distillation"], statement, on), effect, _judged(effect, expected), note)


def _student_size(evidence: Evidence, test: str) -> Finding:
    """The largest student less the smallest, mean over teachers."""
    statement = "the size of a student does not matter for d"
    pairs = []
    for family in DISTILLED:
        for taught in evidence.students(test, family)[:1]:
            ordered = [student.record for student in taught.students]  # those of most layers first
            if ordered[0].student_layers != ordered[-1].student_layers:
                pairs.append((ordered[0], ordered[-1]))
    if not pairs:
        return Finding(SECTIONS["distillation"], statement, test, "stimuli", Says.absent)
    large, small = zip(*pairs, strict=True)
    effect = evidence.effect([*large, *small], means(len(large), len(small)))
    note = f"largest less smallest student, mean of {len(pairs)} teacher{'s' if len(pairs) > 1 else ''}"
    return _of((SECTIONS["distillation"], statement, test), effect, none_verdict(effect.low, effect.high), note)


def _of(what: tuple[str, str, str], effect: Effect, says: Says, note: str) -> Finding:
    return Finding(*what, "stimuli", says, effect.value, effect.low, effect.high, note=note)
