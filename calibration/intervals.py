"""ci_low to ci_high (BCa, for these attribute clips) and ci_attributes (attribute talkers too): coverage."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, coverage
from calibration.groups import Groups, blocks
from calibration.worlds import World
from speechbias.inference.intervals import target_interval

DESIGNS = (
    Groups(60, 60),
    Groups(30, 20),
    Groups(12, 8),
    Groups(20, 20, 3, "speaker"),
    Groups(12, 8, 5, "speaker"),
    Groups(8, 8, 6, "speaker", ragged=True),
    Groups(5, 5, 4, "speaker"),
    Groups(12, 12, 3, "within-speaker"),
    Groups(5, 5, 3, "within-speaker"),
    Groups(30, 30, 1, "pair"),
    Groups(10, 10, 1, "pair"),
)
DS = (0.0, 0.5, 1.0, 1.5)
TALKERS = {  # dimensions, attribute talkers
    "12 talkers in both, 5 clips in each; dim 16": (16, Groups(12, 12, 5, "within-speaker"), 500),
    "6 talkers in both, 5 clips in each; dim 16": (16, Groups(6, 6, 5, "within-speaker"), 500),
    "30 + 30 clips of 60 talkers; dim 16": (16, Groups(30, 30), 500),
    "12 talkers in both, 5 clips in each; dim 768": (768, Groups(12, 12, 5, "within-speaker"), 150),
}
DRAWS = 3_000


def cells() -> Iterator[Cell]:
    """Every design at four d's; skewed scores; vectors, for the talkers."""
    for groups in DESIGNS:
        for d in DS:
            yield Cell("intervals", f"{groups}, d = {d:g}", DRAWS, {"groups": groups, "d": d})
        for d in (0.0, 1.0):
            yield Cell(
                "intervals", f"{groups}, skewed, d = {d:g}", DRAWS, {"groups": groups, "d": d, "shape": "skewed"}
            )
    for name, (dim, attributes, draws) in TALKERS.items():
        yield Cell("intervals", name, draws, {"attributes": attributes, "dim": dim})


def run(draws: int, rng: np.random.Generator, **settings: Any) -> dict[str, float]:
    """Shares of intervals that hold the true d."""
    return _of_talkers(draws, rng, **settings) if "attributes" in settings else _of_scores(draws, rng, **settings)


def _of_scores(
    draws: int, rng: np.random.Generator, *, groups: Groups, d: float, shape: str = "normal"
) -> dict[str, float]:
    held, units = 0, groups.units
    for count in blocks(draws):
        s = groups.scores(rng, count, d, shape)
        found = target_interval(s, units, n_x=groups.n_x, ddof=1, resamples=999, confidence=0.95, rng=rng)
        held += int(np.count_nonzero((found.low <= d) & (d <= found.high)))
    return {"ci": held / draws}


def _of_talkers(
    draws: int, rng: np.random.Generator, *, attributes: Groups, dim: int, apart: float = 1.0
) -> dict[str, float]:
    held = np.zeros(2)
    for count in blocks(draws, 25):
        world = World.draw(rng, dim, apart=apart, aligned=3.0)
        tests, g = world.test(Groups(40, 40), attributes, rng, count, resamples=499)
        own, endless = world.true_d(g, rng), world.true_d(world.endless_g(rng), rng)[0]
        held[0] += sum(each.ci_low <= true <= each.ci_high for each, true in zip(tests, own, strict=True))
        held[1] += sum(each.ci_attributes[0] <= endless <= each.ci_attributes[1] for each in tests)
    return {"ci": float(held[0] / draws), "ci_attributes": float(held[1] / draws)}


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "Intervals of d",
        "the 95 % interval holds d in 95 % of tests",
        "BCa over the units of the design, 999 resamples.",
        [_by_d(found), _skewed(found), _talkers(found)],
        "With endlessly many talkers in the place of a dozen, d is larger in high dimensions: the talkers' own "
        "noise in A and B draws it towards zero, and no resampling of the same talkers undoes that. Read "
        "`ci_attributes` as how far d moves with other talkers of the same number.",
        "`inference/intervals.py`",
    )


def _by_d(found: Found) -> Table:
    rows = []
    for groups in DESIGNS:
        results = [found[f"{groups}, d = {d:g}"] for d in DS]
        rows.append((str(groups), [coverage(each["ci"], each.draws) for each in results]))
    return Table("**Coverage of `ci_low` to `ci_high`, normal scores.**", [f"d = {d:g}" for d in DS], rows, "design")


def _skewed(found: Found) -> Table:
    rows = []
    for groups in DESIGNS:
        results = [found[f"{groups}, skewed, d = {d:g}"] for d in (0.0, 1.0)]
        rows.append((str(groups), [coverage(each["ci"], each.draws) for each in results]))
    return Table("**The same, log-normal scores.**", ["d = 0", "d = 1"], rows, "design")


def _talkers(found: Found) -> Table:
    rows = []
    for name in TALKERS:
        each = found[name]
        rows.append((name, [coverage(each[column], each.draws) for column in ("ci", "ci_attributes")]))
    caption = (
        "**Vectors, 40 + 40 clips of X and Y 1 SD apart, A and B 3 SD apart.** `ci` of d for these attribute clips; "
        "`ci_attributes` of d with endlessly many attribute talkers; 499 resamples."
    )
    return Table(caption, ["ci", "ci_attributes"], rows, "attributes")
