"""The verdict of ``reproduce`` on a d beside a published one, where both are of the same truth on other clips."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Figure, Section, Table, at_most, power
from calibration.groups import Groups, blocks
from speechbias.inference.intervals import target_interval
from speechbias.reproduce.verdict import Verdict, judge

GROUPS = (Groups(60, 60), Groups(30, 30), Groups(30, 20), Groups(20, 20, 3, "speaker"))
GAPS = (0.0, 0.5, 1.0)  # by which the true d's differ
DRAWS = 1_500


def cells() -> Iterator[Cell]:
    """The same d, and others."""
    for groups in GROUPS:
        for gap in GAPS:
            yield Cell("reproduced", f"{groups}, {gap:g}", DRAWS, {"groups": groups, "gap": gap})


def run(draws: int, rng: np.random.Generator, *, groups: Groups, gap: float) -> dict[str, float]:
    """Shares of each verdict; the published d is one of other clips in the same design."""
    said: list[Verdict] = []
    for count in blocks(draws):
        published = _effect_sizes(groups.scores(rng, count, 0.3), groups.n_x)
        s = groups.scores(rng, count, 0.3 + gap)
        found = target_interval(s, groups.units, n_x=groups.n_x, ddof=1, resamples=999, confidence=0.95, rng=rng)
        each = zip(_effect_sizes(s, groups.n_x), found.low, found.high, published, strict=True)
        said += [judge(*map(float, numbers), same=False) for numbers in each]
    return {verdict.name: float(np.mean([each == verdict for each in said])) for verdict in Verdict}


def _effect_sizes(s: Any, n_x: int) -> Any:
    return (s[:n_x].mean(0) - s[n_x:].mean(0)) / s.std(0, ddof=1)


def section(found: Found) -> Section:
    """The part of the page."""
    rows: list[tuple[str, list[Figure | str]]] = []
    for groups in GROUPS:
        results = [found[f"{groups}, {gap:g}"] for gap in GAPS]
        wrong = at_most(results[0]["beyond"], results[0].draws)
        found_out = [power(each["beyond"], each.draws) for each in results[1:]]
        rows.append((str(groups), [wrong, *found_out, power(results[0]["unknown"], results[0].draws)]))
    caption = (
        "**Called different beyond noise, by how far the true d's are apart;** and how often nothing is said, because "
        "the interval is too wide, where they are not."
    )
    header = ["0", *(f"{gap:g}" for gap in GAPS[1:]), "0: cannot tell"]
    return Section(
        "Verdicts of reproduce",
        "equal true d's on other clips: called different in at most 5 %",
        "The published d is simulated too, on other clips in the same design; true d's 0.3 and larger by the gap.",
        [Table(caption, header, rows, "design")],
        "On the same clips and weights the verdict is a bound of 0.06, and nothing in it is random. The verdicts on "
        "the paper's statements ask whether an interval of the kinds above holds 0.",
        "`reproduce/verdict.py`",
    )
