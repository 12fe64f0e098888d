"""p_attribute, and "associated" (both p's small): level on both kinds of nothing, and power."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, at_most, level, power
from calibration.groups import Groups, blocks
from calibration.worlds import World

ATTRIBUTES = (
    Groups(30, 30),
    Groups(20, 10),
    Groups(12, 12, 2, "within-speaker"),
    Groups(5, 5, 4, "within-speaker"),
    Groups(8, 8, 4, "speaker"),
    Groups(8, 5, 4, "speaker"),
)
TARGETS = (Groups(60, 60), Groups(30, 20), Groups(12, 8, 5, "speaker"), Groups(8, 8, 3, "within-speaker"))
PLAIN = Groups(30, 30)
SIZES = (10, 20, 40, 60, 100)
SHIFTS = {"d about 0.5": 0.55, "d about 0.8": 0.95, "d about 1.2": 1.7}
DIM = 16
DRAWS, FEW = 2_000, 500


def cells() -> Iterator[Cell]:
    """A and B alike while X and Y are apart; X and Y alike while A and B are apart; both apart."""
    for attributes in ATTRIBUTES:
        settings: dict[str, Any] = {"targets": Groups(40, 40), "attributes": attributes, "apart": 2.0}
        yield Cell("p_attribute", f"A and B alike, {attributes}", DRAWS, settings)
    for targets in TARGETS:
        settings = {"targets": targets, "attributes": PLAIN, "aligned": 2.0}
        yield Cell("p_attribute", f"X and Y alike, {targets}", DRAWS, settings)
    yield Cell("p_attribute", "all alike", DRAWS, {"targets": Groups(40, 40), "attributes": PLAIN})
    for n in SIZES:
        for name, apart in SHIFTS.items():
            settings = {"targets": Groups(n, n), "attributes": PLAIN, "apart": apart, "aligned": 3.0}
            yield Cell("p_attribute", f"{n} + {n} clips, {name}", FEW, settings)


def run(
    draws: int,
    rng: np.random.Generator,
    *,
    targets: Groups,
    attributes: Groups,
    apart: float = 0.0,
    aligned: float = 0.0,
) -> dict[str, float]:
    """Shares of each p below 5 %, and of both; the mean d."""
    rows = []
    for count in blocks(draws):
        world = World.draw(rng, DIM, apart=apart, aligned=aligned)
        tests, _ = world.test(targets, attributes, rng, count, resamples=2)
        rows += [(each.p_value < 0.05, each.p_attribute < 0.05, each.associated, each.d) for each in tests]
    return dict(zip(("p_value", "p_attribute", "associated", "d"), np.mean(rows, axis=0).tolist(), strict=True))


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "p_attribute and associated",
        "X and Y not aligned with A against B: p_attribute below 5 %, or both p's, in at most 5 % of tests",
        f"Vectors of {DIM} dimensions, tested by `associate` with 999 relabellings.",
        [_alike(found), _targets(found), _power(found)],
        "p_value alone says *different*, not *associated*: groups that differ are found so along nearly any "
        "attributes, which is why both are asked for.",
        "`inference/attributes.py`, `association.py`",
    )


def _alike(found: Found) -> Table:
    rows = []
    for attributes in ATTRIBUTES:
        each = found[f"A and B alike, {attributes}"]
        attribute, both = level(each["p_attribute"], each.draws), at_most(each["associated"], each.draws)
        rows.append((_talkers(attributes), [power(each["p_value"], each.draws), attribute, both]))
    caption = "**A and B of one distribution, 40 + 40 clips of X and Y 2 SD apart.** p_value is not judged here."
    return Table(caption, ["p_value", "p_attribute", "associated"], rows, "attributes")


def _talkers(groups: Groups) -> str:
    words = {"within-speaker": f"{groups.x} talkers in both, {groups.clips} clips in each"}
    words["speaker"] = f"{groups.x} + {groups.y} talkers x {groups.clips}, each in one set"
    return words.get(groups.design, str(groups))


def _targets(found: Found) -> Table:
    rows = []
    for name in (*(f"X and Y alike, {targets}" for targets in TARGETS), "all alike"):
        each = found[name]
        both = at_most(each["associated"], each.draws)
        shown = name.removeprefix("X and Y alike, ") if name != "all alike" else "40 + 40 clips, A and B alike too"
        rows.append((shown, [level(each["p_value"], each.draws), both]))
    caption = "**X and Y of one distribution, 30 + 30 clips of A and B 2 SD apart.** Share below 5 %."
    return Table(caption, ["p_value", "associated"], rows, "targets")


def _power(found: Found) -> Table:
    rows = []
    for n in SIZES:
        results = [found[f"{n} + {n} clips, {name}"] for name in SHIFTS]
        rows.append((f"{n} + {n} clips", [power(each["associated"], each.draws) for each in results]))
    means = ", ".join(f"{found[f'{SIZES[-1]} + {SIZES[-1]} clips, {name}']['d']:.2f}" for name in SHIFTS)
    header = [name.removeprefix("d about ") for name in SHIFTS]
    return Table(
        f"**Power of *associated*,** A and B 3 SD apart in the direction of X and Y (mean d: {means}).",
        [f"d about {each}" for each in header],
        rows,
        "targets",
    )
