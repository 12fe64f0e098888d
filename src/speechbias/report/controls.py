"""What a report says on top of its controls: records of kind ``control``, and which of them failed."""

from collections.abc import Mapping, Sequence
from typing import Any

from speechbias.report.grid import Grid
from speechbias.results import about_of

Record = Mapping[str, Any]
MISSED = "a planted association would not have been found with these clips, so none found says nothing."
ALARMED = "shuffled attributes are called associated too often: do not trust a small p here."


def describe_controls(grid: Grid, others: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    """A sentence on the controls of the measurements in the table, and one for each that failed; none: ("", ())."""
    controls = [each for each in others if each.get("kind") == "control" and each.get("layer") == "mean"]
    known = {about_of(each): each for each in controls}
    found = [
        (row.label, column.label, known[about_of(record.about)])
        for row, column, record in grid.measurements()
        if about_of(record.about) in known
    ]
    if not found:
        return "", ()
    planted = sum(bool(each["planted"]["associated"]) for _, _, each in found)
    alone, both = (max(each["shuffled"][key] for _, _, each in found) for key in ("p_value", "associated"))
    sentence = (
        f"Controls: a planted association was found in {planted} of {len(found)} measurements. With the attribute's "
        f"clips shuffled, both p values were small in at most {100 * both:.0f} % of the shuffles, the first p alone "
        f"in up to {100 * alone:.0f} %."
    )
    failed = tuple(
        f"{test}, {label}: {MISSED if not each['planted']['associated'] else ALARMED}"
        for label, test, each in found
        if not each["passed"]
    )
    return sentence, failed
