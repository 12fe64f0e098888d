"""p_value: level in every design, by each of its methods, and what it does not promise."""

from collections.abc import Iterator

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, level, power
from calibration.groups import Array, Groups, blocks
from speechbias.inference.designs import Relabelling, relabel
from speechbias.inference.permutation import permutation_test, smallest_p
from speechbias.inference.selections import is_exact

ALPHAS = (0.05, 0.01, 0.001)
DESIGNS = (
    Groups(60, 60),
    Groups(30, 20),
    Groups(12, 8),
    Groups(30, 20, 3, "speaker"),
    Groups(12, 8, 5, "speaker"),
    Groups(8, 8, 6, "speaker", ragged=True),
    Groups(5, 5, 4, "speaker"),
    Groups(12, 12, 3, "within-speaker"),
    Groups(5, 5, 3, "within-speaker"),
    Groups(30, 30, 1, "pair"),
    Groups(8, 8, 1, "pair"),
)
SMALL = (
    Groups(3, 3, 4, "speaker"),
    Groups(4, 4, 4, "speaker"),
    Groups(5, 3, 4, "speaker"),
    Groups(5, 5, 4, "speaker"),
    Groups(3, 3, 2, "within-speaker"),
    Groups(6, 6, 1, "pair"),
    Groups(8, 8, 1, "pair"),
)
METHODS = {
    "exact, 12 + 8 clips": (Groups(12, 8), 999),
    "saddlepoint where few of 999 reach T, 60 + 60 clips": (Groups(60, 60), 999),
    "saddlepoint where few of 999 reach T, 30 + 20 clips": (Groups(30, 20), 999),
    "Monte-Carlo, 9,999, 20 + 12 speakers x 3 clips": (Groups(20, 12, 3, "speaker"), 9_999),
}
DRAWS, MANY = 4_000, 20_000


def cells() -> Iterator[Cell]:
    """Level by design and shape; exact levels; methods far out; and data that no design describes."""
    for groups in DESIGNS:
        for shape in ("normal", "skewed"):
            yield Cell("p_value", f"{groups}, {shape}", DRAWS, {"groups": groups, "shape": shape})
    for groups in SMALL:
        yield Cell("p_value", f"exact level, {groups}", DRAWS, {"groups": groups})
    for name, (groups, permutations) in METHODS.items():
        for shape in ("normal", "skewed"):
            settings = {"groups": groups, "shape": shape, "permutations": permutations}
            yield Cell("p_value", f"{name}, {shape}", MANY, settings)
    for x, y in ((30, 30), (40, 20), (20, 40)):
        yield Cell("p_value", f"spread of X twice Y's, {x} + {y}", DRAWS, {"groups": Groups(x, y), "spread": 2.0})
    yield Cell("p_value", "repeated", DRAWS, {"groups": Groups(10, 10, 4, "speaker"), "design": "independent"})


def run(
    draws: int,
    rng: np.random.Generator,
    *,
    groups: Groups,
    d: float = 0.0,
    shape: str = "normal",
    permutations: int = 999,
    spread: float = 1.0,
    design: str = "",
) -> dict[str, float]:
    """Shares of p below each alpha."""
    relabelling = relabel(design, (groups.labels["X"], groups.labels["Y"])) if design else groups.relabelling
    small = np.zeros(len(ALPHAS))
    for count in blocks(draws, draws if is_exact(relabelling) else 50):
        s = groups.scores(rng, count, d, shape)
        s[: groups.n_x] *= spread
        p = p_values(s, relabelling, groups, permutations, rng)
        small += [(p < alpha).sum() for alpha in ALPHAS]
    return {f"below {alpha}": float(rate) for alpha, rate in zip(ALPHAS, small / draws, strict=True)}


def p_values(s: Array, relabelling: Relabelling, groups: Groups, permutations: int, rng: np.random.Generator) -> Array:
    """As ``associate`` has them, of every column."""
    saddlepoint = len(relabelling.chosen) == 1 and all(len(unit) == 1 for unit in relabelling.units)
    return permutation_test(
        s,
        relabelling,
        n_x=groups.n_x,
        alternative="two-sided",
        permutations=permutations,
        rng=rng,
        saddlepoint=saddlepoint,
    ).p_value


def exact_level(relabelling: Relabelling, alpha: float = 0.05) -> float:
    """The largest share of relabellings below alpha that a two-sided p can have, if no two are equally far out."""
    step = smallest_p(relabelling, "two-sided", None)
    return float(step * (np.ceil(alpha / step - 1e-9) - 1))


def section(found: Found) -> Section:
    """The part of the page."""
    return Section(
        "p_value",
        "X and Y exchangeable in s: below 5 % in 5 % of tests",
        "No difference between X and Y; 999 relabellings, or all where they are at most a million. Scores are "
        "normal, or log-normal with skewness 2.3; clips of a speaker or pair correlate by 0.5.",
        [_designs(found), _exact(found), _methods(found), _beyond(found)],
        "A permutation test asks whether X and Y are exchangeable, spread included. Where their spreads differ it "
        "is right to be small sometimes though d is 0; with unequal numbers that can be often. Repeated speakers "
        "taken for independent clips are found different far too often: the design follows from the speakers, and "
        "must not be overridden lightly.",
        "`inference/permutation.py`, `designs.py`, `saddlepoint.py`",
    )


def _designs(found: Found) -> Table:
    rows = []
    for groups in DESIGNS:
        values = [found[f"{groups}, {shape}"] for shape in ("normal", "skewed")]
        rows.append((str(groups), [level(each["below 0.05"], each.draws) for each in values]))
    return Table("**Level at 5 %, by design.**", ["normal", "skewed"], rows, "design")


def _exact(found: Found) -> Table:
    rows: list[tuple[str, list[Figure | str]]] = []
    for groups in SMALL:
        each, promised = found[f"exact level, {groups}"], exact_level(groups.relabelling)
        least = smallest_p(groups.relabelling, "two-sided", None)
        rate = each["below 0.05"]
        shown = level(rate, each.draws, promised) if promised else power(rate, each.draws)
        rows.append((str(groups), [f"{least:.3g}", f"{100 * promised:.2f} %", shown]))
    caption = (
        "**Exact tests of few units.** All relabellings are counted, so p has steps, and the level is a number that "
        "can be known: the largest step below 5 %. The last column is judged against it. Where it is 0 nothing can "
        "be found."
    )
    return Table(caption, ["smallest p", "exact level", "simulated"], rows, "design")


def _methods(found: Found) -> Table:
    rows = []
    for name in METHODS:
        for shape in ("normal", "skewed"):
            each = found[f"{name}, {shape}"]
            rows.append((f"{name}, {shape}", [level(each[f"below {a}"], each.draws, a) for a in ALPHAS]))
    caption = "**Far out, by method.** Each level is judged in proportion: 0.7 to 1.4 of alpha."
    return Table(caption, ["5 %", "1 %", "0.1 %"], rows, "method")


def _beyond(found: Found) -> Table:
    rows = []
    for x, y in ((30, 30), (40, 20), (20, 40)):
        each = found[f"spread of X twice Y's, {x} + {y}"]
        rows.append((f"{x} + {y} clips, d = 0, spread of X twice that of Y", [power(each["below 0.05"], each.draws)]))
    each = found["repeated"]
    rows.append(("10 + 10 speakers x 4 clips, taken as independent clips", [power(each["below 0.05"], each.draws)]))
    return Table("**Not promised.**", ["below 5 %"], rows)
