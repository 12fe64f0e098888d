"""Holm and Benjamini-Hochberg over a table of tests."""

from collections.abc import Iterator

import numpy as np

from calibration import p_value
from calibration.cells import Cell, Found
from calibration.figures import Section, Table, at_most, power
from calibration.groups import Groups, blocks
from speechbias.inference.multiplicity import benjamini_hochberg, holm

TESTS = 10
GROUPS = (Groups(40, 40), Groups(30, 20), Groups(12, 8, 5, "speaker"))
DRAWS = 1_000


def cells() -> Iterator[Cell]:
    """No d, and d = 1 in half of the tests; independent, and on the same clips."""
    for groups in GROUPS:
        for alike in (0.0, 0.9):
            for d in (0.0, 1.0):
                name = f"{groups}, correlation {alike:g}, half d = {d:g}"
                yield Cell("multiplicity", name, DRAWS, {"groups": groups, "alike": alike, "d": d})


def run(draws: int, rng: np.random.Generator, *, groups: Groups, alike: float, d: float) -> dict[str, float]:
    """Share of tables with any false finding (Holm), mean share of false ones (BH), shares of true ones found."""
    true = np.arange(TESTS) < (TESTS // 2 if d else 0)
    rows = []
    for count in blocks(draws, 25):
        s = np.sqrt(1 - alike) * groups.scores(rng, count * TESTS)
        s += np.repeat(np.sqrt(alike) * groups.scores(rng, count), TESTS, axis=1)
        s[: groups.n_x] += np.tile(np.where(true, groups.shift(d), 0.0), count)
        for p in p_value.p_values(s, groups.relabelling, groups, 999, rng).reshape(count, TESTS):
            by_holm, by_bh = holm(p) < 0.05, benjamini_hochberg(p) < 0.05
            share = (by_bh & ~true).sum() / max(by_bh.sum(), 1)
            rows.append((by_holm[~true].any(), share, by_holm[true].sum(), by_bh[true].sum()))
    any_false, share, holm_found, bh_found = np.mean(rows, axis=0).tolist()
    found = max(int(true.sum()), 1)
    return {"holm": any_false, "bh": share, "holm found": holm_found / found, "bh found": bh_found / found}


def section(found: Found) -> Section:
    """The part of the page."""
    rows = []
    for groups in GROUPS:
        for alike in (0.0, 0.9):
            for d in (0.0, 1.0):
                each = found[f"{groups}, correlation {alike:g}, half d = {d:g}"]
                figures = [at_most(each["holm"], each.draws), at_most(each["bh"], each.draws)]
                powers = [power(each[f"{name} found"], each.draws) if d else "" for name in ("holm", "bh")]
                rows.append((f"{groups}, {alike:g}, {'half d = 1' if d else 'no d'}", [*figures, *powers]))
    caption = (
        f"**Tables of {TESTS} tests.** Holm: tables with any false finding. BH: mean share of false ones among the "
        "findings. Then the share of the true ones that is found."
    )
    header = ["Holm: any false", "BH: share false", "Holm finds", "BH finds"]
    table = Table(caption, header, rows, "design, correlation of the tests, truth")
    promise = "Holm: any false finding in at most 5 % of tables; BH: at most 5 % of findings false"
    text = "p_values of tests on the same clips, 999 relabellings."
    return Section("Holm and Benjamini-Hochberg", promise, text, [table], "", "`inference/multiplicity.py`")
