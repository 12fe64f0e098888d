"""Gaps of phone error rates between groups: coverage of their intervals, and how often none is called one."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from calibration.cells import Cell, Found
from calibration.figures import Section, Table, coverage, power
from speechbias.probe.errors import Errors
from speechbias.probe.groups import Intervals, by_group

SIZES = ((40, 40), (20, 20), (20, 10), (10, 10), (5, 5), (3, 3))
GAPS = (0.0, 0.05)
UTTERANCES, PHONES, RATE = 4, 40, 0.2
SPREAD = 40.0  # of speakers' rates: beta-distributed, SD 0.06
DRAWS = 400


def cells() -> Iterator[Cell]:
    """By number of speakers, without and with a gap."""
    for x, y in SIZES:
        for gap in GAPS:
            settings: dict[str, Any] = {"speakers": (x, y), "gap": gap}
            yield Cell("gaps", f"{x} + {y} speakers, gap {gap:g}", DRAWS, settings)


def run(draws: int, rng: np.random.Generator, *, speakers: tuple[int, int], gap: float) -> dict[str, float]:
    """Share of intervals that hold the gap, and that leave 0 out."""
    held, out = 0, 0
    groups = [{"group": "ab"[side]} for side, count in enumerate(speakers) for _ in range(count * UTTERANCES)]
    ids = [f"{'ab'[side]}{k}" for side, count in enumerate(speakers) for k in range(count) for _ in range(UTTERANCES)]
    for _ in range(draws):
        errors = [
            each
            for rate, count in zip((RATE + gap, RATE), speakers, strict=True)
            for own in rng.beta(SPREAD * rate, SPREAD * (1 - rate), size=count)
            for each in (Errors(int(rng.binomial(PHONES, own)), 0, 0, PHONES) for _ in range(UTTERANCES))
        ]
        intervals = Intervals(seed=int(rng.integers(1 << 31)), resamples=999, confidence=0.95)
        _, gaps = by_group(errors, ids, groups, ["group"], intervals)
        (found,) = gaps["group"]
        held += found["ci_low"] <= gap <= found["ci_high"]
        out += not found["ci_low"] <= 0 <= found["ci_high"]
    return {"interval": held / draws, "found": out / draws}


def section(found: Found) -> Section:
    """The part of the page."""
    rows = []
    for x, y in SIZES:
        results = [found[f"{x} + {y} speakers, gap {gap:g}"] for gap in GAPS]
        covered = [coverage(each["interval"], each.draws) for each in results]
        rows.append((f"{x} + {y} speakers", [*covered, power(results[-1]["found"], results[-1].draws)]))
    table = Table(
        "**Coverage of the interval of a gap.**", ["no gap", "5 points", "5 points: 0 left out"], rows, "groups"
    )
    return Section(
        "Gaps of phone error rates",
        "the 95 % interval of a gap holds it in 95 %",
        f"Speakers of {UTTERANCES} utterances of {PHONES} phones, rates about {100 * RATE:.0f} % with an SD of 6 "
        "points among speakers; percentiles of 999 resamples of speakers. The page's tables of utility show these "
        "intervals and add none.",
        [table],
        "",
        "`probe/groups.py`",
    )
