"""p from a published d (``p_from_effect_size``): level of Student's t."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, level, power
from calibration.groups import Groups
from speechbias.inference import p_from_effect_size

GROUPS = (Groups(60, 60), Groups(30, 20), Groups(12, 8), Groups(5, 5))
SPEAKERS = Groups(10, 10, 4, "speaker")
DRAWS = 5_000


def cells() -> Iterator[Cell]:
    """Clips, and clips of speakers that the formula does not know of."""
    for groups in (*GROUPS, SPEAKERS):
        for shape in ("normal", "skewed"):
            settings: dict[str, Any] = {"groups": groups, "shape": shape}
            yield Cell("published", f"{groups}, {shape}", DRAWS, settings)


def run(draws: int, rng: np.random.Generator, *, groups: Groups, shape: str) -> dict[str, float]:
    """Shares of p below 5 %, one-sided as SpEAT's."""
    s = groups.scores(rng, draws, 0.0, shape)
    d = (s[: groups.n_x].mean(0) - s[groups.n_x :].mean(0)) / s.std(0, ddof=1)
    n_y = len(s) - groups.n_x
    return {"below 0.05": float(np.mean([p_from_effect_size(each, groups.n_x, n_y) < 0.05 for each in d]))}


def section(found: Found) -> Section:
    """The part of the page."""
    rows = []
    for groups in (*GROUPS, SPEAKERS):
        results = [found[f"{groups}, {shape}"] for shape in ("normal", "skewed")]
        judged = power if groups == SPEAKERS else level
        rows.append((str(groups), [judged(each["below 0.05"], each.draws) for each in results]))
    return Section(
        "p of published d's",
        "independent clips: below 5 % in 5 %",
        "One-sided, as SpEAT's; no difference between X and Y.",
        [Table("**Level at 5 %.**", ["normal", "skewed"], rows, "clips")],
        "The formula knows numbers of clips, not speakers: for repeated speakers (last row, not judged) a published "
        "d implies no such p.",
        "`p_from_effect_size`",
    )
