"""d's judged together: p by max-T (p_adjusted) and the simultaneous band, over states, steps or sizes."""

from collections.abc import Iterator

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, coverage, level, power
from calibration.groups import Groups
from speechbias.inference.simultaneous import simultaneous

MEMBERS = 12
GROUPS = (Groups(60, 60), Groups(30, 20), Groups(12, 8, 5, "speaker"), Groups(8, 8, 3, "within-speaker"))
ALIKE = (0.0, 0.9)  # correlation between members
DRAWS = 800


def cells() -> Iterator[Cell]:
    """No d at all; half of the members with d = 1."""
    for groups in GROUPS:
        for alike in ALIKE:
            for d in (0.0, 1.0):
                name = f"{groups}, correlation {alike:g}, half d = {d:g}"
                yield Cell("families", name, DRAWS, {"groups": groups, "alike": alike, "d": d})


def run(draws: int, rng: np.random.Generator, *, groups: Groups, alike: float, d: float) -> dict[str, float]:
    """Shares with any false finding, with all true ones found, with a band that holds every d, and every interval."""
    true = np.where(np.arange(MEMBERS) < MEMBERS // 2, d, 0.0)
    rows = []
    for _ in range(draws):
        s = np.sqrt(alike) * groups.scores(rng, 1) + np.sqrt(1 - alike) * groups.scores(rng, MEMBERS)
        s[: groups.n_x] += [groups.shift(each) for each in true]
        options = {"permutations": 999, "resamples": 999, "seed": int(rng.integers(1 << 31))}
        found = simultaneous(s, n_x=groups.n_x, speakers=groups.labels, pairs=groups.pairs, **options)  # type: ignore[arg-type]
        small = found.p_adjusted < 0.05
        rows.append((small[true == 0].any(), small[0], ((found.low <= true) & (true <= found.high)).all()))
    return dict(zip(("any false", "first found", "band"), np.mean(rows, axis=0).tolist(), strict=True))


def section(found: Found) -> Section:
    """The part of the page."""
    rows = []
    for groups in GROUPS:
        for alike in ALIKE:
            none, half = (found[f"{groups}, correlation {alike:g}, half d = {d:g}"] for d in (0.0, 1.0))
            figures = [
                level(none["any false"], none.draws),
                coverage(none["band"], none.draws),
                coverage(half["band"], half.draws),
                power(half["first found"], half.draws),
            ]
            rows.append((f"{groups}, correlation {alike:g}", figures))
    caption = (
        f"**{MEMBERS} members, correlated as given.** No d: share with any p_adjusted below 5 %, and bands that hold "
        "all d's; then half of the members with d = 1: bands, and how often one such member is found."
    )
    table = Table(caption, ["no d: any found", "no d: band", "half d = 1: band", "found"], rows, "design")
    text = "999 relabellings and resamples, shared by all members."
    promise = f"any false finding among {MEMBERS} in 5 %; the band holds all d's in 95 %"
    closing = (
        "A band takes limits far out in the tails of the resamples, which few speakers do not have: there judge by "
        "p_adjusted, and read the band as too narrow."
    )
    return Section("Families: max-T and bands", promise, text, [table], closing, "`inference/simultaneous.py`")
