"""The leakage probe: intervals above chance where nothing tells the groups apart, and their coverage."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, at_most, coverage, power
from calibration.groups import Groups
from speechbias.leakage import CHANCE, probe_groups

GROUPS = (Groups(40, 40), Groups(30, 20), Groups(12, 8, 5, "speaker"), Groups(5, 5, 4, "speaker"))
APART = (0.0, 1.0, 2.0)
PERCEPTRON = Groups(12, 8, 2, "speaker")
DIM = 8
DRAWS, FEW = 100, 40


def cells() -> Iterator[Cell]:
    """A linear probe at chance and above; a perceptron at chance."""
    for groups in GROUPS:
        for apart in APART:
            yield Cell("leakage", f"{groups}, {apart:g}", DRAWS, {"groups": groups, "apart": apart})
    settings: dict[str, Any] = {"groups": PERCEPTRON, "apart": 0.0, "kind": "mlp"}
    yield Cell("leakage", f"{PERCEPTRON}, perceptron", FEW, settings)


def run(
    draws: int, rng: np.random.Generator, *, groups: Groups, apart: float, kind: Any = "linear"
) -> dict[str, float]:
    """Mean accuracy, share of intervals above chance, share that holds the mean accuracy of such probes."""
    found = []
    is_x = [place < groups.n_x for place in range(sum(map(len, groups.people)))]
    speakers = [*groups.labels["X"], *groups.labels["Y"]]
    for _ in range(draws):
        vectors = groups.noise(rng, DIM)
        vectors[: groups.n_x, 0] += apart
        seed = int(rng.integers(1 << 31))
        found.append(probe_groups(vectors, is_x, speakers, kind=kind, seed=seed, resamples=999))
    mean = float(np.mean([each.accuracy for each in found])) if apart else CHANCE
    return {
        "accuracy": float(np.mean([each.accuracy for each in found])),
        "above": float(np.mean([each.low > CHANCE for each in found])),
        "below": float(np.mean([each.high < CHANCE for each in found])),
        "interval": float(np.mean([each.low <= mean <= each.high for each in found])),
    }


def section(found: Found) -> Section:
    """The part of the page."""
    rows: list[tuple[str, list[Figure | str]]] = []
    names = {f"{groups}, {apart:g}": apart for groups in GROUPS for apart in APART}
    for name, apart in (names | {f"{PERCEPTRON}, perceptron": 0.0}).items():
        each = found[name]
        above = power(each["above"], each.draws) if apart else at_most(each["above"], each.draws, 0.025)
        shown = f"{name} SD apart" if apart else name.replace(", 0", ", alike")
        rows.append((shown, [f"{100 * each['accuracy']:.1f} %", above, coverage(each["interval"], each.draws)]))
    caption = (
        "**Balanced accuracy by guessing is 50 %.** Intervals wholly above 50 % (judged against 2.5 % where groups "
        "are alike), and those that hold 50 %, or the mean accuracy of such probes."
    )
    return Section(
        "Leakage",
        "groups alike: interval above chance in 2.5 %; it holds the mean accuracy in 95 %",
        f"Vectors of {DIM} dimensions, the groups so many SD apart in one of them; cross-validated by speaker, 999 "
        "resamples.",
        [Table(caption, ["mean accuracy", "above 50 %", "covers"], rows, "groups")],
        "The interval resamples speakers and leaves the probes as they are. How far probes trained on other people "
        "would differ, and that answers of one fold share a probe, is not in it.",
        "`leakage.py`",
    )
