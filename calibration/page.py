"""docs/validity.md, written from what a run has stored: no number in it is typed by hand."""

from collections.abc import Mapping

from calibration.cells import Found
from calibration.figures import Section, paragraph
from calibration.inferences import INFERENCES

TITLE = "# Validity: do the p's and intervals keep what they promise?"
OPENING = (
    "Every inference of the package on data of which the truth is known: {cells} settings, {draws} simulated tests. "
    "`make calibrate` runs them with the package's own functions and writes this page (`calibration/`, a file per "
    "inference). What it found is kept in `docs/validity.json`, so only what has changed is computed anew, and a run "
    "that was killed goes on; `make calibrate TIMES=5` takes five times as many draws."
)
RULE = (
    "A level of 5 % is called kept from 3.5 to 7 %, a coverage of 95 % from 93 to 96.5 %, others in proportion. What "
    "lies outside is in **bold** and listed under its table; by less than two standard errors of the simulation it "
    "may be chance, and is listed apart. *Cautious* errs on the safe side: p too seldom small, intervals too wide. "
    "The summary counts what is clearly outside. Its median and worst are false findings, or intervals without the "
    "truth, in per cent: 5 % is right."
)
SUMMARY = "| inference | what it promises | median | worst | verdict |\n| --- | --- | ---: | --- | --- |"
CLOSING = (
    "`explain`, `geometry` and `report/utility` describe, and infer nothing of their own; `removal` is judged by "
    "`leakage` and d. The definitions are in docs/method.md."
)


def sections(found: Mapping[str, Found]) -> list[Section]:
    """Of every inference."""
    return [inference.section(found[name]) for name, inference in INFERENCES.items()]


def render(found: Mapping[str, Found]) -> str:
    """The whole page."""
    results = [each for of_one in found.values() for each in of_one.values()]
    made = sections(found)
    opening = OPENING.format(cells=len(results), draws=f"{sum(each.draws for each in results):,}")
    summary = "\n".join([SUMMARY, *(section.summary() for section in made)])
    closing = ["## What is not here", paragraph(CLOSING)]
    parts = [TITLE, paragraph(opening), summary, paragraph(RULE), *(section.render() for section in made), *closing]
    return "\n\n".join(parts) + "\n"
