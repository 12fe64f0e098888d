"""Power of p_value against the number of clips or speakers, at small, medium and large d."""

from collections.abc import Iterator
from typing import Any

from calibration import p_value
from calibration.cells import Cell, Found
from calibration.figures import Section, Table, power
from calibration.groups import Groups

SIZES = (10, 20, 40, 60, 100)
DS = (0.2, 0.5, 0.8)
DRAWS = 1_000
run = p_value.run


def _designs(n: int) -> dict[str, Groups]:
    return {
        f"{n} + {n} clips": Groups(n, n),
        f"{3 * n // 2} + {n // 2} clips": Groups(3 * n // 2, n // 2),
        f"{n} + {n} speakers x 4 clips": Groups(n, n, 4, "speaker"),
        f"{n} speakers, 4 clips in each group": Groups(n, n, 4, "within-speaker"),
    }


def cells() -> Iterator[Cell]:
    """Each size in four designs at three d's."""
    for n in SIZES:
        for name, groups in _designs(n).items():
            for d in DS:
                settings: dict[str, Any] = {"groups": groups, "d": d}
                yield Cell("power", f"{name}, d = {d}", DRAWS, settings)


def section(found: Found) -> Section:
    """The part of the page."""
    tables = []
    kinds = ["clips, equal", "clips, three to one", "speakers x 4 clips", "speakers in both groups, 4 clips in each"]
    for number, kind in enumerate(kinds):
        rows = []
        for n in SIZES:
            name = list(_designs(n))[number]
            results = [found[f"{name}, d = {d}"] for d in DS]
            rows.append((name, [power(each["below 0.05"], each.draws) for each in results]))
        tables.append(Table(f"**{kind.capitalize()}.**", [f"d = {d}" for d in DS], rows))
    return Section(
        "Power of p_value",
        "none: how often a true d is found at 5 %",
        "Normal scores, correlation 0.5 between the clips of a speaker.",
        tables,
        "Speakers who stand in both groups cancel, so far fewer of them show the same d.",
    )
