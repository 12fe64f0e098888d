"""Section 4, where it says more than Section 3: which compression lowers bias, in every category.

What is negative is a bias too, a reverse one, so that "reduces bias" is put to a test by |d|: rows of MelHuBERT turn d
negative (Section 3.3.2), which lowers d and need not lower the bias.
"""

from collections.abc import Iterator, Sequence

from speechbias.paper import TABLE_3_COLUMNS
from speechbias.reproduce.findings.compression import CALLED, MADE_BY, SECTIONS
from speechbias.reproduce.findings.evidence import Compressed, Contrast, Evidence, changes, sizes_of
from speechbias.reproduce.findings.finding import Effect, Finding, Statement, all_verdict, opposite

SECTION = "4"
PRUNINGS = ("heads", "rows", "weights")
LIMITED = ("heads", "weights", "distillation")


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section that is not a repetition."""
    yield _rows_mitigate_all(evidence)
    yield from (_is_limited(evidence, method) for method in LIMITED)
    yield _all_prunings_lower_age(evidence)


def _rows_mitigate_all(evidence: Evidence) -> Finding:
    statement = Statement(SECTION, "pruning of rows lowers |d| in every category", "all tests")
    return _in_every_category(evidence, statement, "rows", contrary=False)


def _is_limited(evidence: Evidence, method: str) -> Finding:
    """Section 3.3.4 has it of distillation: it "does not universally alleviate bias but sometimes increases" it."""
    section = SECTIONS[method] if method == "distillation" else SECTION
    statement = Statement(section, f"{CALLED[method]} does not lower |d| in every category", "all tests")
    return _in_every_category(evidence, statement, method, contrary=True)


def _in_every_category(evidence: Evidence, statement: Statement, method: str, *, contrary: bool) -> Finding:
    """Whether |d| falls in each family and category, or the contrary: that it rises in one of them."""
    tested = {test: [evidence.compressed(test, method, family) for family in MADE_BY[method]]
              for test in TABLE_3_COLUMNS}  # fmt: skip
    found = [each for of in tested.values() for each in of if each]
    if not found:
        return statement.absent()
    lacking = [test for test, of in tested.items() if not any(of)]
    effects = _changes(evidence, found, of_size=True)
    most, says = all_verdict(effects, sign=-1, whole=not lacking)
    note = (
        f"the highest of {len(found)} changes of |d|, mean of what was made less the model, "
        "its interval for all of them at once"
    )
    note += f"; {' and '.join(lacking)} not measured" if lacking else ""
    return statement.judged(most, opposite(says) if contrary else says, note)


def _all_prunings_lower_age(evidence: Evidence) -> Finding:
    """Each method and family, all at once."""
    statement = Statement(SECTION, "every method of pruning lowers d on Age", "Age")
    tried = {method: [evidence.compressed("Age", method, family) for family in MADE_BY[method]] for method in PRUNINGS}
    found = [each for of in tried.values() for each in of if each]
    if not found:
        return statement.absent()
    lacking = [method for method, of in tried.items() if not any(of)]
    most, says = all_verdict(_changes(evidence, found), sign=-1, whole=not lacking)
    note = f"the highest of {len(found)} prunings less their unpruned models, its interval for all of them at once"
    note += f"; {' and '.join(lacking)} not measured" if lacking else ""
    return statement.judged(most, says, note)


def _changes(evidence: Evidence, found: Sequence[Compressed], *, of_size: bool = False) -> list[Effect]:
    """Of each the mean of what was made less the model, in d or in |d|; intervals that hold for all at once."""
    level = 1 - 0.05 / len(found)

    def contrast(each: Compressed) -> Contrast:
        change = changes(len(each.made))
        return sizes_of(change) if of_size else change

    return [evidence.effect(each.all, contrast(each), confidence=level) for each in found]
